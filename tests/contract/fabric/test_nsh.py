"""Chains with network service headers: what is on the wire, functions that know NSH, and switches that end.

What all renderers promise is in test_chains.py, test_sticky_chains.py and test_renderers.py.
"""

from __future__ import annotations

import os
import signal
import struct
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from sonata.errors import Unsupported
from sonata.ports.fabric import EXTERNAL, ChainSpec, Classifier, Hop, HopPort, NetworkSpec, PortSpec

from .conftest import World, a_world, external, router_spec
from .nsh_function import count_down, knowing_nsh, read
from .test_chains import (
    BACKWARD,
    FORWARD,
    ORIGIN,
    PINGS,
    TO_ORIGIN,
    at_rest,
    chain_in_one_pop,
    chains_over_two_pops,
    connect,
    function,
    growth,
    local_hop,
    networks,
    remote_hop,
    site,
    two_functions,
    two_sites,
)
from .test_renderers import chains_over_three_pops, different, dumps, three_sites

__all__ = ["site", "three_sites", "two_sites"]  # fixtures

pytestmark = pytest.mark.parametrize("renderer", ["nsh"])
Legs = tuple[PortSpec, PortSpec]
ROOM = 1538
"""MTU of networks that take packets of 1,500 bytes with a header of NSH."""


def roomy(world: World, *networks: tuple[str, str]) -> None:
    """Give networks, and the ports that are in them, room for headers."""
    for pop, name in networks:
        world.fabric.networks.change_network(NetworkSpec(name, pop, mtu=ROOM))


def knowing(hop: Hop) -> Hop:
    return replace(hop, knows_nsh=True, alternatives=tuple(replace(one, knows_nsh=True) for one in hop.alternatives))


def roomy_site(site: World) -> list[Legs]:
    """Two functions in networks with room for headers."""
    legs = two_functions(site)
    roomy(site, ("p0", "n1"), ("p0", "n2"), ("p0", "n3"))
    return legs


def set_chain(site: World, *hops: Hop, **changes: object) -> None:
    site.fabric.steering.set_chain(chain_in_one_pop([], hops=hops, **changes))


def test_what_crosses_a_link_is_nsh_in_vxlan_gpe(two_sites: World) -> None:
    """RFC 8300, 2.2 to 2.4 and 6; draft-ietf-nvo3-vxlan-gpe, 3."""
    for chain in chains_over_two_pops(two_sites):
        two_sites.fabric.steering.set_chain(chain)
    with two_sites.fabric.underlay.packet_socket("l0") as tap:
        assert two_sites.ping("user", ORIGIN).received == 3
        tap.settimeout(1)
        there, back = (tunnelled(tap, source, target) for source, target in ((0, 1), (1, 0)))
    paths = set()
    for outer in (there, back):
        vxlan, header = outer[28:36], read(outer[36:])
        assert vxlan == bytes((0b00001100, 0, 0, 4, 0, 0, 0, 0)), "instance and next protocol are told: NSH; VNI 0"
        assert (header.version, header.is_oam, header.length, header.md_type) == (0, False, 6, 1)
        assert (header.next_protocol, header.index, header.ttl) == (3, 254, 63)
        assert header.metadata == bytes(16)
        assert header.inner[12:14] == b"\x08\x00"
        assert header.inner[14] == 0x45
        assert header.inner[23] == 1, "a ping"
        paths.add(header.path)
    assert len(paths) == 2, "each direction has a path of its own"


def tunnelled(tap, source: int, target: int) -> bytes:
    """The first packet to the port of VXLAN-GPE from one PoP to another one, from its IP header on."""
    addresses = bytes((100, 64, source, 1, 100, 64, target, 1))
    while True:
        packet = tap.recv(2048)[14:]
        if packet[12:20] == addresses and packet[9] == 17 and packet[22:24] == struct.pack("!H", 4790):
            return packet


def test_one_path_leads_over_all_pops_and_its_index_falls(three_sites: World) -> None:
    for chain in reversed(chains_over_three_pops(three_sites)):
        three_sites.fabric.steering.set_chain(chain)
    seen = []
    for link, source, target in (("l0", 0, 1), ("l1", 1, 2)):
        with three_sites.fabric.underlay.packet_socket(link) as tap:
            three_sites.ping("user", "100.64.2.10")
            tap.settimeout(1)
            seen.append(read(tunnelled(tap, source, target)[36:]))
    assert [header.index for header in seen] == [254, 253]
    assert seen[0].path == seen[1].path


