"""Virtual machines that boot a disk: its system is its own, its disk a layer over an image that nobody changes."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.contract.runtime.test_machines import Exits, spec
from tests.disk_image import SIZE_MIB, UP, as_qcow2, bootable_disk
from tests.machines import DIRECT, VIRTUAL_MACHINES, cable, ip, needs_engine, needs_root, network_namespaces

from sonata.errors import AdapterError, Conflict, Unsupported
from sonata.ports.runtime import Bind, DiskImage, Limits, MachineSpec, RootFs, Runtime, Terminal

__all__ = ["spec"]  # fixture
ENGINES = VIRTUAL_MACHINES
pytestmark = [pytest.mark.anyio, pytest.mark.root, needs_root, needs_engine]

Specs = Callable[..., MachineSpec]
BOOTS_S = 120


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bootable_disk(tmp_path_factory.mktemp("image"))


@pytest.fixture
def boots(spec: Specs, disk: Path, tmp_path: Path) -> Callable[..., MachineSpec]:
    def make(image: DiskImage | None = None, **changes: object) -> MachineSpec:
        root = RootFs(image=image or DiskImage(disk, "raw"), disk=tmp_path / "own")
        return spec(**{"root": root, "limits": Limits(memory_bytes=192 * 1024**2), **changes})

    return make


async def said(console: Path, wanted: str) -> str:
    """What a console says, once it says what is wanted."""
    async with asyncio.timeout(BOOTS_S):
        while not console.exists() or not re.search(wanted, text := console.read_text(errors="replace")):
            await asyncio.sleep(0.1)
    return text


async def answered(terminal: Terminal, typed: str, wanted: bytes) -> bytes:
    """What comes on a serial console after something was typed."""
    await terminal.write(typed.encode())
    heard = b""
    async with asyncio.timeout(BOOTS_S):
        while not re.search(wanted, heard):
            heard += await terminal.read()
    return heard


async def test_a_disk_boots_its_own_system_and_keeps_what_it_writes(
    runtime: Runtime, boots: Specs, disk: Path, tmp_path: Path
) -> None:
    before = hashlib.sha256(disk.read_bytes()).digest()
    exits = Exits()
    await runtime.start(boots(), exits)
    assert f"boot 1 of a disk of {SIZE_MIB} MiB" in await said(tmp_path / "console", UP)
    assert (await runtime.usage("m1")).memory_bytes > 0
    await runtime.pause("m1")
    await runtime.resume("m1")
    await runtime.stop("m1", grace_s=BOOTS_S)
    assert "powered off by its button" in (tmp_path / "console").read_text()
    assert exits.seen == []
    larger = DiskImage(disk, "raw", size_bytes=2 * SIZE_MIB * 1024**2)
    await runtime.start(boots(larger, root=RootFs(image=larger, disk=tmp_path / "own")), exits)
    await said(tmp_path / "console", f"boot 2 of a disk of {2 * SIZE_MIB} MiB")
    await runtime.stop("m1", grace_s=0)
    assert hashlib.sha256(disk.read_bytes()).digest() == before, "the image was changed"


async def test_a_serial_console_is_open_to_one(runtime: Runtime, boots: Specs, disk: Path, tmp_path: Path) -> None:
    exits = Exits()
    image = DiskImage(as_qcow2(disk), "qcow2")
    await runtime.start(boots(image, root=RootFs(image=image)), exits)
    with pytest.raises(Unsupported, match="serial console"):
        await runtime.exec("m1", ["true"])
    terminal = await runtime.terminal("m1", [])
    await said(tmp_path / "console", UP)
    assert b"42" in await answered(terminal, "echo $((6 * 7))\n", rb"42\r\n")
    with pytest.raises(Conflict, match="only one"):
        await runtime.terminal("m1", [])
    await terminal.close()
    again = await runtime.terminal("m1", [])
    await answered(again, "poweroff -f\n", b"poweroff")
    ended = await exits.first()
    assert (ended.machine, ended.status) == ("m1", 0)
    await again.close()


async def test_a_disk_has_the_ports_of_its_machine_and_folders_as_disks(
    runtime: Runtime, boots: Specs, tmp_path: Path
) -> None:
    (tmp_path / "drive/openstack/latest").mkdir(parents=True)
    (tmp_path / "drive/openstack/latest/meta_data.json").write_text('{"uuid": "4711"}')
    with network_namespaces("a", "b") as names:
        cable(names["a"], "eth0", "10.8.0.1/24", names["b"], "eth0", "10.8.0.2/24")
        await runtime.start(
            boots(netns=f"/run/netns/{names['a']}", binds=(Bind(tmp_path / "drive", "/config-2"),), argv=())
        )
        terminal = await runtime.terminal("m1", [])
        text = await said(tmp_path / "console", UP)
        assert re.search(r'config drive config-2: {"uuid": "4711"}', text)
        await answered(terminal, "ifconfig eth0 10.8.0.1 && echo r''eady\n", b"ready")
        await asyncio.to_thread(ip, "netns", "exec", names["b"], "ping", "-c", "3", "-W", "20", "10.8.0.1")
        await terminal.close()
        await runtime.stop("m1", grace_s=0)


async def test_a_disk_too_small_for_its_image_is_told(runtime: Runtime, boots: Specs, disk: Path) -> None:
    small = DiskImage(disk, "raw", size_bytes=1024**2)
    with pytest.raises(AdapterError, match="too small for an image"):
        await runtime.start(boots(small, root=RootFs(image=small)))


async def test_a_disk_goes_with_no_root_of_ours(runtime: Runtime, boots: Specs, disk: Path, tmp_path: Path) -> None:
    from sonata.ports.runtime import Attached

    with pytest.raises(Unsupported, match="cannot have both"):
        await runtime.start(boots(attached=(Attached(RootFs(disk=tmp_path / "other"), "/mnt"),)))


async def test_confined_processes_boot_no_disk(spec: Specs, tmp_path: Path, prefix: str) -> None:
    from tests.machines import enter_private_mounts

    from sonata.adapters.runtime_oci import OciRuntime

    enter_private_mounts()
    runtime = OciRuntime(tmp_path / "runtime", prefix, engines=DIRECT)
    try:
        with pytest.raises(Unsupported, match="virtual machines alone"):
            await runtime.start(spec(root=RootFs(image=DiskImage(tmp_path / "disk", "raw"))))
    finally:
        await runtime.close()
