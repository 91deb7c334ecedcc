"""What a network does for its servers: DHCP, names and metadata, from a namespace of its own on that network.

It is there while a server is plugged into the network, and is answered by the keeper itself through sockets in that
namespace: nothing runs for it, and what changes in the tables is true in the next answer. The namespace and its
interface are made when somebody on the network calls for them, and the call is answered: an idle server asks nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import field
from functools import partial
from typing import Any, cast

import sonata.emulator.cloud.network.dhcp as dhcp
import sonata.emulator.cloud.network.names as names
from sonata._lib.namespaces import inside
from sonata._lib.values import dataclass
from sonata.emulator.cloud.background import Background
from sonata.emulator.cloud.compute.wiring import Wiring
from sonata.emulator.cloud.entities.compute import Nic
from sonata.emulator.cloud.entities.network import DHCP_OWNER, SERVER_OWNER, Port
from sonata.emulator.cloud.firstboot.metadata_service import ADDRESS, SERVER_PORT, MetadataService, Posted, nobody
from sonata.emulator.cloud.network.answers import Answer, Answers
from sonata.emulator.cloud.network.callers import Callers
from sonata.emulator.cloud.network.ports import Ports
from sonata.emulator.cloud.network.sockets_of_six import Advertising, SocketsOfSix, sockets_of_six
from sonata.emulator.cloud.site import Site
from sonata.emulator.cloud.turns import Turns
from sonata.errors import SonataError
from sonata.ports.fabric import Fabric

logger = logging.getLogger(__name__)

PATIENCE_S = 5.0
BACKLOG = 64
IFNAME = "eth0"
_IP_FREEBIND = 15
"""The address is there as soon as the interface is."""


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

    def __init__(self, site: Site, ports: Ports, wiring: Wiring, callers: Callers) -> None:
        self._site = site
        self._tables = site.tables
        self._ports = ports
        self._wiring = wiring
        self._callers = callers
        self._dhcp_ports = wiring.dhcp_ports
        self._answers = Answers(site.tables, wiring)
        self._standing: dict[str, _Standing] = {}
        self._known: set[str] = set()
        self._turns = Turns()
        self._coming = Background(lambda _network_id, _error: None)
        self.failed: set[str] = set()
        self.on_post: Posted = nobody

    def serves(self, port: Port) -> bool:
        """Whether a port is a network's service port, and calls to it are answered."""
        network_id, is_ours = port.network_id, port.device_owner == DHCP_OWNER
        answered = network_id in self._standing or self._callers.awaited(network_id)
        return is_ours and answered and network_id not in self.failed

    async def follow(self, network_id: str) -> None:
        """Serve a network while a server is plugged into it, and only then."""
        async with self._turns.of(network_id):
            await self._follow(network_id)

    async def port_changed(self, port: Port) -> None:
        """Answer at the addresses that a network's service port has now."""
        async with self._turns.of(port.network_id):
            if self._callers.awaited(port.network_id):
                await self._stop(port.network_id)
                await self._follow(port.network_id)

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
                self._known.discard(network_id)

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
        await self._coming.close()
        self._callers.close()
        for standing in self._standing.values():
            standing.close()
        self._standing.clear()

    async def _follow(self, network_id: str) -> None:
        port = self._dhcp_ports.find(network_id)
        if port is None or not self._has_servers(network_id):
            self.failed.discard(network_id)
            await self._stop(network_id)
        elif network_id not in self._standing and not self._callers.awaited(network_id):
            # Who has been told of the services by them calls them by their MAC address, which nobody else hears.
            await self._attempt(port, self._start if network_id in self._known else self._wait)

    async def _attempt(self, port: Port, begin: Callable[[Port], Awaitable[None]]) -> bool:
        """Begin to serve a network; where that fails it is not served, and that is known."""
        try:
            await begin(port)
        except (SonataError, OSError) as error:
            logger.warning("a network's services failed", extra={"network": port.network_id, "cause": str(error)})
            self.failed.add(port.network_id)
            await self._stop(port.network_id)
            return False
        self.failed.discard(port.network_id)
        return True

    def _has_servers(self, network_id: str) -> bool:
        return any(
            port.network_id == network_id and port.plugged and port.device_owner == SERVER_OWNER
            for port in self._tables.ports
        )

    async def _wait(self, port: Port) -> None:
        """Have the services come when somebody calls for them."""
        network_id = port.network_id
        await self._callers.listen(port, IFNAME, lambda: self._coming.spawn(network_id, self._come(network_id)))

    async def _come(self, network_id: str) -> None:
        """Let the services stand, and answer who has called; where they cannot, the next one who calls tries again."""
        async with self._turns.of(network_id):
            port = self._dhcp_ports.find(network_id)
            if port is None or not self._callers.awaited(network_id):
                return
            if await self._attempt(port, self._start):
                self._callers.answer(network_id)
            elif await self._attempt(port, self._wait):
                self.failed.add(network_id)

    async def _start(self, port: Port) -> None:
        network_id, machine = port.network_id, self._machine(port.network_id)
        standing = self._standing[network_id] = _Standing(port.id)
        with contextlib.ExitStack() as opened:
            # Before anybody can reach them: who comes between an interface and its sockets would be refused.
            sockets = await self._site.plane.run(partial(_open_sockets, opened, machine))
            netns = await self._wiring.plug_machine(machine, [Nic(port.id, IFNAME, owned=False)])
            with_six = any(fixed.address.version == 6 for fixed in port.fixed_ips)
            six = await self._site.plane.run(lambda _: _tie(opened, sockets, netns, with_six=with_six))
            await self._answer(network_id, standing, sockets, six)
            opened.pop_all()
        self._known.add(network_id)

    async def _answer(self, network_id: str, standing: _Standing, sockets: _Sockets, six: SocketsOfSix | None) -> None:
        """Answer at all sockets from now on."""
        loop = asyncio.get_running_loop()
        answers = self._answers
        datagrams = [(sockets.dhcp, answers.to_dhcp), (sockets.names, answers.to_query)]
        if six:
            datagrams.append((six.dhcp, answers.to_dhcp6))
            standing.advertising = Advertising(loop, six.advertising, partial(answers.to_solicitation, network_id))
        for opened, answer in datagrams:
            protocol = partial(_Answering, answer, network_id)
            transport, _ = await loop.create_datagram_endpoint(protocol, sock=opened)
            standing.datagrams.append(transport)
        metadata = MetadataService(self._tables, network_id, self.on_post)
        standing.servers.append(await asyncio.start_server(metadata.serve, sock=sockets.metadata))
        ask = _NameStream(lambda query: answers.to_query(network_id, query, "")[0])
        standing.servers.append(await asyncio.start_server(ask.serve, sock=sockets.names_stream))

    async def _stop(self, network_id: str) -> None:
        await self._callers.forget(network_id)
        if standing := self._standing.pop(network_id, None):
            standing.close()
            await self._wiring.unplug_machine(self._machine(network_id), [standing.port_id])

    def _machine(self, network_id: str) -> str:
        return self._wiring.machine_id(f"services-{network_id}")


