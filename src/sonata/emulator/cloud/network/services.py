"""What a network does for its servers: DHCP, names and metadata, from a namespace of its own on that network.

It stands while a server is plugged into the network, and is answered by the keeper itself through sockets in that
namespace: nothing runs for it, and what changes in the tables is true in the next answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import field
from functools import partial
from ipaddress import IPv4Address, IPv4Interface, IPv6Address
from typing import Any, cast

import sonata.emulator.cloud.network.dhcp as dhcp
import sonata.emulator.cloud.network.dhcp6 as dhcp6
import sonata.emulator.cloud.network.dhcp_options as dhcp_options
import sonata.emulator.cloud.network.names as names
from sonata._lib.namespaces import inside
from sonata._lib.values import dataclass
from sonata.emulator.cloud.compute.power import hostname
from sonata.emulator.cloud.compute.wiring import Wiring
from sonata.emulator.cloud.entities.compute import Nic
from sonata.emulator.cloud.entities.network import DHCP_OWNER, SERVER_OWNER, FixedIp, Port, Subnet, interface_of
from sonata.emulator.cloud.firstboot.metadata_service import ADDRESS, SERVER_PORT, MetadataService, Posted, nobody
from sonata.emulator.cloud.network.advertisements import BY_DHCP, STATEFUL, advertisement, nameservers
from sonata.emulator.cloud.network.ports import Ports
from sonata.emulator.cloud.network.sockets_of_six import Advertising, SocketsOfSix, sockets_of_six
from sonata.emulator.cloud.site import Site
from sonata.emulator.cloud.turns import Turns
from sonata.errors import SonataError

logger = logging.getLogger(__name__)

PATIENCE_S = 5.0
BACKLOG = 64
IFNAME = "eth0"


@dataclass(slots=True)
class _Standing:
    """A network's services that stand."""

    port_id: str
    datagrams: list[asyncio.DatagramTransport] = field(default_factory=list)
    advertising: Advertising | None = None
    servers: list[asyncio.Server] = field(default_factory=list)

    def close(self) -> None:
        """Close all sockets."""
        for transport in self.datagrams:
            transport.close()
        if self.advertising:
            self.advertising.close()
        for server in self.servers:
            server.close()


