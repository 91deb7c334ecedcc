"""Nothing of a closed session is left in any cgroup hierarchy of the host, seen or hidden."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.machines import CGROUPS, PROCESSES, cgroup_folders, enter_private_mounts, needs_engine, needs_root

from sonata.adapters.runtime_oci import OciRuntime
from sonata.adapters.runtime_oci.cgroups import Cgroups, detect, remove_cgroups
from sonata.ports.runtime import MachineSpec, RootFs

ENGINES = PROCESSES  # a virtual machine is in a cgroup of theirs
pytestmark = [pytest.mark.anyio, pytest.mark.root, needs_root, needs_engine]


@pytest.mark.skipif(not (CGROUPS / "unified").is_dir(), reason="this host has one version of the cgroup interface")
async def test_nothing_is_left_below_the_hidden_mount_of_version_2(
    runtime: OciRuntime, prefix: str, tmp_path: Path
) -> None:
    if missing := runtime.unenforced.get("pids"):
        pytest.skip(missing)
    await runtime.start(MachineSpec("m1", "box", RootFs(), ("sleep", "1000"), tmp_path / "console"))
    standing = cgroup_folders(prefix)
    assert str(CGROUPS / "pids" / prefix) in standing
    await runtime.stop("m1")
    await runtime.close()
    assert cgroup_folders(prefix) == []


def test_moves_are_hastened_without_moving_anybody(prefix: str, tmp_path: Path) -> None:
    enter_private_mounts()
    before, cgroups = Path("/proc/self/cgroup").read_text(), detect(prefix)
    elsewhere = Cgroups("v1", prefix, {"pids": tmp_path / "not mounted", **cgroups.controllers}, {})
    try:
        cgroups.hasten_moves()
        elsewhere.hasten_moves()
    finally:
        remove_cgroups(prefix)
    assert Path("/proc/self/cgroup").read_text() == before
