"""What may stand behind `Authorization: Bearer`: an API key or an access token of OAuth."""

from __future__ import annotations

import dataclasses

from secureai_appliance.accounts import keys
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.accounts.oauth import tokens
from secureai_appliance.core.ids import hash_secret
from secureai_appliance.store import Reader, Store


class Credentials:
    """Who stands behind a secret. Safe to use from any thread.

    What was found counts for the rest of the second and until anybody, a command in another process included, has
    written to the file: nothing that ends a credential, or changes its rights, goes unnoticed.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        # moment and what was found in it change together, or a late thread would put what it found into a later one
        self._kept: tuple[tuple[int, int], dict[tuple[bytes, str], Caller]] = ((-1, -1), {})

    def holder(self, secret: str, now: int, address: str) -> Caller:
        """The caller with this secret, who asks from `address`. Raises as `authenticate` does."""
        # the version first: what is written in between only makes the next call read again
        moment = (self._store.version(), now)
        then, found = self._kept
        if then != moment:
            found = {}
            self._kept = (moment, found)
        # secrets themselves are kept nowhere
        place = (hash_secret(secret), address)
        caller = found.get(place)
        if caller is None:
            with self._store.read() as db:
                caller = dataclasses.replace(authenticate(db, secret, now, address), ip=address)
            found[place] = caller
        return caller


def authenticate(db: Reader, secret: str, now: int, address: str | None) -> Caller:
    """Who holds this and asks from `address`.

    Raises AuthenticationError when it is unknown, revoked or expired, or its user disabled; PermissionDenied for a key
    that is not for this address.
    """
    if secret.startswith(tokens.ACCESS_PREFIX):
        return tokens.authenticate(db, secret, now)
    return keys.authenticate(db, secret, now, address)
