"""Groups of machines: no group has more than it may have, and within one all have equal parts."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.machines import PROCESSES, cgroup_folders, cgroup_of, needs_engine, needs_root

from sonata.adapters.runtime_oci import OciRuntime
from sonata.emulator.resources import fair_shares, noise_program
from sonata.model.figures import Noise
from sonata.ports.runtime import Limits, MachineSpec, RootFs

pytestmark = [pytest.mark.anyio, pytest.mark.root, pytest.mark.serial, needs_root, needs_engine]

ENGINES, RARE = PROCESSES, ("runc",)
HOG = ("/bin/sh", "-c", "while :; do :; done")
WAITER = ("sleep", "1000")
SECONDS = 3.0


@pytest.fixture(autouse=True)
def _limited(runtime: OciRuntime) -> None:
    lacking = runtime.unenforced.keys() & {"cpu", "memory"}
    if lacking:
        pytest.skip(f"the host does not let us limit {', '.join(sorted(lacking))}")


def spec(folder: Path, name: str, group: str, argv: Sequence[str] = HOG, cpus: float | None = None) -> MachineSpec:
    limits = Limits(cpus=cpus, cpu_shares=fair_shares(cpus or 1))
    return MachineSpec(name, name, RootFs(), tuple(argv), folder / name, limits=limits, group=group)


async def had(runtime: OciRuntime, names: Sequence[str]) -> list[float]:
    """Processor time of machines, as a part of the time that passes meanwhile."""
    begun = time.monotonic(), [(await runtime.usage(name)).cpu_s for name in names]
    await asyncio.sleep(SECONDS)
    ended = time.monotonic(), [(await runtime.usage(name)).cpu_s for name in names]
    return [(after - before) / (ended[0] - begun[0]) for before, after in zip(begun[1], ended[1], strict=True)]


async def test_machines_of_a_group_share_what_it_has_evenly(runtime: OciRuntime, tmp_path: Path) -> None:
    await runtime.set_group("small", Limits(cpus=0.6, cpu_shares=fair_shares(1)))
    names = [f"hog{number}" for number in range(4)]
    core = min(os.sched_getaffinity(0))  # over several cores the kernel balances in its own time
    for name in names:
        hog = spec(tmp_path, name, "small", cpus=1)
        await runtime.start(replace(hog, limits=replace(hog.limits, cores=(core,))))
    shares = await had(runtime, names)
    assert 0.3 < sum(shares) < 0.7, shares
    assert all(0.7 < 4 * share / sum(shares) < 1.3 for share in shares), shares


async def test_a_full_group_takes_nothing_that_belongs_to_another(runtime: OciRuntime, tmp_path: Path) -> None:
    cores = len(os.sched_getaffinity(0))
    half = cores / 2
    for group in ("full", "quiet"):
        await runtime.set_group(group, Limits(cpus=half, cpu_shares=fair_shares(half)))
    hogs = [f"hog{number}" for number in range(3 * cores)]
    for name in hogs:
        await runtime.start(spec(tmp_path, name, "full", cpus=1))
    await runtime.start(spec(tmp_path, "worker", "quiet", cpus=1))
    *taken, own = await had(runtime, [*hogs, "worker"])
    assert sum(taken) < 1.15 * half, taken
    # Both groups are due the same, whoever else is busy; one among equals, it had a sixth of what they have.
    assert own > 0.5 * sum(taken), (own, taken)


async def test_a_machine_is_held_to_its_group_however_large_it_is(runtime: OciRuntime, tmp_path: Path) -> None:
    await runtime.set_group("tiny", Limits(cpus=0.2))
    await runtime.start(spec(tmp_path, "large", "tiny", cpus=2))
    assert (await had(runtime, ["large"]))[0] < 0.3
    await runtime.set_limits("large", Limits(cpus=4))
    assert (await had(runtime, ["large"]))[0] < 0.3


async def test_a_group_tells_what_its_machines_use_and_have_used(runtime: OciRuntime, tmp_path: Path) -> None:
    assert (await runtime.group_usage("pop")).cpu_s == 0
    await runtime.start(spec(tmp_path, "hog", "pop", cpus=1))
    await runtime.start(spec(tmp_path, "other", "elsewhere", WAITER))
    async with asyncio.timeout(60):
        while (alone := await runtime.usage("hog")).cpu_s <= 0.3:
            await asyncio.sleep(0.05)
    group = await runtime.group_usage("pop")
    assert group.cpu_s >= alone.cpu_s
    assert group.memory_bytes >= alone.memory_bytes > 0
    await runtime.stop("hog", grace_s=0)
    assert (await runtime.group_usage("pop")).cpu_s >= alone.cpu_s


async def test_memory_is_bounded_for_all_machines_of_a_group_together(runtime: OciRuntime, tmp_path: Path) -> None:
    await runtime.set_group("tight", Limits(memory_bytes=96 * 1024**2))
    await runtime.start(spec(tmp_path, "first", "tight", ("/bin/sh", "-c", "sleep 1000")))
    status, _, _ = await runtime.exec("first", ["/bin/sh", "-c", "dd if=/dev/zero of=/dev/shm/x bs=1M count=60"])
    assert status == 0
    holder = noise_program(Noise(memory_bytes=64 * 1024**2))
    await runtime.start(spec(tmp_path, "second", "tight", holder))
    await asyncio.sleep(0.5)
    assert (await runtime.group_usage("tight")).memory_bytes <= 96 * 1024**2


async def test_noise_keeps_its_cores_busy_and_its_memory_full(runtime: OciRuntime, tmp_path: Path) -> None:
    noise = Noise(cpus=0.5, memory_bytes=64 * 1024**2)
    await runtime.start(spec(tmp_path, "noise", "pop", noise_program(noise), cpus=noise.cpus))
    async with asyncio.timeout(60):
        while (share := (await had(runtime, ["noise"]))[0]) <= 0.3:
            continue  # others keep the cores busy
        while (await runtime.usage("noise")).memory_bytes < noise.memory_bytes:
            await asyncio.sleep(0.05)
    assert share < 0.6
    assert noise.memory_bytes <= (await runtime.usage("noise")).memory_bytes < 80 * 1024**2


async def test_nothing_is_left_of_a_group(runtime: OciRuntime, prefix: str, tmp_path: Path) -> None:
    await runtime.start(spec(tmp_path, "m1", "pop", WAITER))
    assert [one for one in cgroup_of(f"{prefix}/pop.group").iterdir() if one.is_dir()]
    await runtime.stop("m1")
    await runtime.close()
    assert cgroup_folders(prefix) == []
