"""Requests that are made at the same time become one call, and each gets an answer of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from sonata.adapters.vim_openstack.batches import Batch
from sonata.errors import NotFound

pytestmark = pytest.mark.anyio


class Doubling:
    """Doubles numbers; has no answer to 13."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    async def __call__(self, numbers: Sequence[int]) -> Sequence[int]:
        self.calls.append(list(numbers))
        if 13 in numbers:
            raise NotFound("13")
        return [2 * number for number in numbers]


async def test_what_is_asked_at_once_is_one_call() -> None:
    double = Doubling()
    batch = Batch(double)
    assert await asyncio.gather(*map(batch.add, [1, 2, 3])) == [2, 4, 6]
    assert await batch.add(4) == 8
    assert double.calls == [[1, 2, 3], [4]]


async def test_a_failure_is_that_of_its_own_request() -> None:
    double = Doubling()
    answers = await asyncio.gather(*map(Batch(double).add, [1, 13, 2]), return_exceptions=True)
    assert (answers[0], answers[2]) == (2, 4)
    assert isinstance(answers[1], NotFound)
    assert double.calls == [[1, 13, 2], [1], [13], [2]]


async def test_who_gave_up_does_not_harm_the_others() -> None:
    batch = Batch(Doubling())
    first, second = asyncio.ensure_future(batch.add(1)), asyncio.ensure_future(batch.add(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == 4
