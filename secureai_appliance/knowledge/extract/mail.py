"""Mail: its header, its text, and what is attached as documents of their own."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage
from pathlib import Path

from secureai_appliance.knowledge.extract import html, plain
from secureai_appliance.knowledge.extract.extracted import Attachment, Draft

_SHOWN = ("From", "To", "Cc", "Date")


def read(path: Path, draft: Draft, password: str | None = None) -> None:
    """The subject is a heading; of text and HTML that say the same, the text is read."""
    with path.open("rb") as file:
        message = email.message_from_binary_file(file, policy=email.policy.default)
    subject = _field(message, "Subject")
    draft.describe(title=subject, author=_field(message, "From"), created=_field(message, "Date"))
    draft.heading(subject, 1)
    draft.paragraph("\n".join(f"{name}: {value}" for name in _SHOWN if (value := _field(message, name))))
    body = message.get_body(("plain", "html"))
    if isinstance(body, EmailMessage):
        text = plain.decoded_bytes(_payload(body), body.get_content_charset())
        if body.get_content_subtype() == "html":
            html.write(text, draft, whole=True)
        else:
            for paragraph in text.replace("\r\n", "\n").split("\n\n"):
                draft.paragraph(paragraph)
    for number, part in enumerate(message.iter_attachments(), 1):
        _attach(part, number, draft)


def _attach(part: EmailMessage, number: int, draft: Draft) -> None:
    kind = part.get_content_type()
    if kind == "message/rfc822":
        inner = part.get_payload(0) if part.is_multipart() else part
        name = f"{_field(inner, 'Subject') or f'message-{number}'}.eml"  # type: ignore[arg-type]
        draft.attach(Attachment(name, kind, inner.as_bytes()))  # type: ignore[union-attr]
    elif not part.is_multipart() and (part.get_content_disposition() == "attachment" or part.get_filename()):
        draft.attach(Attachment(part.get_filename() or f"attachment-{number}", kind, _payload(part)))


def _payload(part: EmailMessage) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _field(message: EmailMessage, name: str) -> str:
    try:
        return str(message.get(name, ""))
    except (ValueError, LookupError, AttributeError, TypeError):  # a header that Python's parser gives up on
        return ""
