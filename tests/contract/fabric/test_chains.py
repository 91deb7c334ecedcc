"""Service function chains: the path is what was declared, both ways, and undone exactly.

Functions are machines with two legs that forward from one to the other; none knows a neighbour's address. Users
address the origin. Counters prove the path.
"""

from __future__ import annotations

import socket
import subprocess
import time
from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from sonata.errors import InvalidInput, NotFound, Unsupported
from sonata.model.topology import CLEAN, Impairment
from sonata.ports.fabric import EXTERNAL, ChainSpec, Classifier, Hop, HopPort, LinkSpec, NetworkSpec, PortSpec

from .conftest import World, external, over, router_spec, span_of
from .test_filtering import EVERYTHING_OUT, PING_IN, pair, passes, secure

RENDERERS = ("steering", "routed", "srv6", "nsh")
FIRST_ONE = [pytest.param(name, marks=pytest.mark.slow) if at else name for at, name in enumerate(RENDERERS)]
"""The others follow in the long suite."""
pytestmark = pytest.mark.parametrize("renderer", RENDERERS)
PINGS = 5
USER, ORIGIN = external(0, 10).ip, external(1, 10).ip


def function(world: World, name: str, pop: int, left: str, right: str, number: int) -> tuple[PortSpec, PortSpec]:
    """A forwarding function with a leg in each of two networks."""
    legs = (
        world.port(name, pop, left, f"10.{left[1:]}.0.{number}/24", f"10.{left[1:]}.0.1"),
        world.port(name, pop, right, f"10.{right[1:]}.0.{number}/24", f"10.{right[1:]}.0.1", ifname="eth1"),
    )
    world.machine(name, *legs)
    for command in (
        ("sysctl", "-qw", "net.ipv4.ip_forward=1"),
        ("ip", "rule", "add", "pref", "100", "iif", "eth0", "lookup", "1001"),
        ("ip", "rule", "add", "pref", "101", "iif", "eth1", "lookup", "1000"),
    ):
        assert world.run(name, *command).returncode == 0
    return legs


def local(port: PortSpec) -> HopPort:
    return HopPort(port.mac, port.network, port.id)


def remote(port: PortSpec) -> HopPort:
    return HopPort(port.mac, port.network)


def local_hop(legs: tuple[PortSpec, PortSpec]) -> Hop:
    return Hop(local(legs[0]), local(legs[1]))


def remote_hop(legs: tuple[PortSpec, PortSpec]) -> Hop:
    return Hop(remote(legs[0]), remote(legs[1]))


TO_ORIGIN = Classifier(source=external(0).network, destination=external(1).network)


def networks(world: World, pop: int, *names: str) -> None:
    """Networks `n<x>` with subnet 10.x.0.0/24 and one router for all of them."""
    world.fabric.networks.add_networks([NetworkSpec(name, f"p{pop}") for name in names])
    world.fabric.networks.set_router(router_spec(pop, [(name, f"10.{name[1:]}.0.0/24") for name in names]))


@pytest.fixture
def site(world: World) -> World:
    """Two PoPs; user in the first, origin in the second; functions `fw` and `dpi` in the first."""
    world.line(2)
    world.host("user", 0)
    world.host("origin", 1)
    networks(world, 0, "n1", "n2", "n3")
    return world


def two_functions(world: World) -> list[tuple[PortSpec, PortSpec]]:
    return [function(world, "fw", 0, "n1", "n2", 11), function(world, "dpi", 0, "n2", "n3", 12)]


def chain_in_one_pop(legs: list[tuple[PortSpec, PortSpec]], **changes: object) -> ChainSpec:
    spec = ChainSpec("chain", "p0", (TO_ORIGIN,), tuple(local_hop(pair) for pair in legs))
    return replace(spec, **changes)  # type: ignore[arg-type]


def growth(world: World, ports: list[str], act) -> dict[str, int]:
    """Packets that ports receive on account of what is done; what was under way before is none of it."""
    before = at_rest(world, ports)
    act()
    return {name: value - before[name] for name, value in at_rest(world, ports).items()}


def at_rest(world: World, ports: list[str]) -> dict[str, int]:
    """What ports have received, when no more comes: switches in user space hand packets on a while later."""
    seen: list[dict[str, int]] = [world.received(*ports)]
    while len(seen) < 3 or seen[-3] != seen[-1]:
        time.sleep(0.01)
        seen.append(world.received(*ports))
    return seen[-1]


