"""Work beside other work: awaited, cancelled and failed without losing any."""

from __future__ import annotations

import asyncio

import pytest

from sonata._lib.together import beside, to_the_end

pytestmark = pytest.mark.anyio


async def test_work_that_must_not_stop_midway_is_done_before_its_caller_is_cancelled() -> None:
    begun, free, done = asyncio.Event(), asyncio.Event(), []

    async def work() -> None:
        begun.set()
        await free.wait()
        done.append("work")

    caller = asyncio.create_task(to_the_end(work()))
    await begun.wait()
    caller.cancel()
    await asyncio.sleep(0)
    assert not caller.done()
    free.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert done == ["work"]


async def test_a_failure_of_such_work_is_its_callers() -> None:
    async def work() -> None:
        raise ValueError("told")

    with pytest.raises(ValueError, match="told"):
        await to_the_end(work())


async def test_work_beside_a_block_is_over_when_the_block_is_left() -> None:
    seen: list[str] = []

    async def work() -> str:
        await asyncio.sleep(0)
        seen.append("work")
        return "done"

    async with beside(work()) as going_on:
        seen.append("block")
    assert seen == ["block", "work"]
    assert going_on.result() == "done"


async def test_the_failure_of_work_beside_a_block_is_the_blocks() -> None:
    async def work() -> None:
        raise ValueError("of the work")

    with pytest.raises(ValueError, match="of the work"):
        async with beside(work()):
            pass


async def test_a_block_that_fails_lets_the_work_beside_it_come_to_its_end() -> None:
    seen: list[str] = []

    async def work() -> None:
        await asyncio.sleep(0)
        seen.append("work")
        raise ValueError("of the work")

    with pytest.raises(ValueError, match="of the block"):
        async with beside(work()):
            raise ValueError("of the block")
    assert seen == ["work"]


async def test_who_is_cancelled_beside_work_cancels_it() -> None:
    begun, seen = asyncio.Event(), []

    async def work() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            seen.append("work ended")

    async def both() -> None:
        async with beside(work()):
            await asyncio.Event().wait()

    caller = asyncio.create_task(both())
    await begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert seen == ["work ended"]
