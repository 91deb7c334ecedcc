"""Patches with a tag: one VLAN of a network outside, joined to a network."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sonata.errors import Unsupported
from sonata.ports.fabric import NetworkSpec, PatchSpec

from .conftest import World, has_vlans

VLAN_100 = PatchSpec("blue-100", "p0", ("blue", "outlet"), tag=100)
VLAN_200 = PatchSpec("red-200", "p0", ("red", "outlet"), tag=200)


def add_vlan(world: World, tag: int, address: str) -> None:
    """Give the machine `plant` an address in a VLAN of its interface."""
    name = f"eth0.{tag}"
    for words in (
        f"link add link eth0 name {name} type vlan id {tag}",
        f"address add {address} dev {name}",
        f"link set {name} up",
    ):
        assert world.run("plant", "ip", *words.split()).returncode == 0


@pytest.fixture
def outside(world: World) -> World:
    """A machine `plant` behind a bridge of its own, and two networks with one machine each, of the same address."""
    world.pops(1)
    world.fabric.networks.add_networks([NetworkSpec(name, "p0") for name in ("blue", "red", "outlet")])
    world.machine("plant", world.port("plant", 0, "outlet", "10.9.0.1/24"))
    for name in ("blue", "red"):
        world.machine(name, world.port(name, 0, name, "10.0.0.10/24"))
    return world


@pytest.fixture
def tagged(outside: World) -> World:
    """The same, and the plant has an address in two VLANs."""
    if not has_vlans():
        pytest.skip("this kernel has no 802.1q")
    add_vlan(outside, 100, "10.0.0.1/24")
    add_vlan(outside, 200, "10.0.1.1/24")
    return outside


def sees(world: World, machine: str, target: str) -> bool:
    """Whether an address answers somebody who has not asked for it before."""
    assert world.run(machine, "ip", "neigh", "flush", "all").returncode == 0
    return world.reaches(machine, target)


def test_each_vlan_is_in_its_own_network(tagged: World) -> None:
    networks = tagged.fabric.networks
    assert not sees(tagged, "blue", "10.0.0.1")
    for _ in range(2):
        networks.set_patch(VLAN_100)
        networks.set_patch(VLAN_200)
    assert sees(tagged, "blue", "10.0.0.1")
    assert not sees(tagged, "red", "10.0.0.1")
    tagged.run("red", "ip", "address", "add", "10.0.1.10/24", "dev", "eth0")
    assert sees(tagged, "red", "10.0.1.1")
    assert sees(tagged, "plant", "10.0.1.10")
    networks.remove_patch(VLAN_100.id)
    assert not sees(tagged, "blue", "10.0.0.1")
    assert sees(tagged, "red", "10.0.1.1")


def test_a_patch_gets_another_tag(tagged: World) -> None:
    tagged.fabric.networks.set_patch(VLAN_100)
    assert sees(tagged, "blue", "10.0.0.1")
    tagged.fabric.networks.set_patch(replace(VLAN_100, tag=300))
    assert not sees(tagged, "blue", "10.0.0.1")


def test_equal_mac_addresses_in_two_vlans_are_two_stations(tagged: World) -> None:
    mac = "02:00:00:00:aa:01"
    for name in ("blue", "red"):
        assert tagged.run(name, "ip", "link", "set", "eth0", "address", mac).returncode == 0
    tagged.run("red", "ip", "address", "add", "10.0.1.10/24", "dev", "eth0")
    tagged.fabric.networks.set_patch(VLAN_100)
    tagged.fabric.networks.set_patch(VLAN_200)
    for _ in range(3):
        assert sees(tagged, "blue", "10.0.0.1")
        assert sees(tagged, "red", "10.0.1.1")
        assert tagged.reaches("plant", "10.0.0.10")


def test_what_has_no_tag_stays_outside(tagged: World) -> None:
    tagged.fabric.networks.set_patch(VLAN_100)
    tagged.run("blue", "ip", "address", "add", "10.9.0.10/24", "dev", "eth0")
    assert not sees(tagged, "plant", "10.9.0.10")
    assert sees(tagged, "plant", "10.0.0.10")


def test_full_frames_pass_with_their_tag(tagged: World) -> None:
    tagged.fabric.networks.set_patch(VLAN_100)
    full = ("ping", "-c1", "-W5", "-Mdo", "-s1472", "10.0.0.1")
    assert tagged.run("blue", *full).returncode == 0
    for mtu in (1400, 1500):
        tagged.fabric.networks.change_network(NetworkSpec("blue", "p0", mtu=mtu))
        tagged.run("plant", "ip", "link", "set", "eth0.100", "mtu", str(mtu))
    assert tagged.run("blue", *full).returncode == 0


def test_nothing_is_left_of_a_vlan(tagged: World) -> None:
    before = tagged.run_in_pop("p0", "ip", "-o", "link")
    tagged.fabric.networks.set_patch(VLAN_100)
    assert tagged.run_in_pop("p0", "ip", "-o", "link") != before
    tagged.fabric.networks.remove_patch(VLAN_100.id)
    assert tagged.run_in_pop("p0", "ip", "-o", "link") == before


@pytest.mark.skipif(has_vlans(), reason="this kernel has 802.1q")
def test_vlans_are_refused_where_the_kernel_has_none(outside: World) -> None:
    before = outside.run_in_pop("p0", "ip", "-o", "link")
    with pytest.raises(Unsupported, match="VLAN 100"):
        outside.fabric.networks.set_patch(VLAN_100)
    assert outside.run_in_pop("p0", "ip", "-o", "link") == before
