"""A site with a second PoP as an availability zone: where networks, ports and filters stand, and what moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from tests.fakes.fabric import FakeFabric
from tests.fakes.images import FakeImageStore, image
from tests.fakes.runtime import FakeRuntime
from tests.unit.cloud.conftest import EXTERNAL, World

from sonata.emulator.cloud import Cloud
from sonata.emulator.cloud.causes import ChainAcrossZones
from sonata.emulator.cloud.compute.nics import NicWish
from sonata.emulator.cloud.compute.servers import PROVING_S, BootRequest
from sonata.emulator.cloud.entities.chaining import FlowClassifier, PortChain, PortPair, PortPairGroup, ServiceGraph
from sonata.emulator.cloud.entities.compute import Server, ServerStatus
from sonata.emulator.cloud.entities.l2_gateway import L2Device, L2Gateway, L2GatewayConnection
from sonata.emulator.cloud.entities.network import FloatingIp, Network, Router, Subnet
from sonata.emulator.cloud.entities.qos import BandwidthRule, QosPolicy
from sonata.emulator.cloud.site import Zones
from sonata.emulator.data_plane import DataPlane
from sonata.emulator.outlets import Outlet
from sonata.emulator.vnis import LAST, Vnis
from sonata.model.topology import GIB, Pop
from sonata.ports.fabric import EXTERNAL as EXTERNAL_ID
from sonata.ports.fabric import PortSpec

pytestmark = pytest.mark.anyio

CORE = Pop("core", cpus=4, memory_bytes=GIB)
OUTLET = Outlet("plant", "eth1", "edge")
EDGE = Pop("edge", cpus=4, memory_bytes=2 * GIB, managed_by="core")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A site `core` that manages `edge`."""
    made = world_in(tmp_path)
    yield made
    await made.cloud.close()


def world_in(folder: Path) -> World:
    fabric, runtime, images = FakeFabric(), FakeRuntime(), FakeImageStore(image("web", argv=("/bin/web",)))
    changed: list[str] = []

    async def note(network_id: str) -> None:
        changed.append(network_id)

    zones = Zones((EDGE,), Vnis())
    fabric.networks.add_networks([OUTLET.network_spec()])
    more = {"zones": zones, "outlets": [OUTLET]}
    cloud = Cloud(CORE, DataPlane(fabric), runtime, images, EXTERNAL, EXTERNAL[1], folder, note, **more)  # type: ignore[arg-type]
    return World(cloud, fabric, runtime, images, changed)


async def boot(
    world: World, network: Network, zone: str = "", host: str = "", name: str = "vnf", image_name: str = "host"
) -> Server:
    request = BootRequest(
        name=name,
        project_id=world.cloud.identity.admin_project.id,
        user_id=world.cloud.identity.admin.id,
        image_id=world.cloud.images.find(image_name).id,
        flavor=world.cloud.tables.flavors.find("tiny"),
        nics=[NicWish(network_id=network.id)],
        availability_zone=zone,
        host=host,
    )
    return await world.settled(world.cloud.servers.create(request))


def port_of(world: World, server: Server) -> PortSpec:
    (spec,) = world.fabric.machines.of(world.cloud.wiring.machine_id(server.id))
    return spec


def pops_with(world: World, network: Network) -> set[str]:
    return {pop for pop, name in world.fabric.networks.networks if name == network.id}


async def migrate(world: World, server: Server, host: str = "", *, force: bool = False) -> Server:
    world.cloud.live_migration.begin(server.id, host, force=force)
    return await world.settled(server)


def last_migration(world: World) -> tuple[str, str, str]:
    migration = list(world.cloud.tables.migrations)[-1]
    return migration.status, migration.source, migration.target


async def test_hosts_of_a_managed_pop_are_a_zone(world: World) -> None:
    hosts = world.cloud.hosts
    assert hosts.zones() == {"nova": ["core"], "edge": ["edge"]}
    assert world.cloud.usage.vcpus == 8
    assert hosts.usage(hosts.get("edge")).memory_mib == 2048
    aggregate = hosts.create_aggregate("east", "east")
    hosts.add_host(aggregate, "edge")
    assert hosts.zones() == {"nova": ["core"], "east": ["edge"]}


