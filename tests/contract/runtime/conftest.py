"""A runtime per engine that is installed, in mounts of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.machines import enter_private_mounts
from tests.sessions import CGROUP, labelled

from sonata.adapters.runtime_oci import OciRuntime, leftover_cgroups


@pytest.fixture
def prefix() -> str:
    """The cgroup path of the runtime."""
    return labelled(CGROUP)


@pytest.fixture(params=["crun", "runc"])
async def runtime(
    request: pytest.FixtureRequest, prefix: str, tmp_path: Path, anyio_backend: str
) -> AsyncIterator[OciRuntime]:
    """A runtime that leaves nothing behind, whatever the test does."""
    engine = request.param
    if not shutil.which(engine):
        pytest.skip(f"{engine} is not installed")
    enter_private_mounts()
    tmp_path.chmod(0o755)
    runtime = OciRuntime(tmp_path / "runtime", prefix, engines=(engine,))
    if engine == "runc" and runtime.unenforced.get("memory"):
        pytest.skip("runc insists on cgroups, which this host does not delegate")
    try:
        yield runtime
    finally:
        await runtime.close()
    assert leftover_cgroups(prefix) == []
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    assert os.listdir(tmp_path / "runtime/machines") == []
