"""A compressed week of happenings leaves an emulation as it was: no more memory, descriptors, rules or files."""

from __future__ import annotations

import os

import pytest
from benchmarks.week import live, one_emulation

pytestmark = [pytest.mark.root, pytest.mark.serial, pytest.mark.slow, pytest.mark.timeout(1800)]

HAPPENINGS, ROUNDS = 3000, 20
KEEPER = "keeper"


def test_a_week_of_happenings_leaves_an_emulation_as_it_was() -> None:
    if os.geteuid():
        pytest.skip("needs root")
    with one_emulation() as (record, clock):
        week = live(record, clock, happenings=HAPPENINGS, rounds=ROUNDS, seed=7)
    assert sum(week.done.values()) == HAPPENINGS // ROUNDS * ROUNDS
    assert sum(week.refused.values()) < HAPPENINGS / 20, week.reasons
    assert week.changes() == []
    assert week.trends()[KEEPER].is_flat, week.trends()[KEEPER]
