from __future__ import annotations

import pytest

from secureai_appliance.accounts import second_factors, users
from secureai_appliance.accounts.second_factors import SecondFactors
from secureai_appliance.core.errors import Conflict, NotFound, ValidationError
from secureai_appliance.core.sealing import Sealer
from secureai_appliance.governance.audit import SYSTEM
from secureai_appliance.store import Store
from tests.support.audit import rows
from tests.support.clock import FakeClock
from tests.support.totp import code_of


@pytest.fixture
def factors() -> SecondFactors:
    return SecondFactors(Sealer(bytes(32)))


@pytest.fixture
def user_id(store: Store) -> str:
    with store.transaction() as tx:
        return users.create(tx, email="ada@example.org", name="Ada", role="user").id


def start(store: Store, factors: SecondFactors, user_id: str) -> str:
    """The secret that the app is given."""
    with store.transaction() as tx:
        factors.start(tx, user_id, SYSTEM)
    with store.read() as db:
        set_up = factors.set_up(db, user_id, "ada@example.org")
    assert set_up is not None
    assert f"secret={set_up.secret}" in set_up.uri
    return set_up.secret


def confirm(store: Store, factors: SecondFactors, user_id: str, code: str) -> list[str]:
    with store.transaction() as tx:
        return factors.confirm(tx, user_id, code, SYSTEM)


def take(store: Store, factors: SecondFactors, user_id: str, code: str) -> bool:
    with store.transaction() as tx:
        return factors.take(tx, user_id, code, SYSTEM)


def test_a_factor_counts_once_a_code_of_it_was_given(
    store: Store, clock: FakeClock, factors: SecondFactors, user_id: str
) -> None:
    secret = start(store, factors, user_id)
    with store.read() as db:
        assert not second_factors.is_on(db, user_id)
    with pytest.raises(ValidationError):
        confirm(store, factors, user_id, "000000")
    assert len(set(confirm(store, factors, user_id, code_of(secret, clock.now())))) == 10
    with store.read() as db:
        assert second_factors.is_on(db, user_id)
        assert factors.set_up(db, user_id, "ada@example.org") is None


def test_the_published_test_vectors_hold(store: Store, clock: FakeClock, factors: SecondFactors, user_id: str) -> None:
    # RFC 6238, appendix B: the last six of the eight digits
    for at, code in ((59, "287082"), (1111111109, "081804"), (20000000000, "353130")):
        assert SecondFactors._step(b"12345678901234567890", code, at, after=0) == at // 30
        assert SecondFactors._step(b"12345678901234567890", code, at + 90, after=0) is None


def test_a_code_is_taken_once_and_none_that_is_older(
    store: Store, clock: FakeClock, factors: SecondFactors, user_id: str
) -> None:
    secret = start(store, factors, user_id)
    now = clock.now()
    confirm(store, factors, user_id, code_of(secret, now))
    assert not take(store, factors, user_id, code_of(secret, now))
    assert take(store, factors, user_id, code_of(secret, now + 30))  # the phone's clock is a little ahead
    assert not take(store, factors, user_id, code_of(secret, now + 30))
    clock.advance(60)
    assert not take(store, factors, user_id, code_of(secret, now + 30))
    assert take(store, factors, user_id, f" {code_of(secret, now + 60)[:3]} {code_of(secret, now + 60)[3:]}")


def test_a_code_far_off_in_time_is_refused(
    store: Store, clock: FakeClock, factors: SecondFactors, user_id: str
) -> None:
    secret = start(store, factors, user_id)
    confirm(store, factors, user_id, code_of(secret, clock.now()))
    assert not take(store, factors, user_id, code_of(secret, clock.now() + 90))
    clock.advance(120)
    assert not take(store, factors, user_id, code_of(secret, clock.now() - 60))


def test_a_recovery_code_works_once_however_it_is_typed(
    store: Store, clock: FakeClock, factors: SecondFactors, user_id: str
) -> None:
    codes = confirm(store, factors, user_id, code_of(start(store, factors, user_id), clock.now()))
    assert take(store, factors, user_id, codes[0].upper().replace("-", " "))
    assert not take(store, factors, user_id, codes[0])
    with store.read() as db:
        assert second_factors.recovery_codes_left(db, user_id) == 9


def test_secret_and_codes_are_nowhere_in_the_file_or_the_log(
    store: Store, clock: FakeClock, factors: SecondFactors, user_id: str
) -> None:
    secret = start(store, factors, user_id)
    codes = confirm(store, factors, user_id, code_of(secret, clock.now()))
    take(store, factors, user_id, "wrong")
    take(store, factors, user_id, codes[1])
    with store.read() as db:
        kept = str(db.all("SELECT * FROM second_factors")) + str(db.all("SELECT * FROM recovery_codes"))
        kept += str(rows(db))
        actions = [row.action for row in rows(db)]
    assert secret not in kept
    assert not [code for code in codes if code.replace("-", "") in kept.replace("-", "")]
    assert {"second_factor.set", "second_factor.refused", "second_factor.recovery_code_used"} <= set(actions)


def test_a_sealed_secret_is_good_for_its_own_user_only(store: Store, factors: SecondFactors, user_id: str) -> None:
    start(store, factors, user_id)
    with store.transaction() as tx:
        other = users.create(tx, email="bob@example.org", name="Bob", role="user").id
        tx.run("UPDATE second_factors SET user_id = ?", other)
    with store.read() as db, pytest.raises(ValueError, match="another place"):
        factors.set_up(db, other, "bob@example.org")


def test_a_factor_is_taken_away_before_another_is_set_up(
    store: Store, clock: FakeClock, factors: SecondFactors, user_id: str
) -> None:
    confirm(store, factors, user_id, code_of(start(store, factors, user_id), clock.now()))
    with pytest.raises(Conflict), store.transaction() as tx:
        factors.start(tx, user_id, SYSTEM)
    with store.transaction() as tx:
        second_factors.remove(tx, user_id, SYSTEM)
        assert second_factors.recovery_codes_left(tx, user_id) == 0
    with pytest.raises(NotFound), store.transaction() as tx:
        second_factors.remove(tx, user_id, SYSTEM)
    assert start(store, factors, user_id)


def test_a_sign_in_waits_for_its_code_for_five_tries_and_ten_minutes(
    store: Store, clock: FakeClock, user_id: str
) -> None:
    with store.transaction() as tx:
        tried, late = (second_factors.begin_step(tx, user_id, "password") for _ in range(2))
    for _ in range(5):
        with store.transaction() as tx:
            assert second_factors.count_try(tx, tried).user_id == user_id
    with pytest.raises(NotFound), store.transaction() as tx:
        second_factors.count_try(tx, tried)
    clock.advance(600)
    with store.read() as db, pytest.raises(NotFound):
        second_factors.step(db, late, int(clock.now()))
    with store.transaction() as tx:
        second_factors.sweep(tx)
        assert tx.value("SELECT COUNT(*) FROM sign_in_steps") == 0
