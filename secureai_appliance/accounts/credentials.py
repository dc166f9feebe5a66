"""What may stand behind `Authorization: Bearer`: an API key or an access token of OAuth."""

from __future__ import annotations

from secureai_appliance.accounts import keys
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.accounts.oauth import tokens
from secureai_appliance.store import Reader


def authenticate(db: Reader, secret: str, now: int, address: str | None) -> Caller:
    """Who holds this and asks from `address`.

    Raises AuthenticationError when it is unknown, revoked or expired, or its user disabled; PermissionDenied for a key
    that is not for this address.
    """
    if secret.startswith(tokens.ACCESS_PREFIX):
        return tokens.authenticate(db, secret, now)
    return keys.authenticate(db, secret, now, address)
