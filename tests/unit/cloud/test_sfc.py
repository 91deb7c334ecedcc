"""Chains are steered while their functions run, follow every change, and are undone."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from tests.unit.cloud.conftest import World

from sonata.emulator.cloud.causes import PortInUse
from sonata.emulator.cloud.compute.nics import NicWish
from sonata.emulator.cloud.entities.chaining import FlowClassifier, PortChain, PortPair, PortPairGroup
from sonata.emulator.cloud.entities.compute import Server
from sonata.emulator.cloud.entities.l2_gateway import L2Device, L2Gateway, L2GatewayConnection
from sonata.emulator.cloud.entities.load_balancing import Member, Pool
from sonata.emulator.cloud.entities.network import Network, Port
from sonata.emulator.outlets import Outlet
from sonata.errors import Conflict, InvalidInput, NotFound
from sonata.ports.fabric import Classifier, Hop, HopPort

pytestmark = pytest.mark.anyio


async def function(world: World, network: Network, name: str) -> tuple[Server, Port, Port]:
    """A running server with an ingress and an egress port."""
    server = await world.up(NicWish(network_id=network.id), NicWish(network_id=network.id), name=name)
    ingress, egress = (world.cloud.tables.ports.get(nic.port_id) for nic in server.nics)
    return server, ingress, egress


async def group(world: World, ingress: Port, egress: Port) -> PortPairGroup:
    """A group of one pair."""
    pair = await world.cloud.chaining.create_pair(PortPair(ingress=ingress.id, egress=egress.id))
    return await world.cloud.chaining.create_group(PortPairGroup(port_pairs=(pair.id,)))


async def web_classifier(world: World) -> FlowClassifier:
    """Everything to 10.9.0.0/24 at TCP port 80."""
    return await world.cloud.chaining.create_classifier(
        FlowClassifier(protocol="tcp", destination=IPv4Network("10.9.0.0/24"), destination_port_min=80)
    )


async def test_a_chain_is_steered_through_its_functions_in_order(world: World) -> None:
    network, _ = await world.network()
    _, in1, out1 = await function(world, network, "one")
    _, in2, out2 = await function(world, network, "two")
    groups = (await group(world, in1, out1), await group(world, in2, out2))
    classifier = await web_classifier(world)
    chain = await world.cloud.chaining.create_chain(
        PortChain(groups=tuple(one.id for one in groups), classifiers=(classifier.id,), symmetric=True)
    )
    found = world.fabric.steering.chains[chain.id]
    assert found.hops == (
        Hop(HopPort(in1.mac, network.id, in1.id), HopPort(out1.mac, network.id, out1.id)),
        Hop(HopPort(in2.mac, network.id, in2.id), HopPort(out2.mac, network.id, out2.id)),
    )
    wanted = Classifier(protocol="tcp", destination=IPv4Network("10.9.0.0/24"), destination_ports=(80, 80))
    assert (found.pop, found.classifiers, found.symmetric) == ("edge", (wanted,), True)
    await world.cloud.chaining.delete_chain(chain.id)
    assert world.fabric.steering.chains == {}


async def test_an_unbound_port_stands_for_one_in_another_pop(world: World) -> None:
    network, _ = await world.network()
    _, ingress, egress = await function(world, network, "here")
    there = world.port(network, "02:00:00:00:00:42")
    groups = (await group(world, ingress, egress), await group(world, there, there))
    classifier = await web_classifier(world)
    chain = await world.cloud.chaining.create_chain(
        PortChain(groups=tuple(one.id for one in groups), classifiers=(classifier.id,))
    )
    remote = HopPort("02:00:00:00:00:42", network.id)
    assert world.fabric.steering.chains[chain.id].hops[1] == Hop(remote, remote)


async def test_a_port_may_stand_for_a_physical_box(world: World) -> None:
    """It has the box's MAC address, on the network that a layer 2 gateway joins the box to."""
    box = Outlet("box", "eth1", "edge")
    world.cloud.site.outlets = (box,)  # what the topology tells at the start
    world.cloud._steering.boxes._site = world.cloud.site  # what the topology tells at the start
    world.fabric.networks.add_networks([box.network_spec()])
    world.fabric.machines.add_machines(["box"])
    world.fabric.machines.add_ports([box.port_spec("box")])
    await world.cloud.endpoints_started()
    network, _ = await world.network()
    _, ingress, egress = await function(world, network, "here")
    standing_for = world.port(network, box.mac)
    groups = (await group(world, standing_for, standing_for), await group(world, ingress, egress))
    classifier = await web_classifier(world)
    chain = await world.cloud.chaining.create_chain(
        PortChain(groups=tuple(one.id for one in groups), classifiers=(classifier.id,))
    )
    elsewhere, here = HopPort(box.mac, network.id), HopPort(box.mac, box.network, box.network)
    assert world.fabric.steering.chains[chain.id].hops[0] == Hop(elsewhere, elsewhere)
    gateways = world.cloud.l2_gateways
    wall = gateways.create(L2Gateway(devices=(L2Device(name="box", interfaces=("eth1",)),)))
    joined = await gateways.connect(L2GatewayConnection(l2_gateway_id=wall.id, network_id=network.id))
    assert world.fabric.steering.chains[chain.id].hops[0] == Hop(here, here)
    await gateways.disconnect(joined.id)
    assert world.fabric.steering.chains[chain.id].hops[0] == Hop(elsewhere, elsewhere)