FORWARD = ["fw-eth0", "dpi-eth0"]
BACKWARD = ["fw-eth1", "dpi-eth1"]


def test_a_chain_in_one_pop_takes_both_directions_through_both_functions(site: World) -> None:
    legs = two_functions(site)
    site.fabric.steering.set_chain(chain_in_one_pop(legs))
    site.ping("user", ORIGIN)  # neighbours are resolved now
    grown = growth(site, FORWARD + BACKWARD, lambda: site.ping("user", ORIGIN, PINGS))
    assert all(PINGS <= value <= PINGS + 4 for value in grown.values()), grown
    # Two functions, two routers of the tenant's, and a hop of each PoP: the reply shows the length of the way.
    assert hops_back(site) > hops_back_without(site)


def hops_back(world: World) -> int:
    """How many routers an answer has passed."""
    answer = world.run("user", "ping", "-n", "-c1", "-W1", str(ORIGIN)).stdout
    return 64 - int(answer.partition("ttl=")[2].split()[0])


def hops_back_without(world: World) -> int:
    world.fabric.steering.remove_chain("chain")
    return hops_back(world)


def test_removal_restores_the_direct_path_exactly(site: World) -> None:
    direct = hops_back(site)
    rules = nft(site, "p0")
    legs = two_functions(site)
    site.fabric.steering.set_chain(chain_in_one_pop(legs))
    assert nft(site, "p0") != rules
    assert hops_back(site) > direct
    site.fabric.steering.remove_chain("chain")
    site.fabric.steering.remove_chain("chain")
    assert nft(site, "p0") == rules
    assert hops_back(site) == direct
    grown = growth(site, FORWARD + BACKWARD, lambda: site.ping("user", ORIGIN, PINGS))
    assert max(grown.values()) <= 1, grown  # an address resolution may still pass by


def nft(world: World, pop: str) -> str:
    path = world.fabric._world.pop(pop).netspace.path
    return subprocess.run(
        ["nsenter", f"--net={path}", "nft", "list", "ruleset"], capture_output=True, text=True, check=True
    ).stdout


def test_only_what_the_classifier_names_is_steered(site: World) -> None:
    legs = two_functions(site)
    other = site.host("other", 0, 11)
    web = Classifier(protocol="tcp", destination=IPv4Network(ORIGIN), destination_ports=(80, 89))
    site.fabric.steering.set_chain(chain_in_one_pop(legs, classifiers=(web,)))
    assert max(growth(site, FORWARD, lambda: site.ping("user", ORIGIN, PINGS)).values()) <= 1
    assert max(growth(site, FORWARD, lambda: connect(site, "user", 90)).values()) <= 1
    for port in (80, 89):
        assert min(growth(site, FORWARD + BACKWARD, lambda port=port: connect(site, "user", port)).values()) >= 3
    assert site.reaches("user", other)


