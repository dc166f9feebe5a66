"""Signing in with an address and a password: the same work and the same words whether the account exists or not."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from secureai_appliance.accounts.passwords import Workshop
from secureai_appliance.accounts.throttle import Throttle
from secureai_appliance.core.clock import Clock
from secureai_appliance.core.errors import AuthenticationError
from secureai_appliance.core.ids import random_text
from secureai_appliance.core.sealing import Sealer
from secureai_appliance.store import Store

DEVICE_LIFETIME = 365 * 24 * 3600


@dataclass(frozen=True)
class Attempt:
    """Where a try comes from: the address as it is counted, and what an earlier sign-in left in the browser."""

    address: str
    mark: str | None = None


class SignIns:
    """One per server; safe to use from any thread."""

    def __init__(self, store: Store, clock: Clock, sealer: Sealer) -> None:
        self._store = store
        self._marks = sealer.derive("device marks")
        self.throttle = Throttle(clock)
        self.workshop = Workshop()

    def check(self, email: str, password: str, attempt: Attempt) -> str:
        """The id of the user whose address and password these are.

        Raises AuthenticationError, the same for an unknown address, a wrong password, a user without a password and a
        disabled one; RateLimitExceeded; ServiceUnavailable.
        """
        account = account_name(email)
        device = self._device(account, attempt.mark)
        self.throttle.spend(account, attempt.address, device)
        with self._store.read() as db:
            row = db.one("SELECT id, password_hash, disabled FROM users WHERE email = ?", email)
        user_id, encoded, disabled = row or (None, None, 1)
        matches = self.workshop.verify(password, encoded, known=device is not None)
        if not matches or disabled:
            raise AuthenticationError("The address or the password is wrong.")
        self.throttle.succeeded(account, attempt.address, device)
        return str(user_id)

    def confirm(self, email: str, password: str, encoded: str, address: str) -> None:
        """Ask somebody who is signed in for their password again.

        Raises AuthenticationError, RateLimitExceeded, ServiceUnavailable.
        """
        account = f"confirm {account_name(email)}"
        self.throttle.spend(account, address)
        if not self.workshop.verify(password, encoded, known=True):
            raise AuthenticationError("The current password is wrong.")
        self.throttle.succeeded(account, address)

    def mark(self, email: str) -> str:
        """What to leave in a browser that has signed in, so that nobody else's wrong tries keep it out."""
        nonce = random_text(22)
        return f"{nonce}.{self._sign(account_name(email), nonce)}"

    def _device(self, account: str, mark: str | None) -> str | None:
        nonce, _, signature = (mark or "").partition(".")
        if not signature.isascii() or not hmac.compare_digest(signature, self._sign(account, nonce)):
            return None
        return nonce

    def _sign(self, account: str, nonce: str) -> str:
        return hmac.new(self._marks, f"{account}\n{nonce}".encode(), hashlib.sha256).hexdigest()


def account_name(email: str) -> str:
    """What an account is counted under: addresses are one user in any case of letters."""
    return email.strip().casefold()
