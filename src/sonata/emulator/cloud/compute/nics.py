"""Interfaces of servers: ports bound to them, made for them, attached and detached."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager

from sonata._lib.values import dataclass
from sonata.emulator.cloud.causes import PortInUse
from sonata.emulator.cloud.compute.states import is_on, require
from sonata.emulator.cloud.compute.wiring import Wiring
from sonata.emulator.cloud.entities.compute import Nic, Server, ServerStatus
from sonata.emulator.cloud.entities.network import DHCP_OWNER, SERVER_OWNER, Port
from sonata.emulator.cloud.network.ports import AddressWish, Ports
from sonata.emulator.cloud.network.routers import FloatingIps
from sonata.emulator.cloud.network.security import SecurityGroups
from sonata.emulator.cloud.site import Site
from sonata.errors import Conflict, InvalidInput, NotFound


@dataclass(frozen=True, slots=True)
class NicWish:
    """An interface that a server is to have: an existing port, or a new one on a network; `tag` tells it apart."""

    port_id: str = ""
    network_id: str = ""
    address: AddressWish | None = None
    tag: str = ""


class Nics:
    """The interfaces of one cloud's servers."""

    def __init__(
        self, site: Site, ports: Ports, wiring: Wiring, floating_ips: FloatingIps, security_groups: SecurityGroups
    ) -> None:
        self._tables = site.tables
        self._turns = site.server_turns
        self._ports = ports
        self._wiring = wiring
        self._floating_ips = floating_ips
        self._security_groups = security_groups
        self._going: set[str] = set()
        self.on_service_port_deleted: Callable[[str], Awaitable[None]] = _nobody_cares

    def default_wishes(self, project_id: str) -> list[NicWish]:
        """What a server gets when nothing is asked for: the project's only network, if it has one.

        Raises:
            Conflict: it has several.
        """
        networks = [
            network
            for network in self._tables.networks
            if not network.external and (network.project_id == project_id or network.shared)
        ]
        if len(networks) > 1:
            raise Conflict("Multiple possible networks found, use a Network ID to be more specific.")
        return [NicWish(network_id=network.id) for network in networks]

    def check(self, wishes: Sequence[NicWish]) -> None:
        """Refuse wishes that cannot be fulfilled.

        Raises:
            InvalidInput: a port or network does not exist, or a port is named twice.
            PortInUse: a port is bound.
        """
        port_ids = [wish.port_id for wish in wishes if wish.port_id]
        if len(set(port_ids)) < len(port_ids):
            raise InvalidInput("a port can be given to a server only once")
        for wish in wishes:
            if wish.port_id:
                self._check_free(wish.port_id)
            elif wish.network_id not in self._tables.networks:
                raise InvalidInput(f"Network {wish.network_id} could not be found.")

    def bind_existing(self, server: Server, wishes: Sequence[NicWish]) -> Server:
        """Bind the ports that exist, so that nobody else takes them."""
        found = [self._bind(server, wish, index) for index, wish in enumerate(wishes) if wish.port_id]
        return self._tables.servers.change(server.id, nics=tuple(found))

    def make_missing(self, server_id: str, wishes: Sequence[NicWish]) -> None:
        """Make the ports that do not exist; each is noted at once, so that a failure leaks none."""
        for index, wish in enumerate(wishes):
            if not wish.port_id:
                server = self._tables.servers.get(server_id)
                self._tables.servers.change(server_id, nics=(*server.nics, self._bind(server, wish, index)))
        nics = self._tables.servers.get(server_id).nics
        self._tables.servers.change(server_id, nics=tuple(sorted(nics, key=_index)))

    def groups_of(self, server: Server) -> tuple[str, ...]:
        """The names of the security groups of a server's ports; those asked for while it has none."""
        ports = [port for nic in server.nics if (port := self._tables.ports.peek(nic.port_id))]
        return self._security_groups.names_of(ports) if ports else server.security_groups

    async def add_group(self, server: Server, name_or_id: str) -> None:
        """Put the secured ports of a server into a group, too; it holds at return.

        Raises:
            NoSuch: there is no such group.
            SecurityGroupConflict: it does not go with the others.
        """
        group = self._security_groups.find(name_or_id, server.project_id)
        await self._regroup(server, lambda groups: (*groups, group.id))

    async def remove_group(self, server: Server, name_or_id: str) -> None:
        """Take the ports of a server out of a group; it holds no more at return.

        Raises:
            NoSuch: there is no such group.
            InvalidInput: no port of the server is in it.
        """
        group = self._security_groups.find(name_or_id, server.project_id)
        if not any(group.id in port.security_groups for port in self._ports.of_device(server.id)):
            raise InvalidInput(f"Security group {group.id} is not associated with the instance {server.id}")
        await self._regroup(server, lambda groups: (one for one in groups if one != group.id))

    async def _regroup(self, server: Server, change: Callable[[tuple[str, ...]], Iterable[str]]) -> None:
        for port in self._ports.of_device(server.id):
            if port.port_security:
                groups = self._security_groups.of_port(change(port.security_groups), port.project_id)
                self._tables.ports.change(port.id, security_groups=groups)
        await self._security_groups.ports_changed()

    async def attach(self, server_id: str, wish: NicWish) -> Nic:
        """Give a server one more interface; packets pass at return when it is on."""
        self._quiet(server_id, "attach_interface")
        async with self._turns.of(server_id):
            return await self._attach(self._quiet(server_id, "attach_interface"), wish)

    async def _attach(self, server: Server, wish: NicWish) -> Nic:
        self.check([wish])
        nic = self._bind(server, wish, 1 + max(map(_index, server.nics), default=-1))
        self._tables.servers.change(server.id, nics=(*server.nics, nic))
        async with AsyncExitStack() as undone:
            undone.callback(self._detached, server.id, nic)
            if is_on(server):
                undone.push_async_callback(self._wiring.unplug_port, nic.port_id)
                await self._wiring.plug_port(server, nic)
            if server.status == ServerStatus.PAUSED:
                await self._wiring.hold(self._tables.servers.get(server.id), held=True)
            undone.pop_all()
        return nic

    async def detach(self, server_id: str, port_id: str) -> None:
        """Take an interface away; its port goes too when it was made for the server.

        Raises:
            NotFound: the server has no such interface.
        """
        self._quiet(server_id, "detach_interface")
        async with self._turns.of(server_id):
            server = self._quiet(server_id, "detach_interface")
            nic = next((nic for nic in server.nics if nic.port_id == port_id), None)
            if nic is None:
                raise NotFound(f"Port id {port_id} is not attached to instance {server_id}")
            await self._wiring.unplug_port(port_id)
            await self._floating_ips.forget_port(port_id)
            self._detached(server_id, nic)

    async def delete_port(self, port_id: str) -> None:
        """Delete a port as Neutron does: it disappears from its server and from its floating IPs."""
        self._ports.check_deletable(port_id)
        # Whoever took it while it is being unplugged would keep an interface without a port.
        with _noted(self._going, port_id):
            port = self._tables.ports.get(port_id)
            if port.device_owner == DHCP_OWNER:
                await self.on_service_port_deleted(port.network_id)
            for server_id in self._servers_with(port):
                async with self._wiring.turns.of(server_id):
                    await self._wiring.unplug_port(port_id)
                    self._forget(server_id, port_id)
            await self._floating_ips.forget_port(port_id)
            if port_id in self._tables.ports:
                self._ports.check_deletable(port_id)  # a router may have taken it while it was unplugged
            self._ports.drop(port_id)
        await self._security_groups.ports_changed()

    async def release_all(self, server: Server) -> None:
        """Drop the ports that were made for a server and unbind the others, since it is deleted."""
        for nic in server.nics:
            if nic.owned:
                await self._floating_ips.forget_port(nic.port_id)
            self._detached(server.id, nic)

    def _bind(self, server: Server, wish: NicWish, index: int) -> Nic:
        if wish.port_id:
            self._tables.ports.change(wish.port_id, device_id=server.id, device_owner=SERVER_OWNER)
            return Nic(wish.port_id, f"eth{index}", owned=False, tag=wish.tag)
        port = self._security_groups.secured(
            Port(
                project_id=server.project_id, network_id=wish.network_id, device_id=server.id, device_owner=SERVER_OWNER
            ),
            [self._security_groups.find(name, server.project_id).id for name in server.security_groups],
        )
        made = self._ports.create(port, None if wish.address is None else [wish.address])
        return Nic(made.id, f"eth{index}", owned=True, tag=wish.tag)

    def _detached(self, server_id: str, nic: Nic) -> None:
        """Drop a port that was made for the server, unbind any other, and forget the interface.

        A port that was given to another device meanwhile stays as it is.
        """
        port = self._tables.ports.peek(nic.port_id)
        if port and port.device_id in (server_id, ""):
            if nic.owned:
                self._ports.drop(port.id)
            else:
                self._tables.ports.change(port.id, device_id="", device_owner="")
        self._forget(server_id, nic.port_id)

    def _servers_with(self, port: Port) -> set[str]:
        """The server that a port says it belongs to, and those that know it since before its device was changed."""
        holding = {server.id for server in self._tables.servers if any(nic.port_id == port.id for nic in server.nics)}
        return holding | ({port.device_id} if port.device_id in self._tables.servers else set())

    def _forget(self, server_id: str, port_id: str) -> None:
        if server := self._tables.servers.peek(server_id):
            kept = tuple(nic for nic in server.nics if nic.port_id != port_id)
            self._tables.servers.change(server_id, nics=kept)

    def _check_free(self, port_id: str) -> None:
        port = self._tables.ports.peek(port_id)
        if port is None or port_id in self._going:
            raise InvalidInput(f"Port {port_id} could not be found.")
        if port.device_id:
            raise PortInUse(f"Port {port_id} is still in use.")

    def _quiet(self, server_id: str, action: str) -> Server:
        """A server with which nothing is going on."""
        server = self._tables.servers.get(server_id)
        require(server, action)
        return server


def _index(nic: Nic) -> int:
    return int(nic.ifname.removeprefix("eth"))


@contextmanager
def _noted(names: set[str], name: str) -> Iterator[None]:
    names.add(name)
    try:
        yield
    finally:
        names.discard(name)


async def _nobody_cares(_network_id: str) -> None:
    pass