async def test_servers_go_to_the_zone_that_is_named_else_near_the_routers(world: World) -> None:
    network, _ = await world.network()
    here, there, asked = (
        await boot(world, network),
        await boot(world, network, "edge"),
        await boot(world, network, host="edge"),
    )
    assert [(one.host, one.availability_zone) for one in (here, there, asked)] == [
        ("core", "nova"),
        ("edge", "edge"),
        ("edge", "edge"),
    ]
    assert [port_of(world, one).pop for one in (here, there, asked)] == ["core", "edge", "edge"]


async def test_a_network_stands_in_a_zone_while_a_port_is_there(world: World) -> None:
    network, _ = await world.network()
    here = await boot(world, network)
    assert pops_with(world, network) == {"core"}
    assert world.fabric.networks.spans == {}
    there = await boot(world, network, "edge")
    assert pops_with(world, network) == {"core", "edge"}
    (span,) = world.fabric.networks.spans.values()
    assert span.members == {"core": network.id, "edge": network.id}
    assert span.vni == LAST
    service = world.cloud.wiring.dhcp_ports.find(network.id)
    assert service is not None
    assert set(span.stations["core"]) == {port_of(world, here).mac, service.mac}
    assert span.stations["edge"] == (port_of(world, there).mac,)
    await world.cloud.networks.update(network.id, mtu=1400)
    assert world.fabric.networks.networks["edge", network.id].mtu == 1400
    await world.delete(there)
    assert pops_with(world, network) == {"core"}
    assert world.fabric.networks.spans == {}
    await world.delete(here)


async def test_each_network_has_a_number_of_its_own_and_gives_it_back(world: World) -> None:
    networks = [(await world.network(f"10.{number}.0.0/24", f"n{number}"))[0] for number in range(2)]
    servers = [await boot(world, network, "edge") for network in networks]
    assert {span.vni for span in world.fabric.networks.spans.values()} == {LAST, LAST - 1}
    await world.delete(servers[0])
    await boot(world, networks[0], "edge")
    assert {span.vni for span in world.fabric.networks.spans.values()} == {LAST, LAST - 1}


async def test_the_external_network_of_the_site_reaches_its_zones(world: World) -> None:
    external = world.cloud.networks.external
    there = await boot(world, external, "edge")
    assert (port_of(world, there).pop, port_of(world, there).network) == ("edge", external.id)
    (span,) = world.fabric.networks.spans.values()
    assert span.members == {"core": EXTERNAL_ID, "edge": external.id}
    moved = await migrate(world, there, "core", force=True)
    assert (port_of(world, moved).pop, port_of(world, moved).network) == ("core", EXTERNAL_ID)


async def test_filters_stand_where_the_port_is(world: World) -> None:
    network, _ = await world.network()
    here, there = await boot(world, network), await boot(world, network, "edge")
    by_pop = world.fabric.filtering.by_pop
    assert set(by_pop["core"]) == {here.nics[0].port_id}
    assert set(by_pop["edge"]) == {there.nics[0].port_id}
    moved = await migrate(world, there, "core", force=True)
    assert set(by_pop["core"]) == {here.nics[0].port_id, there.nics[0].port_id}
    assert by_pop["edge"] == {}
    assert set(world.fabric.filtering.standing()) == {here.nics[0].port_id, moved.nics[0].port_id}


async def test_a_live_migration_keeps_the_machine_and_moves_its_ports(world: World) -> None:
    network, _ = await world.network()
    await boot(world, network, "edge")
    server = await boot(world, network)
    before = port_of(world, server)
    moved = await migrate(world, server, "edge")
    assert (moved.status, moved.task_state, moved.host, moved.availability_zone) == ("ACTIVE", None, "edge", "edge")
    assert port_of(world, moved) == replace(before, pop="edge")
    assert world.fabric.machines.held == set()
    (span,) = world.fabric.networks.spans.values()
    assert before.mac in span.stations["edge"]
    assert before.mac not in span.stations["core"]
    assert last_migration(world) == ("completed", "core", "edge")
    (action, *_) = world.cloud.servers.operations.log.of(server.id)
    assert action.events[-1].result == "Success"
    assert "stood still for" in str(action.events[-1].details)
    # It is a port like any other there: it follows changes, and goes.
    await world.cloud.port_changes.update(moved.nics[0].port_id, admin_state_up=False)
    assert port_of(world, moved).up is False
    await world.delete(moved)


