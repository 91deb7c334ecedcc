"""Huge pages of machines, counted by the kernel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.machines import PROCESSES

from sonata._lib.huge_pages import free_huge_pages
from sonata.errors import AdapterError
from sonata.ports.runtime import HugePages, MachineSpec, RootFs, Runtime

SIZE_KIB, PAGES = 2048, 4
POOL = Path(f"/sys/kernel/mm/hugepages/hugepages-{SIZE_KIB}kB/nr_hugepages")
FILL = (
    "import mmap, os; f = os.open('/dev/hugepages/x', os.O_CREAT | os.O_RDWR); "
    f"os.ftruncate(f, {PAGES * SIZE_KIB * 1024}); "
    f"m = mmap.mmap(f, {PAGES * SIZE_KIB * 1024}); m[0] = 1; print(len(m))"
)
ENGINES = PROCESSES
pytestmark = [pytest.mark.root, pytest.mark.serial]


@pytest.fixture
def reserved() -> Iterator[int]:
    """Free huge pages, at least as many as a machine needs; the host has as many as before afterwards."""
    if os.geteuid() != 0 or not os.access(POOL, os.W_OK):
        pytest.skip("needs root, and a kernel with huge pages")
    before = int(POOL.read_text())
    try:
        POOL.write_text(str(before + PAGES))
        free = free_huge_pages().get(SIZE_KIB, 0)
        if free < PAGES:
            pytest.skip("this host has no memory left in pieces of 2 MiB")
        yield free
    finally:
        POOL.write_text(str(before))


def spec(folder: Path, name: str, pages: int) -> MachineSpec:
    size = SIZE_KIB * 1024
    wanted = HugePages(size, pages * size)
    return MachineSpec(name, "box", RootFs(), ("sleep", "1000"), folder / "console", huge_pages=wanted)


async def test_pages_are_a_machines_own_while_it_runs(runtime: Runtime, tmp_path: Path, reserved: int) -> None:
    await runtime.start(spec(tmp_path, "m1", PAGES))
    assert free_huge_pages()[SIZE_KIB] == reserved - PAGES
    status, out, err = await runtime.exec("m1", ["python3", "-c", FILL])
    if b"not found" in err:
        pytest.skip("the host has no python3 to map pages with")
    assert (status, int(out)) == (0, PAGES * SIZE_KIB * 1024), err
    full = FILL.replace("/x", "/y")
    assert (await runtime.exec("m1", ["python3", "-c", full]))[0] != 0  # it has no more than its own
    await runtime.stop("m1")
    assert free_huge_pages()[SIZE_KIB] == reserved


async def test_a_machine_does_not_start_without_its_pages(runtime: Runtime, tmp_path: Path, reserved: int) -> None:
    with pytest.raises(AdapterError):
        await runtime.start(spec(tmp_path, "m1", reserved + 1))
    assert free_huge_pages()[SIZE_KIB] == reserved
