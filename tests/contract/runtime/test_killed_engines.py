"""The engine is killed while it does something: the machine runs as it should or is gone, and nothing else is left.

The moments are drawn by a seed; most of them are for the long run.
"""

from __future__ import annotations

import asyncio
import os
import random
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from tests.machines import DIRECT, cgroup_folders, needs_root

import sonata.adapters.runtime_oci.processes as processes
import sonata.adapters.runtime_oci.terminals as terminals
from sonata.errors import SonataError
from sonata.ports.runtime import Limits, MachineSpec, RootFs, Runtime

pytestmark = [pytest.mark.root, pytest.mark.anyio, needs_root]
_EARLIER: set[psutil.Process] = set()

ENGINES = DIRECT
SLEEP_S, OTHER_S = f"7{os.getpid()}", f"8{os.getpid()}"
"""Seconds that nobody else sleeps for."""
SEED = 40
FEW, MANY = range(3), range(3, 60)
DOWN, UP = Limits(memory_bytes=64 * 1024**2), Limits(memory_bytes=128 * 1024**2)

_longest_s: dict[tuple[str, str], float] = {}


@pytest.fixture(params=["few", pytest.param("many", marks=(pytest.mark.slow, pytest.mark.timeout(600)))])
def numbers(request: pytest.FixtureRequest) -> range:
    """Which of the drawn moments are tried."""
    return FEW if request.param == "few" else MANY


def shares(verb: str, numbers: range) -> list[float]:
    """How far an engine is with what it does when it is killed."""
    draw = random.Random(f"{SEED} {verb}")
    return [draw.random() for _ in range(numbers.stop)][numbers.start :]


class Engines:
    """Engines that are called; the next one with a verb is killed when it is so far."""

    def __init__(self, runtime: Runtime, verb: str) -> None:
        self.met: list[int] = []
        self.took_s = 0.0
        self._verb = verb
        self._key = runtime.name, verb

    @contextmanager
    def killed_at(self, monkeypatch: pytest.MonkeyPatch, share: float | None) -> Iterator[None]:
        """Kill at a share of the time that such a call takes; None only to measure it."""
        usual, self.met = subprocess.Popen, []
        longest_s = _longest_s.get(self._key, 0.0)
        timers: list[threading.Timer] = []

        class Short(usual):  # type: ignore[type-arg, misc, valid-type]
            """A process that is killed."""

            def __init__(short, argv: list[str], *rest: object, **named: object) -> None:
                began = time.monotonic()
                super().__init__(argv, *rest, **named)
                if self._verb in argv and not self.met:
                    self.met.append(short.pid)
                    handle = os.pidfd_open(short.pid)
                    if share is None:
                        watch = threading.Thread(target=self._measure, args=(handle, began))
                    else:
                        watch = threading.Timer(share * longest_s, kill, (handle,))
                        timers.append(watch)
                    watch.start()

        with monkeypatch.context() as patched:
            patched.setattr(processes.subprocess, "Popen", Short)
            yield
        for timer in timers:
            timer.join()

    def _measure(self, handle: int, began: float) -> None:
        select.select([handle], [], [], 30)
        os.close(handle)
        _longest_s[self._key] = time.monotonic() - began


def kill(handle: int) -> None:
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    os.close(handle)


@pytest.fixture
def spec(tmp_path: Path) -> MachineSpec:
    return MachineSpec("m", "box", RootFs(), ("sleep", SLEEP_S), tmp_path / "console", limits=DOWN)


def programs(seconds: str = SLEEP_S) -> list[psutil.Process]:
    return [one for one in psutil.process_iter() if seconds in _argv(one)]


