"""Failed authentication, counted per address."""

from __future__ import annotations

import pytest

from secureai_appliance.core.errors import RateLimitExceeded
from secureai_appliance.governance import addresses
from secureai_appliance.governance.addresses import Addresses
from tests.support.clock import FakeClock

BEGIN = 1_770_000_000 // 60 * 60


def test_exactly_as_many_failures_as_allowed_pass_in_a_minute() -> None:
    clock = FakeClock(BEGIN + 37.5)
    counted = Addresses(clock)
    for left in (2, 1, 0):
        counted.failed("10.0.0.1", 3)
        assert counted.standing("10.0.0.1", 3).remaining == left
    with pytest.raises(RateLimitExceeded) as caught:
        counted.failed("10.0.0.1", 3)
    assert caught.value.retry_after == 23
    assert caught.value.message == "Rate limit exceeded. Retry after 23 seconds."
    counted.failed("10.0.0.2", 3)
    clock.advance(23)
    counted.failed("10.0.0.1", 3)


def test_without_a_bound_nothing_is_refused() -> None:
    counted = Addresses(FakeClock())
    for _ in range(100):
        counted.failed("10.0.0.1", 0)


def test_a_network_of_ipv6_addresses_counts_as_one() -> None:
    counted = Addresses(FakeClock())
    counted.failed("2001:db8:0:1::1", 1)
    with pytest.raises(RateLimitExceeded):
        counted.failed("2001:db8:0:1:ffff::2", 1)
    counted.failed("2001:db8:0:2::1", 1)
    counted.failed("10.0.0.1", 1)
    with pytest.raises(RateLimitExceeded):
        counted.failed("::ffff:10.0.0.1", 1)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_MOST_ADDRESSES", 10)
    counted = Addresses(FakeClock())
    for number in range(100):
        counted.failed(f"10.0.0.{number}", 1000)
    assert len(counted._failures) == 11
