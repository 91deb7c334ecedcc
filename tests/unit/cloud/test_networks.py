"""Networks, subnets, ports and addresses."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cloud.conftest import World

from sonata.emulator.cloud.causes import (
    IpAddressGenerationFailure,
    IpAddressInUse,
    MacAddressInUse,
    NetworkInUse,
    NoSuch,
    OverlappingSubnet,
    PortBound,
    PortInUse,
    SubnetInUse,
)
from sonata.emulator.cloud.compute.nics import NicWish
from sonata.emulator.cloud.entities.network import Network, Port, Subnet
from sonata.emulator.cloud.network.addresses import default_pools
from sonata.emulator.cloud.network.ports import AddressWish
from sonata.errors import AdapterError, Conflict, InvalidInput, Unsupported
from sonata.ports.fabric import EXTERNAL

pytestmark = pytest.mark.anyio


async def test_a_network_is_a_bridge_until_it_is_deleted(world: World) -> None:
    network, _ = await world.network()
    assert set(world.fabric.networks.networks) == {("edge", network.id)}
    await world.cloud.networks.delete(network.id)
    assert world.fabric.networks.networks == {}
    assert world.cloud.networks.subnets_of(network.id) == ()


async def test_a_network_that_the_data_plane_refuses_does_not_exist(world: World) -> None:
    world.fabric.networks.fail_next = "no bridge"
    with pytest.raises(AdapterError, match="no bridge"):
        await world.cloud.networks.create(Network(name="n"))
    assert [network.name for network in world.cloud.tables.networks] == ["external"]


async def test_the_external_network_is_there_and_stays(world: World) -> None:
    external = world.cloud.networks.external
    assert (external.fabric_id, external.name) == (EXTERNAL, "external")
    (subnet,) = world.cloud.networks.subnets_of(external.id)
    assert (str(subnet.cidr), str(subnet.gateway_ip)) == ("100.64.3.0/24", "100.64.3.1")
    with pytest.raises(Conflict, match="stays"):
        await world.cloud.networks.delete(external.id)
    with pytest.raises(Conflict, match="stays"):
        await world.cloud.networks.delete_subnet(subnet.id)
    with pytest.raises(Unsupported, match="one external network"):
        await world.cloud.networks.create(Network(name="second", external=True))


async def test_a_server_on_the_external_network_uses_the_pops_router(world: World) -> None:
    server = await world.up(NicWish(network_id=world.cloud.networks.external.id))
    (spec,) = world.fabric.machines.of(f"edge-{server.id}")
    assert (spec.network, str(spec.addresses[0]), str(spec.gateway)) == (EXTERNAL, "100.64.3.64/24", "100.64.3.1")


async def test_ports_get_the_lowest_free_address_of_the_pools(world: World) -> None:
    network = await world.cloud.networks.create(Network(name="n"))
    pools = ((IPv4Address("10.5.0.100"), IPv4Address("10.5.0.101")), (IPv4Address("10.5.0.7"), IPv4Address("10.5.0.7")))
    subnet = Subnet(network_id=network.id, cidr=IPv4Network("10.5.0.0/24"), pools=pools)
    await world.cloud.networks.create_subnet(subnet)
    ports = [world.port(network) for _ in range(3)]
    assert [str(port.first_address) for port in ports] == ["10.5.0.100", "10.5.0.101", "10.5.0.7"]
    with pytest.raises(IpAddressGenerationFailure):
        world.port(network)
    await world.cloud.nics.delete_port(ports[1].id)
    assert str(world.port(network).first_address) == "10.5.0.101"


async def test_a_port_may_name_its_mac_and_an_address_outside_of_the_pools(world: World) -> None:
    network, subnet = await world.network()
    port = world.port(network, "02:00:00:00:00:07", AddressWish(subnet.id, IPv4Address("10.1.0.77")))
    assert (port.mac, str(port.first_address)) == ("02:00:00:00:00:07", "10.1.0.77")
    with pytest.raises(IpAddressInUse):
        world.port(network, wish=AddressWish(address=IPv4Address("10.1.0.77")))
    with pytest.raises(MacAddressInUse):
        world.port(network, "02:00:00:00:00:07")
    with pytest.raises(InvalidInput, match="not a valid IP"):
        world.port(network, wish=AddressWish(address=IPv4Address("10.9.0.1")))
    with pytest.raises(InvalidInput, match="not a valid IP"):
        world.port(network, wish=AddressWish(address=IPv4Address("10.1.0.255")))
    assert len(world.cloud.tables.ports) == 1


async def test_a_port_that_fails_half_way_keeps_no_address(world: World) -> None:
    network, subnet = await world.network()
    good, bad = AddressWish(subnet.id, IPv4Address("10.1.0.9")), AddressWish("nowhere")
    with pytest.raises(InvalidInput):
        world.cloud.ports.create(Port(network_id=network.id), [good, bad])
    assert world.port(network, wish=good).first_address == IPv4Address("10.1.0.9")


async def test_the_same_mac_may_stand_in_two_networks(world: World) -> None:
    one, _ = await world.network("10.1.0.0/24", "one")
    two, _ = await world.network("10.1.0.0/24", "two")
    assert world.port(one, "02:00:00:00:00:01").mac == world.port(two, "02:00:00:00:00:01").mac


async def test_a_ports_address_changes_in_its_machine(world: World) -> None:
    network, _ = await world.network()
    port = world.port(network)
    moved = world.cloud.ports.update(port.id, [AddressWish(address=IPv4Address("10.1.0.50"))])
    assert str(moved.first_address) == "10.1.0.50"
    assert str(world.port(network).first_address) == "10.1.0.2"
    await world.up(NicWish(port_id=port.id))
    await world.cloud.port_changes.update(port.id, [AddressWish(address=IPv4Address("10.1.0.51"))])
    (spec,) = world.fabric.machines.ports.values()
    assert [str(value) for value in spec.addresses] == ["10.1.0.51/24"]
    with pytest.raises(PortBound):
        world.cloud.ports.update(port.id, mac="02:00:00:00:00:77")
    with pytest.raises(PortInUse):
        world.cloud.ports.update(port.id, device_id="")


async def test_what_is_in_use_cannot_be_deleted(world: World) -> None:
    network, subnet = await world.network()
    port = world.port(network)
    with pytest.raises(NetworkInUse):
        await world.cloud.networks.delete(network.id)
    with pytest.raises(SubnetInUse):
        await world.cloud.networks.delete_subnet(subnet.id)
    await world.cloud.nics.delete_port(port.id)
    await world.cloud.networks.delete_subnet(subnet.id)
    await world.cloud.networks.delete(network.id)


async def test_subnets_of_a_network_do_not_overlap_but_networks_may(world: World) -> None:
    network, _ = await world.network("10.1.0.0/16")
    with pytest.raises(OverlappingSubnet):
        await world.cloud.networks.create_subnet(Subnet(network_id=network.id, cidr=IPv4Network("10.1.2.0/24")))
    await world.network("10.1.0.0/16", "other project")


@pytest.mark.parametrize(
    ("gateway", "pools"),
    [
        ("10.2.0.1", ()),
        ("10.1.0.255", ()),
        (None, (("10.1.0.9", "10.1.0.3"),)),
        (None, (("10.1.0.9", "10.2.0.3"),)),
        (None, (("10.1.0.3", "10.1.0.9"), ("10.1.0.9", "10.1.0.20"))),
    ],
)
async def test_gateway_and_pools_must_lie_in_the_subnet(
    world: World, gateway: str | None, pools: tuple[tuple[str, str], ...]
) -> None:
    network = await world.cloud.networks.create(Network(name="n"))
    subnet = Subnet(
        network_id=network.id,
        cidr=IPv4Network("10.1.0.0/24"),
        gateway_ip=IPv4Address(gateway) if gateway else None,
        pools=tuple((IPv4Address(first), IPv4Address(last)) for first, last in pools),
    )
    with pytest.raises(InvalidInput):
        await world.cloud.networks.create_subnet(subnet)


async def test_a_subnet_may_have_no_gateway(world: World) -> None:
    network = await world.cloud.networks.create(Network(name="n"))
    subnet = Subnet(network_id=network.id, cidr=IPv4Network("10.1.0.0/29"))
    subnet = await world.cloud.networks.create_subnet(subnet)
    assert subnet.gateway_ip is None
    assert subnet.pools == ((IPv4Address("10.1.0.1"), IPv4Address("10.1.0.6")),)
    server = await world.up(NicWish(network_id=network.id))
    assert world.fabric.machines.of(f"edge-{server.id}")[0].gateway is None


async def test_stations_are_what_is_plugged_in_here(world: World) -> None:
    network, _ = await world.network()
    stand_in = world.port(network, "02:00:00:00:00:99")
    server = await world.up(NicWish(network_id=network.id))
    (spec,) = world.fabric.machines.of(f"edge-{server.id}")
    assert world.cloud.stations(network.id) == (spec.mac,)
    assert stand_in.mac not in world.cloud.stations(network.id)
    assert network.id in world.stations
    world.stations.clear()
    await world.delete(server)
    assert world.cloud.stations(network.id) == ()
    assert world.stations == [network.id]


async def test_unknown_names_are_told(world: World) -> None:
    with pytest.raises(NoSuch, match="Network nope could not be found"):
        world.cloud.tables.networks.find("nope")
    await world.network(name="twin")
    await world.network(name="twin")
    with pytest.raises(Conflict, match="2 networks have the name"):
        world.cloud.tables.networks.find("twin")


@given(st.integers(0, 2**32 - 1), st.integers(8, 30), st.data())
def test_default_pools_are_all_hosts_but_the_gateway(base: int, length: int, data: st.DataObject) -> None:
    cidr = IPv4Network((base, length), strict=False)
    gateway = cidr.network_address + data.draw(st.integers(1, cidr.num_addresses - 2))
    pools = default_pools(cidr, gateway)
    assert sum(int(last) - int(first) + 1 for first, last in pools) == cidr.num_addresses - 3
    assert not any(first <= gateway <= last for first, last in pools)
