"""Disks of servers have the size of their flavor, whatever is done with servers, and outlive the keeper."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.machines import loop_files
from tests.scenario.clouds import FAST, network_of, site
from tests.scenario.emu_command import Emu, kill, settle

pytestmark = [pytest.mark.root, pytest.mark.serial]

SMALL, MEDIUM = 1, 4
DECLARED = """
servers:
  declared: {pop: a, image: host, flavor: medium, command: [sleep, infinity]}
"""


@pytest.fixture
def cloud(emu: Emu) -> Iterator[Any]:
    """The cloud of the first PoP, in which the topology has a server with a program."""
    with emu.topology.open("a") as topology:
        topology.write(DECLARED)
    emu.up()
    connection = site(emu.record(), "a")
    yield connection
    connection.close()


def size(emu: Emu, machine: str) -> int:
    """What a machine sees of its disk, in GiB."""
    return int(emu.ok("exec", machine, "--", "df", "--block-size=1G", "--output=size", "/").split()[-1])


def open_disks(emu: Emu) -> list[str]:
    """Disks of servers that are in use."""
    return loop_files(emu.home / "state/emulations" / emu.name / "clouds")


def released(emu: Emu) -> None:
    """Wait until no loop device is left: the kernel ends what a killed process had a moment after the process."""
    deadline = time.monotonic() + 30
    while found := loop_files(emu.home):
        assert time.monotonic() < deadline, found
        time.sleep(FAST)


def boot_small(emu: Emu, cloud: Any) -> Any:
    """A server that is awake."""
    network = network_of(cloud, "10.7.0.0/24", "10.7.0.10", "10.7.0.99")
    image, flavor = cloud.image.find_image("host").id, cloud.compute.find_flavor("small").id
    wanted = {"name": "box", "image_id": image, "flavor_id": flavor, "networks": [{"uuid": network.id}]}
    server = cloud.compute.wait_for_server(cloud.compute.create_server(**wanted), interval=FAST, wait=30)
    emu.ok("exec", "a/box", "--", "true")
    return server


def reached(cloud: Any, server: Any, status: str) -> None:
    """Wait until a server has a status, and nothing goes on with it any more."""
    server = cloud.compute.wait_for_server(cloud.compute.get_server(server), status=status, interval=FAST, wait=60)
    deadline = time.monotonic() + 30
    while cloud.compute.get_server(server).task_state:
        assert time.monotonic() < deadline
        time.sleep(FAST)


def test_a_disk_goes_through_resizes_snapshots_and_rebuilds(emu: Emu, cloud: Any) -> None:
    server = boot_small(emu, cloud)
    assert size(emu, "a/box") == SMALL
    emu.ok("exec", "a/box", "--", "sh", "-c", "echo kept > /root/note")
    cloud.compute.resize_server(server, cloud.compute.find_flavor("medium"))
    reached(cloud, server, "VERIFY_RESIZE")
    assert size(emu, "a/box") == MEDIUM
    assert emu.ok("exec", "a/box", "--", "cat", "/root/note") == "kept\n"
    cloud.compute.revert_server_resize(server)
    reached(cloud, server, "ACTIVE")
    assert size(emu, "a/box") == SMALL

    running = cloud.compute.create_server_image(server, "of-running", wait=True)
    cloud.compute.stop_server(server)
    reached(cloud, server, "SHUTOFF")
    assert len(open_disks(emu)) == 1, "the declared server alone has its disk open"
    stopped = cloud.compute.create_server_image(server, "of-stopped", wait=True)
    reached(cloud, server, "SHUTOFF")
    assert len(open_disks(emu)) == 1
    for image in (running, stopped):
        cloud.compute.rebuild_server(server, image=image.id, name="box")
        reached(cloud, server, "SHUTOFF")
    cloud.compute.start_server(server)
    reached(cloud, server, "ACTIVE")
    assert emu.ok("exec", "a/box", "--", "cat", "/root/note") == "kept\n"
    assert size(emu, "a/box") == SMALL
    cloud.compute.delete_server(server)
    cloud.compute.wait_for_delete(server, interval=FAST, wait=30)
    assert len(open_disks(emu)) == 1
    emu.ok("down")
    assert loop_files(emu.home) == []


def test_a_disk_outlives_the_keeper_and_no_device_does(emu: Emu, cloud: Any) -> None:
    server = boot_small(emu, cloud)
    emu.ok("exec", "a/box", "--", "sh", "-c", "echo kept > /root/note; dd if=/dev/zero of=/root/much bs=1M count=64")
    assert len(open_disks(emu)) == 2
    settle()
    kill(emu)
    emu.up()
    again = site(emu.record(), "a")
    again.compute.start_server(server)
    reached(again, server, "ACTIVE")
    assert emu.ok("exec", "a/box", "--", "sh", "-c", "cat /root/note; stat -c %s /root/much") == f"kept\n{64 * 2**20}\n"
    assert (size(emu, "a/box"), size(emu, "a/declared")) == (SMALL, MEDIUM)
    again.close()
    emu.ok("down")
    assert loop_files(emu.home) == []
    assert emu.state_files() == []


def test_nothing_of_disks_is_left_when_a_killed_emulation_is_given_up(emu: Emu, cloud: Any) -> None:
    boot_small(emu, cloud)
    assert open_disks(emu) != []
    kill(emu)
    released(emu)
    emu.ok("down", "--name", emu.name)
    assert emu.state_files() == []


def test_what_a_topology_declares_has_a_disk_too(emu: Emu, cloud: Any) -> None:
    assert size(emu, "a/declared") == MEDIUM
    for endpoint in ("users", "origin"):  # an idle one, and one with a program
        assert size(emu, endpoint) == 1
    emu.ok("down")
    assert loop_files(emu.home) == []
