"""Routers and floating IPs, as the data plane gets them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from tests.unit.cloud.conftest import World

from sonata.emulator.cloud.causes import IpAddressInUse, PortInUse, RouterInUse, SubnetInUse
from sonata.emulator.cloud.compute.nics import NicWish
from sonata.emulator.cloud.entities.network import AddressScope, FloatingIp, Port, Router, Subnet, SubnetPool
from sonata.emulator.cloud.network.ports import AddressWish
from sonata.errors import AdapterError, Conflict, InvalidInput, NotFound
from sonata.ports.fabric import RouterSpec

pytestmark = pytest.mark.anyio


async def router_of(world: World, *subnets: Subnet) -> Router:
    """A router with a way out and a leg in each subnet."""
    router = await world.cloud.routers.create(Router(name="r"), gateway_network=world.cloud.networks.external.id)
    for subnet in subnets:
        await world.cloud.routers.add_interface(router.id, subnet_id=subnet.id)
    return router


def spec(world: World, router: Router) -> RouterSpec:
    """What the data plane knows of a router."""
    return world.fabric.networks.routers[router.id]


async def test_a_router_joins_its_networks_at_their_gateways(world: World) -> None:
    one, first = await world.network("10.1.0.0/24", "one")
    _, second = await world.network("10.2.0.0/24", "two")
    router = await router_of(world, first, second)
    found = spec(world, router)
    assert [str(leg.address) for leg in found.interfaces] == ["10.1.0.1/24", "10.2.0.1/24"]
    assert (str(found.external), str(found.external_gateway)) == ("100.64.3.64/24", "100.64.3.1")
    assert world.cloud.stations(one.id) == (found.interfaces[0].mac,)
    assert one.id in world.stations


async def test_a_router_can_take_a_port_at_any_address(world: World) -> None:
    network, _ = await world.network()
    router = await router_of(world)
    port = world.port(network, wish=AddressWish(address=IPv4Address("10.1.0.2")))
    await world.cloud.routers.add_interface(router.id, port_id=port.id)
    assert str(spec(world, router).interfaces[0].address) == "10.1.0.2/24"
    with pytest.raises(PortInUse):
        await world.cloud.routers.add_interface(router.id, port_id=port.id)
    with pytest.raises(PortInUse, match="network:router_interface"):
        await world.cloud.nics.delete_port(port.id)


async def test_legs_are_refused_that_cannot_be(world: World) -> None:
    network, subnet = await world.network()
    _, same = await world.network("10.1.0.128/25", "overlapping")
    router = await router_of(world, subnet)
    with pytest.raises(InvalidInput, match="already has a port"):
        await world.cloud.routers.add_interface(router.id, subnet_id=subnet.id)
    with pytest.raises(InvalidInput, match="overlaps"):
        await world.cloud.routers.add_interface(router.id, subnet_id=same.id)
    other = await router_of(world)
    with pytest.raises(IpAddressInUse):
        await world.cloud.routers.add_interface(other.id, subnet_id=subnet.id)
    assert len(spec(world, router).interfaces) == 1
    assert sum(port.network_id == network.id for port in world.cloud.tables.ports) == 1


async def test_removing_a_leg_frees_its_address(world: World) -> None:
    network, subnet = await world.network()
    router = await router_of(world, subnet)
    with pytest.raises(RouterInUse):
        await world.cloud.routers.delete(router.id)
    await world.cloud.routers.remove_interface(router.id, subnet_id=subnet.id)
    assert spec(world, router).interfaces == ()
    assert world.cloud.stations(network.id) == ()
    with pytest.raises(NotFound):
        await world.cloud.routers.remove_interface(router.id, subnet_id=subnet.id)
    await world.cloud.routers.delete(router.id)
    await world.cloud.networks.delete(network.id)
    assert world.fabric.networks.routers == {}
    assert len(world.cloud.tables.ports) == 0


async def test_the_way_out_can_be_taken_away_and_given_again(world: World) -> None:
    router = await router_of(world)
    router = await world.cloud.routers.set_gateway(router.id, "")
    assert spec(world, router).external is None
    assert len(world.cloud.tables.ports) == 0
    wish = AddressWish(address=IPv4Address("100.64.3.200"))
    router = await world.cloud.routers.set_gateway(router.id, world.cloud.networks.external.id, [wish])
    assert str(spec(world, router).external) == "100.64.3.200/24"
    inner, _ = await world.network()
    with pytest.raises(InvalidInput, match="not an external network"):
        await world.cloud.routers.set_gateway(router.id, inner.id)


async def test_a_router_that_the_data_plane_refuses_does_not_exist(world: World) -> None:
    world.fabric.networks.fail_next = "no namespace"
    with pytest.raises(AdapterError, match="no namespace"):
        await router_of(world)
    assert len(world.cloud.tables.routers) == 0
    assert len(world.cloud.tables.ports) == 0


async def floating_to(world: World, port_id: str = "") -> FloatingIp:
    """A floating IP of the external network."""
    floating = FloatingIp(network_id=world.cloud.networks.external.id)
    return await world.cloud.floating_ips.create(floating, None, port_id)


async def test_a_floating_ip_follows_its_port(world: World) -> None:
    network, subnet = await world.network()
    router = await router_of(world, subnet)
    one, two = world.port(network), world.port(network)
    floating = await floating_to(world, one.id)
    assert spec(world, router).floating == {floating.address: one.first_address}
    await world.cloud.floating_ips.associate(floating.id, two.id)
    assert spec(world, router).floating == {floating.address: two.first_address}
    with pytest.raises(RouterInUse, match="floating"):
        await world.cloud.routers.set_gateway(router.id, "")
    with pytest.raises(RouterInUse, match="floating"):
        await world.cloud.routers.remove_interface(router.id, subnet_id=subnet.id)
    await world.cloud.nics.delete_port(two.id)
    assert spec(world, router).floating == {}
    assert world.cloud.tables.floating_ips.get(floating.id).port_id == ""
    await world.cloud.floating_ips.delete(floating.id)
    again = await floating_to(world)
    assert again.address == floating.address


async def test_a_floating_ip_goes_with_the_server_whose_port_it_leads_to(world: World) -> None:
    network, subnet = await world.network()
    router = await router_of(world, subnet)
    server = await world.up(NicWish(network_id=network.id))
    floating = await floating_to(world, server.nics[0].port_id)
    await world.delete(server)
    assert spec(world, router).floating == {}
    assert world.cloud.tables.floating_ips.get(floating.id).fixed_address is None


async def test_a_floating_ip_needs_a_router_and_a_free_port(world: World) -> None:
    network, subnet = await world.network()
    port = world.port(network)
    with pytest.raises(NotFound, match="not reachable"):
        await floating_to(world, port.id)
    assert len(world.cloud.tables.floating_ips) == 0
    await router_of(world, subnet)
    await floating_to(world, port.id)
    with pytest.raises(Conflict, match="has one already"):
        await floating_to(world, port.id)
    bare = world.cloud.ports.create(Port(network_id=network.id), [])
    with pytest.raises(InvalidInput, match="does not have fixed ip"):
        await floating_to(world, bare.id)


SIX = {"cidr": IPv6Network("fd00:64::/64"), "gateway_ip": IPv6Address("fd00:64::1")}


async def test_the_outside_has_ipv6_once_it_has_a_subnet(world: World) -> None:
    cloud, outside = world.cloud, world.fabric.underlay.outside
    network, four = await world.network()
    external = cloud.networks.external.id
    six = await cloud.networks.create_subnet(
        Subnet(network_id=network.id, cidr=IPv6Network("fd00:1::/64")), default_gateway=True
    )
    router = await router_of(world, four, six)
    assert not outside
    outer = await cloud.networks.create_subnet(Subnet(network_id=external, **SIX))
    assert outside["edge"] == (["fd00:64::1/64"], {})
    assert spec(world, router).external_gateway6 is None
    second = await router_of(world)
    assert str(spec(world, second).external_gateway6) == "fd00:64::1"
    await cloud.routers.delete(second.id)
    wishes = [AddressWish(version=4), AddressWish(outer.id, IPv6Address("fd00:64::7"))]
    await cloud.routers.set_gateway(router.id, external, wishes)
    assert outside["edge"][1] == {"fd00:1::/64": "fd00:64::7"}
    assert [str(one) for one in spec(world, router).external_further] == ["fd00:64::7/64"]
    assert str(spec(world, router).external) == "100.64.3.64/24"
    with pytest.raises(SubnetInUse):
        await cloud.networks.delete_subnet(outer.id)
    with pytest.raises(InvalidInput, match="IPv4"):
        await cloud.routers.set_gateway(router.id, external, [AddressWish(outer.id)])
    with pytest.raises(InvalidInput, match="IPv4"):
        await cloud.floating_ips.create(FloatingIp(network_id=external), AddressWish(outer.id))
    await cloud.routers.remove_interface(router.id, subnet_id=six.id)
    assert outside["edge"][1] == {}
    await cloud.routers.remove_interface(router.id, subnet_id=four.id)
    await cloud.routers.delete(router.id)
    await cloud.networks.delete_subnet(outer.id)
    assert outside["edge"] == ([], {})


async def test_further_subnets_of_the_outside_are_refused(world: World) -> None:
    external = world.cloud.networks.external.id
    with pytest.raises(Conflict, match="IPv4"):
        await world.cloud.networks.create_subnet(Subnet(network_id=external, cidr=IPv4Network("192.0.2.0/24")))
    for wrong in ({"cidr": IPv6Network("fd00:64::/60")}, {"gateway_ip": None}, {"address_mode": "slaac"}):
        with pytest.raises(InvalidInput):
            await world.cloud.networks.create_subnet(Subnet(network_id=external, **{**SIX, **wrong}))
    await world.cloud.networks.create_subnet(Subnet(network_id=external, **SIX))
    with pytest.raises(Conflict, match="IPv6"):
        await world.cloud.networks.create_subnet(Subnet(network_id=external, **SIX))


async def test_scopes_reach_routers_and_the_way_in(world: World) -> None:
    cloud, outside = world.cloud, world.fabric.underlay.outside
    scope = cloud.subnet_pools.create_scope(AddressScope(name="s"))
    prefixes = (IPv4Network("10.0.0.0/8"), IPv4Network("100.64.0.0/16"))
    pool = cloud.subnet_pools.create(
        SubnetPool(prefixes=prefixes, ip_version=4, default_prefixlen=24, min_prefixlen=8, max_prefixlen=32)
    )
    network, subnet = await world.network()
    mine, own = await world.network("100.64.9.0/24", "of the site")
    router = await router_of(world, subnet, own)
    for one in (network, mine, cloud.networks.external):
        cloud.subnet_pools.onboard(pool.id, one.id)
    assert cloud.tables.subnets.get(subnet.id).subnetpool_id == pool.id
    with pytest.raises(InvalidInput, match="no subnets"):
        cloud.subnet_pools.onboard(pool.id, network.id)
    await cloud.routers.follow_scopes()
    assert not outside
    cloud.subnet_pools.update(pool.id, address_scope_id=scope.id)
    await cloud.routers.follow_scopes()
    assert outside["edge"] == ([], {"10.1.0.0/24": "100.64.3.64"})
    assert spec(world, router).external_scopes == (scope.id, "")
    assert {leg.scopes for leg in spec(world, router).interfaces} == {(scope.id, "")}
    await cloud.routers.update(router.id, admin_state_up=False)
    assert outside["edge"] == ([], {})
