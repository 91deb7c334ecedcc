"""Machines are broken from outside: their program is killed, their share of the machine is used up."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sonata.adapters.disturbance_linux import LinuxDisturber
from sonata.adapters.runtime_oci import OciRuntime
from sonata.errors import AdapterError, NotFound
from sonata.ports.runtime import Limits, MachineExit, MachineSpec, RootFs

pytestmark = [pytest.mark.anyio, pytest.mark.root]
MIB = 1 << 20


async def started(runtime: OciRuntime, folder: Path, limits: Limits, exits: list[MachineExit] | None = None) -> int:
    async def ended(how: MachineExit) -> None:
        if exits is not None:
            exits.append(how)

    console = folder / "console"
    spec = MachineSpec("m1", "m1", RootFs(), ("sleep", "1000"), console, limits=limits)
    return await runtime.start(spec, ended)


async def test_a_hog_takes_what_the_limits_leave_it_and_gives_it_back(runtime: OciRuntime, tmp_path: Path) -> None:
    if missing := {"cpu", "memory"} & set(runtime.unenforced):
        pytest.skip(str(missing))
    pid = await started(runtime, tmp_path, Limits(cpus=0.4, memory_bytes=128 * MIB))
    alone = await runtime.usage("m1")
    burden = await LinuxDisturber().burden(pid, cpus=1.5, memory_bytes=50 * MIB)
    before = await runtime.usage("m1")
    await asyncio.sleep(1.5)
    during = await runtime.usage("m1")
    assert during.memory_bytes >= 50 * MIB
    assert 0.1 < during.cpu_s - before.cpu_s < 1.2  # 0.6 where nobody else wants the processors
    await burden.take_away()
    await burden.take_away()
    after = await runtime.usage("m1")
    assert after.tasks <= alone.tasks
    assert after.memory_bytes < alone.memory_bytes + 20 * MIB


async def test_more_than_the_limit_is_refused_and_the_machine_lives_on(runtime: OciRuntime, tmp_path: Path) -> None:
    if "memory" in runtime.unenforced:
        pytest.skip(runtime.unenforced["memory"])
    pid = await started(runtime, tmp_path, Limits(memory_bytes=64 * MIB))
    with pytest.raises(AdapterError):
        await LinuxDisturber().burden(pid, cpus=0, memory_bytes=500 * MIB)
    assert (await runtime.exec("m1", ["echo", "here"]))[1] == b"here\n"


async def test_a_hog_ends_with_its_machine_and_leaves_no_cgroup(runtime: OciRuntime, tmp_path: Path) -> None:
    pid = await started(runtime, tmp_path, Limits())
    await LinuxDisturber().burden(pid, cpus=1, memory_bytes=MIB)
    await runtime.stop("m1", grace_s=0.0)  # the fixture looks for what is left


async def test_a_killed_machine_ends_as_by_a_fault(runtime: OciRuntime, tmp_path: Path) -> None:
    exits: list[MachineExit] = []
    pid = await started(runtime, tmp_path, Limits(), exits)
    assert runtime.pid_of("m1") == pid
    await LinuxDisturber().kill(pid)
    async with asyncio.timeout(10):
        while not exits:
            await asyncio.sleep(0.01)
    assert exits[0].status == 137
    with pytest.raises(NotFound):
        runtime.pid_of("m1")
    for gone in (LinuxDisturber().kill(pid), LinuxDisturber().burden(pid, cpus=1, memory_bytes=0)):
        with pytest.raises(NotFound):
            await gone
