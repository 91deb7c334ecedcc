"""The disk on which an emulation keeps its state fills up: what fails says why, and what was done is not lost."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.scenario.clouds import FAST, boot, network_of, site
from tests.scenario.emu_command import Emu, kill, settle

pytestmark = [pytest.mark.root, pytest.mark.serial]

# Emulations are started by the command here: others come from a template, which need not see what is mounted later.
SIZE_MIB = 24


@pytest.fixture
def disk(emu: Emu) -> Iterator[Path]:
    """A small disk that holds the state of the emulation."""
    state = emu.home / "state"
    state.mkdir()
    file = emu.home / "disk"
    with file.open("wb") as stream:
        stream.truncate(SIZE_MIB * 2**20)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", file], check=True)
    subprocess.run(["mount", "-o", "loop", file, state], check=True)
    (state / "lost+found").rmdir()
    try:
        yield state
    finally:
        emu.close()
        subprocess.run(["umount", state], check=True)


def fill(disk: Path) -> Path:
    """Leave no byte."""
    ballast = disk / "ballast"
    subprocess.run(["dd", "if=/dev/zero", f"of={ballast}", "bs=4k"], capture_output=True, check=False)
    return ballast


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "it does not come to that"
        time.sleep(FAST)


def test_a_full_disk_is_told_and_nothing_is_lost_once_there_is_room(emu: Emu, disk: Path) -> None:
    emu.up_by_command()
    cloud = site(emu.record(), "a")
    network = network_of(cloud, "10.7.0.0/24", "10.7.0.10", "10.7.0.99")
    first = boot(cloud, "first", network.id)
    boot(cloud, "busy", network.id)
    emu.ok("exec", "a/busy", "--", "true")
    settle()
    ballast = fill(disk)

    second = boot(cloud, "second", network.id)  # idle until somebody wants something of it
    refused = emu.run("exec", "a/second", "--", "true")
    assert refused.returncode == 1
    assert "No space left on device" in refused.stderr
    write = "dd if=/dev/zero of=/root/file bs=1M count=1"
    assert "No space left on device" in emu.run("exec", "a/first", "--", "sh", "-c", write).stderr
    much = emu.run("exec", "a/busy", "--", "sh", "-c", f"{write} conv=fsync")
    assert "fsync failed" in much.stderr, "its own disk has room, the host's has none"
    until(lambda: "disk.full" in emu.ok("events", "--no-follow"))
    assert {cloud.compute.get_server(server).status for server in (first, second)} == {"ACTIVE"}
    late = cloud.network.create_network(name="late")
    until(lambda: "would not survive the emulation's death" in emu.ok("logs"))

    ballast.unlink()
    until(lambda: "written down again" in emu.ok("logs"))
    until(lambda: "disk.room" in emu.ok("events", "--no-follow"))
    emu.ok("exec", "a/busy", "--", "sh", "-c", f"{write} conv=fsync")
    assert emu.run("exec", "a/second", "--", "true").returncode == 0
    settle()
    kill(emu)
    emu.up_by_command()
    assert cloud.network.get_network(late.id).name == "late"
    assert {server.name for server in cloud.compute.servers()} == {"first", "second", "busy"}
    cloud.close()
    emu.ok("down")
    assert emu.state_files() == []


@pytest.mark.slow
def test_an_image_that_does_not_fit_is_refused_and_waits_for_data(emu: Emu, tmp_path: Path) -> None:
    images = emu.home / "share" / "images"
    images.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", images], check=True)
    try:
        emu.up_by_command()
        cloud = site(emu.record(), "a")
        image = cloud.image.create_image(name="big", disk_format="raw", container_format="bare", wait=False)
        answer = cloud.image.put(
            f"/images/{image.id}/file",
            data=bytes(2 * SIZE_MIB * 2**20),
            headers={"Content-Type": "application/octet-stream"},
        )
        assert answer.status_code == 413, answer.text
        assert cloud.image.get_image(image.id).status == "queued"
        small = cloud.image.put(
            f"/images/{image.id}/file", data=bytes(1000), headers={"Content-Type": "application/octet-stream"}
        )
        assert small.status_code == 204, small.text
        assert cloud.image.get_image(image.id).status == "active"
        cloud.close()
        emu.ok("down")
    finally:
        emu.close()
        subprocess.run(["umount", images], check=True)
