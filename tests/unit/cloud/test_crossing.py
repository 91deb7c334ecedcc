"""Calls that cross one another, and what fails between tables and data plane: both tell the same in the end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Address

import pytest
from tests.unit.cloud.conftest import World

from sonata.emulator.cloud.causes import NetworkInUse, PortBound, SubnetInUse
from sonata.emulator.cloud.compute.nics import NicWish
from sonata.emulator.cloud.entities.compute import Server
from sonata.emulator.cloud.entities.network import FloatingIp, Network, Port, Router, Subnet
from sonata.emulator.cloud.network import services
from sonata.emulator.cloud.network.ports import AddressWish
from sonata.errors import AdapterError, InvalidInput
from sonata.ports.fabric import Fabric, PortSpec
from sonata.ports.runtime import MachineSpec

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def busy(world: World) -> AsyncIterator[None]:
    """A block in which the data plane does nothing: what is asked of it waits until the end."""
    free = threading.Event()
    waiting = asyncio.ensure_future(world.cloud.site.plane.run(lambda _: free.wait(10)))
    await everybody()
    try:
        yield
    finally:
        free.set()
        await waiting


async def everybody() -> None:
    """Let all that needs no data plane go on as far as it can."""
    for _ in range(100):
        await asyncio.sleep(0)


def standing(world: World) -> set[str]:
    """Addresses of what is plugged in."""
    legs = [leg.mac for router in world.fabric.networks.routers.values() for leg in router.interfaces]
    outside = [router.external_mac for router in world.fabric.networks.routers.values() if router.external]
    return {*(spec.mac for spec in world.fabric.machines.ports.values()), *legs, *outside}


def told(world: World) -> set[str]:
    """Addresses of what the tables tell to be plugged in."""
    return {port.mac for port in world.cloud.tables.ports if port.plugged}


async def reached(world: World) -> tuple[Network, Subnet, Router, Port, FloatingIp]:
    """A port to which a floating IP leads."""
    network, subnet = await world.network()
    external = world.cloud.networks.external.id
    router = await world.cloud.routers.create(Router(name="r"), gateway_network=external)
    await world.cloud.routers.add_interface(router.id, subnet_id=subnet.id)
    port = world.port(network)
    floating = await world.cloud.floating_ips.create(FloatingIp(network_id=external), None, port.id)
    return network, subnet, router, port, floating


async def test_nobody_takes_a_port_that_is_being_deleted(world: World) -> None:
    _, _, _, port, _ = await reached(world)
    async with busy(world):
        deleting = asyncio.ensure_future(world.cloud.nics.delete_port(port.id))
        await everybody()
        with pytest.raises(InvalidInput, match="could not be found"):
            world.boot(NicWish(port_id=port.id))
    await deleting
    assert port.id not in world.cloud.tables.ports
    assert standing(world) == told(world)


async def test_nobody_takes_a_port_that_is_being_deleted_from_a_server_that_goes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, _ = await world.network()
    port = world.port(network)
    server = await world.up(NicWish(port_id=port.id))
    of_server, of_port = threading.Event(), threading.Event()
    turns = iter((of_server, of_port))
    remove_ports = world.fabric.machines.remove_ports

    def slow(ids: Sequence[str]) -> None:
        if port.id in ids:
            next(turns).wait(10)
        remove_ports(ids)

    monkeypatch.setattr(world.fabric.machines, "remove_ports", slow)
    await world.cloud.servers.delete(server.id)
    await everybody()
    deleting = asyncio.ensure_future(world.cloud.nics.delete_port(port.id))
    await everybody()
    of_server.set()
    async with asyncio.timeout(10):
        while world.cloud.tables.ports.get(port.id).device_id:
            await asyncio.sleep(0.001)
    assert not deleting.done()
    with pytest.raises(InvalidInput, match="could not be found"):
        world.boot(NicWish(port_id=port.id))
    of_port.set()
    await deleting
    assert await world.cloud.servers.settled(server.id) is None
    assert world.nothing_left()


async def test_a_floating_ip_that_is_led_to_a_port_which_is_being_deleted_leads_nowhere(world: World) -> None:
    _, _, _, port, _ = await reached(world)
    external = world.cloud.networks.external.id
    other = await world.cloud.floating_ips.create(FloatingIp(network_id=external), None)
    async with busy(world):
        deleting = asyncio.ensure_future(world.cloud.nics.delete_port(port.id))
        await everybody()
        for floating in world.cloud.tables.floating_ips:
            if floating.id != other.id:
                await_deleted = asyncio.ensure_future(world.cloud.floating_ips.delete(floating.id))
        aiming = asyncio.ensure_future(world.cloud.floating_ips.associate(other.id, port.id))
        await everybody()
    await asyncio.gather(deleting, await_deleted)
    await asyncio.gather(aiming, return_exceptions=True)
    assert port.id not in world.cloud.tables.ports
    assert world.cloud.tables.floating_ips.get(other.id).port_id == ""


@asynccontextmanager
async def slowly_plugged(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[threading.Event]:
    """A block until whose end nothing is plugged in; the event tells that something is about to be."""
    begun, free = threading.Event(), threading.Event()
    add_ports = world.fabric.machines.add_ports

    def slow(ports: Sequence[PortSpec]) -> None:
        begun.set()
        free.wait(10)
        add_ports(ports)

    with monkeypatch.context() as patched:
        patched.setattr(world.fabric.machines, "add_ports", slow)
        try:
            yield begun
        finally:
            free.set()


@asynccontextmanager
async def plugging(world: World, monkeypatch: pytest.MonkeyPatch, port: Port) -> AsyncIterator[Server]:
    """A block during which a port is being plugged into a server."""
    async with slowly_plugged(world, monkeypatch) as begun:
        server = world.boot(NicWish(port_id=port.id))
        await asyncio.to_thread(begun.wait, 10)
        yield server


async def test_a_port_that_is_changed_while_it_is_plugged_in_gets_its_new_address(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, _ = await world.network()
    port = world.port(network)
    async with plugging(world, monkeypatch, port) as server:
        wish = AddressWish(address=IPv4Address("10.1.0.77"))
        changing = asyncio.ensure_future(world.cloud.port_changes.update(port.id, [wish]))
        await everybody()
    await changing
    await world.settled(server)
    (spec,) = world.fabric.machines.ports.values()
    assert [str(value) for value in spec.addresses] == ["10.1.0.77/24"]


def without_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have services of networks open nothing: their interfaces are what matters."""

    def open_none(_opened: object, machine: str, fabric: Fabric) -> None:
        fabric.machines.add_machines([machine])

    async def answer_none(*_: object) -> None:
        pass

    monkeypatch.setattr(services, "_open_sockets", open_none)
    monkeypatch.setattr(services, "_tie", lambda *_, **__: None)
    monkeypatch.setattr(services.NetworkServices, "_answer", answer_none)


