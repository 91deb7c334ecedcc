"""What runs out, and what is killed, on one running emulation: each ends in a true state, which says what happened."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from openstack import exceptions

from tests.proving import let_it_prove_itself
from tests.scenario.clouds import FAST, boot, network_of, site
from tests.scenario.emu_command import ORIGIN, Emu

pytestmark = [pytest.mark.root, pytest.mark.serial]

SLEEP_S = "98765"
SERVERS = f"""
servers:
  glutton: {{pop: b, command: [sh, -c, "until [ -e /tmp/eat ]; do sleep 0.1; done; exec tail /dev/zero"]}}
  victim: {{pop: b, command: [sleep, "{SLEEP_S}"]}}
"""


@pytest.fixture(scope="module")
def line(shared_emu: Emu) -> Iterator[Emu]:
    """One emulation for all tests of this module; PoP c is small."""
    text = shared_emu.topology.read_text().replace("c: {}", "c: {cpus: 2, memory: 256MiB}")
    shared_emu.topology.write_text(text + SERVERS)
    footprint = shared_emu.up()
    yield shared_emu
    shared_emu.ok("down")
    assert footprint.leftovers() == []


@pytest.fixture(params=["a"])
def cloud(line: Emu, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The cloud of a PoP."""
    connection = site(line.record(), request.param)
    yield connection
    connection.close()


on_b = pytest.mark.parametrize("cloud", ["b"], indirect=True)
on_c = pytest.mark.parametrize("cloud", ["c"], indirect=True)


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "it does not come to that"
        time.sleep(FAST)


def settled(cloud: Any, name: str, status: str) -> Any:
    """A server, read anew once it has this status."""
    server = cloud.compute.find_server(name)
    cloud.compute.wait_for_server(server, status=status, failures=[], interval=FAST, wait=30)
    return cloud.compute.get_server(server.id)


@on_b
def test_a_vnf_that_eats_its_memory_is_off_and_says_so(line: Emu, cloud: Any) -> None:
    let_it_prove_itself(settled(cloud, "glutton", "ACTIVE"))
    assert line.run("exec", "b/glutton", "--", "touch", "/tmp/eat").returncode == 0
    ended = settled(cloud, "glutton", "SHUTOFF")
    assert "out of memory: limit is 64 MiB" in ended.fault["message"]
    assert [port.status for port in cloud.network.ports(device_id=ended.id)] == ["DOWN"]
    refused = line.run("exec", "b/glutton", "--", "true")
    assert refused.returncode == 6
    assert "SHUTOFF" in refused.stderr


@on_b
def test_a_killed_vnf_is_off_and_can_be_started_again(line: Emu, cloud: Any) -> None:
    keeper = psutil.Process(line.record().process.pid)
    (program,) = [one for one in keeper.children(recursive=True) if one.cmdline() == ["sleep", SLEEP_S]]
    let_it_prove_itself(settled(cloud, "victim", "ACTIVE"))
    os.kill(program.pid, signal.SIGKILL)
    ended = settled(cloud, "victim", "SHUTOFF")
    assert "killed by SIGKILL" in ended.fault["message"]
    cloud.compute.start_server(ended)
    again = settled(cloud, "victim", "ACTIVE")
    assert not again.fault
    assert line.run("exec", "b/victim", "--", "true").returncode == 0


def test_a_killed_wire_process_is_replaced_and_links_do_again_what_was_declared(line: Emu) -> None:
    def wires() -> list[int]:
        pids = [child.pid for child in psutil.Process(line.record().process.pid).children(recursive=True)]
        return [pid for pid in pids if b"wire.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    (wire,) = wires()
    os.kill(wire, signal.SIGKILL)
    until(lambda: wires() not in ([], [wire]))
    assert line.run("exec", "users", "--", "ping", "-c", "2", "-W", "2", ORIGIN).returncode == 0
    links = {link["name"]: link["up"] for link in line.json("link", "ls")}
    assert links == dict.fromkeys(("ab", "bc", "access-users", "access-origin"), True)
    assert "wire process was killed by signal 9" in line.ok("logs")


def test_a_subnet_without_addresses_refuses_ports_and_servers_until_one_is_free(cloud: Any) -> None:
    network = network_of(cloud, "10.8.0.0/24", "10.8.0.10", "10.8.0.11")
    ports = [cloud.network.create_port(network_id=network.id) for _ in range(2)]
    with pytest.raises(exceptions.ConflictException, match="No more IP addresses available"):
        cloud.network.create_port(network_id=network.id)
    with pytest.raises(exceptions.ResourceFailure):
        boot(cloud, "homeless", network.id)
    failed = cloud.compute.get_server(cloud.compute.find_server("homeless"))
    assert "No more IP addresses available" in failed.fault["message"]
    assert list(cloud.network.ports(device_id=failed.id)) == []
    cloud.compute.delete_server(failed)
    cloud.compute.wait_for_delete(failed, interval=FAST, wait=30)
    for port in ports:
        cloud.network.delete_port(port)
    assert boot(cloud, "housed", network.id).status == "ACTIVE"


def test_quotas_name_what_is_exhausted_and_give_back_what_is_deleted(cloud: Any) -> None:
    project = cloud.session.get_project_id()
    used = cloud.network.get_quota(project, details=True).networks["used"]
    cloud.network.update_quota(project, networks=used + 1)
    network = cloud.network.create_network(name="last")
    with pytest.raises(exceptions.ConflictException, match=r"Quota exceeded for resources.*network"):
        cloud.network.create_network(name="too much")
    cloud.network.delete_network(network)
    assert cloud.network.create_network(name="last")
    cloud.network.delete_quota(project)


def test_a_full_volume_refuses_more_and_keeps_what_it_has(line: Emu, cloud: Any) -> None:
    image, flavor = cloud.image.find_image("host"), cloud.compute.find_flavor("tiny")
    server = cloud.compute.create_server(name="hoarder", image_id=image.id, flavor_id=flavor.id, networks="none")
    server = cloud.compute.wait_for_server(server, interval=FAST, wait=30)
    volume = cloud.block_storage.create_volume(size=1)
    cloud.block_storage.wait_for_status(volume, "available", interval=FAST, wait=30)
    cloud.compute.create_volume_attachment(server, volume_id=volume.id)
    fill = "cd /mnt/vdb && echo kept > first && fallocate -l 2G second"
    full = line.run("exec", "a/hoarder", "--", "sh", "-c", fill)
    assert full.returncode != 0
    assert "No space left on device" in full.stderr
    assert line.ok("exec", "a/hoarder", "--", "cat", "/mnt/vdb/first") == "kept\n"
    assert cloud.compute.get_server(server).status == "ACTIVE"


@on_c
def test_a_site_without_room_says_that_no_host_fits(cloud: Any) -> None:
    flavor = cloud.compute.create_flavor(name="half", vcpus=1, ram=128, disk=0)
    image = cloud.image.find_image("host")

    def more(name: str) -> Any:
        made = cloud.compute.create_server(name=name, image_id=image.id, flavor_id=flavor.id, networks="none")
        return cloud.compute.wait_for_server(made, interval=FAST, wait=30)

    first, _ = more("first"), more("second")
    with pytest.raises(exceptions.ResourceFailure):
        more("third")
    third = cloud.compute.get_server(cloud.compute.find_server("third"))
    assert (third.status, third.fault["code"]) == ("ERROR", 500)
    assert "No valid host was found" in third.fault["message"]
    cloud.compute.delete_server(first)
    cloud.compute.wait_for_delete(first, interval=FAST, wait=30)
    assert more("fourth").status == "ACTIVE"