async def test_a_migration_that_fails_leaves_the_server_where_it_was(world: World) -> None:
    network, _ = await world.network()
    server = await boot(world, network)
    before, filters = port_of(world, server), world.fabric.filtering.standing()
    world.fabric.machines.fail_next = "the kernel is out of sorts"
    kept = await migrate(world, server, "edge")
    assert (kept.status, kept.task_state, kept.host) == (ServerStatus.ACTIVE, None, "core")
    assert kept.fault is not None
    assert "out of sorts" in kept.fault.message
    assert port_of(world, server) == before
    assert world.fabric.machines.held == set()
    assert world.fabric.filtering.standing() == filters
    assert pops_with(world, network) == {"core"}
    assert world.fabric.networks.spans == {}
    assert last_migration(world) == ("error", "core", "edge")
    assert (await migrate(world, server)).host == "edge"


async def test_a_program_that_ends_while_its_server_moves_leaves_it_off_where_it_went(world: World) -> None:
    network, _ = await world.network()
    server = await boot(world, network, image_name="web")
    world.cloud.live_migration.begin(server.id, "edge")
    await asyncio.sleep(0)
    assert world.cloud.tables.servers.get(server.id).task_state == "migrating"
    world.cloud.servers.switched_on[server.id] -= PROVING_S
    await world.runtime.end(world.cloud.wiring.machine_id(server.id), 3)
    ended = await world.settled(server)
    assert (ended.status, ended.task_state, ended.host) == (ServerStatus.SHUTOFF, None, "edge")
    assert ended.fault is not None
    assert "exit status 3" in ended.fault.message
    world.cloud.servers.start(server.id)
    assert (await world.settled(server)).status == ServerStatus.ACTIVE


async def test_a_direct_port_keeps_a_running_server_in_its_pop(world: World) -> None:
    network, _ = await world.network()
    server = await boot(world, network)
    world.cloud.tables.ports.change(server.nics[0].port_id, vnic_type="macvtap")
    kept = await migrate(world, server)
    assert (kept.status, kept.task_state, kept.host) == (ServerStatus.ACTIVE, None, "core")
    assert kept.fault is not None
    assert "eth0 is a function of a network card" in kept.fault.message
    assert list(world.cloud.tables.migrations) == []
    world.cloud.moving.migrate(server.id, "")
    moved = await world.settled(server)
    assert (moved.status, moved.host) == (ServerStatus.VERIFY_RESIZE, "edge")


async def test_what_fails_after_the_ports_have_moved_is_undone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    network, _ = await world.network()
    server = await boot(world, network)
    before, set_span = port_of(world, server), world.fabric.networks.set_span
    calls: list[object] = []

    def fail_second(span: object) -> None:
        calls.append(span)
        if len(calls) == 2:
            world.fabric.networks.require("core", "nowhere")
        set_span(span)  # type: ignore[arg-type]

    monkeypatch.setattr(world.fabric.networks, "set_span", fail_second)
    kept = await migrate(world, server, "edge")
    assert (kept.status, kept.host, port_of(world, server)) == ("ACTIVE", "core", before)
    assert last_migration(world) == ("error", "core", "edge")
    assert pops_with(world, network) == {"core"}


async def test_the_oldest_migrations_are_forgotten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sonata.emulator.cloud.compute.targets.LONGEST_LIST", 3)
    network, _ = await world.network()
    server = await boot(world, network)
    for _ in range(5):
        server = await migrate(world, server)
        assert server.fault is None
    assert [migration.number for migration in world.cloud.tables.migrations] == [3, 4, 5]


async def test_a_server_that_is_deleted_while_it_moves_leaves_nothing(world: World) -> None:
    network, _ = await world.network()
    for rounds in range(12):
        server = await boot(world, network)
        world.cloud.live_migration.begin(server.id, "edge")
        for _ in range(rounds):
            await asyncio.sleep(0.001)
        await world.delete(server)
        assert world.nothing_left()
        assert pops_with(world, network) == {"core"}
        assert {migration.status for migration in world.cloud.tables.migrations} <= {"error", "completed"}
    assert world.fabric.networks.spans == {}


async def test_an_interface_that_is_added_and_taken_away_is_where_its_server_is(world: World) -> None:
    network, _ = await world.network()
    second, _ = await world.network("10.2.0.0/24", "second")
    server = await boot(world, network, "edge")
    nic = await world.cloud.nics.attach(server.id, NicWish(network_id=second.id))
    assert {port.pop for port in world.fabric.machines.of(f"core-{server.id}")} == {"edge"}
    assert pops_with(world, second) == {"core", "edge"}
    await world.cloud.nics.detach(server.id, nic.port_id)
    assert pops_with(world, second) == {"core"}


