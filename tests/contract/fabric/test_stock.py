"""Namespaces that are made ahead are as good as others, and none is left over."""

from __future__ import annotations

import os
import threading

from tests.contract.fabric.conftest import World
from tests.waiting import eventually


def held() -> set[str]:
    """The network namespaces that this process holds."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:
            continue
    return {name for name in found if name.startswith("net:")}


def test_machines_and_pops_work_in_namespaces_that_were_made_ahead(world: World) -> None:
    world.line(2)
    world.fabric.expect(machines=2, routers=0)
    eventually(lambda: len(world.fabric._world.stock.machines.ready) == 2)
    left, right = world.host("left", 0), world.host("right", 1)
    assert world.ping("left", right).received == 3
    assert world.ping("right", left).received == 3
    assert not world.fabric._world.stock.machines.ready


def test_no_more_are_made_than_lie_ready_for_a_moment(world: World) -> None:
    world.pops(1)
    before = len(held())
    world.fabric.expect(machines=1_000, routers=1_000)
    eventually(lambda: len(held()) > before + 20)
    assert len(held()) <= before + 2 * 16 + 1
    world.fabric.expect(machines=0, routers=0)
    assert len(held()) <= before


def test_what_was_expected_in_vain_goes(world: World) -> None:
    world.pops(1)
    before, threads = held(), threading.active_count()
    world.fabric.expect(machines=5, routers=5)
    world.host("one", 0)
    world.fabric.expect(machines=0, routers=0)
    assert len(held() - before) == 1
    assert threading.active_count() == threads


def test_more_than_expected_are_made_all_the_same(world: World) -> None:
    world.pops(1)
    world.fabric.expect(machines=1, routers=0)
    world.fabric.machines.add_machines([f"m{number}" for number in range(5)])
    assert len({world.fabric.machines.netns_path(f"m{number}") for number in range(5)}) == 5
