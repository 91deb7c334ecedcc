"""What happens when several change one thing, and one of them is told to stop."""

from __future__ import annotations

import asyncio

import pytest

from sonata.emulator.cloud.background import Background
from sonata.emulator.cloud.turns import Turns

pytestmark = pytest.mark.anyio


async def test_turns_of_one_name_follow_one_another_and_those_of_others_do_not_wait() -> None:
    turns, seen = Turns(), []
    free = asyncio.Event()

    async def work(name: str, mark: str) -> None:
        async with turns.of(name):
            seen.append(f"{mark} in")
            if mark == "first":
                await free.wait()
            seen.append(f"{mark} out")

    first, second = asyncio.create_task(work("a", "first")), asyncio.create_task(work("a", "second"))
    await asyncio.create_task(work("b", "other"))
    assert seen == ["first in", "other in", "other out"]
    free.set()
    await asyncio.gather(first, second)
    assert seen[3:] == ["first out", "second in", "second out"]


async def test_who_is_cancelled_gives_its_turn_back() -> None:
    turns = Turns()

    async def hold() -> None:
        async with turns.of("a"):
            await asyncio.Event().wait()

    holding, waiting = asyncio.create_task(hold()), asyncio.create_task(hold())
    await asyncio.sleep(0)
    for task in (waiting, holding):
        task.cancel()
    await asyncio.wait([holding, waiting])
    async with asyncio.timeout(5), turns.of("a"):
        pass


async def test_work_of_one_name_begins_when_what_went_before_has_ended() -> None:
    crashed: list[str] = []
    background, seen = Background(lambda name, _error: crashed.append(name)), []
    free = asyncio.Event()

    async def work(mark: str) -> None:
        await free.wait()
        seen.append(mark)

    background.spawn("one", work("first"))
    background.spawn("one", work("second"))
    free.set()
    await background.wait("one")
    assert seen == ["first", "second"]
    assert not background.busy("one")
    assert crashed == []


async def test_who_is_cancelled_while_it_waits_for_work_of_its_name_ends_that_too() -> None:
    seen: list[str] = []
    background = Background(lambda _name, error: seen.append(str(error)))

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("cleaned up")

    async def never() -> None:
        seen.append("began")

    background.spawn("a", endless())
    await asyncio.sleep(0)
    background.spawn("a", never())
    await asyncio.sleep(0)
    await background.cancel("a")
    assert seen == ["cleaned up"]
    assert not background.busy("a")