async def test_chains_lead_to_no_vlan_of_a_box(world: World) -> None:
    box = Outlet("box", "eth1", "edge")
    world.cloud.site.outlets = (box,)  # what the topology tells at the start
    world.cloud._steering.boxes._site = world.cloud.site  # what the topology tells at the start
    world.fabric.networks.add_networks([box.network_spec()])
    network, _ = await world.network()
    standing_for = world.port(network, box.mac)
    gateways = world.cloud.l2_gateways
    wall = gateways.create(L2Gateway(devices=(L2Device(name="box", interfaces=("eth1",)),)))
    wish = L2GatewayConnection(l2_gateway_id=wall.id, network_id=network.id, segmentation_id=100)
    joined = await gateways.connect(wish)
    members, classifier = await group(world, standing_for, standing_for), await web_classifier(world)
    with pytest.raises(Conflict, match="VLAN 100"):
        await world.cloud.chaining.create_chain(PortChain(groups=(members.id,), classifiers=(classifier.id,)))
    await gateways.disconnect(joined.id)
    with pytest.raises(Conflict, match="without tags"):
        await gateways.connect(wish)
    assert not world.cloud.tables.l2_gateway_connections


async def test_a_chain_waits_for_its_functions_and_follows_them(world: World) -> None:
    network, _ = await world.network()
    server, ingress, egress = await function(world, network, "one")
    classifier = await web_classifier(world)
    members = (await group(world, ingress, egress)).id
    world.cloud.servers.stop(server.id)
    await world.settled(server)
    chain = await world.cloud.chaining.create_chain(PortChain(groups=(members,), classifiers=(classifier.id,)))
    assert world.fabric.steering.chains == {}
    world.cloud.servers.start(server.id)
    await world.settled(server)
    assert set(world.fabric.steering.chains) == {chain.id}
    world.cloud.servers.stop(server.id)
    await world.settled(server)
    assert world.fabric.steering.chains == {}


async def test_changes_of_chain_and_group_are_steered_at_once(world: World) -> None:
    network, _ = await world.network()
    _, in1, out1 = await function(world, network, "one")
    _, in2, out2 = await function(world, network, "two")
    first, second = await group(world, in1, out1), await group(world, in2, out2)
    classifier = await web_classifier(world)
    chain = await world.cloud.chaining.create_chain(PortChain(groups=(first.id,), classifiers=(classifier.id,)))
    await world.cloud.chaining.update_chain(chain.id, groups=(second.id, first.id))
    assert [hop.ingress.port_id for hop in world.fabric.steering.chains[chain.id].hops] == [in2.id, in1.id]
    await world.cloud.chaining.update_chain(chain.id, groups=(first.id,))
    swapped = await world.cloud.chaining.create_pair(PortPair(ingress=out1.id, egress=in1.id))
    await world.cloud.chaining.update_group(first.id, port_pairs=(swapped.id,))
    assert [hop.ingress.port_id for hop in world.fabric.steering.chains[chain.id].hops] == [out1.id]
    await world.cloud.chaining.update_chain(chain.id, classifiers=())
    assert world.fabric.steering.chains == {}


