"""What counts as flat: chance does, growth does not, however much chance lies over it."""

from __future__ import annotations

import random

import pytest
from benchmarks.week.flatness import trend


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_flat_and_a_leak_is_not(seed: int) -> None:
    chance = random.Random(seed)
    noise = [100_000 + chance.gauss(0, 500) for _ in range(27)]
    assert trend(noise).is_flat
    leaky = [value + 250 * step for step, value in enumerate(noise)]
    assert not trend(leaky).is_flat
    assert trend(leaky).grown == pytest.approx(26 * 250, rel=0.3)


def test_what_never_changes_is_flat_and_what_shrinks_is() -> None:
    assert trend([7.0] * 10).is_flat
    assert trend([float(10 - step) for step in range(10)]).is_flat


def test_a_count_that_rises_by_one_each_time_is_not_flat() -> None:
    assert not trend([50.0 + step for step in range(27)]).is_flat
