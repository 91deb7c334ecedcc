"""What chain renderers promise beside the paths of packets: nothing is left, each hop counts, refusals are honest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import EntryPoint
from ipaddress import IPv6Network

import pytest

import sonata.adapters.fabric_linux.renderers as renderers
from sonata.adapters.fabric_linux import LinuxFabric
from sonata.adapters.fabric_linux.chain_steering import SteeringRenderer
from sonata.errors import NotFound, Unsupported
from sonata.model.topology import CLEAN, Impairment
from sonata.ports.fabric import ChainSpec, Classifier, Hop, HopPort, NetworkSpec, PatchSpec

from .conftest import REFUSED, World, external, span_of
from .test_chains import (
    BACKWARD,
    FORWARD,
    PINGS,
    RENDERERS,
    TO_ORIGIN,
    chain_in_one_pop,
    chains_over_two_pops,
    connect,
    function,
    growth,
    hops_back,
    local_hop,
    networks,
    remote_hop,
    site,
    two_functions,
    two_sites,
)

__all__ = ["site", "two_sites"]  # fixtures

ORIGIN, FAR = external(1, 10).ip, external(2, 10).ip
DUMPS = (
    ("nft", "-s", "list", "ruleset"),
    ("ip", "rule"),
    ("ip", "route", "show", "table", "all"),
    ("ip", "-6", "rule"),
    ("ip", "-6", "route", "show", "table", "all"),
    ("ip", "-6", "addr"),
    ("ip", "-o", "link"),
    ("ip", "neigh", "show", "nud", "permanent"),
    ("ip", "-6", "neigh", "show", "nud", "permanent"),
    ("tc", "qdisc"),
    ("bridge", "fdb"),
    ("sysctl", "-a", "--pattern", "disable_ipv6|forwarding|seg6_enabled"),
)
over_all = pytest.mark.parametrize("renderer", RENDERERS)
needs_all = pytest.mark.skipif(not set(REFUSED).isdisjoint(RENDERERS), reason="needs all renderers")
by_routes = pytest.mark.parametrize("renderer", ["routed", "srv6"])


def dumps(world: World) -> dict[tuple[str, ...], str]:
    """All that chains could leave in PoPs."""
    pops = list(world.fabric._world.pops)  # nothing else shows what is left there
    return {(pop, *command): lasting(world.run_in_pop(pop, *command)) for pop in pops for command in DUMPS}


def lasting(dump: str) -> str:
    """A dump without what comes and goes by itself: what bridges have learned, and the IPv6 groups of interfaces.

    The kernel has new interfaces join these even where IPv6 is off, and leaves them when it is switched off.
    """
    lines = [line for line in dump.splitlines() if not line.startswith("33:33:")]
    return "\n".join(line for line in lines if "link/ether" in line or " master " not in line or "permanent" in line)


def different(one: Mapping[tuple[str, ...], str], other: Mapping[tuple[str, ...], str]) -> list[tuple[str, ...]]:
    return [name for name in one if one[name] != other[name]]


@over_all
def test_nothing_is_left_of_a_chain(two_sites: World) -> None:
    chains = chains_over_two_pops(two_sites)
    before = dumps(two_sites)
    for chain in chains:
        two_sites.fabric.steering.set_chain(chain)
    assert two_sites.ping("user", ORIGIN).received
    assert {name[0] for name in different(before, dumps(two_sites))} == {"p0", "p1"}
    for chain in chains:
        two_sites.fabric.steering.remove_chain(chain.id)
    assert not different(before, dumps(two_sites))


@by_routes
def test_what_chains_share_stays_until_the_last_of_them_goes(site: World) -> None:
    legs = two_functions(site)
    before = dumps(site)
    pings = replace(TO_ORIGIN, protocol="icmp")
    streams = replace(TO_ORIGIN, protocol="tcp")
    site.fabric.steering.set_chain(chain_in_one_pop(legs, id="pings", classifiers=(pings,)))
    alone = dumps(site)
    site.fabric.steering.set_chain(chain_in_one_pop(legs, id="streams", classifiers=(streams,)))
    site.fabric.steering.remove_chain("streams")
    assert not different(alone, dumps(site))
    assert growth(site, FORWARD, lambda: site.ping("user", ORIGIN, PINGS))["dpi-eth0"] >= PINGS
    site.fabric.steering.remove_chain("pings")
    assert not different(before, dumps(site))


@over_all
def test_nothing_is_left_of_a_chain_that_was_refused(site: World) -> None:
    legs = two_functions(site)
    before = dumps(site)
    one_port = replace(local_hop(legs[0]), egress=local_hop(legs[0]).ingress)
    with pytest.raises(Unsupported):
        site.fabric.steering.set_chain(chain_in_one_pop(legs, hops=(one_port, one_port), classifiers=(Classifier(),)))
    assert not different(before, dumps(site))


@needs_all
def test_who_routes_counts_as_a_hop(site: World) -> None:
    """Answers pass the PoP before each of the two functions, where it routes; the rest of the way is the same."""
    legs = two_functions(site)
    hops = {}
    for name in RENDERERS:
        site.fabric.steering.set_chain(chain_in_one_pop(legs, renderer=name))
        hops[name] = hops_back(site)
    assert {name: value - hops["steering"] for name, value in hops.items()} == {
        "steering": 0,
        "routed": 2,
        "srv6": 2,
        "nsh": 0,
    }


@pytest.fixture
def three_sites(world: World) -> World:
    """User and `fw` in the first PoP, `dpi` in the second, `cache` and the origin in the third."""
    world.line(3, Impairment(delay_s=0.001))
    world.host("user", 0)
    world.host("far", 2)
    networks(world, 0, "n1", "n2")
    networks(world, 1, "n3")
    networks(world, 2, "n4")
    world.fabric.networks.add_networks([NetworkSpec("n2", "p1"), NetworkSpec("n3", "p2")])
    return world


def chains_over_three_pops(world: World) -> list[ChainSpec]:
    classifier = Classifier(source=external(0).network, destination=external(2).network)
    first = function(world, "fw", 0, "n1", "n2", 11)
    second = function(world, "dpi", 1, "n2", "n3", 12)
    third = function(world, "cache", 2, "n3", "n4", 13)
    world.fabric.networks.set_span(span_of(world, "n2", {0: [first[1].mac], 1: [second[0].mac]}))
    further = replace(span_of(world, "n3", {1: [second[1].mac], 2: [third[0].mac]}), vni=4712)
    world.fabric.networks.set_span(further)
    return [
        ChainSpec("first", "p0", (classifier,), (local_hop(first), remote_hop(second))),
        ChainSpec("second", "p1", (classifier,), (remote_hop(first), local_hop(second), remote_hop(third))),
        ChainSpec("third", "p2", (classifier,), (remote_hop(second), local_hop(third))),
    ]


@over_all
def test_a_chain_over_three_pops(three_sites: World) -> None:
    chains = chains_over_three_pops(three_sites)
    before = dumps(three_sites)
    for chain in chains:
        three_sites.fabric.steering.set_chain(chain)
    ports = [*FORWARD, *BACKWARD, "cache-eth0", "cache-eth1"]
    three_sites.ping("user", FAR)
    grown = growth(three_sites, ports, lambda: three_sites.ping("user", FAR, PINGS))
    assert all(PINGS <= value <= PINGS + 4 for value in grown.values()), grown
    for chain in chains:
        three_sites.fabric.steering.remove_chain(chain.id)
    assert not different(before, dumps(three_sites))


@pytest.mark.parametrize("renderer", ["srv6"])
def test_segments_follow_a_link_that_is_replaced(two_sites: World) -> None:
    for chain in chains_over_two_pops(two_sites):
        two_sites.fabric.steering.set_chain(chain)
    assert two_sites.ping("user", ORIGIN).received
    two_sites.fabric.underlay.set_link("l0", CLEAN)
    assert two_sites.ping("user", ORIGIN).received
    two_sites.fabric.underlay.set_link("l0", CLEAN, up=False)
    assert not two_sites.reaches("user", ORIGIN)
    two_sites.fabric.underlay.set_link("l0", CLEAN)
    two_sites.ping("user", ORIGIN)
    grown = growth(two_sites, FORWARD + BACKWARD, lambda: two_sites.ping("user", ORIGIN, PINGS))
    assert all(value >= PINGS for value in grown.values()), grown


@pytest.mark.parametrize("renderer", ["srv6"])
def test_what_crosses_a_link_is_wrapped_with_one_segment(two_sites: World) -> None:
    for chain in chains_over_two_pops(two_sites):
        two_sites.fabric.steering.set_chain(chain)
    with two_sites.fabric.underlay.packet_socket("l0") as tap:
        assert two_sites.ping("user", ORIGIN).received == 3
        tap.settimeout(1)
        frame = next(one for one in iter(lambda: tap.recv(2048), b"") if one[12:14] == b"\x86\xdd" and one[20] == 43)
    outer, routing, inner = frame[14:54], frame[54:78], frame[78:]
    assert (outer[6], routing[2], routing[3], routing[0]) == (43, 4, 0, 4)  # a routing header, SRH, the last one, IPv4
    assert routing[8:24] == outer[24:40]
    assert inner[0] == 0x45


@over_all
def test_packets_of_full_size_pass(two_sites: World) -> None:
    for chain in chains_over_two_pops(two_sites):
        two_sites.fabric.steering.set_chain(chain)
    connect(two_sites, "user", 80)
    answer = two_sites.run("user", "ping", "-n", "-c3", "-i0.01", "-W1", "-M", "do", "-s", "1472", str(ORIGIN)).stdout
    assert " 3 received" in answer, answer


@by_routes
def test_what_a_renderer_cannot_do_is_refused(site: World) -> None:
    legs = two_functions(site)
    six = Classifier(destination=IPv6Network("2001:db8::/32"), ip_version=6)
    with pytest.raises(Unsupported, match="IPv6"):
        site.fabric.steering.set_chain(chain_in_one_pop(legs, classifiers=(six,)))
    first = chain_in_one_pop([legs[0]], id="first", renderer="steering")
    site.fabric.steering.set_chain(first)
    with pytest.raises(Unsupported, match="another renderer"):
        site.fabric.steering.set_chain(chain_in_one_pop([legs[1]], after=(first,)))


@pytest.mark.parametrize("renderer", ["srv6"])
def test_networks_whose_packets_would_not_fit_are_refused(site: World) -> None:
    legs = two_functions(site)
    site.fabric.networks.change_network(NetworkSpec("n2", "p0", mtu=1560))
    with pytest.raises(Unsupported, match="1560"):
        site.fabric.steering.set_chain(chain_in_one_pop(legs))


@needs_all
def test_a_chain_changes_its_renderer(site: World) -> None:
    legs = two_functions(site)
    before = dumps(site)
    for name in (*RENDERERS, *reversed(RENDERERS)):
        site.fabric.steering.set_chain(chain_in_one_pop(legs, renderer=name))
        grown = growth(site, FORWARD, lambda: site.ping("user", ORIGIN, PINGS))
        assert all(value >= PINGS for value in grown.values()), (name, grown)
    site.fabric.steering.remove_chain("chain")
    assert not different(before, dumps(site))


def test_an_unknown_renderer_is_refused_by_name(site: World) -> None:
    legs = two_functions(site)
    with pytest.raises(NotFound, match="mpls") as caught:
        site.fabric.steering.set_chain(chain_in_one_pop(legs, renderer="mpls"))
    assert "routed" in caught.value.hint
    with pytest.raises(NotFound, match="nonsense"):
        LinuxFabric("nonsense")


class Counting(SteeringRenderer):
    """A plug-in."""

    name = "counting"
    rendered = 0

    def render(self, *args, **kwargs):
        type(self).rendered += 1
        return super().render(*args, **kwargs)


@pytest.fixture
def plug_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    here = f"{__name__}:Counting"
    found = [
        EntryPoint("counting", here, renderers.ENTRY_POINTS),
        EntryPoint("broken", "no_such_package:Nothing", renderers.ENTRY_POINTS),
    ]
    monkeypatch.setattr(renderers, "entry_points", lambda **_: found)


def test_plug_ins_render_chains(site: World, plug_ins: None) -> None:
    assert renderers.names() == [*RENDERERS, "broken", "counting"]
    legs = two_functions(site)
    site.fabric.steering.set_chain(chain_in_one_pop(legs, renderer="counting"))
    renderer = site.fabric.steering._renderer("counting")  # the class in the plug-in's own module
    assert renderer.rendered == 1
    assert site.ping("user", ORIGIN).received
    with pytest.raises(Unsupported, match="no_such_package"):
        site.fabric.steering.set_chain(chain_in_one_pop(legs, renderer="broken"))


@over_all
def test_a_physical_box_is_a_function(site: World) -> None:
    """A machine behind a bridge of its own, joined to a network by a patch, as outlets are."""
    site.fabric.networks.add_networks([NetworkSpec("outlet", "p0")])
    box = site.port("box", 0, "outlet", "10.1.0.90/24", "10.1.0.1")
    site.machine("box", box)
    assert site.run("box", "sysctl", "-qw", "net.ipv4.ip_forward=1").returncode == 0
    site.fabric.networks.set_patch(PatchSpec("patch", "p0", ("n1", "outlet")))
    first = HopPort(box.mac, "outlet", box.id)
    dpi = function(site, "dpi", 0, "n2", "n3", 12)
    before = dumps(site)
    for hops in ((Hop(first, first), local_hop(dpi)), (local_hop(dpi), Hop(first, first))):
        site.fabric.steering.set_chain(chain_in_one_pop([], hops=hops))
        site.ping("user", ORIGIN)
        ports = [box.id, "dpi-eth0", "dpi-eth1"]
        grown = growth(site, ports, lambda: site.ping("user", ORIGIN, PINGS))
        assert grown[box.id] >= 2 * PINGS, grown
        assert min(grown.values()) >= PINGS, grown
    site.fabric.steering.remove_chain("chain")
    assert not different(before, dumps(site))