async def test_what_a_chain_uses_cannot_be_deleted(world: World) -> None:
    network, _ = await world.network()
    _, ingress, egress = await function(world, network, "one")
    members, classifier = await group(world, ingress, egress), await web_classifier(world)
    chain = await world.cloud.chaining.create_chain(PortChain(groups=(members.id,), classifiers=(classifier.id,)))
    chaining = world.cloud.chaining
    for refused in (
        chaining.delete_group(members.id),
        chaining.delete_pair(members.port_pairs[0]),
        chaining.delete_classifier(classifier.id),
        chaining.create_chain(PortChain(groups=(members.id,), classifiers=(classifier.id,))),
        chaining.create_group(PortPairGroup(port_pairs=members.port_pairs)),
    ):
        with pytest.raises(Conflict, match="in use"):
            await refused
    with pytest.raises(PortInUse):
        await world.cloud.nics.delete_port(ingress.id)
    await chaining.delete_chain(chain.id)
    await chaining.delete_group(members.id)
    await chaining.delete_pair(members.port_pairs[0])
    await chaining.delete_classifier(classifier.id)
    await world.cloud.nics.delete_port(ingress.id)


async def test_a_deleted_function_ends_its_chain_but_not_others(world: World) -> None:
    network, _ = await world.network()
    server, ingress, egress = await function(world, network, "one")
    members, classifier = await group(world, ingress, egress), await web_classifier(world)
    chain = await world.cloud.chaining.create_chain(PortChain(groups=(members.id,), classifiers=(classifier.id,)))
    await world.delete(server)
    assert world.nothing_left()
    assert chain.id in world.cloud.tables.port_chains
    await world.cloud.chaining.delete_chain(chain.id)


async def test_pairs_groups_and_classifiers_must_make_sense(world: World) -> None:
    network, _ = await world.network()
    _, in1, out1 = await function(world, network, "one")
    _, in2, _out2 = await function(world, network, "two")
    chaining = world.cloud.chaining
    with pytest.raises(InvalidInput, match="different servers"):
        await chaining.create_pair(PortPair(ingress=in1.id, egress=in2.id))
    one = await chaining.create_pair(PortPair(ingress=in1.id, egress=out1.id))
    with pytest.raises(Conflict, match="exists"):
        await chaining.create_pair(PortPair(ingress=in1.id, egress=out1.id))
    two = await chaining.create_pair(PortPair(ingress=in2.id, egress=in2.id))
    await chaining.create_group(PortPairGroup(port_pairs=(one.id, two.id)))
    with pytest.raises(InvalidInput, match="cannot be hashed"):
        await chaining.create_group(PortPairGroup(parameters={"lb_fields": ["eth_src"]}))
    with pytest.raises(InvalidInput, match="means nothing here"):
        await chaining.create_group(PortPairGroup(parameters={"ppg_n_tuple_mapping": {"ingress_n_tuple": {}}}))
    with pytest.raises(InvalidInput, match="neither true nor false"):
        await chaining.create_group(PortPairGroup(parameters={"sticky": "often"}))
    with pytest.raises(NotFound, match="nowhere"):
        await chaining.create_group(PortPairGroup(parameters={"lb_pool_id": "nowhere"}))
    with pytest.raises(InvalidInput, match="weight"):
        await chaining.create_pair(PortPair(ingress=in2.id, egress=in2.id, parameters={"weight": 0}))
    with pytest.raises(InvalidInput, match="ethertype"):
        await chaining.create_classifier(FlowClassifier(source=IPv4Network("10.0.0.0/8"), ip_version=6))
    with pytest.raises(InvalidInput, match="empty"):
        await chaining.create_classifier(FlowClassifier(source_port_min=9, source_port_max=3))


