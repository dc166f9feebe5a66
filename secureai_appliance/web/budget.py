"""The tokens of one request against the limits of its user."""

from __future__ import annotations

from secureai_appliance.governance.addresses import exceeded
from secureai_appliance.governance.limits import Lease, Refused
from secureai_appliance.governance.quotas import Quotas
from secureai_appliance.web.exchange import Exchange


class Budget:
    """Takes what a completion may use before it begins; what it did not use goes back when its answer is out."""

    def __init__(self, exchange: Exchange, lease: Lease, quotas: Quotas, user_id: str) -> None:
        self._exchange = exchange
        self._lease = lease
        self._quotas = quotas
        self._user_id = user_id
        self._spent = 0
        self._read = 0
        exchange.on_close(self._settle)

    @property
    def bounded(self) -> bool:
        """Whether the user's tokens are limited at all."""
        return self._lease.counts_tokens

    def reserve(self, prompt: int, least: int, most: int) -> int:
        """Room for an answer of `least` to `most` tokens to `prompt` tokens. Raises RateLimitExceeded."""
        try:
            return self._lease.reserve(prompt + self._read, least, most)
        except Refused as refused:
            if not self._spent:
                # what one window refuses counts in none; after a first round there was a request
                self._lease.give_back()
            self._quotas.tell(self._user_id, refused)
            self._exchange.standing = refused.standing
            raise exceeded(refused.standing.retry_after) from None

    def spend(self, tokens: int) -> None:
        """A round has ended and used so many: what was reserved for it beyond them is free again."""
        self._lease.settle(tokens + self._read)
        self._spent += tokens
        self._read = 0

    def count(self, tokens: int) -> None:
        """Tokens that were read to find something, beside what the answer takes. They are counted with it."""
        self._read += tokens

    def _settle(self) -> None:
        metered = self._exchange.metered
        self._lease.settle(max(0, metered.prompt_tokens + metered.completion_tokens - self._spent) + self._read)