class NetworkServices:
    """The services of one cloud's networks; `failed` are those that should be served, and could not be."""

    def __init__(self, site: Site, ports: Ports, wiring: Wiring) -> None:
        self._site = site
        self._tables = site.tables
        self._ports = ports
        self._wiring = wiring
        self._dhcp_ports = wiring.dhcp_ports
        self._standing: dict[str, _Standing] = {}
        self._turns = Turns()
        self.failed: set[str] = set()
        self.on_post: Posted = nobody

    async def follow(self, network_id: str) -> None:
        """Let a network's services stand while a server is plugged into it, and only then."""
        async with self._turns.of(network_id):
            await self._follow(network_id)

    async def release(self, network_id: str, subnet_id: str = "") -> None:
        """Give up what the services have on a network, or in one subnet of it, since that is to be deleted."""
        async with self._turns.of(network_id):
            port = self._dhcp_ports.find(network_id)
            if port is None or (subnet_id and subnet_id not in {fixed.subnet_id for fixed in port.fixed_ips}):
                return
            await self._stop(network_id)
            wishes = self._dhcp_ports.wishes(network_id, but=subnet_id) if subnet_id else []
            if wishes:
                self._ports.update(port.id, wishes)
                await self._follow(network_id)
            else:
                self._ports.drop(port.id)

    async def subnets_changed(self, network_id: str) -> None:
        """Serve the subnets that are to be served now."""
        async with self._turns.of(network_id):
            port = self._dhcp_ports.find(network_id)
            wishes = self._dhcp_ports.wishes(network_id)
            if port and {wish.subnet_id for wish in wishes} == {fixed.subnet_id for fixed in port.fixed_ips}:
                return
            if port:
                await self._stop(network_id)
                self._ports.drop(port.id)
            if self._has_servers(network_id):
                self._dhcp_ports.ensure(network_id)
            await self._follow(network_id)

    async def close(self) -> None:
        """Close all sockets; namespaces go with the data plane."""
        for standing in self._standing.values():
            standing.close()
        self._standing.clear()

    async def _follow(self, network_id: str) -> None:
        port = self._dhcp_ports.find(network_id)
        wanted = port is not None and self._has_servers(network_id)
        if port and wanted and network_id not in self._standing:
            try:
                await self._start(network_id, port)
                self.failed.discard(network_id)
            except (SonataError, OSError) as error:
                logger.warning("a network's services failed", extra={"network": network_id, "cause": str(error)})
                self.failed.add(network_id)
                await self._stop(network_id)
        elif not wanted:
            self.failed.discard(network_id)
            await self._stop(network_id)

    def _has_servers(self, network_id: str) -> bool:
        return any(
            port.network_id == network_id and port.plugged and port.device_owner == SERVER_OWNER
            for port in self._tables.ports
        )

    async def _start(self, network_id: str, port: Port) -> None:
        standing = self._standing[network_id] = _Standing(port.id)
        netns = await self._wiring.plug_machine(
            self._wiring.machine_id(f"services-{network_id}"), [Nic(port.id, IFNAME, owned=False)]
        )
        with_six = any(fixed.address.version == 6 for fixed in port.fixed_ips)
        sockets = await self._site.plane.run(lambda _fabric: _open_sockets(netns, with_six=with_six))
        await self._answer(network_id, standing, sockets)

    async def _answer(self, network_id: str, standing: _Standing, sockets: _Sockets) -> None:
        """Answer at all sockets from now on."""
        loop = asyncio.get_running_loop()
        datagrams = [(sockets.dhcp, self._dhcp), (sockets.names, self._name)]
        if sockets.six:
            datagrams.append((sockets.six.dhcp, self._dhcp6))
            standing.advertising = Advertising(loop, sockets.six.advertising, partial(self._advertised, network_id))
        for opened, answer in datagrams:
            protocol = partial(_Answering, answer, network_id)
            transport, _ = await loop.create_datagram_endpoint(protocol, sock=opened)
            standing.datagrams.append(transport)
        metadata = MetadataService(self._tables, network_id, self.on_post)
        standing.servers.append(await asyncio.start_server(metadata.serve, sock=sockets.metadata))
        ask = _NameStream(lambda query: self._name(network_id, query, "")[0])
        standing.servers.append(await asyncio.start_server(ask.serve, sock=sockets.names_stream))

    async def _stop(self, network_id: str) -> None:
        if standing := self._standing.pop(network_id, None):
            standing.close()
            await self._wiring.unplug_machine(self._wiring.machine_id(f"services-{network_id}"), [standing.port_id])

    # answers

    def _dhcp(self, network_id: str, packet: bytes, _source: str) -> tuple[bytes | None, str]:
        message = dhcp.read(packet)
        lease = self._lease(network_id, message.mac) if message else None
        if message is None or lease is None:
            return None, ""
        return dhcp.reply(message, lease), dhcp.destination(message)

    def _dhcp6(self, network_id: str, packet: bytes, source: str) -> tuple[bytes | None, str]:
        message = dhcp6.read(packet)
        port = self._port_of(network_id, dhcp6.mac_of(message, source)) if message else None
        lease = self._lease6_of(port) if port else None
        if message is None or lease is None:
            return None, ""
        return dhcp6.reply(message, lease), source

    def _lease6_of(self, port: Port) -> dhcp6.Lease | None:
        """What DHCP for IPv6 tells a port; nothing where none of its subnets is served so."""
        pairs = [(self._tables.subnets.get(fixed.subnet_id), fixed) for fixed in port.fixed_ips]
        served = [(subnet, fixed) for subnet, fixed in pairs if subnet.enable_dhcp and subnet.address_mode in BY_DHCP]
        own = self._dhcp_ports.find(port.network_id)
        if not served or own is None:
            return None
        given = (fixed.address for subnet, fixed in served if subnet.address_mode == STATEFUL)
        return dhcp6.Lease(
            server_mac=own.mac,
            addresses=tuple(address for address in given if isinstance(address, IPv6Address)),
            nameservers=nameservers([subnet for subnet, _ in served]),
            domain=names.DOMAIN,
            further=dhcp_options.told(port.dhcp_options, 6),
        )

    def _advertised(self, network_id: str) -> bytes | None:
        """What a network tells its IPv6 hosts."""
        own = self._dhcp_ports.find(network_id)
        subnets = [subnet for subnet in self._tables.subnets if subnet.network_id == network_id]
        return advertisement(subnets, own.mac, self._tables.networks.get(network_id).mtu) if own else None

    def _name(self, network_id: str, query: bytes, source: str) -> tuple[bytes | None, str]:
        return names.answer(query, self._names(network_id)), source

    def _lease(self, network_id: str, mac: str) -> dhcp.Lease | None:
        """What the port of this MAC address is told; nothing when it is no port, or its subnet is not served."""
        port = self._port_of(network_id, mac)
        return self._lease_of(port) if port else None

    def _port_of(self, network_id: str, mac: str) -> Port | None:
        """The port of this MAC address, unless it is the services' own."""
        for port in self._tables.ports:
            if port.network_id == network_id and port.mac == mac and port.device_owner != DHCP_OWNER:
                return port
        return None

    def _lease_of(self, port: Port) -> dhcp.Lease | None:
        for fixed in port.fixed_ips:
            subnet = self._tables.subnets.get(fixed.subnet_id)
            interface, server = interface_of(subnet, fixed), self._dhcp_ports.address_in(subnet)
            if server is None or not isinstance(interface, IPv4Interface):
                continue
            return dhcp.Lease(
                address=interface,
                server=server,
                router=_router(subnet, fixed),
                nameservers=tuple(self._wiring.nameservers(subnet)),
                domain=names.DOMAIN,
                host_name=self._host_name(port),
                mtu=self._tables.networks.get(port.network_id).mtu,
                routes=self._wiring.host_routes(subnet),
                further=dhcp_options.told(port.dhcp_options, 4),
            )
        return None

    def _host_name(self, port: Port) -> str:
        if port.dns_name:
            return port.dns_name
        server = self._tables.servers.peek(port.device_id)
        return hostname(server.name) if server else default_name(port.first_address)

    def _names(self, network_id: str) -> Mapping[str, tuple[IPv4Address, ...]]:
        """Names of a network's ports: of their server, and made of their addresses."""
        found: dict[str, tuple[IPv4Address, ...]] = {}
        for port in self._tables.ports:
            addresses = _fourth(port) if port.network_id == network_id else ()
            for address in addresses:
                found[default_name(address)] = (address,)
            if addresses and port.device_id in self._tables.servers:
                name = self._host_name(port)
                found[name] = (*found.get(name, ()), *addresses)
        return found