class _Answering(asyncio.DatagramProtocol):
    """A socket on which each packet has at most one answer."""

    def __init__(self, answer: Callable[[str, bytes, str], Answer], network_id: str) -> None:
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


def _open_sockets(opened: contextlib.ExitStack, machine: str, fabric: Fabric) -> _Sockets:
    """The sockets of a network's services in a namespace of their own; runs in the fabric's thread."""
    fabric.machines.add_machines([machine])
    with _inside(fabric.machines.netns_path(machine)):
        return _Sockets(
            opened.enter_context(_bound(socket.SOCK_DGRAM, "", dhcp.SERVER_PORT)),
            opened.enter_context(_bound(socket.SOCK_DGRAM, "", names.SERVER_PORT)),
            opened.enter_context(_bound(socket.SOCK_STREAM, "", names.SERVER_PORT)),
            opened.enter_context(_bound(socket.SOCK_STREAM, str(ADDRESS), SERVER_PORT)),
        )


def _tie(opened: contextlib.ExitStack, sockets: _Sockets, netns: str, *, with_six: bool) -> SocketsOfSix | None:
    """Tie sockets to their interface, now that it is there, and open those of IPv6; runs in the fabric's thread."""
    # Broadcasts leave by this interface, also where no route leads anywhere.
    sockets.dhcp.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, IFNAME.encode())
    if not with_six:
        return None
    with _inside(netns):
        return sockets_of_six(opened, IFNAME)


@contextlib.contextmanager
def _inside(netns: str) -> Iterator[None]:
    namespace = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with inside(namespace):
            yield
    finally:
        os.close(namespace)


def _bound(kind: socket.SocketKind, address: str, number: int) -> socket.socket:
    opened = socket.socket(socket.AF_INET, kind)
    opened.setblocking(False)
    if kind == socket.SOCK_DGRAM:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    else:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
    opened.bind((address, number))
    if kind == socket.SOCK_STREAM:
        opened.listen(BACKLOG)
    return opened
