"""Connections over the wide area: what is reserved, what it costs, and what becomes of promises when links change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from tests.fakes.fabric import FakeFabric

from sonata.emulator.data_plane import DataPlane
from sonata.emulator.events import EventLog
from sonata.emulator.links import Links
from sonata.emulator.numbering import Numbers, all_numbered
from sonata.emulator.reservations import Connection
from sonata.emulator.wan import Wan
from sonata.errors import AdapterError, Conflict, InvalidInput, NotFound, QuotaExceeded
from sonata.model.infrastructure import AttachedEndpoint
from sonata.model.topology import Impairment, Link, Pop, Topology
from sonata.ports.fabric import NetworkSpec, Reservation
from sonata.ports.wim import ConnectionRequest

pytestmark = pytest.mark.anyio
MBIT = 1e6

RING = Topology(
    "ring",
    {name: Pop(name) for name in "abc"},
    (
        Link("ab", "a", "b", Impairment(delay_s=0.001, rate_bps=100 * MBIT), price=2.0),
        Link("bc", "b", "c", Impairment(delay_s=0.001, rate_bps=100 * MBIT), Impairment(0.001, rate_bps=50 * MBIT)),
        Link("ca", "c", "a", Impairment(delay_s=0.010, rate_bps=60 * MBIT), price=10.0),
    ),
)


@dataclass
class Ring:
    """Three PoPs, two ways between each two of them."""

    wan: Wan
    links: Links
    fabric: FakeFabric
    events: EventLog

    async def join(self, tag: str, members: str, **bounds: float | None) -> Connection:
        networks = {pop: f"{tag}-{pop}" for pop in members}
        self.fabric.networks.add_networks([NetworkSpec(network, pop) for pop, network in networks.items()])
        return await self.wan.connect(ConnectionRequest(tag, networks, **bounds))

    def state(self, connection: Connection) -> tuple[str, str]:
        now = self.wan.get(connection.id)
        return now.state, now.reason

    def told(self, kind: str) -> list[Any]:
        return [event for event in self.events.after(0) if event.kind == kind]


@pytest.fixture
async def ring(anyio_backend: str) -> AsyncIterator[Ring]:
    fabric, events = FakeFabric(), EventLog()
    plane = DataPlane(fabric)  # type: ignore[arg-type]
    links, numbers = Links(plane, events), all_numbered(RING, Numbers())
    await links.pops.add(numbers.pops)
    await links.add(RING.links, numbers.links)
    await links.reroute()
    users = AttachedEndpoint("users", "c", "100.64.2.10")
    yield Ring(Wan(links, plane, lambda pop, network: (), lambda: {"users": users}, events), links, fabric, events)
    await plane.close()


async def test_a_reservation_is_held_each_way_on_every_link_of_the_path(ring: Ring) -> None:
    made = await ring.join("gold", "ac", rate_bps=20 * MBIT, max_rate_bps=30 * MBIT)
    share = {made.vni: Reservation(20 * MBIT, 30 * MBIT)}
    assert ring.fabric.underlay.reserved == {"ab": (share, share), "bc": (share, share)}
    assert (made.state, made.links, made.delay_s) == ("active", ("ab", "bc"), 0.002)
    await ring.wan.disconnect(made.id)
    assert ring.fabric.underlay.reserved == {"ab": ({}, {}), "bc": ({}, {})}


async def test_a_connection_of_many_has_its_rate_between_each_two(ring: Ring) -> None:
    made = await ring.join("mesh", "abc", rate_bps=20 * MBIT)
    assert ring.fabric.underlay.reserved["ab"][0] == {made.vni: Reservation(40 * MBIT)}


async def test_prices_are_of_the_links_on_the_way(ring: Ring) -> None:
    near = await ring.join("near", "ab", rate_bps=10 * MBIT)
    assert near.price_per_hour == pytest.approx(0.02)
    assert (await ring.join("best-effort", "ab")).price_per_hour == 0.0
    await ring.links.set("ab", {}, up=False)
    assert ring.wan.get(near.id).price_per_hour == pytest.approx(0.1)


async def test_the_direction_with_less_decides_and_tells_what_is_left(ring: Ring) -> None:
    await ring.join("gold", "bc", rate_bps=30 * MBIT)
    with pytest.raises(QuotaExceeded, match="link `bc` has 20Mbit of 50Mbit left, 30Mbit"):
        await ring.join("more", "bc", rate_bps=30 * MBIT)
    (edge,) = (edge for edge in ring.wan.view.graph().edges if edge.name == "bc")
    assert (edge.rate_bps, edge.available_bps, edge.price) == (50 * MBIT, 20 * MBIT, 0.0)
    (link,) = (link for link in ring.wan.view.links() if link.name == "bc")
    assert [(way.origin, way.reserved_bps, way.available_bps) for way in link.directions] == [
        ("b", 30 * MBIT, 70 * MBIT),
        ("c", 30 * MBIT, 20 * MBIT),
    ]
    assert link.connections == ("gold",)


async def test_a_reservation_moves_with_the_route_and_back(ring: Ring) -> None:
    made = await ring.join("gold", "ac", rate_bps=20 * MBIT, max_delay_s=0.02)
    await ring.links.set("bc", {}, up=False)
    now = ring.wan.get(made.id)
    assert (now.state, now.links, now.delay_s) == ("active", ("ca",), 0.01)
    assert ring.fabric.underlay.reserved["ca"][1] == {made.vni: Reservation(20 * MBIT)}
    assert ring.fabric.underlay.reserved["ab"] == ({}, {})
    await ring.links.set("bc", {}, up=True)
    assert ring.wan.get(made.id).links == ("ab", "bc")
    assert ring.told("connection.state") == []


async def test_a_reservation_leaves_a_link_that_goes_before_it_goes(ring: Ring) -> None:
    made = await ring.join("gold", "ac", rate_bps=20 * MBIT)
    await ring.links.remove(["bc"])
    assert ring.wan.get(made.id).links == ("ca",)
    assert ring.fabric.underlay.reserved["ab"] == ({}, {})
    await ring.links.remove(["ca"])
    assert ring.state(made)[0] == "down"
    await ring.links.add(RING.links[1:2], {"bc": 1})
    await ring.links.reroute()
    assert ring.state(made) == ("active", "")
    assert ring.fabric.underlay.reserved["bc"][0] == {made.vni: Reservation(20 * MBIT)}


async def test_what_was_held_before_is_held_again_when_a_link_half_way_cannot(ring: Ring) -> None:
    first = await ring.join("first", "ac", rate_bps=20 * MBIT)
    held = {name: ring.fabric.underlay.reserved[name] for name in ("ab", "bc")}
    ring.fabric.underlay.refusing = "bc"
    with pytest.raises(AdapterError, match="bc"):
        await ring.wan.update(first.id, lambda was: replace(was, rate_bps=30 * MBIT))
    ring.fabric.underlay.refusing = ""
    await ring.links.reroute()
    assert {name: ring.fabric.underlay.reserved[name] for name in ("ab", "bc")} == held


async def test_promises_that_break_are_told_with_the_reason(ring: Ring) -> None:
    slow = await ring.join("slow", "ac", rate_bps=40 * MBIT, max_delay_s=0.005)
    young = await ring.join("young", "ca", rate_bps=10 * MBIT)
    direct = await ring.join("direct", "ab", rate_bps=50 * MBIT)
    await ring.links.set("ab", {}, up=False)
    state, reason = ring.state(slow)
    assert (state, reason) == ("degraded", "from `a` to `c` it takes 0.01 s, 0.005 s were promised")
    assert ring.state(young) == ("active", "")
    state, reason = ring.state(direct)
    assert state == "degraded"
    assert "link `ca` from `a` has 10Mbit of the 50Mbit promised left" in reason
    assert ring.fabric.underlay.reserved["ca"][1][direct.vni] == Reservation(10 * MBIT)
    await ring.links.set("ca", {}, up=False)
    assert ring.state(slow) == ("down", "no path between `a` and `c`")
    await ring.links.set("ab", {}, up=True)
    assert [ring.state(one)[0] for one in (slow, young, direct)] == ["active"] * 3
    told = [(event.detail["tag"], event.detail["state"]) for event in ring.told("connection.state")]
    assert told[:2] == [("slow", "degraded"), ("direct", "degraded")]
    assert sorted(told[-3:]) == [("direct", "active"), ("slow", "active"), ("young", "active")]


async def test_a_link_is_not_made_slower_than_what_is_promised_unless_forced(ring: Ring) -> None:
    made = await ring.join("gold", "ab", rate_bps=60 * MBIT)
    with pytest.raises(Conflict, match="60Mbit from `a` promised to connections: `gold`"):
        await ring.links.set("ab", {"rate_bps": 50 * MBIT})
    assert ring.links.get("ab").link.impairment.rate_bps == 100 * MBIT
    await ring.links.set("ab", {"rate_bps": 60 * MBIT})
    await ring.links.set("ab", {"rate_bps": 50 * MBIT}, force=True)
    assert ring.state(made)[0] == "degraded"
    await ring.links.set("ab", {"delay_s": 0.002})
    await ring.links.set("ab", {"rate_bps": None})
    assert ring.state(made) == ("active", "")


async def test_a_connection_changes_as_a_whole_or_not_at_all(ring: Ring) -> None:
    made = await ring.join("gold", "ab", rate_bps=60 * MBIT)
    with pytest.raises(QuotaExceeded):
        await ring.wan.update(made.id, lambda was: replace(was, rate_bps=120 * MBIT, max_delay_s=1.0))
    assert ring.wan.get(made.id) == made
    now = await ring.wan.update(made.id, lambda was: replace(was, rate_bps=90 * MBIT))
    assert (now.rate_bps, now.vni) == (90 * MBIT, made.vni)
    assert ring.fabric.underlay.reserved["ab"][0] == {made.vni: Reservation(90 * MBIT)}
    members = {"a": "gold-a", "c": "new"}
    ring.fabric.networks.add_networks([NetworkSpec("new", "c")])
    now = await ring.wan.update(made.id, lambda was: replace(was, members=members, rate_bps=5 * MBIT))
    assert ring.fabric.networks.spans[made.id].members == members
    assert now.links == ("ab", "bc")
    assert [event.subject for event in ring.told("connection.changed")] == [made.id] * 2


async def test_a_change_that_the_data_plane_refuses_leaves_what_was(ring: Ring) -> None:
    made = await ring.join("gold", "ab", rate_bps=60 * MBIT)
    ring.fabric.networks.fail_next = "the kernel refuses"
    with pytest.raises(AdapterError, match="the kernel refuses"):
        await ring.wan.update(made.id, lambda was: replace(was, rate_bps=70 * MBIT))
    assert ring.wan.get(made.id) == made
    ring.fabric.networks.add_networks([NetworkSpec("x", "b"), NetworkSpec("x", "c")])
    ring.fabric.networks.fail_next = "the kernel refuses"
    with pytest.raises(AdapterError, match="the kernel refuses"):
        await ring.wan.connect(ConnectionRequest("other", {"b": "x", "c": "x"}, rate_bps=1 * MBIT))
    assert ring.wan.connections() == [made]
    assert "bc" not in ring.fabric.underlay.reserved


async def test_connections_are_found_by_their_ends(ring: Ring) -> None:
    near, far = await ring.join("near", "ab"), await ring.join("far", "bc")
    assert ring.wan.view.ending_at(pop="b") == [near, far]
    assert ring.wan.view.ending_at(pop="b", network="far-b") == [far]
    assert ring.wan.view.ending_at(network="near-a") == [near]
    assert ring.wan.view.ending_at(endpoint="users") == [far]
    assert ring.wan.view.ending_at() == [near, far]
    for nowhere in ({"pop": "x"}, {"endpoint": "x"}):
        with pytest.raises(NotFound, match="x"):
            ring.wan.view.ending_at(**nowhere)


@pytest.mark.parametrize(
    "bounds",
    [
        {"rate_bps": 0.0},
        {"rate_bps": float("nan")},
        {"max_delay_s": -1.0},
        {"max_rate_bps": 1e7},
        {"rate_bps": 2e7, "max_rate_bps": 1e7},
    ],
)
async def test_bounds_that_make_no_sense_are_refused(ring: Ring, bounds: dict[str, float]) -> None:
    with pytest.raises(InvalidInput):
        await ring.join("t", "ab", **bounds)


async def test_the_same_tag_with_other_bounds_is_refused(ring: Ring) -> None:
    made = await ring.join("gold", "ab", rate_bps=1 * MBIT)
    with pytest.raises(Conflict, match="other bounds") as caught:
        await ring.join("gold", "ab", rate_bps=2 * MBIT)
    assert made.id in (caught.value.hint or "")


async def test_what_was_saved_is_reserved_again(ring: Ring) -> None:
    made = await ring.join("gold", "ab", rate_bps=1 * MBIT)
    await ring.wan.disconnect(made.id)
    await ring.wan.restore([made])
    assert ring.fabric.underlay.reserved["ab"][0] == {made.vni: Reservation(1 * MBIT)}
