"""The second factor: codes of an authenticator app (TOTP, RFC 6238), and recovery codes for the day the phone is gone.

The secret is sealed, a code is taken once, and recovery codes (80 random bits) are stored as hashes.
"""

from __future__ import annotations

import os
from base64 import b32encode
from dataclasses import dataclass

from cryptography.hazmat.primitives.constant_time import bytes_eq
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from secureai_appliance.accounts.sessions import OpenedBy
from secureai_appliance.core.errors import Conflict, NotFound, ValidationError
from secureai_appliance.core.ids import hash_secret, new_secret
from secureai_appliance.core.sealing import Sealer
from secureai_appliance.governance import audit
from secureai_appliance.governance.audit import Actor
from secureai_appliance.governance.ownership import Owned
from secureai_appliance.store import Reader, Transaction

OWNED = (
    Owned("second_factors", "user_id", "delete"),
    Owned("recovery_codes", "user_id", "delete"),
    Owned("sign_in_steps", "user_id", "delete", credential=True),
)
ISSUER = "SecureAI"
RECOVERY_CODES = 10
STEP_LIFETIME = 600
"""Seconds for the code after a right password."""
STEP_TRIES = 5
_PERIOD = 30
_DRIFT = 1  # steps that a phone's clock may be off, to either side


@dataclass(frozen=True)
class SetUp:
    """What an authenticator app is told: as text to type, and as the address in the QR code."""

    secret: str
    uri: str


@dataclass(frozen=True)
class Step:
    """A sign-in that waits for its code."""

    user_id: str
    opened_by: OpenedBy


class SecondFactors:
    """One per server; safe to use from any thread."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def start(self, tx: Transaction, user_id: str, actor: Actor) -> None:
        """Make a new secret, which counts once a code of it was given. Raises Conflict when there is a factor."""
        if is_on(tx, user_id):
            raise Conflict("There is a second factor already: take it away first.")
        sealed = self._sealer.seal(os.urandom(20), _context(user_id))
        tx.run(
            "INSERT INTO second_factors (user_id, secret, created_at) VALUES (?, ?, ?)"
            " ON CONFLICT (user_id) DO UPDATE SET secret = excluded.secret, created_at = excluded.created_at",
            *(user_id, sealed, tx.now()),
        )
        audit.record(tx, actor, "second_factor.started", "user", user_id)

    def set_up(self, db: Reader, user_id: str, email: str) -> SetUp | None:
        """What to put into the app, while the secret waits for its first code; None before and after."""
        row = db.one("SELECT secret FROM second_factors WHERE user_id = ? AND NOT confirmed", user_id)
        if row is None:
            return None
        secret = self._sealer.open(row[0], _context(user_id))
        return SetUp(b32encode(secret).decode(), _totp(secret).get_provisioning_uri(email, ISSUER))

    def confirm(self, tx: Transaction, user_id: str, code: str, actor: Actor) -> list[str]:
        """Switch the factor on with a first code: the recovery codes, shown this once.

        Raises NotFound when none was started, ValidationError for a wrong code.
        """
        row = tx.one("SELECT secret FROM second_factors WHERE user_id = ? AND NOT confirmed", user_id)
        if row is None:
            raise NotFound("No second factor waits for its first code.")
        step = self._step(self._sealer.open(row[0], _context(user_id)), code, tx.wall(), after=0)
        if step is None:
            raise ValidationError("The code is not right. Is the time of the phone?", field="code", constraint="code")
        tx.run("UPDATE second_factors SET confirmed = 1, last_step = ? WHERE user_id = ?", step, user_id)
        codes = [_recovery_code() for _ in range(RECOVERY_CODES)]
        for made in codes:
            tx.run("INSERT INTO recovery_codes (user_id, code_hash) VALUES (?, ?)", user_id, hash_secret(_bare(made)))
        audit.record(tx, actor, "second_factor.set", "user", user_id)
        return codes

    def take(self, tx: Transaction, user_id: str, code: str, actor: Actor) -> bool:
        """Whether the code is right; it is used up then: a code of the app, or a recovery code."""
        row = tx.one("SELECT secret, last_step FROM second_factors WHERE user_id = ? AND confirmed", user_id)
        if row is None:
            return False
        step = self._step(self._sealer.open(row[0], _context(user_id)), code, tx.wall(), after=row[1])
        if step is not None:
            tx.run("UPDATE second_factors SET last_step = ? WHERE user_id = ?", step, user_id)
            return True
        if tx.run("DELETE FROM recovery_codes WHERE user_id = ? AND code_hash = ?", user_id, hash_secret(_bare(code))):
            left = tx.value("SELECT COUNT(*) FROM recovery_codes WHERE user_id = ?", user_id)
            audit.record(tx, actor, "second_factor.recovery_code_used", "user", user_id, details={"left": left})
            return True
        audit.record(tx, actor, "second_factor.refused", "user", user_id, outcome="failure")
        return False

    @staticmethod
    def _step(secret: bytes, code: str, now: int, *, after: int) -> int | None:
        """The time step that the code belongs to, None when it is wrong or not later than the last one taken."""
        given = _bare(code).encode()
        totp = _totp(secret)
        newest = now // _PERIOD
        found = None
        for step in range(newest - _DRIFT, newest + _DRIFT + 1):
            if bytes_eq(totp.generate(step * _PERIOD), given) and step > after:
                found = step
        return found


def is_on(db: Reader, user_id: str) -> bool:
    """Whether this user's sign-ins need a code."""
    return bool(db.value("SELECT EXISTS (SELECT 1 FROM second_factors WHERE user_id = ? AND confirmed)", user_id))


