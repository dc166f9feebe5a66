"""Whether requests can be served."""

from __future__ import annotations

from secureai_appliance.readiness import Readiness
from secureai_appliance.web.parts import Check
from tests.support.clock import FakeClock


def test_readiness_is_looked_at_once_a_second_however_often_it_is_asked_for(clock: FakeClock) -> None:
    looked: list[Check] = []

    def look() -> list[Check]:
        looked.append(Check("store", ok=True))
        return looked[-1:]

    readiness = Readiness(look, clock)
    assert readiness() == readiness() == [Check("store", ok=True)]
    assert len(looked) == 1
    clock.advance(1)
    readiness()
    assert len(looked) == 2