async def test_flows_go_to_the_functions_of_a_group_that_run(world: World) -> None:
    network, _ = await world.network()
    chaining = world.cloud.chaining
    servers, pairs = [], []
    for number, name in enumerate(("one", "two"), start=1):
        server, ingress, egress = await function(world, network, name)
        servers.append(server)
        made = PortPair(ingress=ingress.id, egress=egress.id, parameters={"weight": number})
        pairs.append(await chaining.create_pair(made))
    parameters = {"lb_fields": ["ip_src & ip_dst"]}
    group = await chaining.create_group(PortPairGroup(port_pairs=(pairs[0].id, pairs[1].id), parameters=parameters))
    classifier = await chaining.create_classifier(FlowClassifier())
    chain = await chaining.create_chain(PortChain(groups=(group.id,), classifiers=(classifier.id,)))
    (place,) = world.fabric.steering.chains[chain.id].hops
    assert [hop.weight for hop in place.all] == [1, 2]
    assert place.hash_by == ("ip_src", "ip_dst")
    await world.delete(servers[0])
    (place,) = world.fabric.steering.chains[chain.id].hops
    assert [hop.ingress.port_id for hop in place.all] == [pairs[1].ingress]
    await world.delete(servers[1])
    assert world.fabric.steering.chains == {}


async def test_a_group_follows_the_members_of_a_pool(world: World) -> None:
    """Weights and health are the members'; while none serves, nothing new gets past."""
    network, _ = await world.network()
    chaining, tables = world.cloud.chaining, world.cloud.tables
    pool = tables.pools.add(Pool(load_balancer_id="lb", protocol="TCP", lb_algorithm="ROUND_ROBIN"))
    pairs, members = [], []
    for name in ("one", "two"):
        _, ingress, egress = await function(world, network, name)
        pairs.append(await chaining.create_pair(PortPair(ingress=ingress.id, egress=egress.id)))
        made = Member(pool_id=pool.id, address=ingress.fixed_ips[0].address, protocol_port=22, weight=3)
        members.append(tables.members.add(made))
    ids = tuple(pair.id for pair in pairs)
    group = await chaining.create_group(PortPairGroup(port_pairs=ids, parameters={"lb_pool_id": pool.id}))
    classifier = await chaining.create_classifier(FlowClassifier())
    chain = await chaining.create_chain(PortChain(groups=(group.id,), classifiers=(classifier.id,)))

    async def shares(**changes: object) -> dict[str, int]:
        """Weights by ingress, after changes of the first member."""
        tables.members.change(members[0].id, **changes)
        await world.cloud.load_balancing.changes.listener([pool.id])
        (place,) = world.fabric.steering.chains[chain.id].hops
        assert place.sticky == group.id.replace("-", "")
        return {hop.ingress.port_id: hop.weight for hop in place.all}

    first, second = (pair.ingress for pair in pairs)
    assert await shares() == {first: 3, second: 3}
    assert await shares(weight=0, operating_status="DRAINING") == {first: 0, second: 3}
    assert await shares(weight=1, operating_status="ERROR") == {second: 3}
    assert await shares(operating_status="ONLINE") == {first: 1, second: 3}
    assert await shares(admin_state_up=False) == {second: 3}
    tables.members.remove(members[1].id)
    assert await shares() == {first: 0, second: 0}


async def test_chains_are_numbered(world: World) -> None:
    first = await world.cloud.chaining.create_chain(PortChain(groups=()))
    second = await world.cloud.chaining.create_chain(PortChain(groups=(), chain_id=2))
    third = await world.cloud.chaining.create_chain(PortChain(groups=()))
    assert [chain.chain_id for chain in (first, second, third)] == [1, 2, 3]
    with pytest.raises(Conflict, match="chain_id 2"):
        await world.cloud.chaining.create_chain(PortChain(groups=(), chain_id=2))
