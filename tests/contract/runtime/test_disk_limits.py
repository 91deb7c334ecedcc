"""What machines write to their root is bounded by the size of their disk, in bytes and in files, and kept with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.contract.runtime.test_machines import spec
from tests.machines import PROCESSES, loop_files, needs_engine, needs_root

from sonata.errors import AdapterError, PermanentError
from sonata.ports.runtime import Attached, Limits, MachineSpec, RootFs, Runtime

__all__ = ["spec"]  # fixture
ENGINES = PROCESSES
pytestmark = [pytest.mark.anyio, pytest.mark.root, needs_root, needs_engine]

Specs = Callable[..., MachineSpec]
MIB = 1024**2
SIZE = 16 * MIB

FILL = """
import errno, os, sys
folder, what = sys.argv[1:]
count = 0
try:
    while count < 1_000_000:
        with open(f"{folder}/file{count}", "wb") as file:
            if what == "bytes":
                while True:
                    count += os.write(file.fileno(), bytes(65536))
        count += 1
except OSError as error:
    print(count, errno.errorcode[error.errno])
"""


@pytest.fixture(autouse=True)
def bounded(runtime: Runtime) -> None:
    """Where disks have no size that is told; there is nothing to try then."""
    if why := runtime.unenforced.get("disk"):
        assert "loop devices" in why or "without root" in why or "not installed" in why
        pytest.skip(why)


def limited(spec: Specs, size: int = SIZE, **changes: object) -> MachineSpec:
    return spec(**{"limits": Limits(disk_bytes=size), **changes})


async def run(runtime: Runtime, *argv: str, machine: str = "m1") -> str:
    status, out, why = await runtime.exec(machine, argv)
    assert status == 0, why.decode()
    return out.decode().strip()


async def filled(runtime: Runtime, folder: str, what: str) -> tuple[int, str]:
    """How much went into a folder of a machine, and how that ended."""
    count, error = (await run(runtime, "python3", "-c", FILL, folder, what)).split()
    return int(count), error


async def test_a_disk_has_its_size_and_no_more_goes_in(runtime: Runtime, spec: Specs) -> None:
    await runtime.start(limited(spec))
    await runtime.start(limited(spec, id="m2"))
    shown = (await run(runtime, "df", "--block-size=1", "--output=size", "/")).split()[-1]
    assert int(shown) == SIZE
    written, error = await filled(runtime, "/root", "bytes")
    assert error == "ENOSPC"
    assert 0.8 * SIZE < written < SIZE
    await run(runtime, "sh", "-c", "echo still > /root/file && cat /root/file", machine="m2")
    await run(runtime, "sh", "-c", "rm /root/file* && echo again > /root/file")


async def test_a_disk_takes_so_many_files(runtime: Runtime, spec: Specs) -> None:
    await runtime.start(limited(spec))
    made, error = await filled(runtime, "/tmp", "files")
    assert error == "ENOSPC"
    assert made <= SIZE // 16384


async def test_memory_is_no_way_around_the_disk(runtime: Runtime, spec: Specs) -> None:
    await runtime.start(limited(spec))
    for folder in ("/dev/shm", "/dev"):
        written, error = await filled(runtime, folder, "bytes")
        assert (written <= 64 * MIB, error) == (True, "ENOSPC"), folder
        await run(runtime, "sh", "-c", f"rm {folder}/file*")
        made, error = await filled(runtime, folder, "files")
        assert (made <= 65536, error) == (True, "ENOSPC"), folder
        await run(runtime, "sh", "-c", f"cd {folder}; ls | grep ^file | xargs rm")
    on_disk = await run(runtime, "stat", "--file-system", "--format=%i", "/")
    for folder in ("/tmp", "/run", "/var/tmp", "/root"):
        assert await run(runtime, "stat", "--file-system", "--format=%i", folder) == on_disk, folder


async def test_a_disk_is_kept_and_gets_its_size_at_each_start(runtime: Runtime, spec: Specs, tmp_path: Path) -> None:
    kept = RootFs(disk=tmp_path / "disk")
    for size in (SIZE, 4 * SIZE, SIZE):
        await runtime.start(limited(spec, size, root=kept))
        assert int((await run(runtime, "df", "--block-size=1", "--output=size", "/")).split()[-1]) == size
        await run(runtime, "sh", "-c", "date >> /root/kept")
        async with runtime.disk_content(tmp_path / "disk") as content:
            assert (content / "upper/root/kept").exists()
        await runtime.stop("m1", grace_s=0)
        assert loop_files(tmp_path) == []
    async with runtime.disk_content(tmp_path / "disk") as content:
        assert len((content / "upper/root/kept").read_text().splitlines()) == 3
    assert (tmp_path / "disk").stat().st_mode & 0o077 == 0o055
    image = next((tmp_path / "disk").iterdir())
    assert image.stat().st_size == SIZE
    assert image.stat().st_blocks * 512 < MIB, "a disk costs what is on it"


async def test_a_disk_is_not_made_smaller_than_what_is_on_it(runtime: Runtime, spec: Specs, tmp_path: Path) -> None:
    kept = RootFs(disk=tmp_path / "disk")
    await runtime.start(limited(spec, 4 * SIZE, root=kept))
    await run(runtime, "dd", "if=/dev/zero", "of=/root/much", "bs=1M", "count=32")
    await runtime.stop("m1", grace_s=0)
    await runtime.start(limited(spec, SIZE, root=kept))
    assert (await run(runtime, "stat", "--format=%s", "/root/much")) == str(32 * MIB)


async def test_what_is_deleted_gives_its_room_back_to_the_host(runtime: Runtime, spec: Specs, tmp_path: Path) -> None:
    await runtime.start(limited(spec, 4 * SIZE, root=RootFs(disk=tmp_path / "disk")))
    image = next((tmp_path / "disk").iterdir())
    await run(runtime, "dd", "if=/dev/zero", "of=/root/much", "bs=1M", "count=32", "conv=fsync")
    assert image.stat().st_blocks * 512 > 32 * MIB
    await run(runtime, "sh", "-c", "rm /root/much; sync -f /root")
    assert image.stat().st_blocks * 512 < 4 * MIB


async def test_each_root_of_a_machine_has_a_size(runtime: Runtime, spec: Specs, tmp_path: Path) -> None:
    await runtime.start(limited(spec, attached=(Attached(RootFs(disk=tmp_path / "own"), "/mnt"),)))
    for folder in ("/mnt/root", "/root"):
        written, error = await filled(runtime, folder, "bytes")
        assert (written < SIZE, error) == (True, "ENOSPC")


async def test_a_running_machine_keeps_its_size(runtime: Runtime, spec: Specs) -> None:
    await runtime.start(limited(spec))
    with pytest.raises(AdapterError, match="started anew"):
        await runtime.set_limits("m1", Limits(disk_bytes=2 * SIZE))
    await runtime.set_limits("m1", Limits(cpus=0.5, disk_bytes=SIZE))


async def test_a_start_that_fails_leaves_its_disk_and_no_device(runtime: Runtime, spec: Specs, tmp_path: Path) -> None:
    kept = RootFs(disk=tmp_path / "disk")
    with pytest.raises(PermanentError):
        await runtime.start(limited(spec, root=kept, argv=("/no/such/program",)))
    assert loop_files(tmp_path) == []
    with pytest.raises(PermanentError, match="does not exist"):
        await runtime.start(limited(spec, root=RootFs((tmp_path / "none",), disk=tmp_path / "disk")))
    assert loop_files(tmp_path) == []
    await runtime.start(limited(spec, root=kept))


async def test_quick_restarts_beside_others_find_their_disk(runtime: Runtime, spec: Specs, tmp_path: Path) -> None:
    async def live(name: str) -> None:
        for life in range(1, 6):
            root = RootFs(disk=tmp_path / name)
            await runtime.start(limited(spec, id=name, root=root, argv=("/bin/sh", "-c", "date >> /root/n; sleep 9")))
            lines = "$(wc -l < /root/n 2>/dev/null)"
            await run(runtime, "sh", "-c", f'until [ "{lines}" = {life} ]; do sleep 0.01; done', machine=name)
            await runtime.stop(name, grace_s=0)

    await asyncio.gather(*(live(f"m{number}") for number in range(3)))
    for number in range(3):
        async with runtime.disk_content(tmp_path / f"m{number}") as content:
            assert len((content / "upper/root/n").read_text().splitlines()) == 5
