"""The keeper runs out of file descriptors: what fails says so, nothing half-made stays, and it works on afterwards."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from openstack import exceptions

from sonata.sdk.emulation_records import EmulationRecord
from tests.inside import Inside, descriptors_of
from tests.scenario.clouds import FAST, boot, network_of, route, site
from tests.scenario.emu_command import Emu

pytestmark = [pytest.mark.root, pytest.mark.serial]

REASON = "files"
LIMIT = 400
BETWEEN = range(41, 150)
"""With so many left it depends on how many connections a client makes whether it is refused."""
USUAL, RARE = (0,), (1, 3, 8, 20, 40, 60, 70, 100, 150)
"""Numbers of descriptors that are left: none, too few to begin anything, and just enough."""


@contextmanager
def room_for(record: EmulationRecord, count: int) -> Iterator[None]:
    """Leave a keeper so many descriptors, by connections of clients that say nothing."""
    host, _, port = record.url.removeprefix("http://").rpartition(":")
    with ExitStack() as open_now:

        def is_filled() -> bool:
            """Whether it has come to that; what it had open for a moment, and has closed, is made up for."""
            for _ in range(LIMIT - count - len(descriptors_of(record.process.pid))):
                open_now.enter_context(socket.create_connection((host, int(port))))
            time.sleep(FAST)
            return len(descriptors_of(record.process.pid)) >= min(LIMIT - count, LIMIT - 64)

        settled(is_filled)
        yield


@pytest.fixture(scope="module")
def line(shared_emu: Emu) -> Iterator[Emu]:
    """One emulation for all tests of this module."""
    footprint = limited(shared_emu, f"50:{LIMIT}").up()
    yield shared_emu
    shared_emu.ok("down")
    assert footprint.leftovers() == []


@pytest.fixture(scope="module")
def cloud(line: Emu) -> Iterator[Any]:
    """A cloud with a routed network and a server that runs."""
    connection = site(line.record(), "a")
    network = network_of(connection, "10.7.0.0/24", "10.7.0.10", "10.7.0.99")
    route(connection, network)
    boot(connection, "first", network.id)
    line.ok("exec", "a/first", "--", "true")
    yield connection
    connection.close()


def start_a_server(line: Emu, cloud: Any) -> None:
    server = boot(cloud, "second", cloud.network.find_network("inner").id)
    line.ok("exec", "a/second", "--", "true")
    cloud.compute.delete_server(server)
    cloud.compute.wait_for_delete(server, interval=FAST, wait=30)


def run_a_command(line: Emu, cloud: Any) -> None:
    told = line.run("exec", "a/first", "--", "true")
    assert told.returncode == 0, told.stderr


def delay_a_link(line: Emu, cloud: Any) -> None:
    line.ok("link", "set", "b", "c", "--delay", "5ms")
    line.ok("link", "set", "b", "c", "--delay", "0ms", "--rate", "100Mbit")


def chain(line: Emu, cloud: Any) -> None:
    net = cloud.network
    (port,) = net.ports(device_id=cloud.compute.find_server("first").id)
    pair = net.create_sfc_port_pair(ingress=port.id, egress=port.id)
    group = net.create_sfc_port_pair_group(port_pairs=[pair.id])
    classifier = net.create_sfc_flow_classifier(source_ip_prefix="100.64.0.10/32", protocol="icmp", ethertype="IPv4")
    net.create_sfc_port_chain(port_pair_groups=[group.id], flow_classifiers=[classifier.id])


def balance(line: Emu, cloud: Any) -> None:
    (subnet,) = cloud.network.subnets(network_id=cloud.network.find_network("inner").id)
    made = cloud.load_balancer.create_load_balancer(vip_subnet_id=subnet.id)
    cloud.load_balancer.wait_for_load_balancer(made.id, interval=FAST, wait=30)
    cloud.load_balancer.create_listener(load_balancer_id=made.id, protocol="TCP", protocol_port=80)
    cloud.load_balancer.wait_for_load_balancer(made.id, interval=FAST, wait=30)


def add_a_volume(line: Emu, cloud: Any) -> None:
    volume = cloud.block_storage.create_volume(size=1)
    volume = cloud.block_storage.wait_for_status(volume, "available", interval=FAST, wait=30)
    cloud.compute.create_volume_attachment(cloud.compute.find_server("first"), volume_id=volume.id)


WORK = [start_a_server, run_a_command, delay_a_link, chain, balance, add_a_volume]


def clear(line: Emu, cloud: Any) -> None:
    """Delete whatever the work has left, as far as it got."""
    net = cloud.network
    for listing in (net.sfc_port_chains, net.sfc_flow_classifiers, net.sfc_port_pair_groups, net.sfc_port_pairs):
        for found in listing():
            getattr(net, f"delete_{listing.__name__[:-1]}")(found)
    for balancer in cloud.load_balancer.load_balancers():
        settled(
            lambda one=balancer: not cloud.load_balancer.get(f"/lbaas/loadbalancers/{one.id}").text.count("PENDING")
        )
        cloud.load_balancer.delete_load_balancer(balancer, cascade=True)
    first = cloud.compute.find_server("first")
    for attachment in cloud.compute.volume_attachments(first):
        cloud.compute.delete_volume_attachment(first, attachment)
    for server in cloud.compute.servers():
        if server.id != first.id:
            cloud.compute.delete_server(server)
            cloud.compute.wait_for_delete(server, interval=FAST, wait=30)
    for volume in cloud.block_storage.volumes():
        settled(lambda one=volume: cloud.block_storage.get_volume(one).status in ("available", "error"))
        cloud.block_storage.delete_volume(volume)
    settled(lambda: not [*cloud.block_storage.volumes(), *cloud.load_balancer.load_balancers()])


def settled(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "it does not come to that"
        time.sleep(FAST)


@pytest.mark.parametrize("room", [*USUAL, *(pytest.param(count, marks=pytest.mark.slow) for count in RARE)])
def test_what_cannot_be_done_without_descriptors_is_refused_and_leaves_nothing(
    line: Emu, cloud: Any, room: int
) -> None:
    for work in WORK:  # what is kept from the first time on is there
        work(line, cloud)
    clear(line, cloud)
    before = Inside.of(line.record())
    told: dict[str, str] = {}
    with room_for(line.record(), room):
        for work in WORK:
            try:
                work(line, cloud)
            except (exceptions.SDKException, AssertionError) as error:
                told[work.__name__] = str(error)
        assert {server.name for server in cloud.compute.servers()} >= {"first"}
        assert line.json("ls")[0]["state"] == "ready"
    assert all(REASON in reason or "transitioned to failure" in reason for reason in told.values()), told
    assert room in BETWEEN or bool(told) == (room <= BETWEEN[0]), told
    settled(lambda: can_work_again(line, cloud))
    for work in WORK:
        work(line, cloud)
    clear(line, cloud)
    settled(lambda: not Inside.of(line.record()).more_than(before))


def can_work_again(line: Emu, cloud: Any) -> bool:
    clear(line, cloud)
    return line.run("exec", "a/first", "--", "true").returncode == 0


def test_a_limit_that_is_too_low_is_raised_as_far_as_may_be(line: Emu, cloud: Any) -> None:
    pid = line.record().process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (max(descriptors_of(pid)) + 10, hard))
    start_a_server(line, cloud)
    assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (soft, hard)


def test_up_refuses_at_once_what_would_run_out(emu: Emu) -> None:
    refused = limited(emu, "330").run("up", str(emu.topology), "--listen", "127.0.0.1:0", "--detach")
    assert refused.returncode == 1
    assert "needs about 336 open files, and a process may have 330 here" in refused.stderr
    assert "prlimit --nofile" in refused.stderr
    assert emu.state_files() == []


def test_up_with_just_enough_files_works(emu: Emu) -> None:
    footprint = limited(emu, "50:400").up()
    cloud = site(emu.record(), "a")
    network = network_of(cloud, "10.7.0.0/24", "10.7.0.10", "10.7.0.99")
    assert boot(cloud, "first", network.id).status == "ACTIVE"
    cloud.close()
    emu.ok("down")
    assert footprint.leftovers() == []


def limited(emu: Emu, most: str) -> Emu:
    """The same command with other limits of open files."""
    emu._prefix = ["prlimit", f"--nofile={most}"]
    return emu
