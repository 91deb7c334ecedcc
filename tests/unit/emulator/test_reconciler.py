"""A running emulation becomes another topology: the difference alone, refusals before anything, failures half-way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from tests.fakes.runtime import MISSING_PROGRAM
from tests.unit.emulator.conftest import TRIANGLE, World
from tests.unit.model.test_topology_changes import made_up, normal

from sonata.emulator.cloud.entities.l2_gateway import L2Device, L2Gateway, L2GatewayConnection
from sonata.emulator.cloud.entities.network import Network
from sonata.emulator.definition import as_it_is, definition
from sonata.emulator.emulation import Emulation
from sonata.emulator.reconciler import Reconciler
from sonata.emulator.reservations import Connection
from sonata.emulator.routing import Edge
from sonata.errors import AdapterError, Conflict, PermanentError
from sonata.formats.topology_rules import check_topology
from sonata.model.topology import Endpoint, Impairment, Link, Pop, ServerSeed, Topology
from sonata.model.topology_changes import impossible
from sonata.ports.fabric import EXTERNAL, LinkSpec, Reservation
from sonata.ports.wim import ConnectionRequest

pytestmark = pytest.mark.anyio

D_NETWORK = IPv4Network("100.64.3.0/24")


@pytest.fixture
async def standing(world: World, anyio_backend: str) -> AsyncIterator[Emulation]:
    """The triangle with a server in `a`."""
    emulation = world.emulation(replace(TRIANGLE, servers={"probe": ServerSeed("probe", "a")}))
    await emulation.start()
    yield emulation
    await emulation.close()


def with_d(topology: Topology) -> Topology:
    """One PoP more, with a link, an endpoint and a server."""
    return replace(
        topology,
        pops={**topology.pops, "d": Pop("d")},
        links=(*topology.links, Link("cd", "c", "d", Impairment(delay_s=0.01))),
        endpoints={**topology.endpoints, "late": Endpoint("late", "d")},
        servers={**topology.servers, "far": ServerSeed("far", "d")},
    )


def told(plan) -> list[str]:
    return [f"{change.action} {change.kind} {change.name}" for change in plan]


async def test_what_is_new_stands_and_nothing_else_was_touched(world: World, standing: Emulation) -> None:
    before = dict(world.underlay.links)
    ports = dict(world.fabric.machines.ports)
    wanted = with_d(standing.topology)
    plan = await Reconciler(standing).apply(wanted)
    assert told(plan) == ["add pop d", "add link cd", "add endpoint late", "add server far"]
    assert standing.topology == as_it_is(standing) == wanted
    assert {name: world.underlay.links[name] for name in before} == before
    assert {name: world.fabric.machines.ports[name] for name in ports} == ports
    assert any(map(D_NETWORK.subnet_of, world.underlay.routes["a"]))
    assert {machine.name: machine.status for machine in standing.machines()}["d/far"] == "ACTIVE"
    assert await Reconciler(standing).apply(wanted) == ()


async def test_what_goes_leaves_nothing_behind(world: World, standing: Emulation) -> None:
    first = standing.topology
    reconciler = Reconciler(standing)
    await reconciler.apply(with_d(first))
    members = {}
    for pop in ("a", "d"):
        members[pop] = (await standing.clouds[pop].networks.create(Network(name="n"))).id
    await standing.wan.connect(ConnectionRequest("t", members))
    await asyncio.sleep(0.1)  # until it is written down
    assert "pop-d" in world.journal.texts
    plan = await reconciler.apply(first)
    assert told(plan) == ["remove server far", "remove endpoint late", "remove link cd", "remove pop d"]
    assert set(standing.clouds) == set(world.underlay.pops) == {"a", "b", "c"}
    assert standing.wan.connections() == []
    assert world.fabric.networks.spans == {}
    assert not [name for name in world.fabric.machines.machines if name.startswith(("d-", "endpoint-late"))]
    assert not any(
        IPv4Network("100.64.3.0/24") in routes for pop, routes in world.underlay.routes.items() if pop != "d"
    )
    assert "pop-d" not in world.journal.texts
    assert not (world.folder / "pops" / "d").exists()


async def test_numbers_stay_and_what_comes_gets_the_lowest_free_one(world: World, standing: Emulation) -> None:
    first, reconciler = standing.topology, Reconciler(standing)
    pops = {name: pop for name, pop in first.pops.items() if name != "b"}
    await reconciler.apply(replace(first, pops=pops, links=(first.links[2],)))
    assert standing.numbers.pops == {"a": 0, "c": 2}
    assert standing.numbers.links == {"ac": 2}
    pops = {"new": Pop("new"), "newer": Pop("newer"), **pops}
    links = (Link("one", "new", "a"), first.links[2], Link("two", "newer", "c"))
    await reconciler.apply(replace(first, pops=pops, links=links))
    assert standing.numbers.pops == {"a": 0, "new": 1, "c": 2, "newer": 3}
    assert standing.numbers.links == {"one": 0, "two": 1, "ac": 2}
    address = standing.endpoints.find("origin")
    assert address is not None
    assert str(address.address.ip) == "100.64.2.10"


async def test_numbers_outlive_the_emulation(world: World) -> None:
    first = TRIANGLE
    earlier = world.emulation(first)
    await earlier.start()
    await earlier.close(keep=True)
    pops = {name: pop for name, pop in first.pops.items() if name != "b"}
    again = World(world.folder / "again")
    again.journal = world.journal
    later = again.emulation(replace(first, pops=pops, links=(first.links[2],)))
    await later.start()
    assert later.numbers.pops == {"a": 0, "c": 2}
    assert {name: str(spec.external.ip) for name, spec in again.underlay.pops.items()} == {
        "a": "100.64.0.1",
        "c": "100.64.2.1",
    }
    await later.close()


async def test_links_follow_their_declaration_after_live_changes(world: World, standing: Emulation) -> None:
    declared = standing.topology
    await standing.links.set("ab", {"delay_s": 0.3}, origin="b")
    await standing.links.set("bc", {}, up=False)
    await standing.links.set("access-origin", {"loss": 0.5})
    saved = definition(standing, with_servers=False).topology
    assert await Reconciler(standing).apply(saved) == ()
    plan = await Reconciler(standing).apply(declared)
    assert told(plan) == ["change link ab", "change link bc", "change endpoint origin"]
    assert [change.differing for change in plan] == [("reverse",), ("up",), ("impairment",)]
    assert as_it_is(standing) == declared
    assert world.underlay.down == set()


async def joined(emulation: Emulation, tag: str, pops: str, **bounds: float) -> Connection:
    """New networks of some PoPs, as one."""
    members = {pop: (await emulation.clouds[pop].networks.create(Network(name=tag))).id for pop in pops}
    return await emulation.wan.connect(ConnectionRequest(tag, members, **bounds))


def relinked(topology: Topology, name: str, **values: object) -> Topology:
    """With other values of one link."""
    return replace(
        topology, links=tuple(replace(link, **values) if link.name == name else link for link in topology.links)
    )


async def test_a_link_is_not_declared_slower_than_what_is_promised(world: World, standing: Emulation) -> None:
    made = await joined(standing, "gold", "bc", rate_bps=60e6)
    before, reconciler = standing.topology, Reconciler(standing)
    slow = relinked(before, "bc", impairment=Impairment(delay_s=0.01, rate_bps=50e6), price=3.0)
    promised = "`bc` has 60Mbit from `b` promised to connections: `gold`"
    with pytest.raises(Conflict, match=promised):
        reconciler.plan(slow)
    with pytest.raises(Conflict, match=promised):
        await reconciler.apply(slow)
    assert standing.topology == before
    assert standing.wan.get(made.id).state == "active"
    enough = relinked(before, "bc", impairment=Impairment(delay_s=0.01, rate_bps=60e6), price=3.0)
    await reconciler.apply(enough)
    now = standing.wan.get(made.id)
    assert (now.state, now.price_per_hour) == ("active", pytest.approx(0.18))
    assert world.underlay.reserved["bc"][0] == {made.vni: Reservation(60e6)}


async def test_promises_to_sites_that_go_in_the_same_step_do_not_count(standing: Emulation) -> None:
    await joined(standing, "gold", "ac", rate_bps=60e6)
    slow = replace(standing.topology.links[0], impairment=Impairment(delay_s=0.01, rate_bps=50e6))
    pops = {name: pop for name, pop in standing.topology.pops.items() if name != "c"}
    endpoints = {name: one for name, one in standing.topology.endpoints.items() if one.attach != "c"}
    await Reconciler(standing).apply(replace(standing.topology, pops=pops, links=(slow,), endpoints=endpoints))
    assert standing.wan.connections() == []
    assert standing.links.get("ab").link == slow


async def test_promises_follow_what_is_declared(world: World, standing: Emulation) -> None:
    made = await joined(standing, "gold", "ac", rate_bps=60e6)
    assert made.links == ("ab", "bc")
    first, reconciler = standing.topology, Reconciler(standing)
    new = Link("new", "a", "c", Impairment(delay_s=0.001, rate_bps=80e6))
    await reconciler.apply(replace(first, links=(*first.links, new)))
    assert standing.wan.get(made.id).links == ("new",)
    assert world.underlay.reserved["new"] == ({made.vni: Reservation(60e6)},) * 2
    assert world.underlay.reserved["ab"] == world.underlay.reserved["bc"] == ({}, {})
    await reconciler.apply(first)
    assert standing.wan.get(made.id).links == ("ab", "bc")
    assert world.underlay.reserved["bc"][1] == {made.vni: Reservation(60e6)}
    await reconciler.apply(replace(first, links=(replace(first.links[0], up=False), *first.links[1:2])))
    now = standing.wan.get(made.id)
    assert (now.state, now.reason) == ("down", "no path between `a` and `c`")
    await reconciler.apply(first)
    assert standing.wan.get(made.id).state == "active"
    states = [one.detail["state"] for one in standing.events.after(0) if one.kind == "connection.state"]
    assert states == ["down", "active"]


async def test_a_site_that_goes_frees_what_was_reserved_for_it(world: World, standing: Emulation) -> None:
    reconciler, first = Reconciler(standing), standing.topology
    await reconciler.apply(with_d(first))
    made = await joined(standing, "three", "acd", rate_bps=10e6)
    assert world.underlay.reserved["bc"][0] == {made.vni: Reservation(20e6)}
    await reconciler.apply(first)
    now = standing.wan.get(made.id)
    assert (set(now.members), now.state, now.links) == ({"a", "c"}, "active", ("ab", "bc"))
    assert world.underlay.reserved["bc"][0] == {made.vni: Reservation(10e6)}


async def test_what_is_saved_has_prices_and_tells_of_connections(standing: Emulation) -> None:
    await joined(standing, "gold", "ac", rate_bps=10e6)
    priced = relinked(standing.topology, "bc", price=3.0)
    await Reconciler(standing).apply(priced)
    await standing.links.set("bc", {"rate_bps": 50e6})
    saved = definition(standing, with_servers=True)
    assert "connection `gold` is left out: topologies have no connections" in saved.left_out
    (link,) = (link for link in saved.topology.links if link.name == "bc")
    assert (link.price, link.impairment.rate_bps) == (3.0, 50e6)
    assert await Reconciler(standing).apply(saved.topology) == ()
    assert standing.wan.connections()[0].state == "active"


async def test_routes_follow_a_delay_that_is_declared_anew(world: World, standing: Emulation) -> None:
    slow = replace(standing.topology.links[0], impairment=Impairment(delay_s=1.0))
    over_b, direct = (standing.links.get(name).address_at(pop) for name, pop in (("ab", "b"), ("ac", "c")))
    assert world.underlay.routes["a"][IPv4Network("100.64.2.0/24")] == over_b
    await Reconciler(standing).apply(replace(standing.topology, links=(slow, *standing.topology.links[1:])))
    assert world.underlay.routes["a"][IPv4Network("100.64.2.0/24")] == direct


async def test_a_pop_offers_what_is_declared_now(standing: Emulation) -> None:
    pops = {**standing.topology.pops, "a": Pop("a", cpus=1.0, cpu_oversubscription=3.0, labels={"tier": "edge"})}
    assert told(await Reconciler(standing).apply(replace(standing.topology, pops=pops))) == ["change pop a"]
    assert standing.clouds["a"].usage.vcpus == 3.0
    assert standing.topology.pops["a"].labels == {"tier": "edge"}


async def test_servers_that_come_need_room_beside_those_that_stay(standing: Emulation) -> None:
    first = standing.topology
    pops = {**first.pops, "b": Pop("b", cpus=2.0), "d": Pop("d", memory_bytes=2**30)}
    links = (*first.links, Link("cd", "c", "d"))
    await Reconciler(standing).apply(replace(first, pops=pops, links=links))
    small = {f"s{number}": ServerSeed(f"s{number}", "b", flavor="small") for number in range(3)}
    wanted = replace(standing.topology, servers={**first.servers, **small})
    with pytest.raises(Conflict, match=r"PoP `b` has 2 vCPUs left and the servers that come want 3 \(`s0`, `s1`, `s2`"):
        await Reconciler(standing).apply(wanted)
    assert standing.topology.servers == first.servers

    two = {name: small[name] for name in ("s0", "s1")}
    await Reconciler(standing).apply(replace(wanted, servers={**first.servers, **two}))
    with pytest.raises(Conflict, match="has 0 vCPUs left"):
        Reconciler(standing).plan(wanted)
    # One that goes makes room.
    await Reconciler(standing).apply(replace(wanted, servers={**first.servers, "s1": small["s1"], "s2": small["s2"]}))
    big = {"big": ServerSeed("big", "d", flavor="large")}
    with pytest.raises(Conflict, match="PoP `d` has 1024 MiB of memory left"):
        Reconciler(standing).plan(replace(standing.topology, servers={**first.servers, **big}))


async def test_a_pop_that_comes_needs_room_for_its_servers(standing: Emulation) -> None:
    wanted = with_d(standing.topology)
    crowded = replace(wanted, pops={**wanted.pops, "d": Pop("d", memory_bytes=2**25)})
    with pytest.raises(Conflict, match="PoP `d` has 32 MiB of memory left and the servers that come want 64"):
        await Reconciler(standing).apply(crowded)
    assert "d" not in standing.topology.pops


async def test_all_that_cannot_be_done_is_told_before_anything_is_changed(world: World, standing: Emulation) -> None:
    first = standing.topology
    wanted = replace(
        with_d(first),
        pops={"a": Pop("a", cpus=0.5, memory_bytes=2**20), "b": Pop("b", managed_by="a"), "c": Pop("c"), "d": Pop("d")},
        servers={**first.servers, "new": ServerSeed("new", "d", flavor="huge", image="absent")},
    )
    with pytest.raises(Conflict) as planned:
        Reconciler(standing).plan(wanted)
    with pytest.raises(Conflict) as refused:
        await Reconciler(standing).apply(wanted)
    for reason in ("PoP `b`", "0.5 vCPUs", "1 MiB of memory", "`huge`", "absent"):
        assert reason in planned.value.message
        assert reason in refused.value.message
    assert standing.topology == first
    assert set(world.underlay.pops) == {"a", "b", "c"}


async def test_a_server_of_somebody_else_is_taken_as_it_is_or_refused(standing: Emulation) -> None:
    seeds = standing.clouds["b"].seeds
    await seeds.boot(ServerSeed("own", "b"))
    saved = definition(standing, with_servers=True)
    assert saved.topology.servers.keys() == {"probe", "own"}
    assert saved.left_out == ()
    assert definition(standing, with_servers=False).topology.servers.keys() == {"probe"}
    other = replace(saved.topology, servers={**saved.topology.servers, "own": ServerSeed("own", "b", flavor="small")})
    with pytest.raises(Conflict, match="flavor `tiny`"):
        await Reconciler(standing).apply(other)
    assert await Reconciler(standing).apply(saved.topology) == ()
    await Reconciler(standing).apply(replace(saved.topology, servers={}))
    assert seeds.find("own") is None


async def test_a_server_that_somebody_deleted_comes_back(standing: Emulation) -> None:
    cloud = standing.clouds["a"]
    await cloud.seeds.remove("probe")
    assert told(await Reconciler(standing).apply(standing.topology)) == ["add server probe"]
    assert cloud.seeds.stands("probe")


async def test_a_failure_half_way_tells_what_is_true_and_the_same_request_goes_on(
    world: World, standing: Emulation
) -> None:
    first, reconciler, changed = standing.topology, Reconciler(standing), []
    reconciler.on_change = lambda: changed.append(standing.topology)
    wanted = with_d(first)
    bad = Endpoint("bad", "d", command=(MISSING_PROGRAM,))
    with pytest.raises(PermanentError, match=MISSING_PROGRAM):
        await reconciler.apply(replace(wanted, endpoints={**wanted.endpoints, "bad": bad}))
    assert changed == [standing.topology]
    assert set(standing.topology.pops) == {"a", "b", "c", "d"}
    assert set(standing.topology.endpoints) == {"users", "origin", "late"}
    assert not [name for name in world.fabric.machines.machines if "bad" in name]
    assert [event.kind for event in standing.events.after(0)][-1] == "topology.failed"
    assert told(await reconciler.apply(wanted)) == ["add server far"]


async def test_a_data_plane_that_refuses_a_link_keeps_the_way_that_was_there(world: World, standing: Emulation) -> None:
    def refuse(links) -> None:
        raise AdapterError("no such luck")

    world.underlay.add_links, kept = refuse, world.underlay.add_links  # type: ignore[method-assign]
    wanted = replace(with_d(standing.topology), links=(*with_d(standing.topology).links[1:],))
    with pytest.raises(AdapterError, match="luck"):
        await Reconciler(standing).apply(wanted)
    assert "ab" in world.underlay.links
    assert set(standing.topology.pops) == {"a", "b", "c", "d"}
    world.underlay.add_links = kept  # type: ignore[method-assign]
    await Reconciler(standing).apply(wanted)
    assert as_it_is(standing) == wanted


async def test_an_endpoint_is_replaced_with_the_same_address(world: World, standing: Emulation) -> None:
    endpoints = {**standing.topology.endpoints, "origin": Endpoint("origin", "c", command=("other",))}
    plan = await Reconciler(standing).apply(replace(standing.topology, endpoints=endpoints))
    assert told(plan) == ["remove endpoint origin", "add endpoint origin"]
    (port,) = world.fabric.machines.of("endpoint-origin")
    assert [str(address) for address in port.addresses] == ["100.64.2.10/24"]
    assert world.runtime.started[-1].argv == ("other",)


async def test_an_interface_that_a_gateway_joins_does_not_go(standing: Emulation) -> None:
    plant = Endpoint("plant", "a", interfaces={"eth1": None})
    first = standing.topology
    wanted = replace(first, endpoints={**first.endpoints, "plant": plant})
    await Reconciler(standing).apply(wanted)
    cloud = standing.clouds["a"]
    network = await cloud.networks.create(Network(name="n"))
    gateway = cloud.l2_gateways.create(L2Gateway(name="g", devices=(L2Device(name="plant", interfaces=("eth1",)),)))
    joined = await cloud.l2_gateways.connect(L2GatewayConnection(l2_gateway_id=gateway.id, network_id=network.id))
    with pytest.raises(Conflict, match="eth1 is joined"):
        await Reconciler(standing).apply(first)
    await cloud.l2_gateways.disconnect(joined.id)
    await Reconciler(standing).apply(first)
    assert cloud.site.outlets == ()


async def test_events_tell_each_change(standing: Emulation) -> None:
    start = standing.events.last
    await Reconciler(standing).apply(with_d(standing.topology))
    kinds = [event.kind for event in standing.events.after(start) if event.kind.split(".")[0] != "network"]
    wanted = ["pop.added", "link.added", "routes.changed", "endpoint.added", "topology.changed"]
    assert [kind for kind in kinds if kind in wanted] == wanted


async def test_zones_come_and_go_with_their_servers(world: World, standing: Emulation) -> None:
    first = standing.topology
    zoned = replace(
        first,
        pops={**first.pops, "edge": Pop("edge", managed_by="a")},
        links=(*first.links, Link("ae", "a", "edge")),
        servers={**first.servers, "bob": ServerSeed("bob", "edge")},
    )
    await Reconciler(standing).apply(zoned)
    cloud = standing.clouds["a"]
    assert cloud.hosts.zones() == {"nova": ["a"], "edge": ["edge"]}
    bob = cloud.find_server("bob")
    (port,) = world.fabric.machines.of(f"a-{bob.id}")
    assert port.pop == "edge"
    await Reconciler(standing).apply(first)
    assert cloud.hosts.zones() == {"nova": ["a"]}
    assert [server.name for server in cloud.tables.servers] == ["probe"]
    assert world.fabric.networks.spans == {}


async def test_an_endpoint_that_roams_stays_where_it_is_and_goes_home_when_its_place_goes(
    world: World, standing: Emulation
) -> None:
    first = standing.topology
    await Reconciler(standing).apply(with_d(first))
    await standing.roaming.move("users", "d")
    assert as_it_is(standing) == with_d(first)
    assert await Reconciler(standing).apply(with_d(first)) == ()
    await Reconciler(standing).apply(first)
    users = standing.endpoints.find("users")
    assert users is not None
    assert (users.endpoint.attach, users.home) == ("a", "a")
    assert [world.underlay.guests[pop] for pop in ("a", "d")] == [({}, False), ({}, False)]
    assert standing.numbers.endpoints["a"] == {"users": 0}


async def test_a_cell_that_goes_holds_nobody(standing: Emulation) -> None:
    first = standing.topology
    celled = replace(first, pops={**first.pops, "a": Pop("a", cells=("c1",))})
    await Reconciler(standing).apply(celled)
    await standing.roaming.move("users", "c1")
    await Reconciler(standing).apply(first)
    users = standing.endpoints.find("users")
    assert users is not None
    assert users.cell == ""


def valid(seed: int) -> Topology:
    """A made-up topology without flaws; the first from this seed on."""
    topology = next(filter(is_flawless, map(made_up, range(seed, seed + 1000))))
    return replace(topology, pops={name: replace(pop, cpus=8 * pop.cpus) for name, pop in topology.pops.items()})


def is_flawless(topology: Topology) -> bool:
    return not [found for found in check_topology(topology) if found.severity == "error"]


@pytest.mark.parametrize("seed", range(0, 60_000, 5_000))
async def test_whatever_becomes_of_whatever_equals_a_fresh_start(world: World, tmp_path: Path, seed: int) -> None:
    """What stands in the data plane, apart from the numbers that are kept."""
    steps = [valid(seed + 1000 * number) for number in range(4)]
    emulation = world.emulation(steps[0])
    await emulation.start()
    for wanted in steps[1:]:
        if list(impossible(emulation.topology, wanted)):
            continue
        await Reconciler(emulation).apply(wanted)
        assert normal(as_it_is(emulation)) == normal(wanted)
        assert Reconciler(emulation).plan(wanted) == ()
    fresh_world = World(tmp_path / "fresh")
    fresh = fresh_world.emulation(emulation.topology)
    await fresh.start()
    assert what_stands(world, emulation) == what_stands(fresh_world, fresh)
    await emulation.close()
    await fresh.close()


def what_stands(world: World, emulation: Emulation) -> dict[str, object]:
    """What an emulation has, without ids and addresses."""
    ports = world.fabric.machines.ports.values()
    clouds = emulation.clouds.items()
    servers = [(pop, one.name, one.status, one.host) for pop, cloud in clouds for one in cloud.tables.servers]
    links = map(_as_link, world.underlay.links.values())
    routing, numbers = emulation.links.routing, emulation.numbers.pops
    paths = {(a, b): routing.path(numbers[a], numbers[b]) for a in numbers for b in numbers}
    return {
        "pops": set(world.underlay.pops),
        "links": {(link.name, link.a, link.b, *link.directions) for link in links},
        "down": world.underlay.down & set(world.underlay.links),
        "routed": {pop for pop in world.underlay.pops if world.underlay.routes.get(pop)},
        "costs": {ends: _cost(path) for ends, path in paths.items()},
        "servers": sorted(servers),
        "zones": {pop: cloud.hosts.zones() for pop, cloud in clouds},
        "usage": {pop: cloud.usage for pop, cloud in clouds},
        "machines": sorted(name for name in world.fabric.machines.machines if name.startswith("endpoint-")),
        "ports": sorted((port.pop, port.ifname) for port in ports if port.network == EXTERNAL),
    }


def _cost(path: list[Edge] | None) -> tuple[int, float] | None:
    """How long a path is; of equally long ones either may be taken."""
    return None if path is None else (len(path), round(sum(edge.delay_s for edge in path), 9))


def _as_link(spec: LinkSpec) -> Link:
    return Link(spec.name, spec.a, spec.b, spec.impairment, spec.reverse)
