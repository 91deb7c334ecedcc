"""Carrying the interfaces of running servers from one PoP of a site to another."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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
        self._wiring = wiring
        self._standing = standing
        self._footing = footing
        self._steering = steering

    def check(self, server: Server, host: str) -> None:
        """Refuse to have a server on a host when a chain through it forbids it.

        Raises:
            ChainAcrossZones: the chain's other ports are in another PoP.
        """
        self._steering.check_ports(dict.fromkeys(_ports_of(server), self._site.pop_of(host).name))

    @asynccontextmanager
    async def prepared(self, server: Server, host: str) -> AsyncIterator[None]:
        """A block within which `carry` may be called; nothing stands in vain before or after it."""
        if self._site.pop_of(host) is self._site.pop_of(server.host):
            yield
            return
        try:
            await self._footing.expect(_ports_of(server), self._site.pop_of(host).name)
            yield
        finally:
            try:
                await self._footing.settle(_ports_of(server))
            except SonataError as error:
                logger.warning("what a moved server had elsewhere stands on", extra={"cause": str(error)})

    async def hold(self, server: Server) -> None:
        """Let no packet pass at a server's ports for the time being."""
        await self._wiring.hold(server, held=True)

    async def carry(self, server: Server, host: str) -> None:
        """Plug the interfaces of a server in where another host is; on failure they are where they were.

        The interfaces live on in the server, and with them its connections.
        """
        pop, ports = self._site.pop_of(host), _ports_of(server)
        if pop is self._site.pop_of(server.host):
            return
        await self._put(server, pop.name)
        try:
            await self._footing.arrived(ports, pop.name)
            await self._steering.ports_changed(ports)
        except SonataError:
            await self._put(server, self._site.pop_of(server.host).name)
            await self._footing.arrived(ports, self._site.pop_of(server.host).name)
            raise

    async def _put(self, server: Server, pop: str) -> None:
        machine = self._wiring.machine_id(server.id)
        specs = [self._standing.spec(machine, nic.port_id, nic.ifname, pop) for nic in server.nics]
        await self._site.plane.run(lambda fabric: fabric.machines.move_ports(specs))


def _ports_of(server: Server) -> list[str]:
    return [nic.port_id for nic in server.nics]
