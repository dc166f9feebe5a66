"""Which format a file has: its content decides, its name only where content says no more than "text"."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from secureai_appliance.knowledge.extract.extracted import Limits, Unreadable

PDF = "application/pdf"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
ODT = "application/vnd.oasis.opendocument.text"
EPUB = "application/epub+zip"
HTML = "text/html"
MARKDOWN = "text/markdown"
TEXT = "text/plain"
CSV = "text/csv"
JSON = "application/json"
EML = "message/rfc822"

_HEAD = 8192
_BY_NAME = {
    ".md": MARKDOWN, ".markdown": MARKDOWN, ".mdown": MARKDOWN,
    ".html": HTML, ".htm": HTML, ".xhtml": HTML,
    ".csv": CSV, ".tsv": CSV, ".tab": CSV,
    ".json": JSON, ".jsonl": JSON, ".ndjson": JSON, ".geojson": JSON,
    ".eml": EML, ".mht": EML, ".mhtml": EML,
}  # fmt: skip
_BY_TYPE = {MARKDOWN, HTML, "application/xhtml+xml", CSV, "text/tab-separated-values", JSON, EML}
_MAIN_PARTS = {"word/document.xml": DOCX, "xl/workbook.xml": XLSX, "xl/workbook.bin": "", "ppt/presentation.xml": PPTX}
_HTML_START = re.compile(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body)\b", re.I | re.S)
_MAIL_START = re.compile(rb"\A(?:[!-9;-~]+:[^\n]*\n(?:[ \t][^\n]*\n)*)+", re.I)
_MAIL_FIELD = re.compile(rb"^(from|received|return-path|mime-version|message-id|delivered-to):", re.I | re.M)
_FOREIGN = (
    b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*", b"\x7fELF", b"MZ", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!",
    b"BZh", b"\xfd7zXZ", b"SQLite format 3", b"GGUF", b"OggS", b"ID3", b"\0\0\0\x18ftyp", b"\0\0\0 ftyp", b"RIFF",
    b"{\\rtf",
)  # fmt: skip


def kind_of(path: Path, filename: str, content_type: str | None, limits: Limits) -> str:
    """The content type of the file. Raises Unreadable: `unsupported_type`, `encrypted`, `damaged`, `too_large`."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head.strip(b"\0 \t\r\n"):
        raise Unreadable("no_text", "The file is empty.")
    if b"%PDF-" in head[:1024]:
        return PDF
    if head.startswith(b"PK"):
        return _of_archive(path, limits)
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        return _of_compound(path)
    if head.startswith(_FOREIGN):
        raise _unsupported()
    return _of_text(head, filename, content_type)


def _of_archive(path: Path, limits: Limits) -> str:
    """What a zip file is; also refuses one that says that it unpacks to more than is allowed."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > limits.entries or sum(entry.file_size for entry in entries) > limits.unpacked:
                raise Unreadable("too_large", "The file unpacks to more than is allowed.")
            if any(entry.flag_bits & 1 for entry in entries):
                raise Unreadable("encrypted", "The file is encrypted.")
            names = {entry.filename for entry in entries}
            for name, kind in _MAIN_PARTS.items():
                if name in names and kind:
                    return kind
            declared = archive.read("mimetype")[:100].decode("ascii", "replace").strip() if "mimetype" in names else ""
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, EOFError, RuntimeError) as cause:
        raise Unreadable("damaged", "The file is damaged: it can't be unpacked.") from cause
    if declared in {ODT, EPUB}:
        if "META-INF/manifest.xml" in names and declared == ODT:
            _refuse_encrypted(path)
        return declared
    if "META-INF/container.xml" in names:
        return EPUB
    raise _unsupported()


def _refuse_encrypted(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        try:
            manifest = archive.read("META-INF/manifest.xml")
        except (zipfile.BadZipFile, OSError, EOFError, ValueError) as cause:
            raise Unreadable("damaged", "The file is damaged: it can't be unpacked.") from cause
    if b"encryption-data" in manifest:
        raise Unreadable("encrypted", "The file is encrypted.")


def _of_compound(path: Path) -> str:
    """An OLE file is an encrypted Office document, or one of the formats before 2007."""
    with path.open("rb") as file:
        found = "EncryptedPackage".encode("utf-16-le") in file.read(16 << 20)
    if found:
        raise Unreadable("encrypted", "The file is encrypted.")
    raise Unreadable("unsupported_type", "Files of Office before 2007 can't be read: save it in today's format.")


def _of_text(head: bytes, filename: str, content_type: str | None) -> str:
    if not looks_like_text(head):
        raise _unsupported()
    if _HTML_START.match(head):
        return HTML
    by_name = _BY_NAME.get(Path(filename).suffix.lower())
    start = _MAIL_START.match(head)
    if start and len(_MAIL_FIELD.findall(start.group())) >= 2 and by_name in {None, EML}:
        return EML
    if by_name:
        return by_name
    declared = (content_type or "").partition(";")[0].strip().lower()
    if Path(filename).suffix == "" and declared in _BY_TYPE:
        return {"application/xhtml+xml": HTML, "text/tab-separated-values": CSV}.get(declared, declared)
    return TEXT


def looks_like_text(head: bytes) -> bool:
    """Whether bytes are characters in some encoding, and not a program or a picture."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")):
        return True
    if head.count(0) > len(head) // 100:
        # UTF-16 without a mark: every other byte of Western text is zero
        even, odd = head[::2].count(0), head[1::2].count(0)
        return max(even, odd) > len(head) // 5 and min(even, odd) < len(head) // 50
    control = sum(head.count(byte) for byte in (*range(9), *range(14, 27), *range(28, 32), 127))
    return control <= len(head) // 100


def _unsupported() -> Unreadable:
    return Unreadable(
        "unsupported_type",
        "This type of file can't be read: PDF, DOCX, XLSX, PPTX, ODT, EPUB, HTML, Markdown, text, CSV, JSON, EML can.",
    )
