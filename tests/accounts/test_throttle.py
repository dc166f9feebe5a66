from __future__ import annotations

import pytest

from secureai_appliance.accounts.throttle import ACCOUNT_UNDER_ATTACK, Throttle
from secureai_appliance.core.errors import RateLimitExceeded
from tests.support.clock import FakeClock

ADA = "ada@example.org"


@pytest.fixture
def throttle(clock: FakeClock) -> Throttle:
    return Throttle(clock)


def spend(throttle: Throttle, times: int, address: str = "192.0.2.1", account: str = ADA) -> None:
    for _ in range(times):
        throttle.spend(account, address)


def refused(throttle: Throttle, address: str = "192.0.2.1", account: str = ADA, device: str | None = None) -> int:
    """For how many seconds; 0 when the try is let through."""
    try:
        throttle.spend(account, address, device)
    except RateLimitExceeded as failure:
        return failure.retry_after or -1
    return 0


def test_the_delay_doubles_from_the_fifth_wrong_try_on_up_to_a_quarter_of_an_hour(
    throttle: Throttle, clock: FakeClock
) -> None:
    spend(throttle, 5)
    delays = []
    for _ in range(12):
        delays.append(refused(throttle))
        clock.advance(delays[-1])
        spend(throttle, 1)
    assert delays == [2, 3, 5, 9, 17, 33, 65, 129, 257, 513, 901, 901]


def test_many_tries_at_once_are_as_many(throttle: Throttle) -> None:
    let_through = sum(refused(throttle) == 0 for _ in range(100))
    assert let_through == 5


def test_anothers_wrong_tries_stop_nobody_at_another_address(throttle: Throttle) -> None:
    for n in range(1000):
        refused(throttle, f"198.51.100.{n % 250}")
    assert refused(throttle, "192.0.2.9") == 0


def test_under_attack_from_many_addresses_each_has_one_try_and_somebody_new_too(throttle: Throttle) -> None:
    for n in range(ACCOUNT_UNDER_ATTACK):
        spend(throttle, 1, f"198.51.{n}.1")
    assert [refused(throttle, "192.0.2.9") for _ in range(2)] == [0, 2]
    assert refused(throttle, "192.0.2.9", account="bob@example.org") == 0


def test_a_browser_that_was_signed_in_before_has_its_own_budget(throttle: Throttle) -> None:
    for _ in range(50):
        refused(throttle)
    assert refused(throttle) > 0
    assert [refused(throttle, device="d1") for _ in range(11)] == [0] * 10 + [2]


def test_one_address_cannot_go_through_all_accounts(throttle: Throttle) -> None:
    let_through = sum(refused(throttle, account=f"user{n}@example.org") == 0 for n in range(200))
    assert let_through == 30


def test_a_right_password_forgets_the_wrong_ones_before_it(throttle: Throttle) -> None:
    for _ in range(5):
        spend(throttle, 5)
        throttle.succeeded(ADA, "192.0.2.1")
    assert refused(throttle) == 0


def test_whoever_knows_one_password_cannot_go_through_all_other_accounts(throttle: Throttle) -> None:
    let_through = 0
    for n in range(100):
        let_through += refused(throttle, account=f"user{n}@example.org") == 0
        if not refused(throttle, account="own@example.org"):
            throttle.succeeded("own@example.org", "192.0.2.1")
    assert let_through == 30


def test_an_hour_without_a_try_forgets(throttle: Throttle, clock: FakeClock) -> None:
    spend(throttle, 5)
    clock.advance(3601)
    spend(throttle, 5)
    assert refused(throttle) > 0


def test_memory_is_bounded(clock: FakeClock) -> None:
    throttle = Throttle(clock, entries=100)
    for n in range(1000):
        refused(throttle, f"10.0.{n % 256}.{n // 256}", f"user{n}@example.org")
    assert len(throttle._counts) <= 100
