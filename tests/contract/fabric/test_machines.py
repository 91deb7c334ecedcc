"""Machines, their ports and routes; what close() leaves."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from sonata.adapters.fabric_linux import LinuxFabric
from sonata.errors import Conflict, NotFound
from sonata.model.topology import Impairment
from sonata.ports.fabric import EXTERNAL, NetworkSpec

from .conftest import World, external, tenant


def interfaces(world: World, machine: str) -> list[str]:
    names = world.run(machine, "ls", "/proc/self/net/dev_mcast").stdout
    listed = world.run(machine, "ip", "-o", "link").stdout
    assert names
    return sorted(line.split(": ")[1].partition("@")[0] for line in listed.splitlines())


def test_a_machine_sees_its_interfaces_and_no_more(world: World) -> None:
    world.pops(1)
    tenant(world, 0, "blue")
    world.machine("web", world.port("web", 0, "blue", "10.0.0.5/24", "10.0.0.1"))
    assert interfaces(world, "web") == ["eth0", "lo"]
    link = world.run("web", "ip", "-o", "link", "show", "eth0").stdout
    assert "mtu 1500" in link
    assert "02:00:00:00:00:01" in link
    assert world.run("web", "ip", "-6", "addr").stdout == ""
    assert world.reaches("web", "127.0.0.1")


def test_two_machines_of_a_network_reach_each_other_at_once(world: World) -> None:
    world.pops(1)
    tenant(world, 0, "blue", router=False)
    for number in range(5):
        world.machine(f"m{number}", world.port(f"m{number}", 0, "blue", f"10.0.0.{10 + number}/24"))
        if number:
            assert world.reaches(f"m{number}", "10.0.0.10")


def test_networks_with_equal_addresses_are_apart(world: World) -> None:
    world.pops(1)
    for name in ("blue", "red"):
        tenant(world, 0, name, router=False)
        world.machine(f"{name}-a", world.port(f"{name}-a", 0, name, "10.0.0.10/24"))
        world.machine(f"{name}-b", world.port(f"{name}-b", 0, name, "10.0.0.11/24"))
    world.machine("red-c", world.port("red-c", 0, "red", "10.0.0.12/24"))
    before = world.received("red-b-eth0")
    assert world.ping("blue-a", "10.0.0.11").received == 3
    assert world.received("red-b-eth0") == before
    assert not world.reaches("blue-a", "10.0.0.12")
    assert world.reaches("red-a", "10.0.0.12")


def test_the_first_interface_with_a_gateway_has_the_default_route_and_each_has_its_table(world: World) -> None:
    world.pops(1)
    for name, subnet in (("left", "10.0.1.0/24"), ("right", "10.0.2.0/24")):
        tenant(world, 0, name, subnet, router=False)
    first = world.port("vnf", 0, "left", "10.0.1.5/24", "10.0.1.1")
    second = world.port("vnf", 0, "right", "10.0.2.5/24", "10.0.2.1", ifname="eth1")
    world.machine("vnf", second, first)
    assert "via 10.0.1.1 dev eth0" in world.run("vnf", "ip", "route", "show", "default").stdout
    for number, gateway in ((1000, "10.0.1.1"), (1001, "10.0.2.1")):
        table = world.run("vnf", "ip", "route", "show", "table", str(number)).stdout
        assert f"default via {gateway}" in table
    rules = world.run("vnf", "ip", "rule").stdout
    assert "from 10.0.2.5 lookup 1001" in rules
    world.fabric.machines.remove_ports(["vnf-eth0"])
    assert interfaces(world, "vnf") == ["eth1", "lo"]
    assert "via 10.0.2.1 dev eth1" in world.run("vnf", "ip", "route", "show", "default").stdout
    assert "1001" not in world.run("vnf", "ip", "rule").stdout


def test_an_address_that_moves_to_another_machine_answers_at_once(world: World) -> None:
    """Neighbours that knew the old machine are told of the new one."""
    world.pops(1)
    tenant(world, 0, "blue", router=False)
    world.machine("peer", world.port("peer", 0, "blue", "10.0.0.9/24"))
    world.machine("old", world.port("old", 0, "blue", "10.0.0.10/24"))
    assert world.reaches("peer", "10.0.0.10")
    world.fabric.machines.remove_machines(["old"])
    world.machine("new", world.port("new", 0, "blue", "10.0.0.10/24"))
    assert world.reaches("peer", "10.0.0.10")


def test_counters_are_the_machines_own(world: World) -> None:
    world.pops(1)
    world.host("near", 0, 10)
    far = world.host("far", 0, 11, Impairment(loss=0.5))
    world.ping("near", far, count=40)
    counters = world.fabric.machines.counters(["near-eth0", "far-eth0", "unknown"])
    assert set(counters) == {"near-eth0", "far-eth0"}
    assert counters["near-eth0"].tx_packets >= 40
    assert counters["near-eth0"].tx_bytes >= 40 * 98
    # Half of the requests are lost before they reach the far machine, and it counts what reached it.
    assert 0 < counters["far-eth0"].rx_packets < counters["near-eth0"].tx_packets - 5
    assert counters["far-eth0"].tx_packets <= counters["far-eth0"].rx_packets + 5


def test_adding_and_removing_twice_does_no_harm(world: World) -> None:
    world.pops(1)
    world.pops(1)
    tenant(world, 0, "blue", router=False)
    tenant(world, 0, "blue", router=False)
    port = world.port("web", 0, "blue", "10.0.0.5/24")
    world.machine("web", port)
    world.machine("web", port)
    with pytest.raises(Conflict, match="stands otherwise"):
        world.fabric.machines.add_ports([replace(port, mtu=1400)])
    with pytest.raises(Conflict, match="eth0"):
        world.fabric.machines.add_ports([replace(port, id="other")])
    world.fabric.machines.remove_ports([port.id, port.id])
    world.fabric.machines.remove_machines(["web", "web"])
    world.fabric.networks.remove_networks([("p0", "blue"), ("p0", "blue"), ("p9", "blue")])
    world.fabric.machines.add_machines(["late"])
    with pytest.raises(NotFound, match="blue"):
        world.fabric.machines.add_ports([world.port("late", 0, "blue", "10.0.0.6/24")])


def test_a_refused_port_leaves_nothing_behind(world: World) -> None:
    world.pops(1)
    world.fabric.networks.add_networks([NetworkSpec("blue", "p0")])
    world.fabric.machines.add_machines(["web"])
    bad = replace(world.port("web", 0, "blue", "10.0.0.5/24"), mac="ff:ff:ff:ff:ff:ff")
    with pytest.raises(Exception, match="veth"):
        world.fabric.machines.add_ports([bad])
    assert interfaces(world, "web") == ["lo"]
    world.fabric.machines.add_ports([replace(bad, mac="02:00:00:00:00:77")])
    assert interfaces(world, "web") == ["eth0", "lo"]


def test_many_ports_go_at_once(world: World) -> None:
    world.pops(1)
    tenant(world, 0, "blue", router=False)
    names = [f"m{number}" for number in range(20)]
    for number, name in enumerate(names):
        world.machine(name, world.port(name, 0, "blue", f"10.0.0.{10 + number}/24"))
    world.fabric.machines.remove_ports([f"{name}-eth0" for name in names[1:]])
    assert all(interfaces(world, name) == ["lo"] for name in names[1:])
    assert interfaces(world, names[0]) == ["eth0", "lo"]


def test_removing_a_pop_takes_all_that_is_in_it(world: World) -> None:
    world.line(2)
    tenant(world, 1, "blue")
    world.machine("web", world.port("web", 1, "blue", "10.0.0.5/24", "10.0.0.1"))
    world.host("user", 0)
    world.fabric.underlay.remove_pops(["p1", "p1"])
    assert interfaces(world, "web") == ["lo"]
    assert world.fabric.underlay.link_status() == []
    assert world.fabric.machines.counters(["web-eth0"]) == {}
    assert world.reaches("user", external(0).ip)
    world.pops(2)
    tenant(world, 1, "blue")
    assert world.fabric.machines.netns_path("web")


LIFE = """
import os, psutil
from ipaddress import IPv4Interface
from sonata._lib import namespaces
from sonata.adapters.fabric_linux import LinuxFabric
from sonata.model.topology import Impairment
from sonata.ports.fabric import EXTERNAL, LinkSpec, PopSpec, PortSpec

