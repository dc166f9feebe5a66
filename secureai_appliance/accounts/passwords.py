"""Passwords: Argon2id (RFC 9106) in the PHC string format.

Cost: 64 MiB, 3 passes, 4 lanes, RFC 9106's second recommended option.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from secureai_appliance.core.errors import ValidationError

MIN_LENGTH = 12
MAX_LENGTH = 256
_MEMORY_KIB = 64 * 1024


def hash_password(password: str) -> str:
    """The PHC string (`$argon2id$v=19$…`). Raises ValidationError when the password is too short or too long."""
    if len(password) < MIN_LENGTH:
        raise ValidationError(
            f"A password needs at least {MIN_LENGTH} characters.", field="password", constraint="min_length"
        )
    if len(password) > MAX_LENGTH:
        raise ValidationError(
            f"A password has at most {MAX_LENGTH} characters.", field="password", constraint="max_length"
        )
    kdf = Argon2id(salt=os.urandom(16), length=32, iterations=3, lanes=4, memory_cost=_MEMORY_KIB)
    return kdf.derive_phc_encoded(password.encode())


def verify_password(password: str, encoded: str) -> bool:
    """Whether `password` is the one that `encoded` was made from."""
    try:
        Argon2id.verify_phc_encoded(password.encode(), encoded)
    except InvalidKey:
        return False
    return True
