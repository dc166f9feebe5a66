"""How a delivery shows that it is from here: HMAC-SHA-256 in two shapes, ours and that of Standard Webhooks.

Both are made with each secret that is valid at the moment, so that a receiver may change to a new one when it likes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Sequence

SECRET_PREFIX = "whsec_"  # noqa: S105 (a prefix)
_SECRET_BYTES = 32


def new_secret() -> str:
    """`whsec_` and 256 random bits in base64, as Standard Webhooks wants it."""
    return SECRET_PREFIX + base64.b64encode(os.urandom(_SECRET_BYTES)).decode()


def signed(secrets: Sequence[str], event_id: str, body: bytes, now: int) -> dict[str, str]:
    """The headers of one attempt at `now` (Unix seconds).

    `X-SecureAI-Signature`: the key is the whole secret, what is signed `<t>.<body>`. `webhook-signature`: the key is
    what the base64 behind the prefix stands for, what is signed `<id>.<timestamp>.<body>`.
    """
    ours = [_mac(secret.encode(), f"{now}.".encode() + body).hex() for secret in secrets]
    standard = [
        base64.b64encode(
            _mac(base64.b64decode(secret.removeprefix(SECRET_PREFIX)), f"{event_id}.{now}.".encode() + body)
        ).decode()
        for secret in secrets
    ]
    return {
        "X-SecureAI-Signature": ",".join([f"t={now}", *(f"v1={mac}" for mac in ours)]),
        "webhook-id": event_id,
        "webhook-timestamp": str(now),
        "webhook-signature": " ".join(f"v1,{mac}" for mac in standard),
    }


def _mac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, hashlib.sha256)
