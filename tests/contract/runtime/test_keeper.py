"""The runtime inside of a keeper: its death ends all machines, what it leaves is found, and it needs no root."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from tests.machines import CGROUPS, UNIFIED, cgroup_folders, needs_engine, needs_root
from tests.sessions import CGROUP, LABEL, labelled

import sonata
from sonata.adapters.runtime_oci import leftover_cgroups, remove_cgroups

pytestmark = [pytest.mark.root, needs_root, needs_engine]

REPOSITORY = Path(__file__).parents[3]
AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
ROOTLESS = (*AS_NOBODY, "unshare", "-Urmnp", "--fork", "--kill-child", "--mount-proc")
WITHOUT_ROOT = (
    "machines", "confinement", "control", "console_limits", "disturbance", "groups", "huge_pages", "cgroups",
)  # fmt: skip
KEEPER = """
import asyncio, os, sys
from pathlib import Path
from sonata.adapters.runtime_oci import OciRuntime, hide_hybrid_cgroup
from sonata.ports.runtime import MachineSpec, RootFs

async def main(folder, prefix):
    runtime = OciRuntime(folder, prefix)
    for number in range(3):
        await runtime.start(MachineSpec(f"m{number}", "box", RootFs(), ("sleep", "4713"), folder / "console"))
    print("up", os.getpid(), flush=True)
    await asyncio.sleep(1000)

hide_hybrid_cgroup()
asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


def environment() -> dict[str, str]:
    folders = [str(Path(sonata.__file__).parents[1]), *(entry for entry in sys.path if entry.endswith("-packages"))]
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(folders),
        "PYTHONDONTWRITEBYTECODE": "1",
        LABEL: os.environ[LABEL],
    }


def test_a_killed_keeper_leaves_only_cgroups_and_they_are_found(tmp_path: Path) -> None:
    prefix = f"{labelled(CGROUP)}/emu"
    namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    keeper = subprocess.Popen(
        [*namespaces, sys.executable, "-c", KEEPER, str(tmp_path), prefix],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        assert keeper.stdout
        assert keeper.stdout.readline() == "up 1\n"
        keeper.send_signal(signal.SIGKILL)
        keeper.wait()
        deadline = time.monotonic() + 10
        while _commands("sleep\x004713"):
            assert time.monotonic() < deadline, "machines outlive their keeper"
            time.sleep(0.01)
        assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    finally:
        keeper.kill()
        keeper.wait()
        left = leftover_cgroups(prefix)
        remove_cgroups(prefix)
    if UNIFIED or (CGROUPS / "pids").exists():
        assert any(folder.name == "m2" for folder in left)
    assert leftover_cgroups(prefix) == []
    assert leftover_cgroups(prefix.partition("/")[0]) == []
    assert cgroup_folders(prefix.partition("/")[0]) == []
    remove_cgroups(prefix)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("which", [("-m", "not slow"), ("-k", "launcher"), ("-k", "podman")], ids=lambda one: one[1])
def test_machines_run_for_an_ordinary_user(which: tuple[str, str]) -> None:
    """The suite of confined processes, run again as `nobody` in a user namespace."""
    if not _user_namespaces_work():
        pytest.skip("this host lets ordinary users make no user namespaces")
    python = _python_for_all()
    tests = [str(Path(__file__).parent / f"test_{name}.py") for name in WITHOUT_ROOT]
    suite = f"{python} -m pytest -q -rs -x --tb=short -p no:cacheprovider --rootdir={REPOSITORY}".split()
    # Not below pytest's own folder, which it keeps closed to others.
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, 65534, 65534)
        result = subprocess.run(
            [*ROOTLESS, *suite, *which, f"--basetemp={folder}/t", *tests],
            capture_output=True,
            text=True,
            cwd=REPOSITORY,
            env={**environment(), "HOME": folder, "TMPDIR": folder},
            check=False,
        )
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    assert "passed" in result.stdout


def _user_namespaces_work() -> bool:
    return subprocess.run([*ROOTLESS, "true"], capture_output=True, check=False).returncode == 0


def _python_for_all() -> str:
    """A Python of this version that ordinary users may run and that can read the packages of this one."""
    check = "import msgspec, pytest, anyio, sonata, sys; print(sys.version_info[:2])"
    for candidate in (sys.executable, shutil.which("python3", path="/usr/bin") or ""):
        if not candidate:
            continue
        whole = [*ROOTLESS, candidate, "-c", check]
        result = subprocess.run(whole, capture_output=True, text=True, env=environment(), cwd="/", check=False)
        if result.stdout.strip() == str(sys.version_info[:2]):
            return candidate
    pytest.skip("no Python that an ordinary user may run has the packages of this one")


def _commands(fragment: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_text())
        except OSError:
            continue
    return [command for command in found if fragment in command]