async def test_a_paused_server_moves_and_stays_paused(world: World) -> None:
    network, _ = await world.network()
    server = await boot(world, network)
    world.cloud.freezing.pause(server.id)
    await world.settled(server)
    moved = await migrate(world, server)
    assert (moved.status, moved.host, port_of(world, moved).pop) == ("PAUSED", "edge", "edge")
    assert world.fabric.machines.held == {moved.nics[0].port_id}


async def test_rates_of_a_moved_port_hold(world: World) -> None:
    network, _ = await world.network()
    policy = world.cloud.qos.create(QosPolicy(rules=(BandwidthRule(max_kbps=1000),)))
    server = await boot(world, network)
    port_id = server.nics[0].port_id
    world.cloud.tables.ports.change(port_id, qos_policy=policy.id)
    await world.cloud.qos.follow()
    await migrate(world, server)
    shape = world.fabric.shaping.shapes[port_id]
    assert shape.egress is not None
    assert shape.egress.rate_bps == 1e6


async def test_a_server_stays_in_the_zone_that_its_creator_named_unless_forced(world: World) -> None:
    network, _ = await world.network()
    server = await boot(world, network, "edge")
    for kept in (await migrate(world, server, "core"), await migrate(world, server)):
        assert (kept.status, kept.host) == ("ACTIVE", "edge")
        assert kept.fault is not None
        assert "No valid host" in kept.fault.message
    assert (await migrate(world, server, "core", force=True)).host == "core"


@pytest.mark.parametrize("confirmed", [True, False])
async def test_cold_migration_and_back(world: World, confirmed: bool) -> None:
    network, _ = await world.network()
    server = await boot(world, network)
    world.cloud.moving.migrate(server.id, "")
    moved = await world.settled(server)
    assert (moved.status, moved.host, port_of(world, moved).pop) == ("VERIFY_RESIZE", "edge", "edge")
    (world.cloud.moving.confirm if confirmed else world.cloud.moving.revert)(server.id)
    ended = await world.settled(server)
    home = "edge" if confirmed else "core"
    assert (ended.status, ended.host, port_of(world, ended).pop) == ("ACTIVE", home, home)


async def test_a_resize_that_needs_another_zone_takes_the_ports_along(world: World) -> None:
    network, _ = await world.network()
    server = await boot(world, network)
    world.cloud.moving.resize(server.id, world.cloud.tables.flavors.find("m1.small"))  # 2 GiB: only edge has so much
    moved = await world.settled(server)
    assert (moved.status, moved.host, port_of(world, moved).pop) == ("VERIFY_RESIZE", "edge", "edge")
    world.cloud.moving.revert(server.id)
    back = await world.settled(server)
    assert (back.status, back.flavor.name, port_of(world, back).pop) == ("ACTIVE", "tiny", "core")


async def test_evacuation_to_another_zone(world: World) -> None:
    network, _ = await world.network()
    server = await boot(world, network)
    world.cloud.hosts.set_service(world.cloud.hosts.service("core").id, forced_down=True)
    world.cloud.moving.evacuate(server.id, "")
    moved = await world.settled(server)
    assert (moved.status, port_of(world, moved).pop) == ("ACTIVE", "edge")


async def test_routers_and_floating_ips_stay_with_the_site(world: World) -> None:
    network, subnet = await world.network()
    cloud = world.cloud
    router = await cloud.routers.create(Router(), gateway_network=cloud.networks.external.id)
    await cloud.routers.add_interface(router.id, subnet_id=subnet.id)
    server = await boot(world, network, "edge")
    wanted = FloatingIp(network_id=cloud.networks.external.id)
    floating = await cloud.floating_ips.create(wanted, None, server.nics[0].port_id)
    (spec,) = world.fabric.networks.routers.values()
    assert spec.pop == "core"
    assert list(spec.floating.items()) == [(floating.address, port_of(world, server).addresses[0].ip)]


