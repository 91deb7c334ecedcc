"""Carrying the interfaces of running servers from one PoP of a site to another."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from sonata._lib.together import to_the_end
from sonata.emulator.cloud.compute.wiring import Wiring
from sonata.emulator.cloud.entities.compute import Server
from sonata.emulator.cloud.network.footing import Footing
from sonata.emulator.cloud.network.standing import Standing
from sonata.emulator.cloud.network.steering import Steering
from sonata.emulator.cloud.site import Site
from sonata.errors import SonataError

logger = logging.getLogger(__name__)


class Carrying:
    """Plugs servers of one cloud in elsewhere while they run."""

    def __init__(self, site: Site, wiring: Wiring, standing: Standing, footing: Footing, steering: Steering) -> None:
        self._site = site
        self._tables = site.tables
        self._wiring = wiring
        self._standing = standing
        self._footing = footing
        self._steering = steering

    def check(self, server: Server, host: str) -> None:
        """Refuse to have a server on a host when a chain through it forbids it.

        Raises:
            ChainAcrossZones: the chain's other ports are in another PoP.
        """
        self._steering.check_ports(dict.fromkeys(self._ports_of(server), self._site.pop_of(host).name))

    @asynccontextmanager
    async def prepared(self, server: Server, host: str) -> AsyncIterator[None]:
        """A block within which `carry` may be called; nothing stands in vain before or after it."""
        if self._site.pop_of(host) is self._site.pop_of(server.host):
            yield
            return
        async with self._wiring.turns.of(server.id):
            ports = self._ports_of(server)
            try:
                await self._footing.expect(ports, self._site.pop_of(host).name)
                yield
            finally:
                await to_the_end(self._settle(ports))

    async def _settle(self, ports: Sequence[str]) -> None:
        try:
            await self._footing.settle(ports)
        except SonataError as error:
            logger.warning("what a moved server had elsewhere stands on", extra={"cause": str(error)})

    async def hold(self, server: Server) -> None:
        """Let no packet pass at a server's ports for the time being."""
        await self._wiring.hold(server, held=True)

    async def carry(self, server: Server, host: str) -> None:
        """Plug the interfaces of a server in where another host is; on failure they are where they were.

        The interfaces live on in the server, and with them its connections.
        """
        origin, target = self._site.pop_of(server.host).name, self._site.pop_of(host).name
        if origin != target:
            await to_the_end(self._carry(server, origin, target))

    async def _carry(self, server: Server, origin: str, target: str) -> None:
        await self._put(server, target)
        try:
            await self._arrived(server, target)
        except SonataError:
            await self._put(server, origin)
            await self._arrived(server, origin)
            raise

    async def _put(self, server: Server, pop: str) -> None:
        machine, nics = self._wiring.machine_id(server.id), self._tables.servers.get(server.id).nics
        specs = [self._standing.spec(machine, nic.port_id, nic.ifname, pop) for nic in nics]
        await self._site.plane.run(lambda fabric: fabric.machines.move_ports(specs))

    async def _arrived(self, server: Server, pop: str) -> None:
        await self._footing.arrived(self._ports_of(server), pop)
        await self._steering.ports_changed(self._ports_of(server))

    def _ports_of(self, server: Server) -> list[str]:
        return [nic.port_id for nic in self._tables.servers.get(server.id).nics]
