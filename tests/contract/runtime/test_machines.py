"""What every user of a runtime relies on: machines start, end, tell why, and leave nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.machines import is_virtual, needs_engine, needs_root

from sonata.errors import Conflict, InvalidInput, NotFound, PermanentError
from sonata.ports.runtime import Limits, MachineExit, MachineSpec, RootFs, Runtime

pytestmark = [pytest.mark.anyio, pytest.mark.root, needs_root, needs_engine]


class Exits:
    """Collects what a runtime tells."""

    def __init__(self) -> None:
        self.seen: list[MachineExit] = []
        self._came = asyncio.Event()

    async def __call__(self, ended: MachineExit) -> None:
        self.seen.append(ended)
        self._came.set()

    async def first(self) -> MachineExit:
        async with asyncio.timeout(90):
            await self._came.wait()
        return self.seen[0]


@pytest.fixture
def spec(tmp_path: Path) -> Callable[..., MachineSpec]:
    def make(*argv: str, **changes: object) -> MachineSpec:
        usual: dict[str, object] = {
            "id": "m1",
            "hostname": "box",
            "root": RootFs(),
            "argv": argv,
            "console": tmp_path / "console",
        }
        return MachineSpec(**{**usual, **changes})  # type: ignore[arg-type]

    return make


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(90):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_started_machine_runs_its_program(runtime: Runtime, spec: Callable[..., MachineSpec]) -> None:
    pid = await runtime.start(spec("sleep", "1000"))
    assert Path(f"/proc/{pid}/comm").read_text() == ("qemu-system-x86\n" if is_virtual(runtime) else "sleep\n")
    assert await runtime.exec("m1", ["hostname"]) == (0, b"box\n", b"")


async def test_console_has_both_outputs_and_env_reaches_the_program(
    runtime: Runtime, spec: Callable[..., MachineSpec], tmp_path: Path
) -> None:
    exits = Exits()
    await runtime.start(
        spec("sh", "-c", 'echo "$GREETING"; pwd; echo oops >&2', env={"GREETING": "good day"}, cwd="/usr"), exits
    )
    await exits.first()
    assert (tmp_path / "console").read_text().splitlines() == ["good day", "/usr", "oops"]


async def test_an_id_runs_once_and_may_be_used_again(runtime: Runtime, spec: Callable[..., MachineSpec]) -> None:
    await runtime.start(spec("sleep", "1000"))
    with pytest.raises(Conflict):
        await runtime.start(spec("sleep", "1000"))
    await runtime.stop("m1")
    await runtime.start(spec("sleep", "1000"))


async def test_an_id_is_no_path(runtime: Runtime, spec: Callable[..., MachineSpec]) -> None:
    with pytest.raises(InvalidInput):
        await runtime.start(spec("sleep", "1000", id="../up"))


@pytest.mark.parametrize("program", ["no-such-program", "/no/such/program", "/etc/services"])
async def test_what_cannot_be_executed_is_told(
    runtime: Runtime, spec: Callable[..., MachineSpec], program: str
) -> None:
    with pytest.raises(PermanentError, match=program):
        await runtime.start(spec(program))
    with pytest.raises(NotFound):
        await runtime.exec("m1", ["true"])


async def test_a_missing_layer_is_told(runtime: Runtime, spec: Callable[..., MachineSpec], tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="nowhere"):
        await runtime.start(spec("true", root=RootFs((tmp_path / "nowhere",))))


@pytest.mark.parametrize(
    ("script", "status", "reason"),
    [
        ("exit 0", 0, "exited with status 0"),
        ("exit 3", 3, "exited with status 3"),
        (
            "exec python3 -c 'import os, signal; signal.signal(15, lambda *_: os._exit(9)); os.kill(os.getpid(), 15)'",
            9,
            "9",
        ),
    ],
)
async def test_an_end_is_told_once_with_its_status(
    runtime: Runtime, spec: Callable[..., MachineSpec], script: str, status: int, reason: str
) -> None:
    exits = Exits()
    await runtime.start(spec("sh", "-c", script), exits)
    ended = await exits.first()
    assert (ended.machine, ended.status) == ("m1", status)
    assert reason in ended.reason
    await asyncio.sleep(0.05)
    assert len(exits.seen) == 1
    with pytest.raises(NotFound):
        await runtime.exec("m1", ["true"])


async def test_a_killed_machine_names_the_signal(runtime: Runtime, spec: Callable[..., MachineSpec]) -> None:
    exits = Exits()
    os.kill(await runtime.start(spec("sleep", "1000"), exits), signal.SIGKILL)
    ended = await exits.first()
    assert ended.status == 128 + signal.SIGKILL
    assert "SIGKILL" in ended.reason


async def test_stop_lets_a_program_finish(runtime: Runtime, spec: Callable[..., MachineSpec], tmp_path: Path) -> None:
    exits = Exits()
    await runtime.start(spec("sh", "-c", "trap 'echo bye; exit' TERM; echo up; while :; do sleep 0.05; done"), exits)
    await until(lambda: "up" in (tmp_path / "console").read_text())
    await runtime.stop("m1", grace_s=10)
    assert (tmp_path / "console").read_text() == "up\nbye\n"
    assert exits.seen == [], "an end that was ordered is no news"


async def test_stop_ends_what_does_not_listen(
    runtime: Runtime, spec: Callable[..., MachineSpec], tmp_path: Path
) -> None:
    pid = await runtime.start(spec("sh", "-c", "trap 'echo no' TERM; echo up; while :; do sleep 0.05; done"))
    await until(lambda: "up" in (tmp_path / "console").read_text())
    await runtime.stop("m1", grace_s=0.2)
    assert not Path(f"/proc/{pid}").exists()
    await runtime.stop("m1")
    await runtime.stop("never-started")


async def test_stop_ends_every_process_of_the_machine(runtime: Runtime, spec: Callable[..., MachineSpec]) -> None:
    await runtime.start(spec("sh", "-c", "sleep 4711 & sleep 4711 & wait"))
    await runtime.exec("m1", ["sh", "-c", "setsid sleep 4711 >/dev/null 2>&1 &"])
    await runtime.stop("m1")
    running = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [line for line in running if b"sleep\x004711" in line]


async def test_exec_gives_status_and_both_outputs(runtime: Runtime, spec: Callable[..., MachineSpec]) -> None:
    await runtime.start(spec("sleep", "1000", env={"COLOUR": "blue"}))
    status, out, err = await runtime.exec("m1", ["sh", "-c", "cat; echo $COLOUR >&2; exit 5"], stdin=b"a\0b")
    assert (status, out, err) == (5, b"a\0b", b"blue\n")


async def test_exec_of_what_is_not_there(runtime: Runtime, spec: Callable[..., MachineSpec]) -> None:
    await runtime.start(spec("sleep", "1000"))
    status, _, err = await runtime.exec("m1", ["no-such-program"])
    assert status == 127
    assert b"no-such-program" in err
    with pytest.raises(NotFound):
        await runtime.exec("other", ["true"])


async def test_exec_output_is_bounded(runtime: Runtime, spec: Callable[..., MachineSpec]) -> None:
    await runtime.start(spec("sleep", "1000"))
    status, out, _ = await runtime.exec("m1", ["head", "-c", "20000000", "/dev/zero"])
    assert (status, len(out)) == (0, 10 * 1024**2)


async def test_exec_tells_output_as_it_comes_and_all_of_it(runtime: Runtime, spec: Callable[..., MachineSpec]) -> None:
    await runtime.start(spec("sleep", "1000"))
    told: list[tuple[str, bytes]] = []
    begun = asyncio.Event()

    async def tell(stream: str, chunk: bytes) -> None:
        told.append((stream, chunk))
        begun.set()

    wait = "echo begun; until [ -e /tmp/go ]; do sleep 0.01; done; head -c 20000000 /dev/zero; echo end >&2"
    running = asyncio.create_task(runtime.exec("m1", ["sh", "-c", wait], tell=tell))
    await asyncio.wait_for(begun.wait(), 10)
    assert told == [("stdout", b"begun\n")]
    await runtime.exec("m1", ["touch", "/tmp/go"])
    assert await running == (0, b"", b"")
    assert sum(len(chunk) for stream, chunk in told if stream == "stdout") == 20_000_006
    assert [chunk for stream, chunk in told if stream == "stderr"] == [b"end\n"]
    status, _, err = await runtime.exec("m1", ["no-such-program"], tell=tell)
    assert (status, err) == (127, b"")
    assert told[-1][0] == "stderr"
    assert b"no-such-program" in told[-1][1]


async def test_exec_does_not_wait_for_what_it_left_running(runtime: Runtime, spec: Callable[..., MachineSpec]) -> None:
    if "runc" in runtime.name:
        pytest.skip("runc exec itself waits until both outputs are closed")
    await runtime.start(spec("sleep", "1000"))
    async with asyncio.timeout(15):
        status, out, _ = await runtime.exec("m1", ["sh", "-c", "sleep 1000 & echo started"])
    assert (status, out) == (0, b"started\n")


async def test_a_cancelled_exec_ends_inside(runtime: Runtime, spec: Callable[..., MachineSpec]) -> None:
    await runtime.start(spec("sleep", "1000"))
    running = asyncio.create_task(runtime.exec("m1", ["sleep", "4712"]))
    found = ["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c 'sleep 471[2]'"]
    while (await runtime.exec("m1", found))[1] != b"1\n":
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await runtime.exec("m1", found))[1] == b"0\n"


async def test_an_idle_machine_waits_for_commands(runtime: Runtime, spec: Callable[..., MachineSpec]) -> None:
    await runtime.start(spec())
    assert (await runtime.exec("m1", ["echo", "here"]))[1] == b"here\n"


async def test_listening_is_seen(runtime: Runtime, spec: Callable[..., MachineSpec], tmp_path: Path) -> None:
    serve = "import socket, time; s = socket.create_server(('', 8080)); print('up', flush=True); time.sleep(1000)"
    await runtime.start(spec("python3", "-c", serve))
    await until(lambda: "up" in (tmp_path / "console").read_text())
    assert await runtime.is_listening("m1", 8080)
    assert not await runtime.is_listening("m1", 8081)
    with pytest.raises(NotFound):
        await runtime.is_listening("other", 8080)


async def test_a_root_of_layers_is_theirs_from_the_top(
    runtime: Runtime, spec: Callable[..., MachineSpec], tmp_path: Path
) -> None:
    top, bottom = tmp_path / "top", tmp_path / "bottom"
    for layer, text in ((top, "top"), (bottom, "bottom")):
        (layer / "usr").mkdir(parents=True)
        (layer / "said").write_text(text)
    (bottom / "only-here").write_text("x")
    for name in ("bin", "lib", "lib64"):
        (bottom / name).symlink_to(f"usr/{name}")
    from sonata.ports.runtime import Bind

    await runtime.start(spec("sleep", "1000", root=RootFs((top, bottom)), binds=(Bind(Path("/usr"), "/usr"),)))
    assert (await runtime.exec("m1", ["cat", "/said"]))[1] == b"top"
    assert (await runtime.exec("m1", ["sh", "-c", "echo new > /said; rm /only-here; cat /said; ls /"]))[0] == 0
    assert ((top / "said").read_text(), (bottom / "only-here").read_text()) == ("top", "x"), "a layer was changed"


async def test_machines_start_in_parallel(runtime: Runtime, spec: Callable[..., MachineSpec]) -> None:
    pids = await asyncio.gather(*(runtime.start(spec("sleep", "1000", id=f"m{number}")) for number in range(8)))
    assert len(set(pids)) == 8
    names = await asyncio.gather(*(runtime.exec(f"m{number}", ["hostname"]) for number in range(8)))
    assert names == [(0, b"box\n", b"")] * 8


async def test_a_cancelled_start_leaves_nothing(runtime: Runtime, spec: Callable[..., MachineSpec]) -> None:
    for moment in (0.0, 0.002, 0.006, 0.012):
        starting = asyncio.create_task(runtime.start(spec("sleep", "1000")))
        await asyncio.sleep(moment)
        starting.cancel()
        await asyncio.wait([starting])
        if starting.cancelled():
            with pytest.raises(NotFound):
                await runtime.exec("m1", ["true"])
        await runtime.stop("m1")


async def test_a_program_is_executed_after_what_it_waits_for(
    runtime: Runtime, spec: Callable[..., MachineSpec], tmp_path: Path
) -> None:
    # Docker makes no process before it executes the program.
    sign = "name" if runtime.name.startswith("docker") else "pid"
    ready, made = asyncio.Event(), tmp_path / "runtime/machines/m1" / sign
    starting = asyncio.create_task(runtime.start(spec("sh", "-c", "echo up; sleep 1000"), after=ready.wait()))
    await until(lambda: made.exists() and bool(made.read_text()))
    await asyncio.sleep(0.1)
    assert (starting.done(), (tmp_path / "console").read_text()) == (False, "")
    ready.set()
    pid = await starting
    await until(lambda: (tmp_path / "console").read_text() == "up\n")
    assert sign == "name" or pid == int(made.read_text())
    assert await runtime.exec("m1", ["hostname"]) == (0, b"box\n", b"")


async def test_what_a_program_waits_for_may_fail(runtime: Runtime, spec: Callable[..., MachineSpec]) -> None:
    async def failing() -> None:
        raise PermanentError("no network")

    with pytest.raises(PermanentError, match="no network"):
        await runtime.start(spec("sleep", "1000"), after=failing())
    with pytest.raises(NotFound):
        await runtime.exec("m1", ["true"])
    await runtime.start(spec("sleep", "1000"))


async def test_a_machine_that_waits_may_be_cancelled(
    runtime: Runtime, spec: Callable[..., MachineSpec], tmp_path: Path
) -> None:
    begun = asyncio.Event()

    async def endless() -> None:
        begun.set()
        await asyncio.Event().wait()

    starting = asyncio.create_task(runtime.start(spec("sleep", "1000"), after=endless()))
    await begun.wait()
    starting.cancel()
    await asyncio.wait([starting])
    assert starting.cancelled()
    assert not (tmp_path / "runtime/machines/m1").exists()


async def test_nobody_changes_the_engine(runtime: Runtime, tmp_path: Path) -> None:
    if is_virtual(runtime):
        pytest.skip("a guest has nothing of the engine that confines it")
    if runtime.name.startswith("launcher"):
        assert os.statvfs(sys.executable).f_flag & os.ST_RDONLY, "its interpreter could be changed"
    (engine,) = (tmp_path / "runtime/engines").iterdir()
    with pytest.raises(OSError, match=r"not permitted|busy"):
        engine.write_bytes(b"#!")


async def test_memory_limit_ends_a_glutton(runtime: Runtime, spec: Callable[..., MachineSpec]) -> None:
    if "memory" in runtime.unenforced:
        pytest.skip(runtime.unenforced["memory"])
    exits = Exits()
    limits = Limits(memory_bytes=64 * 1024**2)
    await runtime.start(spec("python3", "-c", "[bytes([65]) * (1 << 20) for _ in range(400)]", limits=limits), exits)
    ended = await exits.first()
    assert ended.reason == f"out of memory: limit is {160 if is_virtual(runtime) else 64} MiB"


async def test_process_limit_holds(runtime: Runtime, spec: Callable[..., MachineSpec]) -> None:
    if "pids" in runtime.unenforced:
        pytest.skip(runtime.unenforced["pids"])
    await runtime.start(spec("sleep", "1000", limits=Limits(pids=10)))
    status, _, err = await runtime.exec("m1", ["sh", "-c", "for i in $(seq 30); do sleep 5 & done"])
    assert status != 0
    assert b"fork" in err.lower()


async def test_cpu_limit_holds(runtime: Runtime, spec: Callable[..., MachineSpec]) -> None:
    if "cpu" in runtime.unenforced:
        pytest.skip(runtime.unenforced["cpu"])
    if is_virtual(runtime):  # a guest takes the time that it does not get for its own
        await runtime.start(spec("sh", "-c", "while :; do :; done", limits=Limits(cpus=0.5)))
        before, began = (await runtime.usage("m1")).cpu_s, time.monotonic()
        await asyncio.sleep(2)
        share = ((await runtime.usage("m1")).cpu_s - before) / (time.monotonic() - began)
        assert 0 < share < 0.7, "half a core"
        return
    exits = Exits()
    burn = "b = process_time(); e = monotonic() + 1\nwhile monotonic() < e: pass\nprint(process_time() - b)"
    burn = f"from time import monotonic, process_time; {burn}"  # an emulated processor starts Python in seconds
    await runtime.start(spec("python3", "-c", burn, limits=Limits(cpus=0.2)), exits)
    await exits.first()
    used = float(spec().console.read_text())
    assert used < 0.5, "one second of burning at a fifth of a core"