with namespaces.homeward():
    pass  # a process opens the namespace that it begins in once, for good

def traces():
    paths = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    held = [os.readlink(path) for path in paths if os.path.lexists(path)]
    kinds = ("socket", "net:", "tun")
    return sorted(name for name in held if any(kind in name for kind in kinds)), psutil.Process().children()

start = traces(), sorted(os.listdir("/proc/self/net/dev_snmp6"))
for _ in range(2):
    fabric = LinuxFabric()
    pops = [PopSpec(name, IPv4Interface(f"100.64.{i}.1/24")) for i, name in enumerate("ab")]
    fabric.underlay.add_pops(pops)
    ends = IPv4Interface("198.18.0.0/31"), IPv4Interface("198.18.0.1/31")
    fabric.underlay.add_links([LinkSpec("l", "a", "b", *ends, Impairment(loss=0.001))])
    assert fabric.wire_pid
    fabric.machines.add_machines(["m"])
    address = IPv4Interface("100.64.0.9/24")
    fabric.machines.add_ports([PortSpec("p", "a", EXTERNAL, "m", "eth0", "02:00:00:00:00:01", (address,))])
    assert traces() != start[0]
    fabric.close()
    fabric.close()
assert (traces(), sorted(os.listdir("/proc/self/net/dev_snmp6"))) == start, (traces(), start)
print("clean")
"""


def test_close_leaves_no_interface_descriptor_or_process() -> None:
    result = subprocess.run([sys.executable, "-c", LIFE], capture_output=True, text=True, timeout=60, check=False)
    assert result.stdout == "clean\n", result.stderr


def has_life(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_the_wire_process_ends_when_its_parent_is_killed() -> None:
    program = (
        LIFE.partition("    fabric.close()")[0] + "\n    print(fabric.wire_pid, flush=True); os.kill(os.getpid(), 9)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    pid = int(result.stdout)
    for _ in range(500):
        if not has_life(pid):
            return
        time.sleep(0.01)
    pytest.fail(f"wire process {pid} lives on")


def test_two_fabrics_do_not_meet() -> None:
    first, second = World(LinuxFabric()), World(LinuxFabric())
    try:
        for world in (first, second):
            world.pops(1)
        first.host("user", 0)
        second.host("origin", 0, 11)
        assert not first.reaches("user", external(0, 11).ip)
        assert first.reaches("user", external(0).ip)
    finally:
        first.close()
        second.close()


def test_endpoints_of_a_pop_are_told_apart_by_network(world: World) -> None:
    """A machine on the external network cannot reach a tenant network without a router."""
    world.pops(1)
    world.host("user", 0)
    tenant(world, 0, "blue", router=False)
    world.machine("web", world.port("web", 0, "blue", "100.64.0.77/24"))
    assert not world.reaches("user", IPv4Address("100.64.0.77"))
    assert EXTERNAL == "external"