def chain_of(world: World, *servers: Server, source: str | None = None) -> PortChain:
    tables = world.cloud.tables
    groups = []
    for server in servers:
        pair = tables.port_pairs.add(PortPair(ingress=server.nics[0].port_id, egress=server.nics[0].port_id))
        groups.append(tables.port_pair_groups.add(PortPairGroup(port_pairs=(pair.id,))).id)
    classifier = tables.flow_classifiers.add(FlowClassifier(protocol="tcp", logical_source_port=source))
    return PortChain(groups=tuple(groups), classifiers=(classifier.id,))


async def test_a_chain_over_zones_is_steered_in_each_of_them(world: World) -> None:
    network, _ = await world.network()
    here, there, user = [await boot(world, network, zone) for zone in ("", "edge", "edge")]
    chains, steered = world.cloud.chaining, world.fabric.steering.chains
    with pytest.raises(ChainAcrossZones, match="logical_source_port"):
        await chains.create_chain(chain_of(world, there))
    both = await chains.create_chain(chain_of(world, here, there))
    near, far = steered[f"{both.id}@core"], steered[f"{both.id}@edge"]
    assert [(one.pop, one.classifiers[0].enters) for one in (near, far)] == [("core", True), ("edge", False)]
    known = [here.nics[0].port_id, there.nics[0].port_id]
    assert [hop.ingress.port_id for hop in near.hops] == [known[0], ""]
    assert [hop.ingress.port_id for hop in far.hops] == ["", known[1]]
    assert [hop.ingress.mac for hop in near.hops] == [hop.ingress.mac for hop in far.hops]
    await chains.delete_chain(both.id)
    assert not steered

    chain = await chains.create_chain(chain_of(world, there, source=user.nics[0].port_id))
    assert [one.pop for one in steered.values()] == ["edge"]
    assert (await migrate(world, there, "core", force=True)).host == "core"
    far, near = steered[f"{chain.id}@edge"], steered[f"{chain.id}@core"]
    assert chain.id not in steered
    source = world.cloud.tables.ports.get(user.nics[0].port_id)
    assert (far.classifiers[0].source_port_id, far.hops[0].ingress.port_id) == (source.id, "")
    (seen,) = near.classifiers
    assert (seen.enters, str(seen.source)) == (False, f"{source.fixed_ips[0].address}/32")
    assert near.hops[0].ingress.port_id == there.nics[0].port_id


async def test_chains_over_zones_that_cannot_be_are_refused(world: World) -> None:
    network, _ = await world.network()
    other, _ = await world.network("10.7.0.0/24", "other")
    here, there = await boot(world, network), await boot(world, network, "edge")
    apart = await boot(world, other, "edge")
    user = await boot(world, network)
    source = user.nics[0].port_id
    with pytest.raises(ChainAcrossZones, match="on different networks"):
        await world.cloud.chaining.create_chain(chain_of(world, here, apart, source=source))
    with pytest.raises(ChainAcrossZones, match="ends in core"):
        await world.cloud.chaining.create_chain(replace(chain_of(world, there, source=source), symmetric=True))
    sticky = chain_of(world, there, source=source)
    world.cloud.tables.port_pair_groups.change(sticky.groups[0], parameters={"sticky": True})
    with pytest.raises(ChainAcrossZones, match="remember them in one PoP"):
        await world.cloud.chaining.create_chain(sticky)
    one = await world.cloud.chaining.create_chain(chain_of(world, here))
    two = await world.cloud.chaining.create_chain(chain_of(world, there, source=source))
    with pytest.raises(ChainAcrossZones, match="service graph"):
        await world.cloud.service_graphs.create(ServiceGraph(port_chains={one.id: (two.id,)}))
    back = await world.cloud.chaining.create_chain(replace(chain_of(world, there, here, source=source), symmetric=True))
    assert {spec.pop for name, spec in world.fabric.steering.chains.items() if back.id in name} == {"core", "edge"}


async def test_a_server_that_would_tear_a_chain_apart_is_not_built(world: World) -> None:
    network, _ = await world.network()
    here = await boot(world, network)
    other, _ = await world.network("10.7.0.0/24", "other")
    port = world.port(other)
    pair = await world.cloud.chaining.create_pair(PortPair(ingress=port.id, egress=port.id))
    group = await world.cloud.chaining.create_group(PortPairGroup(port_pairs=(pair.id,)))
    chain = chain_of(world, here)
    await world.cloud.chaining.create_chain(replace(chain, groups=(*chain.groups, group.id)))
    request = BootRequest(
        name="torn",
        project_id=world.cloud.identity.admin_project.id,
        user_id=world.cloud.identity.admin.id,
        image_id=world.cloud.images.find("host").id,
        flavor=world.cloud.tables.flavors.find("tiny"),
        nics=[NicWish(port_id=port.id)],
        availability_zone="edge",
    )
    torn = await world.settled(world.cloud.servers.create(request))
    assert torn.status == "ERROR"
    assert torn.fault is not None
    assert "several PoPs" in torn.fault.message


