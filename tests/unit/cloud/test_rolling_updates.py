"""Members of groups are changed in batches while enough of them serve."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonata.emulator.cloud.orchestration.kinds.rolling import Batches
from sonata.errors import InvalidInput

SIZES = st.integers(0, 7)


def group(count: int, mark: str) -> dict[str, Any]:
    return {str(index): f"{mark}" for index in range(count)}


def spare(count: int) -> dict[str, Any]:
    return {f"spare-{index}": "new" for index in range(count)}


@given(SIZES, SIZES, st.integers(1, 4), SIZES)
def test_each_batch_is_small_and_enough_members_serve(had: int, wanted: int, size: int, least: int) -> None:
    now, new = group(had, "old"), group(wanted, "new")
    for step in Batches(size, least=least).change(now, new, spare):
        disturbed = [name for name in now if name in new and step[name] != now[name]]
        assert len(disturbed) <= size
        serving = [name for name in now if name in step and name not in disturbed]
        assert len(serving) >= min(least, had, wanted) or had > wanted
        now = step
    assert now == new


@given(SIZES, st.integers(1, 4))
def test_a_creation_grows_by_batches(wanted: int, size: int) -> None:
    steps = list(Batches(size).creation(group(wanted, "new")))
    counts = [0, *map(len, steps)]
    assert all(0 <= later - earlier <= size for earlier, later in pairwise(counts))
    assert steps[-1:] == [group(wanted, "new")]


def test_the_highest_index_is_changed_first_and_helpers_come_before() -> None:
    steps = list(Batches(1, least=2).change(group(2, "old"), group(2, "new"), spare))
    assert steps == [
        {"0": "old", "1": "old", "spare-0": "new"},
        {"0": "old", "1": "new", "spare-0": "new"},
        {"0": "new", "1": "new", "spare-0": "new"},
        {"0": "new", "1": "new"},
    ]


def test_pauses_must_leave_time() -> None:
    Batches(1, pause_s=10).require_time(3, 21)
    with pytest.raises(InvalidInput, match="timeout"):
        Batches(1, pause_s=10).require_time(3, 20)
