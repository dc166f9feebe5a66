"""Who stands behind a secret, at each request anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from secureai_appliance.accounts import credentials, keys, users
from secureai_appliance.accounts.credentials import Credentials
from secureai_appliance.accounts.keys import KeyCreate
from secureai_appliance.core.clock import rfc3339
from secureai_appliance.core.errors import AuthenticationError
from secureai_appliance.store import Store
from tests.support.clock import FakeClock

ADDRESS = "192.0.2.1"


def a_key(store: Store, expires_at: str | None = None) -> tuple[str, str]:
    """The secret and the id of a new user's key."""
    with store.transaction() as tx:
        user = users.create(tx, email="ada@example.org", name="Ada", role="user")
        created = keys.create(tx, users.caller_of(tx, user.id), KeyCreate(name="k", expires_at=expires_at))
    return created.key, created.id


def test_a_second_request_in_the_same_second_reads_nothing_anew(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, _ = a_key(store)
    known, now = Credentials(store), int(clock.now())
    first = known.holder(secret, now, ADDRESS)
    assert (first.email, first.ip) == ("ada@example.org", ADDRESS)
    monkeypatch.setattr(credentials, "authenticate", lambda *_: pytest.fail("read again"))
    assert known.holder(secret, now, ADDRESS) == first
    with pytest.raises(pytest.fail.Exception):
        known.holder(secret, now, "192.0.2.2")
    with pytest.raises(pytest.fail.Exception):
        known.holder(secret, now + 1, ADDRESS)


def test_a_change_by_another_process_counts_with_the_next_request(
    store: Store, clock: FakeClock, tmp_path: Path
) -> None:
    secret, key_id = a_key(store)
    known, now = Credentials(store), int(clock.now())
    user_id = known.holder(secret, now, ADDRESS).user_id
    other = Store.open(tmp_path / "secureai.db", clock=clock, chain_key=b"k" * 32)
    try:
        with other.transaction() as tx:
            tx.run("UPDATE users SET granted = '[\"audit:read\"]' WHERE id = ?", user_id)
        assert known.holder(secret, now, ADDRESS).may("audit:read")
        with other.transaction() as tx:
            tx.run("UPDATE api_keys SET revoked_at = ? WHERE id = ?", now, key_id)
        with pytest.raises(AuthenticationError, match="revoked"):
            known.holder(secret, now, ADDRESS)
    finally:
        other.close()


def test_a_key_ends_with_its_second(store: Store, clock: FakeClock) -> None:
    now = int(clock.now())
    secret, _ = a_key(store, rfc3339(now + 60))
    known = Credentials(store)
    assert known.holder(secret, now + 59, ADDRESS)
    with pytest.raises(AuthenticationError, match="expired"):
        known.holder(secret, now + 60, ADDRESS)