def default_name(address: Any) -> str:
    """The name of a port that nobody has named, as Neutron makes it: `host-10-0-0-5`."""
    return f"host-{address}".replace(".", "-").replace(":", "-")


def _router(subnet: Subnet, fixed: FixedIp) -> IPv4Address | None:
    """The gateway of a subnet, unless the port has that address itself."""
    gateway = subnet.gateway_ip
    return gateway if isinstance(gateway, IPv4Address) and gateway != fixed.address else None


def _fourth(port: Port) -> tuple[IPv4Address, ...]:
    return tuple(fixed.address for fixed in port.fixed_ips if isinstance(fixed.address, IPv4Address))


Answer = Callable[[str, bytes, str], tuple[bytes | None, str]]
"""From network, packet and source address to an answer and where it goes; an empty answer is none."""


class _Answering(asyncio.DatagramProtocol):
    """A socket on which each packet has at most one answer."""

    def __init__(self, answer: Answer, network_id: str) -> None:
        self._answer = answer
        self._network_id = network_id
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where answers are sent."""
        # Other loops' transports do not derive from asyncio's.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        """Answer one packet."""
        answer, target = self._answer(self._network_id, data, str(addr[0]))
        if answer and self._transport:
            # Over IPv6 the address goes on: it says on which link a link-local one is.
            self._transport.sendto(answer, (target, *addr[1:]))


class _NameStream:
    """DNS over TCP (RFC 7766): messages with their length before them, one for each connection."""

    def __init__(self, answer: Callable[[bytes], bytes | None]) -> None:
        self._answer = answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                query = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
                answer = self._answer(query) or b""
                writer.write(len(answer).to_bytes(2, "big") + answer)
                await writer.drain()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError) as error:
            logger.debug("name query over TCP failed", extra={"cause": str(error)})
        finally:
            writer.close()


@dataclass(frozen=True, slots=True)
class _Sockets:
    dhcp: socket.socket
    names: socket.socket
    names_stream: socket.socket
    metadata: socket.socket
    six: SocketsOfSix | None = None


def _open_sockets(netns: str, *, with_six: bool) -> _Sockets:
    """The sockets of a network's services in their namespace; runs in the fabric's thread."""
    namespace = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with inside(namespace), contextlib.ExitStack() as opened:
            sockets = _Sockets(
                opened.enter_context(_bound(socket.SOCK_DGRAM, "", dhcp.SERVER_PORT)),
                opened.enter_context(_bound(socket.SOCK_DGRAM, "", names.SERVER_PORT)),
                opened.enter_context(_bound(socket.SOCK_STREAM, "", names.SERVER_PORT)),
                opened.enter_context(_bound(socket.SOCK_STREAM, str(ADDRESS), SERVER_PORT)),
                sockets_of_six(opened, IFNAME) if with_six else None,
            )
            opened.pop_all()
            return sockets
    finally:
        os.close(namespace)


def _bound(kind: socket.SocketKind, address: str, number: int) -> socket.socket:
    opened = socket.socket(socket.AF_INET, kind)
    opened.setblocking(False)
    if kind == socket.SOCK_DGRAM:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        # Broadcasts leave by this interface, also where no route leads anywhere.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, IFNAME.encode())
    else:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.bind((address, number))
    if kind == socket.SOCK_STREAM:
        opened.listen(BACKLOG)
    return opened
