"""A runtime per engine that is installed, in mounts of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.machines import MANAGED, PROCESSES, VIRTUAL_MACHINES, enter_private_mounts, loop_files
from tests.sessions import CGROUP, labelled

from sonata._lib.paths import data_home
from sonata.adapters.runtime_oci import OciRuntime, leftover_cgroups
from sonata.adapters.runtime_qemu import QemuRuntime, find_all, guest_kernels
from sonata.errors import Unsupported
from sonata.ports.runtime import Runtime


@pytest.fixture
def prefix() -> str:
    """The cgroup path of the runtime."""
    return labelled(CGROUP)


def _made(engine: str, folder: Path, prefix: str) -> tuple[Runtime, ...]:
    """A runtime, and those that it uses."""
    try:
        if engine != "vm":
            return (OciRuntime(folder, prefix, engines=(engine,)),)
        kernels = guest_kernels(data_home() / "images")
        find_all(kernels)
        inner = OciRuntime(folder, prefix)
        return QemuRuntime(folder / "vm", inner, kernels), inner
    except Unsupported as missing:
        pytest.skip(missing.message)


STAND_INS = ("launcher", *MANAGED)
SAMPLE = frozenset(
    {
        "test_a_started_machine_runs_its_program",
        "test_memory_limit_ends_a_glutton",
        "test_process_limit_holds",
        "test_a_killed_machine_ends_as_by_a_fault",
    }
)
"""Tests that engines which only stand in for others pass in the short suite, too."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test with all engines, or with those that its module names in `ENGINES`; rarely with its `RARE` ones."""
    if "runtime" in metafunc.fixturenames:
        named = getattr(metafunc.module, "ENGINES", (*PROCESSES, *VIRTUAL_MACHINES))
        slow: dict[str, tuple[pytest.MarkDecorator, ...]] = dict.fromkeys(STAND_INS, (pytest.mark.slow,))
        if metafunc.function.__name__ in SAMPLE:
            slow.clear()
        slow |= dict.fromkeys(getattr(metafunc.module, "RARE", ()), (pytest.mark.slow,))
        slow |= dict.fromkeys(VIRTUAL_MACHINES, (pytest.mark.slow, pytest.mark.timeout(600)))
        engines = [pytest.param(name, marks=slow.get(name, ())) for name in named]
        metafunc.parametrize("runtime", engines, indirect=True)


@pytest.fixture
async def runtime(
    request: pytest.FixtureRequest, prefix: str, tmp_path: Path, anyio_backend: str
) -> AsyncIterator[Runtime]:
    """A runtime that leaves nothing behind, whatever the test does."""
    engine = request.param
    if engine in ("crun", "runc") and not shutil.which(engine):
        pytest.skip(f"{engine} is not installed")
    enter_private_mounts()
    tmp_path.chmod(0o755)
    runtime, *others = _made(engine, tmp_path / "runtime", prefix)
    if engine == "runc" and runtime.unenforced.get("memory"):
        pytest.skip("runc insists on cgroups, which this host does not delegate")
    try:
        yield runtime
    finally:
        for one in (runtime, *others):
            await one.close()
    assert leftover_cgroups(prefix) == []
    assert loop_files(tmp_path) == []
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    assert os.listdir(tmp_path / "runtime/machines") == []
