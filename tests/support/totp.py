"""An authenticator app."""

from __future__ import annotations

from base64 import b32decode

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP


def code_of(secret: str, now: float) -> str:
    """What the app shows for this secret (Base32)."""
    return TOTP(b32decode(secret), 6, SHA1(), 30).generate(int(now)).decode()