def connect(world: World, client: str, port: int) -> None:
    """Open a TCP connection from a client to the origin, speak, and be answered."""
    server = world.socket("origin", socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    near = world.socket(client, socket.SOCK_STREAM)
    with server, near:
        server.bind((str(ORIGIN), port))
        server.listen()
        near.connect((str(ORIGIN), port))
        far, _ = server.accept()
        with far:
            far.settimeout(5)
            near.sendall(b"hello")
            assert far.recv(8) == b"hello"
            far.sendall(b"world")
            assert near.recv(8) == b"world"


def test_without_symmetry_answers_come_back_directly(site: World) -> None:
    site.fabric.steering.set_chain(chain_in_one_pop(two_functions(site), symmetric=False))
    site.ping("user", ORIGIN)
    grown = growth(site, FORWARD + BACKWARD, lambda: site.ping("user", ORIGIN, PINGS))
    assert all(grown[name] >= PINGS for name in FORWARD), grown
    assert all(grown[name] <= 2 for name in BACKWARD), grown


def test_a_chain_is_changed_in_place(site: World) -> None:
    legs = two_functions(site)
    site.fabric.steering.set_chain(chain_in_one_pop(legs))
    site.fabric.steering.set_chain(chain_in_one_pop([legs[1]]))
    site.ping("user", ORIGIN)
    grown = growth(site, FORWARD + BACKWARD, lambda: site.ping("user", ORIGIN, PINGS))
    assert grown["dpi-eth0"] >= PINGS
    assert grown["dpi-eth1"] >= PINGS
    assert grown["fw-eth0"] <= 1
    assert grown["fw-eth1"] <= 1


def test_two_chains_do_not_disturb_each_other(site: World) -> None:
    legs = two_functions(site)
    pings = Classifier(protocol="icmp", source=external(0).network, destination=external(1).network)
    streams = replace(pings, protocol="tcp")
    site.fabric.steering.set_chain(chain_in_one_pop([legs[0]], id="pings", classifiers=(pings,)))
    site.fabric.steering.set_chain(chain_in_one_pop([legs[1]], id="streams", classifiers=(streams,)))
    site.ping("user", ORIGIN)
    connect(site, "user", 80)
    grown = growth(site, FORWARD, lambda: site.ping("user", ORIGIN, PINGS))
    assert grown["fw-eth0"] >= PINGS
    assert grown["dpi-eth0"] <= 1
    site.fabric.steering.remove_chain("pings")
    grown = growth(site, FORWARD, lambda: connect(site, "user", 80))
    assert grown["dpi-eth0"] >= 3
    assert grown["fw-eth0"] <= 1


def test_functions_may_change_the_source(site: World) -> None:
    """The second function still gets what the first one sends under an address of its own."""
    legs = two_functions(site)
    site.fabric.steering.set_chain(chain_in_one_pop(legs, symmetric=False))
    nat = "table ip n { chain c { type nat hook postrouting priority 100; oifname eth1 masquerade; }; }"
    assert site.run("fw", "nft", nat).returncode == 0
    site.run("user", "ping", "-c1", "-W1", str(ORIGIN))
    grown = growth(site, FORWARD, lambda: site.run("user", "ping", f"-c{PINGS}", "-i0.01", "-W1", str(ORIGIN)))
    assert all(value >= PINGS for value in grown.values()), grown


@pytest.mark.parametrize("change", ["wire", "down and up", "new link", "new endpoint"])
def test_a_chain_follows_the_edge(site: World, change: str) -> None:
    site.fabric.steering.set_chain(chain_in_one_pop(two_functions(site)))
    client = "user"
    if change == "wire":
        site.fabric.underlay.set_link("l0", Impairment(delay_s=0.001))
    elif change == "down and up":
        site.fabric.underlay.set_link("l0", CLEAN, up=False)
        site.fabric.underlay.set_link("l0", CLEAN)
    elif change == "new link":
        site.fabric.underlay.add_links([LinkSpec("second", "p0", "p1", over(8, 0), over(8, 1))])
        site.fabric.underlay.set_routes("p0", {external(1).network: over(8, 1).ip})
        site.fabric.underlay.set_routes("p1", {external(0).network: over(8, 0).ip})
        site.fabric.underlay.remove_links(["l0"])
    else:
        client = "late"
        site.host(client, 0, 77)
    site.ping(client, ORIGIN)
    grown = growth(site, FORWARD + BACKWARD, lambda: site.ping(client, ORIGIN, PINGS))
    assert all(value >= PINGS for value in grown.values()), grown


def test_a_chain_with_a_hole_lets_nothing_past(site: World) -> None:
    """A firewall that is gone must not mean that everything is allowed."""
    legs = two_functions(site)
    site.fabric.steering.set_chain(chain_in_one_pop(legs))
    assert site.reaches("user", ORIGIN)
    site.fabric.machines.remove_machines(["dpi"])
    assert not site.reaches("user", ORIGIN)
    site.fabric.steering.remove_chain("chain")
    assert site.reaches("user", ORIGIN)


def test_a_function_with_one_port(site: World) -> None:
    legs = []
    for name, number in (("fw", 11), ("dpi", 12)):
        port = site.port(name, 0, "n1", f"10.1.0.{number}/24", "10.1.0.1")
        site.machine(name, port)
        site.run(name, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        legs.append((port, port))
    site.fabric.steering.set_chain(chain_in_one_pop(legs))
    site.ping("user", ORIGIN)
    grown = growth(site, FORWARD, lambda: site.ping("user", ORIGIN, PINGS))
    assert all(2 * PINGS <= value <= 2 * PINGS + 4 for value in grown.values()), grown
    with pytest.raises(Unsupported, match="one port"):
        site.fabric.steering.set_chain(chain_in_one_pop(legs, classifiers=(Classifier(protocol="tcp"),)))


def test_packets_of_one_port_alone_can_be_steered(site: World) -> None:
    legs = two_functions(site)
    source = site.port("web", 0, "n1", "10.1.0.50/24", "10.1.0.1")
    site.machine("web", source)
    site.machine("other", site.port("other", 0, "n1", "10.1.0.51/24", "10.1.0.1"))
    picked = Classifier(destination=external(1).network, source_port_id=source.id)
    site.fabric.steering.set_chain(chain_in_one_pop(legs, classifiers=(picked,)))
    site.ping("web", ORIGIN)
    grown = growth(site, FORWARD, lambda: site.ping("web", ORIGIN, PINGS))
    assert all(value >= PINGS for value in grown.values()), grown
    assert max(growth(site, FORWARD, lambda: site.ping("other", ORIGIN, PINGS)).values()) <= 1


@pytest.fixture
def two_sites(world: World) -> World:
    """User and `fw` in the first PoP, `dpi` and origin in the second, network `n2` over both."""
    world.line(2, Impairment(delay_s=0.001))
    world.host("user", 0)
    world.host("origin", 1)
    networks(world, 0, "n1", "n2")
    networks(world, 1, "n3")
    world.fabric.networks.add_networks([NetworkSpec("n2", "p1")])
    return world


def chains_over_two_pops(world: World) -> list[ChainSpec]:
    first = function(world, "fw", 0, "n1", "n2", 11)
    second = function(world, "dpi", 1, "n2", "n3", 12)
    # The router's leg in the spanned network is a station of the first PoP.
    leg = "02:00:01:00:00:01"
    world.fabric.networks.set_span(span_of(world, "n2", {0: [first[1].mac, leg], 1: [second[0].mac]}))
    return [
        ChainSpec("first", "p0", (TO_ORIGIN,), (local_hop(first), remote_hop(second))),
        ChainSpec("second", "p1", (TO_ORIGIN,), (remote_hop(first), local_hop(second))),
    ]


def test_a_chain_over_two_pops_takes_both_directions_through_both_functions(two_sites: World) -> None:
    world = two_sites
    direct = hops_back(world)
    chains = chains_over_two_pops(world)
    for chain in chains:
        world.fabric.steering.set_chain(chain)
    world.ping("user", ORIGIN)
    grown = growth(world, FORWARD + BACKWARD, lambda: world.ping("user", ORIGIN, PINGS))
    assert all(PINGS <= value <= PINGS + 4 for value in grown.values()), grown
    connect(world, "user", 80)
    for chain in chains:
        world.fabric.steering.remove_chain(chain.id)
    assert hops_back(world) == direct
    grown = growth(world, FORWARD + BACKWARD, lambda: world.ping("user", ORIGIN, PINGS))
    assert max(grown.values()) <= 1, grown


def test_tunnels_pass_a_chain_that_catches_everything(two_sites: World) -> None:
    """A chain for any packet leaves the tunnels of spans alone."""
    world = two_sites
    chains = chains_over_two_pops(world)
    for chain in chains:
        world.fabric.steering.set_chain(replace(chain, classifiers=(Classifier(),), symmetric=False))
    assert world.reaches("fw", "10.2.0.12")


def test_wrong_chains_are_refused(site: World) -> None:
    legs = two_functions(site)
    with pytest.raises(InvalidInput):
        site.fabric.steering.set_chain(chain_in_one_pop([]))
    unknown = Hop(HopPort("02:00:00:00:00:99", "n1", "nobody"), local(legs[0][1]))
    with pytest.raises(NotFound, match="nobody"):
        site.fabric.steering.set_chain(chain_in_one_pop(legs, hops=(unknown,)))
    with pytest.raises(NotFound, match="p9"):
        site.fabric.steering.set_chain(chain_in_one_pop(legs, pop="p9"))
    assert EXTERNAL not in nft(site, "p0")


def test_flows_are_shared_out_and_each_stays_with_its_function_both_ways(site: World) -> None:
    first, second = (function(site, name, 0, "n1", "n2", number) for number, name in enumerate(("fw", "dpi"), start=5))
    hop = replace(local_hop(first), weight=1, alternatives=(local_hop(second),))
    names = [port.id for port in (*first, *second)]
    before = site.received(*names)
    site.fabric.steering.set_chain(ChainSpec("split", "p0", (TO_ORIGIN,), (hop,), symmetric=True))
    with site.socket("origin") as origin:
        origin.bind((str(ORIGIN), 6000))
        for _ in range(24):
            with site.socket("user") as user:
                user.sendto(b"ask", (str(ORIGIN), 6000))
                request, where = origin.recvfrom(16)
                origin.sendto(request, where)
                assert user.recv(16) == b"ask"
    seen = {name: count - before[name] for name, count in site.received(*names).items()}
    inner, outer = [seen[first[0].id], seen[second[0].id]], [seen[first[1].id], seen[second[1].id]]
    assert min(inner) > 0
    # As many answers came back to a function as requests had gone to it; neighbour discovery adds a few.
    assert all(abs(there - back) <= 4 for there, back in zip(inner, outer, strict=True))
    site.fabric.steering.remove_chain("split")
    through = site.received(*names)
    assert site.ping("user", ORIGIN).received == 3
    assert site.received(*names) == through


def branching_site(site: World) -> dict[str, ChainSpec]:
    """Everything between user and origin through `fw`; from there pings through `dpi` and streams through `cache`."""
    fw, dpi = two_functions(site)
    networks_with_a_fourth = [(name, f"10.{name[1:]}.0.0/24") for name in ("n1", "n2", "n3", "n4")]
    site.fabric.networks.add_networks([NetworkSpec("n4", "p0")])
    site.fabric.networks.set_router(router_spec(0, networks_with_a_fourth))
    cache = function(site, "cache", 0, "n2", "n4", 13)
    both_ways = Classifier(source=IPv4Network(USER), destination=IPv4Network(ORIGIN))
    first = chain_in_one_pop([fw], id="first", classifiers=(both_ways,))
    pings = chain_in_one_pop([dpi], id="pings", classifiers=(Classifier(protocol="icmp"),), after=(first,))
    streams = chain_in_one_pop([cache], id="streams", classifiers=(Classifier(protocol="tcp"),), after=(first,))
    return {chain.id: chain for chain in (first, pings, streams)}


CACHE = ["cache-eth0", "cache-eth1"]


def test_a_chain_branches_into_others_and_back(site: World) -> None:
    for chain in branching_site(site).values():
        site.fabric.steering.set_chain(chain)
    site.ping("user", ORIGIN)
    connect(site, "user", 80)
    grown = growth(site, FORWARD + BACKWARD + CACHE, lambda: site.ping("user", ORIGIN, PINGS))
    assert all(grown[name] >= PINGS for name in FORWARD + BACKWARD), grown
    assert max(grown[name] for name in CACHE) <= 2, grown
    grown = growth(site, FORWARD + BACKWARD + CACHE, lambda: connect(site, "user", 81))
    assert all(grown[name] >= 3 for name in ("fw-eth0", "fw-eth1", *CACHE)), grown
    assert max(grown["dpi-eth0"], grown["dpi-eth1"]) <= 2, grown


def test_only_what_leaves_the_chain_before_enters_a_branch(site: World) -> None:
    for chain in branching_site(site).values():
        site.fabric.steering.set_chain(chain)
    site.host("other", 0, 11)
    site.ping("other", ORIGIN)
    grown = growth(site, FORWARD + BACKWARD, lambda: site.ping("other", ORIGIN, PINGS))
    assert max(grown.values()) <= 2, grown


def test_a_branch_is_undone_exactly(site: World) -> None:
    chains = branching_site(site)
    site.fabric.steering.set_chain(chains["first"])
    rules = nft(site, "p0")
    site.fabric.steering.set_chain(chains["pings"])
    assert nft(site, "p0") != rules
    site.fabric.steering.remove_chain("pings")
    assert nft(site, "p0") == rules
    site.ping("user", ORIGIN)
    grown = growth(site, FORWARD, lambda: site.ping("user", ORIGIN, PINGS))
    assert grown["fw-eth0"] >= PINGS, grown
    assert grown["dpi-eth0"] <= 2, grown


def test_who_receives_what_was_steered_is_still_filtered(world: World) -> None:
    world.pops(1)
    a, b = pair(world)
    between = world.port("between", 0, "blue", "10.0.0.12/24")
    world.machine("between", between)
    world.run("between", "sysctl", "-qw", "net.ipv4.ip_forward=1")
    pings = Classifier(protocol="icmp", destination=IPv4Network("10.0.0.11/32"), source_port_id=a.id)
    world.fabric.steering.set_chain(ChainSpec("c", "p0", (pings,), (Hop(local(between), local(between)),), False))
    assert passes(world, "a", "10.0.0.11")
    before = world.received("between-eth0")["between-eth0"]
    secure(world, b, EVERYTHING_OUT)
    assert not passes(world, "a", "10.0.0.11")
    secure(world, b, EVERYTHING_OUT, PING_IN)
    assert passes(world, "a", "10.0.0.11")
    assert world.received("between-eth0")["between-eth0"] >= before + 2