def test_a_function_that_knows_nsh_gets_it_and_gives_it_back(site: World) -> None:
    fw, dpi = roomy_site(site)
    for hops, indexes in (
        ((knowing(local_hop(fw)), local_hop(dpi)), (255, 254)),
        ((local_hop(dpi), knowing(local_hop(fw))), (254, 255)),
    ):
        set_chain(site, *hops)
        with knowing_nsh(site, "fw") as known:
            site.ping("user", ORIGIN)
            grown = growth(site, FORWARD + BACKWARD, lambda: pings(site))
        assert all(PINGS <= value <= PINGS + 4 for value in grown.values()), grown
        for interface, index in zip(("eth0", "eth1"), indexes, strict=True):
            headers = known.seen[interface]
            assert len(headers) >= PINGS
            assert {(one.index, one.ttl, one.md_type, one.next_protocol) for one in headers} == {(index, 63, 1, 3)}
        assert {one.path for one in known.seen["eth0"]} != {one.path for one in known.seen["eth1"]}


def pings(site: World) -> None:
    assert site.ping("user", ORIGIN, PINGS).received == PINGS


def test_metadata_stay_between_functions_that_know_nsh(site: World) -> None:
    fw, dpi = roomy_site(site)
    set_chain(site, knowing(local_hop(fw)), knowing(local_hop(dpi)))

    def sign(packet: bytearray) -> None:
        count_down(packet)
        packet[8:24] = b"sixteen bytes..."

    with knowing_nsh(site, "fw", sign), knowing_nsh(site, "dpi") as second:
        assert site.ping("user", ORIGIN).received == 3
    assert {header.metadata for header in second.seen["eth0"]} == {b"sixteen bytes..."}
    assert {header.metadata for header in second.seen["eth1"]} == {bytes(16)}, "the way back begins there"
    assert {(header.index, header.ttl) for header in second.seen["eth0"]} == {(254, 62)}


@pytest.mark.parametrize("change", ["index", "path"])
def test_what_a_function_may_not_claim_goes_nowhere(site: World, change: str) -> None:
    """An index that was not counted down would lead in a circle; a path that is not its own past other functions."""
    fw, dpi = roomy_site(site)
    set_chain(site, knowing(local_hop(fw)), local_hop(dpi))

    def lie(packet: bytearray) -> None:
        if change == "path":
            count_down(packet)
            packet[6] += 40

    before = at_rest(site, FORWARD)
    with knowing_nsh(site, "fw", lie):
        assert not site.reaches("user", ORIGIN)
    after = at_rest(site, FORWARD)
    assert after["dpi-eth0"] - before["dpi-eth0"] <= 1
    assert after["fw-eth0"] - before["fw-eth0"] <= 2


def test_flows_are_shared_behind_a_function_that_knows_nsh(site: World) -> None:
    fw, dpi = roomy_site(site)
    other = function(site, "ids", 0, "n2", "n3", 13)
    place = replace(local_hop(dpi), alternatives=(local_hop(other),), sticky="place1")
    set_chain(site, knowing(local_hop(fw)), place)
    with knowing_nsh(site, "fw"):
        ports = ["dpi-eth0", "ids-eth0"]
        grown = growth(site, ports, lambda: [connect(site, "user", port) for port in range(80, 92)])
    assert all(value >= 3 for value in grown.values()), grown


def test_a_group_whose_functions_know_nsh(site: World) -> None:
    other = function(site, "ids", 0, "n1", "n2", 13)
    fw, _dpi = roomy_site(site)
    set_chain(site, knowing(replace(local_hop(fw), alternatives=(local_hop(other),))))
    with knowing_nsh(site, "fw") as one, knowing_nsh(site, "ids") as two:
        for port in range(80, 92):
            connect(site, "user", port)
    for interface in ("eth0", "eth1"):
        paths = [{header.path for header in known.seen[interface]} for known in (one, two)]
        assert all(len(found) == 1 for found in paths), "both have flows"
        assert paths[0] != paths[1], "a path and an index name one function"
    assert min(len(known.seen[interface]) for known in (one, two) for interface in ("eth0", "eth1")) >= 3


