"""The way of a request through appliances."""

from __future__ import annotations

import pytest

from secureai_appliance.core.errors import UnprocessableEntity
from secureai_appliance.models.hops import Hops


def test_what_was_here_before_does_not_go_on() -> None:
    first, second = Hops(), Hops()
    on = second.onward(first.onward("1.1 proxy.example"))
    assert on.count("secureai-") == 2
    assert "proxy" not in on
    with pytest.raises(UnprocessableEntity):
        first.onward(on)


def test_a_way_has_an_end_also_when_nobody_comes_twice() -> None:
    way = ""
    for _ in range(8):
        way = Hops().onward(way)
    with pytest.raises(UnprocessableEntity):
        Hops().onward(way)