def recovery_codes_left(db: Reader, user_id: str) -> int:
    """How many recovery codes a user has."""
    left: int = db.value("SELECT COUNT(*) FROM recovery_codes WHERE user_id = ?", user_id)
    return left


def remove(tx: Transaction, user_id: str, actor: Actor) -> None:
    """Take the factor and its recovery codes away. Raises NotFound when there is none."""
    if not tx.run("DELETE FROM second_factors WHERE user_id = ?", user_id):
        raise NotFound("There is no second factor.")
    tx.run("DELETE FROM recovery_codes WHERE user_id = ?", user_id)
    audit.record(tx, actor, "second_factor.removed", "user", user_id)


def begin_step(tx: Transaction, user_id: str, opened_by: OpenedBy) -> str:
    """Remember that the first factor was right: a token for the form that asks for the code."""
    token, now = new_secret(), tx.now()
    tx.run(
        "INSERT INTO sign_in_steps (token_hash, user_id, opened_by, expires_at, created_at) VALUES (?, ?, ?, ?, ?)",
        *(hash_secret(token), user_id, opened_by, tx.wall() + STEP_LIFETIME, now),
    )
    return token


def step(db: Reader, token: str, now: int) -> Step:
    """The sign-in that the token stands for. Raises NotFound when it is unknown, over or was tried too often."""
    row = db.one(
        "SELECT s.user_id, s.opened_by FROM sign_in_steps s JOIN users u ON u.id = s.user_id"
        " WHERE s.token_hash = ? AND s.expires_at > ? AND s.tries < ? AND NOT u.disabled",
        *(hash_secret(token), now, STEP_TRIES),
    )
    if row is None:
        raise NotFound("This sign-in took too long or too many tries. Start again.")
    return Step(*row)


def count_try(tx: Transaction, token: str) -> Step:
    """`step`, counted as tried."""
    found = step(tx, token, tx.wall())
    tx.run("UPDATE sign_in_steps SET tries = tries + 1 WHERE token_hash = ?", hash_secret(token))
    return found


def end_step(tx: Transaction, token: str) -> None:
    """Forget a sign-in that was finished."""
    tx.run("DELETE FROM sign_in_steps WHERE token_hash = ?", hash_secret(token))


def sweep(tx: Transaction) -> None:
    """Forget sign-ins that were not finished in time."""
    tx.run("DELETE FROM sign_in_steps WHERE expires_at <= ?", tx.wall())


def _totp(secret: bytes) -> TOTP:
    # what every authenticator app understands; SHA-1 is sound inside HMAC
    return TOTP(secret, 6, SHA1(), _PERIOD)  # noqa: S303


def _context(user_id: str) -> str:
    return f"second_factors.secret {user_id}"


def _recovery_code() -> str:
    text = b32encode(os.urandom(10)).decode().lower()
    return "-".join(text[at : at + 4] for at in range(0, 16, 4))


def _bare(code: str) -> str:
    """A code without what people put between its characters."""
    return "".join(letter for letter in code.lower() if letter.isalnum())
