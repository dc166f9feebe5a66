"""Identifiers and secrets: random, URL-safe, from the operating system's generator."""

from __future__ import annotations

import hashlib
import os

_ALPHABET = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_LETTERS = bytes(_ALPHABET[byte % 62] for byte in range(256))
# bytes that would make some letters likelier than others
_UNEVEN = bytes(range(4 * 62, 256))


def random_text(length: int) -> str:
    """`length` letters and digits, about 5.95 bits each."""
    text = ""
    while len(text) < length:
        text += os.urandom(length + 8).translate(_LETTERS, _UNEVEN).decode("ascii")
    return text[:length]


def new_id(prefix: str) -> str:
    """A new identifier such as `chat-4fQx…`: 20 random characters (119 bits), no `-` or `_` to break on."""
    return f"{prefix}-{random_text(20)}"


def new_secret(prefix: str = "") -> str:
    """A bearer secret: 43 random characters (256 bits). It is shown once and stored only as `hash_secret`."""
    return f"{prefix}{random_text(43)}"


def hash_secret(secret: str) -> bytes:
    """SHA-256 (32 bytes). Enough without a salt, because what is hashed is random and long."""
    return hashlib.sha256(secret.encode()).digest()