def test_what_comes_out_on_the_external_network_is_routed_by_the_pop(site: World) -> None:
    port = replace(site.port("box", 0, EXTERNAL, external(0, 50), external(0).ip), mtu=ROOM)
    site.machine("box", port)
    leg = HopPort(port.mac, EXTERNAL, port.id)
    set_chain(site, knowing(Hop(leg, leg)))
    with knowing_nsh(site, "box", interfaces=("eth0",)) as known:
        site.ping("user", ORIGIN)
        grown = growth(site, ["box-eth0"], lambda: pings(site))
    assert 2 * PINGS <= grown["box-eth0"] <= 2 * PINGS + 4
    assert {header.index for header in known.seen["eth0"]} == {255}


def test_chains_branch_off_behind_a_function_that_knows_nsh(site: World) -> None:
    fw, dpi = roomy_site(site)
    first = chain_in_one_pop([], id="first", hops=(knowing(local_hop(fw)),))
    site.fabric.steering.set_chain(first)
    pinging = replace(TO_ORIGIN, protocol="icmp", source=None)
    site.fabric.steering.set_chain(
        chain_in_one_pop([], id="second", hops=(local_hop(dpi),), classifiers=(pinging,), after=(first,))
    )
    with knowing_nsh(site, "fw"):
        site.ping("user", ORIGIN)
        grown = growth(site, FORWARD + BACKWARD, lambda: pings(site))
        assert all(value >= PINGS for value in grown.values()), grown
        assert growth(site, FORWARD, lambda: connect(site, "user", 80))["dpi-eth0"] <= 1


def test_functions_that_know_nsh_in_two_pops(two_sites: World) -> None:
    world = two_sites
    chains = [replace(chain, hops=tuple(map(knowing, chain.hops))) for chain in chains_over_two_pops(world)]
    roomy(world, ("p0", "n1"), ("p0", "n2"), ("p1", "n2"), ("p1", "n3"))
    before = dumps(world)
    for chain in chains:
        world.fabric.steering.set_chain(chain)
    with knowing_nsh(world, "fw") as one, knowing_nsh(world, "dpi") as two:
        world.ping("user", ORIGIN)
        grown = growth(world, FORWARD + BACKWARD, lambda: pings(world))
        assert all(PINGS <= value <= PINGS + 4 for value in grown.values()), grown
    there, back = (one.seen["eth0"][0], two.seen["eth0"][0]), (two.seen["eth1"][0], one.seen["eth1"][0])
    for path in (there, back):
        assert [header.index for header in path] == [255, 254]
        assert path[0].path == path[1].path
        assert path[0].ttl > path[1].ttl
    for chain in chains:
        world.fabric.steering.remove_chain(chain.id)
    assert not different(before, dumps(world))


def test_what_functions_know_is_refused_where_it_does_not_fit(site: World) -> None:
    legs = two_functions(site)
    before = dumps(site)
    with pytest.raises(Unsupported, match="have 38 more"):
        set_chain(site, knowing(local_hop(legs[0])))
    with pytest.raises(Unsupported, match="know NSH"):
        set_chain(site, knowing(local_hop(legs[0])), renderer="steering")
    assert not different(before, dumps(site))


@pytest.mark.parametrize("usual", ["steering", "srv6"])
def test_a_chain_that_wants_nsh_has_it_whatever_is_usual(usual: str, renderer: str) -> None:
    with a_world(usual) as world:
        world.line(2)
        world.host("user", 0)
        world.host("origin", 1)
        networks(world, 0, "n1", "n2", "n3")
        legs = two_functions(world)
        before = dumps(world)
        world.fabric.steering.require_nsh()
        set_chain(world, local_hop(legs[0]), local_hop(legs[1]), with_nsh=True)
        assert set(world.fabric.switch_pids) == {"p0"}
        world.ping("user", ORIGIN)
        grown = growth(world, FORWARD + BACKWARD, lambda: pings(world))
        assert all(PINGS <= value <= PINGS + 4 for value in grown.values()), grown
        set_chain(world, local_hop(legs[0]), local_hop(legs[1]))
        assert not world.fabric.switch_pids
        world.fabric.steering.remove_chain("chain")
        assert not different(before, dumps(world))


