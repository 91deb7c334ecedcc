"""Machines under control: frozen, limited anew, their disk kept, a terminal in them."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from tests.machines import is_virtual, needs_engine, needs_root

from sonata.errors import AdapterError, PermanentError, Unsupported
from sonata.ports.runtime import Attached, Limits, MachineSpec, RootFs, Runtime, Terminal

pytestmark = [pytest.mark.anyio, pytest.mark.root, needs_root, needs_engine]

COUNTING = ("sh", "-c", "i=0; while :; do i=$((i+1)); echo $i >> /count; sleep 0.01; done")
"""By appending: a file that is written anew may be empty at the moment at which the machine is frozen."""


def machine(folder: Path, *argv: str, **changes: object) -> MachineSpec:
    usual: dict[str, object] = {"id": "m1", "hostname": "box", "root": RootFs(), "console": folder / "console"}
    return MachineSpec(argv=argv, **{**usual, **changes})  # type: ignore[arg-type]


async def seen(terminal: Terminal, wanted: bytes) -> bytes:
    """Read a terminal until something appears."""
    text = b""
    async with asyncio.timeout(20):
        while wanted not in text:
            chunk = await terminal.read()
            assert chunk, text
            text += chunk
    return text


async def count_of(disk: Path) -> int:
    async with asyncio.timeout(20):
        while True:
            text = (disk / "upper/count").read_text() if (disk / "upper/count").exists() else ""
            if "\n" in text:
                return int(text.splitlines()[-1])
            await asyncio.sleep(0.005)


async def test_a_paused_machine_stands_still_and_goes_on_where_it_stood(runtime: Runtime, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    pid = await runtime.start(machine(tmp_path, *COUNTING, root=RootFs(disk=disk)))
    await count_of(disk)
    if "memory" in runtime.unenforced and not is_virtual(runtime):
        with pytest.raises(Unsupported, match="freezer"):
            await runtime.pause("m1")
        return
    await runtime.pause("m1")
    await runtime.pause("m1")
    stood = await count_of(disk)
    await asyncio.sleep(0.2)
    assert await count_of(disk) == stood
    await runtime.resume("m1")
    async with asyncio.timeout(20):
        while await count_of(disk) <= stood + 2:
            await asyncio.sleep(0.01)
    assert Path(f"/proc/{pid}").exists()
    await runtime.pause("m1")
    await runtime.stop("m1")
    assert not Path(f"/proc/{pid}").exists()


async def test_limits_change_while_a_machine_runs(runtime: Runtime, tmp_path: Path) -> None:
    if missing := runtime.unenforced.get("memory"):
        pytest.skip(missing)
    await runtime.start(machine(tmp_path, "sleep", "1000", limits=Limits(memory_bytes=64 * 1024**2)))
    if is_virtual(runtime):
        with pytest.raises(AdapterError, match="memory and its disk cannot change"):
            await runtime.set_limits("m1", Limits(memory_bytes=512 * 1024**2))
        await runtime.set_limits("m1", Limits(cpus=0.5, memory_bytes=64 * 1024**2))
        return
    eat = ["sh", "-c", "head -c 100m /dev/zero | tail -c 100m > /dev/null && echo ate"]
    assert (await runtime.exec("m1", eat))[1] == b""
    await runtime.set_limits("m1", Limits(cpus=0.5, memory_bytes=512 * 1024**2))
    assert (await runtime.exec("m1", eat))[1] == b"ate\n"
    usage = await runtime.usage("m1")
    assert usage.cpu_s > 0
    assert usage.memory_bytes > 0
    assert usage.tasks == 1


async def test_a_machine_may_be_bound_to_cores(runtime: Runtime, tmp_path: Path) -> None:
    if missing := runtime.unenforced.get("cpu"):
        pytest.skip(missing)
    pid = await runtime.start(machine(tmp_path, "sleep", "1000", limits=Limits(cpus=1, cores=(1,))))
    allowed = re.search(r"Cpus_allowed_list:\s*(\S+)", Path(f"/proc/{pid}/status").read_text())
    assert allowed
    assert allowed[1] == "1"


async def test_a_disk_outlives_its_machine_and_can_be_attached_to_another(runtime: Runtime, tmp_path: Path) -> None:
    disk = RootFs(disk=tmp_path / "disk")
    await runtime.start(machine(tmp_path, "sleep", "1000", root=disk))
    await runtime.exec("m1", ["sh", "-c", "echo kept > /root/file"])
    await runtime.stop("m1")
    await runtime.start(machine(tmp_path, "sleep", "1000", root=disk))
    assert (await runtime.exec("m1", ["cat", "/root/file"]))[1] == b"kept\n"
    await runtime.stop("m1")
    await runtime.start(machine(tmp_path, "sleep", "1000", attached=(Attached(disk, "/mnt"),)))
    status, out, _ = await runtime.exec("m1", ["sh", "-c", "cat /mnt/root/file; ls /mnt/usr/bin/env; ls /root/file"])
    assert (status != 0, out) == (True, b"kept\n/mnt/usr/bin/env\n")


async def test_a_terminal_has_a_shell_a_size_and_an_end(runtime: Runtime, tmp_path: Path) -> None:
    await runtime.start(machine(tmp_path, "sleep", "1000"))
    terminal = await runtime.terminal("m1", ["sh"], rows=33, columns=99)
    await terminal.write(b"tty; stty size; hostname\n")
    text = await seen(terminal, b"box")
    assert b"/dev/pts/" in text
    assert b"33 99" in text
    terminal.resize(40, 120)
    await terminal.write(b"stty size\n")
    await seen(terminal, b"40 120")
    await terminal.write(b"exit\n")
    async with asyncio.timeout(20):
        while await terminal.read():
            pass
    await terminal.close()
    await terminal.close()


async def test_a_terminal_ends_with_its_machine_and_on_closing(runtime: Runtime, tmp_path: Path) -> None:
    await runtime.start(machine(tmp_path, "sleep", "1000"))
    closed = await runtime.terminal("m1", ["sleep", "77777"])
    await closed.close()
    _, out, _ = await runtime.exec("m1", ["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"])
    assert b"77777 " not in out.replace(b"sleep 1000", b"")
    terminal = await runtime.terminal("m1", ["sh"])
    await runtime.stop("m1", grace_s=0)
    async with asyncio.timeout(20):
        while await terminal.read():
            pass
    await terminal.close()


async def test_a_terminal_without_its_program_is_told(runtime: Runtime, tmp_path: Path) -> None:
    await runtime.start(machine(tmp_path, "sleep", "1000"))
    with pytest.raises(PermanentError, match="no terminal"):
        await runtime.terminal("m1", ["/no/such/shell"])
