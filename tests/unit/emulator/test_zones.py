"""An emulation in which one PoP's OpenStack manages another PoP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.emulator.conftest import World

from sonata.emulator.cloud.entities.network import Network
from sonata.emulator.emulation import Emulation
from sonata.errors import NotFound
from sonata.model.topology import Endpoint, Link, Pop, ServerSeed, Topology
from sonata.ports.wim import ConnectionRequest

pytestmark = pytest.mark.anyio

ZONES = Topology(
    "zones",
    {"core": Pop("core"), "edge": Pop("edge", managed_by="core"), "other": Pop("other")},
    (Link("near", "core", "edge"), Link("far", "core", "other")),
    {"users": Endpoint("users", "edge")},
    {"alice": ServerSeed("alice", "core"), "bob": ServerSeed("bob", "edge")},
)


@pytest.fixture
async def zones(world: World, anyio_backend: str) -> AsyncIterator[Emulation]:
    emulation = world.emulation(ZONES)
    await emulation.start()
    yield emulation
    await emulation.close()


async def test_a_managed_pop_stands_without_an_openstack(world: World, zones: Emulation) -> None:
    assert set(zones.clouds) == {"core", "other"}
    assert set(world.underlay.pops) == {"core", "edge", "other"}
    assert zones.wan.view.graph().pops == ("core", "edge", "other")
    assert zones.clouds["other"].hosts.zones() == {"nova": ["other"]}


async def test_servers_of_the_topology_start_in_their_zone(world: World, zones: Emulation) -> None:
    where = {machine.name: machine.pop for machine in zones.machines()}
    assert where == {"users": "edge", "core/alice": "core", "core/bob": "edge"}
    assert await zones.exec("core/bob", ["id"]) == await zones.exec("edge/bob", ["id"])
    bob = zones.clouds["core"].find_server("bob")
    (port,) = world.fabric.machines.of(f"core-{bob.id}")
    assert port.pop == "edge"
    with pytest.raises(NotFound):
        await zones.exec("other/bob", ["id"])


async def test_a_connection_names_the_pop_that_manages(world: World, zones: Emulation) -> None:
    cloud = zones.clouds["core"]
    near = cloud.find_server("bob")
    (network,) = [one for one in cloud.tables.networks if one.name == "default"]
    far = await zones.clouds["other"].networks.create(Network(name="far"))
    with pytest.raises(NotFound, match="availability zone of `core`"):
        await zones.wan.connect(ConnectionRequest("x", {"edge": network.id, "other": far.id}))
    connection = await zones.wan.connect(ConnectionRequest("x", {"core": network.id, "other": far.id}))
    spans = world.fabric.networks.spans
    assert len({span.vni for span in spans.values()}) == len(spans) == 2
    (port,) = [one for one in cloud.tables.ports if one.device_id == near.id]
    assert port.mac in spans[connection.id].stations["core"]


async def reborn(world: World, topology: Topology, folder: Path) -> Emulation:
    """An emulation that has run as `ZONES`, was killed, and runs as this."""
    first = world.emulation(ZONES)
    await first.start()
    await first.close(keep=True)
    later = World(folder)
    later.journal = world.journal
    emulation = later.emulation(topology)
    await emulation.start()
    return emulation


async def test_zones_come_back(world: World, tmp_path: Path) -> None:
    again = await reborn(world, ZONES, tmp_path / "again")
    assert {machine.name: machine.pop for machine in again.machines()}["core/bob"] == "edge"
    await again.close()


async def test_a_pop_that_is_managed_no_more_has_an_openstack_of_its_own(world: World, tmp_path: Path) -> None:
    apart = replace(ZONES, pops={name: replace(pop, managed_by="") for name, pop in ZONES.pops.items()}, servers={})
    again = await reborn(world, apart, tmp_path / "again")
    assert set(again.clouds) == {"core", "edge", "other"}
    assert {machine.name: machine.pop for machine in again.machines()}["core/bob"] == "core"
    await again.close()
