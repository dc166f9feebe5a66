"""The master key, and what is derived from it: sealed secrets and keyed hashes.

Sealing is AES-256-GCM; keys for each purpose come from the master key by HKDF-SHA-256 (RFC 5869), so that no two uses
share one.
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from secureai_appliance.core.errors import EXIT_MASTER_KEY, StartupError

KEY_BYTES = 32
_NONCE_BYTES = 12


class Sealer:
    """Seals small secrets under the master key (32 bytes)."""

    def __init__(self, master_key: bytes) -> None:
        self._master_key = master_key
        self._cipher = AESGCM(self.derive("seal"))

    def derive(self, purpose: str) -> bytes:
        """A 32-byte key for one purpose, such as `audit`. The same purpose always gives the same key."""
        return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=b"secureai " + purpose.encode()).derive(
            self._master_key
        )

    def seal(self, secret: bytes, context: str) -> bytes:
        """Nonce and ciphertext. `context` names the place (table, row) and must be given again to open it."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """What `seal` was given. Raises ValueError when the key, the context or the bytes are others."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context.encode())
        except InvalidTag as cause:
            raise ValueError("sealed under another key or for another place") from cause


def create_master_key(path: Path) -> bytes:
    """Write a new random key to `path` (0600) and return it. The file must not exist."""
    key = os.urandom(KEY_BYTES)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    # the name must survive a power cut as well, or every secret sealed from now on is lost
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return key


def read_master_key(path: Path) -> bytes:
    """The 32 bytes of a key file. Raises StartupError (exit code 4) when it is missing or not a key."""
    try:
        key = path.read_bytes()
    except OSError as cause:
        raise StartupError(
            f"The master key {path} can't be read ({cause.strerror}). Put back the key file that belongs to this data "
            "folder (a backup needs both), or name it with SECUREAI_KEY_FILE.",
            EXIT_MASTER_KEY,
        ) from cause
    if len(key) != KEY_BYTES:
        raise StartupError(f"{path} is not a master key: it has {len(key)} bytes, not {KEY_BYTES}.", EXIT_MASTER_KEY)
    return key