@pytest.mark.parametrize("order", [1, -1])
def test_the_only_function_is_in_another_pop_than_the_source(two_sites: World, order: int) -> None:
    """Neither part tells the other one's function beside its own."""
    world = two_sites
    world.fabric.networks.set_router(router_spec(1, [("n3", "10.3.0.0/24"), ("n2", "10.2.0.0/24")]))
    dpi = function(world, "dpi", 1, "n3", "n2", 12)
    web = world.port("web", 0, "n1", "10.1.0.50/24", "10.1.0.1")
    world.machine("web", web)
    there = Classifier(destination=external(1).network, source_port_id=web.id)
    seen = Classifier(destination=external(1).network, source=IPv4Network("10.1.0.50"), enters=False)
    chains = [
        ChainSpec("first", "p0", (there,), (remote_hop(dpi),), symmetric=False),
        ChainSpec("second", "p1", (seen,), (local_hop(dpi),), symmetric=False),
    ]
    before = dumps(world)
    for chain in chains[::order]:
        world.fabric.steering.set_chain(chain)
    world.ping("web", ORIGIN)
    grown = growth(world, ["dpi-eth0"], lambda: world.ping("web", ORIGIN, PINGS))
    assert grown["dpi-eth0"] >= PINGS
    for chain in chains:
        world.fabric.steering.remove_chain(chain.id)
    assert not different(before, dumps(world))


@pytest.mark.parametrize("victim", [0, 1])
def test_switches_that_are_killed_come_back(two_sites: World, victim: int) -> None:
    world = two_sites
    for chain in chains_over_two_pops(world):
        world.fabric.steering.set_chain(chain)
    assert world.ping("user", ORIGIN).received
    assert not world.fabric.mend()
    killed = world.fabric.switch_pids["p1"][victim]
    os.kill(killed, signal.SIGKILL)
    os.waitid(os.P_PID, killed, os.WEXITED | os.WNOWAIT)
    (told,) = world.fabric.mend()
    assert "`p1`" in told
    assert "signal 9" in told
    assert killed not in world.fabric.switch_pids["p1"]
    world.ping("user", ORIGIN)
    grown = growth(world, FORWARD + BACKWARD, lambda: pings(world))
    assert all(PINGS <= value <= PINGS + 4 for value in grown.values()), grown


def test_chains_change_while_their_switch_is_dead(site: World) -> None:
    legs = two_functions(site)
    first, second = (replace(TO_ORIGIN, protocol=name) for name in ("icmp", "tcp"))
    set_chain(site, local_hop(legs[0]), id="pings", classifiers=(first,))
    set_chain(site, local_hop(legs[1]), id="streams", classifiers=(second,))
    for change in ("remove", "add"):
        killed = site.fabric.switch_pids["p0"][1]
        os.kill(killed, signal.SIGKILL)
        os.waitid(os.P_PID, killed, os.WEXITED | os.WNOWAIT)
        if change == "remove":
            site.fabric.steering.remove_chain("streams")
        else:
            set_chain(site, local_hop(legs[1]), local_hop(legs[0]), id="pings", classifiers=(first,))
        (told,) = site.fabric.mend()
        assert "signal 9" in told
        site.ping("user", ORIGIN)
        grown = growth(site, FORWARD, lambda: pings(site))
        assert grown["fw-eth0"] >= PINGS
        assert (grown["dpi-eth0"] >= PINGS) == (change == "add")
    site.fabric.steering.remove_chain("pings")
    assert not site.fabric.switch_pids


def test_no_process_and_no_file_is_left(two_sites: World) -> None:
    chains = chains_over_two_pops(two_sites)
    for chain in chains:
        two_sites.fabric.steering.set_chain(chain)
    known = two_sites.fabric.switch_pids
    assert set(known) == {"p0", "p1"}
    folders = {folder for pids in known.values() for folder in map(folder_of, pids)}
    for chain in chains:
        two_sites.fabric.steering.remove_chain(chain.id)
    assert not two_sites.fabric.switch_pids
    assert not running(known["p0"] + known["p1"])
    assert not any(folder.exists() for folder in folders)


def folder_of(pid: int) -> Path:
    """Where a process has its socket."""
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return next(Path(word.partition("=")[2]).parent for word in words if word.startswith("--unixctl="))


def running(pids: Sequence[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]
