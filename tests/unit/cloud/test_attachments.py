"""Volumes at an idle server that a command wakes meanwhile: each is opened once, and seen if it is attached."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from tests.unit.cloud.conftest import World

from sonata.emulator.cloud.compute.disks import DiskWish
from sonata.emulator.cloud.entities.compute import Server
from sonata.emulator.cloud.volume.sources import VolumeWish

pytestmark = pytest.mark.anyio


@pytest.fixture
def at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many opened a volume at the same time, each time; opening takes a while."""
    seen: list[int] = []
    opening: list[str] = []
    inner = world.volumes.open

    def slow(volume_id: str) -> Path:
        opening.append(volume_id)
        seen.append(len(opening))
        time.sleep(0.02)
        opening.remove(volume_id)
        return inner(volume_id)

    monkeypatch.setattr(world.volumes, "open", slow)
    return seen


async def volume_of(world: World, server: Server) -> str:
    made = world.cloud.volumes.create(VolumeWish(project_id=server.project_id, user_id=server.user_id, size_gib=1))
    await world.cloud.volumes.settled(made.id)
    return made.id


def seen(world: World) -> list[str]:
    """The folders that the machines have, by their start or later."""
    bound = [bind.target for machine in world.runtime.running.values() for bind in machine.spec.binds]
    return bound + [target for _machine, target in world.runtime.folders]


@pytest.mark.parametrize("pause_s", [0, 0.01, 0.03])
@pytest.mark.parametrize("first", ["attach", "wake"])
async def test_a_volume_comes_once(world: World, at_once: list[int], first: str, pause_s: float) -> None:
    server = await world.up()
    wish = DiskWish(source="volume", source_id=await volume_of(world, server))
    work = [world.cloud.attachments.attach(server.id, wish), world.cloud.exec(server, ["true"])]
    async with asyncio.TaskGroup() as group:
        for each in work if first == "attach" else reversed(work):
            group.create_task(each)
            await asyncio.sleep(pause_s)
    assert seen(world) == ["/mnt/vdb"]
    assert set(at_once) == {1}


@pytest.mark.parametrize("pause_s", [0, 0.01, 0.03])
async def test_a_volume_that_goes_is_not_seen_by_a_machine_that_starts(
    world: World, at_once: list[int], pause_s: float
) -> None:
    server = await world.up()
    volume = await volume_of(world, server)
    await world.cloud.attachments.attach(server.id, DiskWish(source="volume", source_id=volume))
    async with asyncio.TaskGroup() as group:
        group.create_task(world.cloud.exec(server, ["true"]))
        await asyncio.sleep(pause_s)
        group.create_task(world.cloud.attachments.detach(server.id, volume))
    bound = {bind.target for machine in world.runtime.running.values() for bind in machine.spec.binds}
    assert bound <= world.runtime.taken_away
    assert world.volumes.open_ones == set()
