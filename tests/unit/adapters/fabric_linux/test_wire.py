"""How the wire process learns to be in time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonata.adapters.fabric_linux.wire import Lateness


def known(*late_s: float) -> Lateness:
    lateness = Lateness()
    for one in late_s:
        lateness.note(one)
    return lateness


def test_a_machine_that_is_in_time_is_slept_on() -> None:
    assert known(*[8e-6] * 200).watch_s < 2e-5


def test_a_machine_that_wakes_late_is_watched_for_as_long_and_some_more() -> None:
    lateness = known(*[1.4e-4, 1.6e-4] * 100)
    assert lateness.mean_s == pytest.approx(1.5e-4, abs=1e-5)
    assert 1.5e-4 < lateness.watch_s < 2e-4


@given(st.lists(st.floats(-1, 100), max_size=50))
def test_nothing_that_happens_to_the_machine_makes_it_watch_for_long(late_s: list[float]) -> None:
    lateness = known(*late_s)
    assert 0 <= lateness.mean_s <= lateness.watch_s <= 5e-4