async def test_servers_of_a_zone_come_back_there(world: World, tmp_path: Path) -> None:
    network, _ = await world.network()
    server = await boot(world, network, "edge")
    fabric = FakeFabric()
    again = Cloud(
        CORE, DataPlane(fabric), FakeRuntime(), world.images, EXTERNAL, EXTERNAL[1], tmp_path / "again", _ignore,  # type: ignore[arg-type]
        saved=world.cloud.tables, zones=Zones((EDGE,), Vnis()),
    )  # fmt: skip
    await again.restore()
    assert fabric.networks.spans == {}
    again.servers.start(server.id)
    await again.servers.settled(server.id)
    (port,) = fabric.machines.of(again.wiring.machine_id(server.id))
    assert port.pop == "edge"
    assert list(fabric.networks.spans)
    await again.close()


async def test_a_host_that_is_gone_leaves_its_servers_to_the_first_one(world: World, tmp_path: Path) -> None:
    network, _ = await world.network()
    server = await boot(world, network, "edge")
    alone = Cloud(
        CORE, DataPlane(FakeFabric()), FakeRuntime(), world.images, EXTERNAL, EXTERNAL[1], tmp_path / "alone", _ignore,  # type: ignore[arg-type]
        saved=world.cloud.tables,
    )  # fmt: skip
    kept = alone.tables.servers.get(server.id)
    assert (kept.status, kept.host, kept.availability_zone) == ("SHUTOFF", "core", "nova")
    assert [service.name for service in alone.tables.compute_services] == ["core"]
    await alone.close()


async def _ignore(_network_id: str) -> None:
    pass


async def test_a_layer_2_gateway_of_a_zone_brings_the_network_there(world: World) -> None:
    network, _ = await world.network()
    server = await boot(world, network)
    wall = L2Gateway(devices=(L2Device(name="plant", interfaces=("eth1",)),))
    gateways = world.cloud.l2_gateways
    gateways.create(wall)
    joined = await gateways.connect(L2GatewayConnection(l2_gateway_id=wall.id, network_id=network.id))
    assert pops_with(world, network) == {"core", "edge"}
    (span,) = world.fabric.networks.spans.values()
    assert span.stations["edge"] == (OUTLET.mac,)
    assert port_of(world, server).mac in span.stations["core"]
    assert OUTLET.mac in world.cloud.stations(network.id)
    (patch,) = world.fabric.networks.patches.values()
    assert (patch.pop, patch.networks) == ("edge", (network.id, OUTLET.network))
    await gateways.disconnect(joined.id)
    assert pops_with(world, network) == {"core"}
    assert not world.fabric.networks.patches


async def test_layer_2_gateways_come_back_but_not_to_what_is_gone(world: World) -> None:
    network, _ = await world.network()
    wall = world.cloud.l2_gateways.create(L2Gateway(devices=(L2Device(name="plant", interfaces=("eth1",)),)))
    joined = await world.cloud.l2_gateways.connect(L2GatewayConnection(l2_gateway_id=wall.id, network_id=network.id))
    world.fabric.networks.patches.clear()
    await world.cloud.restore()
    assert [one.pop for one in world.fabric.networks.patches.values()] == ["edge"]
    tables = world.cloud.tables
    tables.l2_gateways.change(wall.id, devices=(L2Device(name="gone", interfaces=("eth1",)),))
    await world.cloud.restore()
    assert joined.id not in tables.l2_gateway_connections


async def test_a_network_is_served_in_its_zone(world: World) -> None:
    network = await world.cloud.networks.create(Network(name="far", zone_hints=("edge",)))
    await world.cloud.networks.create_subnet(Subnet(network_id=network.id, cidr=IPv4Network("10.1.0.0/24")))
    server = await boot(world, network)
    assert list(world.fabric.networks.callers) == [("edge", network.id)]
    assert pops_with(world, network) == {"core", "edge"}
    await world.delete(server)
    assert pops_with(world, network) == {"core"}
