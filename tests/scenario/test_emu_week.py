"""A compressed week of happenings leaves an emulation as it was: no more memory, descriptors, rules or files."""

from __future__ import annotations

import os

import pytest
from benchmarks.week import Week, live, one_emulation

pytestmark = [pytest.mark.root, pytest.mark.serial, pytest.mark.slow, pytest.mark.timeout(1800)]

HAPPENINGS, ROUNDS = 3000, 20


def test_a_week_of_happenings_leaves_an_emulation_as_it_was() -> None:
    if os.geteuid():
        pytest.skip("needs root")
    week = Week()
    with one_emulation() as (record, clock):
        live(record, clock, week, happenings=HAPPENINGS, rounds=ROUNDS, seed=7)
    assert sum(week.done.values()) == HAPPENINGS // ROUNDS * ROUNDS
    assert sum(week.refused.values()) < HAPPENINGS / 20, week.reasons
    assert week.grows() == []
