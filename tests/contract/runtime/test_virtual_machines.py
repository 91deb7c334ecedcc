"""What is different about machines with a kernel of their own."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.contract.runtime.test_machines import spec
from tests.machines import VIRTUAL_MACHINES, cable, needs_engine, needs_root, network_namespaces

from sonata.errors import AdapterError, Unsupported
from sonata.ports.runtime import Bind, HugePages, MachineSpec, RootFs, Runtime

__all__ = ["spec"]  # fixture
ENGINES = VIRTUAL_MACHINES
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.root,
    needs_root,
    needs_engine,
]


Specs = Callable[..., MachineSpec]


async def said(runtime: Runtime, script: str, machine: str = "m1") -> str:
    status, out, err = await runtime.exec(machine, ["sh", "-c", script])
    assert status == 0, err
    return out.decode()


async def test_a_guest_has_a_kernel_and_processes_of_its_own(runtime: Runtime, spec: Specs, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the host's secret")
    await runtime.start(spec("sleep", "1000"))
    assert (await said(runtime, "uname -r")).strip() != platform.release()
    assert (await said(runtime, f"ls -d {secret} 2>/dev/null || echo none")) == "none\n"
    assert (await said(runtime, "mount -t tmpfs none /mnt && touch /mnt/x && ls /mnt")) == "x\n"
    assert (await runtime.exec("m1", ["touch", "/usr/bin/evil"]))[0] != 0
    assert "pids" in runtime.unenforced


async def test_a_manager_cannot_be_virtual(runtime: Runtime, spec: Specs) -> None:
    with pytest.raises(Unsupported, match="network"):
        await runtime.start(spec("sleep", "1000", network_admin=False))


async def test_a_guest_takes_over_the_addresses_of_its_namespace(runtime: Runtime, spec: Specs) -> None:
    with network_namespaces("a", "b") as names:
        cable(names["a"], "eth0", "10.8.0.1/24", names["b"], "eth0", "10.8.0.2/24")
        await runtime.start(spec("sleep", "1000", netns=f"/run/netns/{names['a']}"))
        assert "10.8.0.1/24" in await said(runtime, "ip address show dev eth0")
        before = int(await said(runtime, "cat /sys/class/net/eth0/statistics/rx_packets"))
        assert "3 received" in await said(runtime, "ping -n -c 3 -i 0.2 -W 10 10.8.0.2")
        assert int(await said(runtime, "cat /sys/class/net/eth0/statistics/rx_packets")) >= before + 3
        await runtime.stop("m1")


async def test_folders_of_the_host_come_and_go(runtime: Runtime, spec: Specs, tmp_path: Path) -> None:
    for name in ("fixed", "later"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    disk = RootFs(disk=tmp_path / "disk")
    await runtime.start(spec("sleep", "1000", root=disk, binds=(Bind(tmp_path / "fixed", "/fixed"),)))
    assert await said(runtime, "cat /fixed/file; touch /fixed/new 2>/dev/null || echo refused") == "fixedrefused\n"
    await runtime.attach_folder("m1", Bind(tmp_path / "later", "/later", read_only=False))
    assert await said(runtime, "cat /later/file; echo new > /later/more") == "later"
    assert (tmp_path / "later/more").read_text() == "new\n"
    await runtime.detach_folder("m1", "/later")
    assert await said(runtime, "ls /later") == ""
    await said(runtime, "echo kept > /root/kept")
    assert (tmp_path / "disk/upper/root/kept").read_text() == "kept\n", "what a guest writes is on its disk at once"


async def test_a_guest_without_its_huge_pages_does_not_start(runtime: Runtime, spec: Specs) -> None:
    pages = HugePages(2 * 1024**2, 1 << 50)
    with pytest.raises(AdapterError, match="m1"):
        await runtime.start(spec("sleep", "1000", huge_pages=pages))
