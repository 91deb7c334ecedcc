"""When the services of a network come: not before somebody on it calls for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network

import pytest

from sonata.emulator.cloud.compute.nics import NicWish
from sonata.emulator.cloud.entities.network import Network, Port, Subnet
from sonata.emulator.cloud.network.ports import AddressWish

from .conftest import World

pytestmark = pytest.mark.anyio


def service_of(world: World, network: Network) -> Port:
    port = world.cloud.wiring.dhcp_ports.find(network.id)
    assert port is not None
    return port


def called(world: World, network: Network) -> set[str]:
    """The addresses whose callers are heard."""
    return {str(address) for address in world.fabric.networks.callers["edge", network.id][0]}


def call(world: World, network: Network) -> None:
    world.fabric.networks.callers["edge", network.id][1].send(b"who has 10.1.0.254?")


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.001)


def machines(world: World) -> list[str]:
    return [name for name in world.fabric.machines.machines if "services" in name]


async def test_nothing_stands_for_a_network_while_nobody_calls(world: World) -> None:
    network, _ = await world.network()
    server = await world.up(NicWish(network_id=network.id))
    service = service_of(world, network)
    assert called(world, network) == {"10.1.0.254", "169.254.169.254"}
    assert world.cloud.services.serves(service)
    assert (machines(world), service.id in world.fabric.machines.ports) == ([], False)
    await world.delete(server)
    assert not world.cloud.services.serves(service)
    await world.cloud.networks.delete(network.id)
    assert world.nothing_left()


async def test_a_caller_has_them_made(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    network, _ = await world.network()
    await world.up(NicWish(network_id=network.id))
    asked: list[str] = []
    monkeypatch.setattr(world.fabric.machines, "netns_path", lambda name: asked.append(name) or "/nowhere")
    call(world, network)
    await eventually(lambda: network.id in world.cloud.services.failed)
    assert asked == [f"edge-services-{network.id}"]
    assert not world.cloud.services.serves(service_of(world, network))


async def test_where_they_cannot_come_the_next_caller_tries_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, _ = await world.network()
    server = await world.up(NicWish(network_id=network.id))
    tries: list[str] = []
    monkeypatch.setattr(world.fabric.machines, "netns_path", lambda name: tries.append(name) or "/nowhere")
    for count in (1, 2):
        await eventually(lambda: ("edge", network.id) in world.fabric.networks.callers)
        call(world, network)
        await eventually(lambda count=count: len(tries) == count and not world.cloud.services._coming.busy(network.id))
    assert machines(world) == []
    await world.delete(server)
    assert world.cloud.services.failed == set()


async def test_callers_are_heard_at_the_addresses_of_the_moment(world: World) -> None:
    network, subnet = await world.network()
    await world.up(NicWish(network_id=network.id))
    six = Subnet(network_id=network.id, cidr=IPv6Network("fd00:1::/64"), ra_mode="slaac", address_mode="slaac")
    added = await world.cloud.networks.create_subnet(six, default_gateway=True)
    six_address, link_local = sorted(called(world, network) - {"10.1.0.254", "169.254.169.254"})
    assert (six_address[:7], link_local[:6]) == ("fd00:1:", "fe80::")
    await world.cloud.networks.delete_subnet(added.id)
    assert called(world, network) == {"10.1.0.254", "169.254.169.254"}
    service = service_of(world, network)
    await world.cloud.port_changes.update(service.id, [AddressWish(subnet.id, IPv4Network("10.1.0.99/32")[0])])
    assert called(world, network) == {"10.1.0.99", "169.254.169.254"}
    assert not world.cloud.services.serves(world.port(network))
    await world.cloud.nics.delete_port(service.id)
    assert not world.cloud.services.serves(service)
