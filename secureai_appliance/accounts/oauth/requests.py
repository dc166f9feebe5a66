"""What is asked of the OAuth endpoints, as Authlib reads it, and what they answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from authlib.oauth2.rfc6749 import OAuth2Request
from authlib.oauth2.rfc6749.errors import InvalidRequestError
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload


@dataclass(frozen=True)
class Asked:
    """What a client or a browser sent to one of the endpoints."""

    fields: Mapping[str, str]
    issuer: str
    authorization: str | None = None
    """The header."""
    ip: str | None = None
    method: str = "POST"


@dataclass(frozen=True)
class Answered:
    """What an endpoint answers: JSON (`body`), or a redirect (`location`)."""

    status: int
    body: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    location: str | None = None


class OAuthRequest(OAuth2Request):  # type: ignore[misc]
    """A request as Authlib reads it."""

    def __init__(self, asked: Asked) -> None:
        # which transport is safe enough was decided before, by the address that the administrator set
        super().__init__(asked.method, "https://localhost/", headers={"Authorization": asked.authorization})
        self.payload = BasicOAuth2Payload(dict(asked.fields))

    @property
    def form(self) -> dict[str, str]:
        fields: dict[str, str] = self.payload.data
        return fields

    @property
    def args(self) -> dict[str, str]:
        return self.form


def check(asked: Asked) -> None:
    """Refuse what no parameter may hold, and Authlib would put into a message (RFC 6749, appendix A)."""
    for name, value in asked.fields.items():
        strange = not (value.isascii() and value.isprintable()) or (name != "state" and re.search(r'["\\]', value))
        if strange:
            shown = name if name.isidentifier() and name.isascii() else "?"
            raise InvalidRequestError(f"The parameter '{shown}' holds characters that it can't hold.")