async def test_services_that_come_while_their_port_is_changed_are_at_its_new_address(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, subnet = await world.network()
    await world.up(NicWish(network_id=network.id))
    service = world.cloud.wiring.dhcp_ports.find(network.id)
    assert service
    without_sockets(monkeypatch)
    async with slowly_plugged(world, monkeypatch) as begun:
        world.fabric.networks.callers["edge", network.id][1].send(b"who has 10.1.0.254?")
        await asyncio.to_thread(begun.wait, 10)
        wish = AddressWish(subnet.id, IPv4Address("10.1.0.99"))
        changing = asyncio.ensure_future(world.cloud.port_changes.update(service.id, [wish]))
        await everybody()
    await changing
    assert world.cloud.services.serves(service)
    assert "10.1.0.99/24" in map(str, world.fabric.machines.ports[service.id].addresses)


async def test_the_mac_address_of_a_port_that_is_being_plugged_in_stays(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, _ = await world.network()
    port = world.port(network)
    async with plugging(world, monkeypatch, port) as server:
        changing = asyncio.ensure_future(world.cloud.port_changes.update(port.id, mac="fa:16:3e:00:00:01"))
        await everybody()
    with pytest.raises(PortBound):
        await changing
    await world.settled(server)
    assert standing(world) == told(world) == {port.mac}


async def test_what_a_build_has_plugged_in_before_it_was_cancelled_is_told_where_the_deletion_fails(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, _ = await world.network()
    port = world.port(network)

    async def refuse(_machine_id: str, *, grace_s: float = 0.0) -> None:
        raise AdapterError("it does not end")

    with monkeypatch.context() as patched:
        patched.setattr(world.runtime, "stop", refuse)
        async with plugging(world, patched, port) as server:
            deleting = asyncio.ensure_future(world.cloud.servers.delete(server.id))
            await everybody()
        await deleting
        await world.cloud.site.plane.run(lambda _: None)
        assert (await world.settled(server)).status == "ERROR"
    assert standing(world) == told(world) == {port.mac}
    await world.delete(server)
    assert world.nothing_left()


async def test_a_server_whose_end_nobody_can_be_told_of_is_plugged_out_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, _ = await world.network()
    server = await world.up(NicWish(network_id=network.id))

    async def fail(_network_id: str) -> None:
        raise AdapterError("no room for a tunnel")

    with monkeypatch.context() as patched:
        patched.setattr(world.cloud.site, "on_stations_changed", fail)
        world.cloud.servers.stop(server.id)
        stopped = await world.settled(server)
    assert (stopped.status, stopped.fault and stopped.fault.message) == ("ERROR", "no room for a tunnel")
    assert standing(world) == told(world) == set()


async def test_a_server_that_is_switched_off_takes_no_port_from_another_one(world: World) -> None:
    network, _ = await world.network()
    port = world.port(network)
    first = await world.up(NicWish(port_id=port.id))
    world.cloud.servers.stop(first.id)
    await world.settled(first)
    await world.cloud.port_changes.update(port.id, device_id="", device_owner="")
    second = await world.up(NicWish(port_id=port.id))
    await world.delete(first)
    assert [spec.machine for spec in world.fabric.machines.ports.values()] == [f"edge-{second.id}"]
    assert standing(world) == told(world) == {port.mac}


async def test_an_attachment_that_fails_late_leaves_nothing_plugged_in(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, _ = await world.network()
    server = await world.up(NicWish(network_id=network.id))

    async def fail(_network_id: str) -> None:
        raise AdapterError("no room for a tunnel")

    with monkeypatch.context() as patched:
        patched.setattr(world.cloud.site, "on_stations_changed", fail)
        with pytest.raises(AdapterError):
            await world.cloud.nics.attach(server.id, NicWish(network_id=network.id))
    assert len(standing(world)) == 1
    assert standing(world) == told(world)


async def test_a_leg_that_the_data_plane_keeps_is_told(world: World) -> None:
    _, subnet = await world.network()
    router = await world.cloud.routers.create(Router(name="r"))
    leg = await world.cloud.routers.add_interface(router.id, subnet_id=subnet.id)
    world.fabric.networks.fail_next = "no rules"
    with pytest.raises(AdapterError):
        await world.cloud.routers.remove_interface(router.id, subnet_id=subnet.id)
    assert standing(world) == told(world) == {leg.port.mac}
    await world.cloud.routers.remove_interface(router.id, subnet_id=subnet.id)
    assert standing(world) == told(world) == set()


async def test_a_leg_stays_when_another_one_fails_at_the_same_time(world: World) -> None:
    _, first = await world.network("10.1.0.0/24", "first")
    _, second = await world.network("10.2.0.0/24", "second")
    router = await world.cloud.routers.create(Router(name="r"))
    async with busy(world):
        world.fabric.networks.fail_next = "no veth"
        legs = [world.cloud.routers.add_interface(router.id, subnet_id=one.id) for one in (first, second)]
        adding = [asyncio.ensure_future(leg) for leg in legs]
        await everybody()
    failed, added = await asyncio.gather(*adding, return_exceptions=True)
    assert isinstance(failed, AdapterError)
    assert not isinstance(added, BaseException)
    assert world.cloud.tables.routers.get(router.id).interfaces == (added.port.id,)
    await world.cloud.routers.update(router.id, name="again")
    assert standing(world) == told(world) == {added.port.mac}


async def test_routers_that_change_while_scopes_are_followed_are_as_they_were_changed(world: World) -> None:
    _, subnet = await world.network()
    create = world.cloud.routers.create
    _, second, third = [await create(Router(name=name)) for name in ("first", "second", "third")]
    async with busy(world):
        following = asyncio.ensure_future(world.cloud.routers.follow_scopes())
        await everybody()
        adding = asyncio.ensure_future(world.cloud.routers.add_interface(second.id, subnet_id=subnet.id))
        deleting = asyncio.ensure_future(world.cloud.routers.delete(third.id))
        await everybody()
    await asyncio.gather(following, adding, deleting)
    assert standing(world) == told(world)
    assert third.id not in world.fabric.networks.routers


async def test_a_server_that_is_being_deleted_shows_it_whatever_its_build_comes_to(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def start(_spec: MachineSpec, *_: object, **__: object) -> int:
        begun.set()
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            raise AdapterError("killed in the middle") from None
        return 0

    monkeypatch.setattr(world.runtime, "start", start)
    server = world.boot(image_name="batch")
    await begun.wait()
    seen: list[tuple[str, str | None]] = []
    watch(world, server, lambda now: seen.append((now.status, now.task_state)))
    await world.cloud.servers.delete(server.id)
    assert await world.cloud.servers.settled(server.id) is None
    assert seen[-1][1] == "deleting"


def watch(world: World, server: Server, see: Callable[[Server], None]) -> None:
    """Look at a server each time that it changes."""

    def look(_before: Server | None, now: Server | None) -> None:
        if now and now.id == server.id:
            see(now)

    world.cloud.tables.servers.on_row = look


async def test_a_network_that_gets_a_port_while_it_is_being_deleted_stays(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, _ = await world.network()
    release = world.cloud.networks.on_release

    async def release_slowly(*ids: str) -> None:
        await release(*ids)
        await world.up(NicWish(network_id=network.id))

    with monkeypatch.context() as patched:
        patched.setattr(world.cloud.networks, "on_release", release_slowly)
        with pytest.raises(NetworkInUse):
            await world.cloud.networks.delete(network.id)
    assert standing(world) == told(world)
    assert len(world.cloud.networks.subnets_of(network.id)) == 1
    assert world.cloud.wiring.dhcp_ports.find(network.id)


async def test_a_subnet_that_gets_a_port_while_it_is_being_deleted_stays(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, subnet = await world.network()
    release = world.cloud.networks.on_release

    async def release_slowly(*ids: str) -> None:
        await release(*ids)
        await world.up(NicWish(network_id=network.id))

    with monkeypatch.context() as patched:
        patched.setattr(world.cloud.networks, "on_release", release_slowly)
        with pytest.raises(SubnetInUse):
            await world.cloud.networks.delete_subnet(subnet.id)
    assert standing(world) == told(world)
    assert all(port.fixed_ips for port in world.cloud.tables.ports)
    assert world.cloud.networks.subnets_of(network.id) == (subnet,)
    assert world.cloud.wiring.dhcp_ports.find(network.id)


async def test_what_is_taken_back_leaves_what_others_have_changed(world: World) -> None:
    network, _ = await world.network()
    port, ports = world.port(network), world.cloud.tables.ports
    ports.change(port.id, name="mine")
    ports.change(port.id, plugged=True)
    ports.put_back(port, ["name"])
    assert (ports.get(port.id).name, ports.get(port.id).plugged) == ("", True)
    ports.remove(port.id)
    ports.put_back(port, ["name"])
    assert port.id not in ports


async def test_nothing_of_a_router_stands_whose_creation_fails_late(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        raise AdapterError("no room for a route")

    monkeypatch.setattr(world.cloud.routers.outside, "follow", fail)
    with pytest.raises(AdapterError):
        await world.cloud.routers.create(Router(name="r"), gateway_network=world.cloud.networks.external.id)
    assert world.fabric.networks.routers == {}
    assert len(world.cloud.tables.ports) == 0