def _argv(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def cgroups(prefix: str) -> list[str]:
    """Cgroups of the machine."""
    return [str(Path(folder) / "m") for folder in cgroup_folders(prefix) if (Path(folder) / "m").exists()]


async def comes_to(wanted: object, look: Callable[[], object]) -> None:
    """See something come true after a moment at most."""
    for _ in range(100):
        if look() == wanted:
            return
        await asyncio.sleep(0.05)
    assert look() == wanted


@pytest.fixture(autouse=True)
def earlier() -> Iterator[None]:
    """Remembers what other tests have left to this process, which takes in orphans as a keeper does, but reaps none."""
    _EARLIER.update(psutil.Process().children(recursive=True))
    yield
    _EARLIER.clear()


async def nothing_left(prefix: str, tmp_path: Path) -> None:
    """No program, no process of the engine, living or dead, no mount, no cgroup, no folder of a machine."""

    def found() -> list[object]:
        mounts = Path("/proc/self/mounts").read_text().splitlines()
        return [
            *programs(),
            *programs(OTHER_S),
            *(one for one in psutil.Process().children(recursive=True) if one not in _EARLIER),
            *cgroups(prefix),
            *(line for line in mounts if f"{tmp_path}" in line and "/machines/m" in line),
            *(tmp_path / "runtime" / "machines").glob("*"),
            *(tmp_path / "runtime" / "engine").glob("*"),
        ]

    await comes_to([], found)


async def uses(runtime: Runtime, spec: MachineSpec, prefix: str, tmp_path: Path) -> None:
    """Use a machine that should run, and end it."""
    assert (await runtime.exec(spec.id, ("true",)))[0] == 0
    await comes_to(1, lambda: len(programs()))
    await runtime.stop(spec.id, grace_s=0)
    await nothing_left(prefix, tmp_path)


async def tried(work: Awaitable[object]) -> str:
    """Why something failed; empty where it did not."""
    try:
        await work
    except SonataError as error:
        return error.message
    return ""


def ready() -> asyncio.Future[None]:
    """What a start waits for."""
    done = asyncio.get_running_loop().create_future()
    done.set_result(None)
    return done


@pytest.mark.parametrize("verb", ["run", "create", "start", "delete"])
async def test_killed_while_it_starts_a_machine(
    runtime: Runtime,
    spec: MachineSpec,
    prefix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    numbers: range,
) -> None:
    engines = Engines(runtime, verb)
    wanted = MachineSpec("m", "box", RootFs(), ("/no/program",), spec.console) if verb == "delete" else spec
    for share in (None, *shares(verb, numbers)):
        with engines.killed_at(monkeypatch, share):
            failed = await tried(runtime.start(wanted, after=ready() if verb in ("create", "start") else None))
        assert engines.met
        if failed:
            assert "cannot start" in failed
            assert verb == "delete" or "killed by SIGKILL" in failed
            await nothing_left(prefix, tmp_path)
            await runtime.start(spec)
        await uses(runtime, spec, prefix, tmp_path)


async def test_killed_while_it_runs_a_command(
    runtime: Runtime, spec: MachineSpec, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numbers: range
) -> None:
    await runtime.start(spec)
    engines = Engines(runtime, "exec")
    with engines.killed_at(monkeypatch, None):
        await runtime.exec("m", ("true",))
    for share in shares("exec", numbers):
        with engines.killed_at(monkeypatch, share * 2):
            failed = await tried(runtime.exec("m", ("sleep", OTHER_S)))
        assert "`sleep` was cut off" in failed
        assert "killed by SIGKILL" in failed
        assert programs(OTHER_S) == []
    await uses(runtime, spec, prefix, tmp_path)


async def test_killed_while_it_opens_a_terminal(
    runtime: Runtime, spec: MachineSpec, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numbers: range
) -> None:
    await runtime.start(spec)
    engines = Engines(runtime, "--tty")
    for share in (None, *shares("terminal", numbers)):
        with engines.killed_at(monkeypatch, share):
            failed = await tried(opened_and_closed(runtime, "sleep", OTHER_S))
        assert ("killed by SIGKILL" in failed) == bool(failed)
        await comes_to([], lambda: programs(OTHER_S))
    await uses(runtime, spec, prefix, tmp_path)


async def opened_and_closed(runtime: Runtime, *argv: str) -> None:
    terminal = await runtime.terminal("m", argv)
    await terminal.close()


@pytest.mark.parametrize("late_s", [0.0, 0.001, 0.003, 0.01])
async def test_killed_when_it_has_handed_over_a_terminal(
    runtime: Runtime, spec: MachineSpec, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late_s: float
) -> None:
    handed_over = terminals._receive

    def killed_after(listener: socket.socket, engine: subprocess.Popen[bytes]) -> int | None:
        master = handed_over(listener, engine)
        time.sleep(late_s)
        engine.kill()
        return master

    monkeypatch.setattr(terminals, "_receive", killed_after)
    await runtime.start(spec)
    deaf = "trap '' HUP; exec sleep " + OTHER_S
    for _ in range(5):
        failed = await tried(opened_and_closed(runtime, "sh", "-c", deaf))
        assert ("killed by SIGKILL" in failed) == bool(failed)
        await comes_to([], lambda: programs(OTHER_S))
    await uses(runtime, spec, prefix, tmp_path)


async def test_a_machine_ends_although_nobody_watches_it_any_more(
    runtime: Runtime, spec: MachineSpec, prefix: str, tmp_path: Path
) -> None:
    await runtime.start(spec)
    (watcher,) = (task for task in asyncio.all_tasks() if task.get_name() == f"machine {spec.id}")
    watcher.cancel()
    await runtime.stop(spec.id, grace_s=0)
    await nothing_left(prefix, tmp_path)


async def test_killed_while_it_freezes_or_thaws(
    runtime: Runtime, spec: MachineSpec, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numbers: range
) -> None:
    if missing := runtime.unenforced.get("memory"):
        pytest.skip(missing)
    await runtime.start(spec)
    await comes_to(1, lambda: len(programs()))  # which have no arguments yet for a moment of execve(2)
    (program,) = programs()
    pausing, resuming = Engines(runtime, "pause"), Engines(runtime, "resume")
    for share in (None, *shares("pause", numbers)):
        with pausing.killed_at(monkeypatch, share):
            failed = await tried(runtime.pause("m"))
        assert ("killed by SIGKILL" in failed) == bool(failed)
        await comes_to(not failed, lambda: is_frozen(program))
        if failed:
            await runtime.pause("m")
            assert is_frozen(program)
        with resuming.killed_at(monkeypatch, share):
            failed = await tried(runtime.resume("m"))
        assert ("killed by SIGKILL" in failed) == bool(failed)
        assert is_frozen(program) == bool(failed)
        await runtime.resume("m")
        assert not is_frozen(program)
        assert (await runtime.exec("m", ("true",)))[0] == 0
    with pausing.killed_at(monkeypatch, 0.5):
        await tried(runtime.pause("m"))
    await runtime.stop("m", grace_s=0)
    await nothing_left(prefix, tmp_path)


def is_frozen(program: psutil.Process) -> bool:
    """Whether the kernel holds a process: its cgroup is (version 2), or its freezer is (version 1)."""
    for line in Path(f"/proc/{program.pid}/cgroup").read_text().splitlines():
        for top in (Path("/sys/fs/cgroup/freezer"), Path("/sys/fs/cgroup")):
            folder = top / line.split(":", 2)[2].lstrip("/")
            with suppress(OSError):
                if (folder / "freezer.state").read_text().strip() != "THAWED":
                    return True
            with suppress(OSError):
                if "frozen 1" in (folder / "cgroup.events").read_text():
                    return True
    return False


async def test_killed_while_it_changes_limits(
    runtime: Runtime, spec: MachineSpec, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numbers: range
) -> None:
    if missing := runtime.unenforced.get("memory"):
        pytest.skip(missing)
    await runtime.start(spec)
    engines = Engines(runtime, "update")
    for share in (None, *shares("update", numbers)):
        with engines.killed_at(monkeypatch, share):
            failed = await tried(runtime.set_limits("m", UP))
        assert ("killed by SIGKILL" in failed) == bool(failed)
        assert memory_limits(prefix) == {DOWN.memory_bytes if failed else UP.memory_bytes}
        await runtime.set_limits("m", UP)
        assert memory_limits(prefix) == {UP.memory_bytes}
        await runtime.set_limits("m", DOWN)
    await uses(runtime, spec, prefix, tmp_path)


def memory_limits(prefix: str) -> set[int]:
    files = [Path(folder) / "m" / name for folder in cgroup_folders(prefix) for name in ("memory.max", LIMIT_V1)]
    return {int(file.read_text()) for file in files if file.exists()}


LIMIT_V1 = "memory.limit_in_bytes"
