"""Servers of the topology: booted on the network `default` of their site, in the administrator's project."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Network

from sonata.emulator.cloud.compute.nics import NicWish
from sonata.emulator.cloud.compute.servers import BootRequest, Servers
from sonata.emulator.cloud.entities.compute import Server, ServerStatus
from sonata.emulator.cloud.entities.network import Network, Router, Subnet
from sonata.emulator.cloud.eviction import evict
from sonata.emulator.cloud.identity import Identity
from sonata.emulator.cloud.image.images import Images
from sonata.emulator.cloud.network.networks import Networks
from sonata.emulator.cloud.network.routers import Routers
from sonata.emulator.cloud.site import DEFAULT_ZONE, Site
from sonata.errors import PermanentError
from sonata.model.topology import ServerSeed

DEFAULT_NETWORK = "default"
DEFAULT_CIDR = IPv4Network("10.0.0.0/24")


class Seeds:
    """The servers of one site that the topology names."""

    def __init__(
        self, site: Site, identity: Identity, networks: Networks, routers: Routers, images: Images, servers: Servers
    ) -> None:
        self._site = site
        self._tables = site.tables
        self._identity = identity
        self._networks = networks
        self._routers = routers
        self._images = images
        self._servers = servers
        self._default: asyncio.Task[Network] | None = None

    def find(self, name: str) -> Server | None:
        """The server of a seed, whatever its state; None when there is none."""
        own = (name, self._identity.admin_project.id)
        return next((server for server in self._tables.servers if (server.name, server.project_id) == own), None)

    def stands(self, name: str) -> bool:
        """Whether the server of a seed is there and has not failed; it may be off."""
        server = self.find(name)
        return server is not None and server.status != ServerStatus.ERROR and server.task_state != "deleting"

    async def boot(self, seed: ServerSeed) -> Server:
        """Boot a server, or start the saved one; it is ACTIVE at return. One that has failed is made anew.

        Raises:
            NoSuch: image or flavor do not exist.
            PermanentError: it did not come up.
        """
        known = self.find(seed.name)
        if known and known.status == ServerStatus.ERROR:
            await evict(self._servers, self._tables, [known])
            known = None
        if known:
            self._servers.reboot(known.id)
        server = await self._servers.settled(known.id if known else await self._create(seed))
        if server is None or server.status != ServerStatus.ACTIVE:
            why = server.fault.message if server and server.fault else "it was deleted or ended"
            raise PermanentError(f"server `{seed.name}` of PoP `{self._site.pop.name}` did not come up: {why}")
        return server

    async def remove(self, name: str) -> None:
        """Delete the server of a seed; idempotent."""
        if server := self.find(name):
            await evict(self._servers, self._tables, [server])

    async def close(self) -> None:
        """End what goes on."""
        if self._default:
            self._default.cancel()
            await asyncio.wait([self._default])

    async def _create(self, seed: ServerSeed) -> str:
        network = await self._default_network()
        request = BootRequest(
            name=seed.name,
            project_id=self._identity.admin_project.id,
            user_id=self._identity.admin.id,
            image_id=self._images.find(seed.image).id,
            flavor=self._tables.flavors.find(seed.flavor),
            nics=[NicWish(network_id=network.id)],
            argv=seed.command or None,
            availability_zone=self._zone_of(seed.pop),
        )
        return self._servers.create(request).id

    def _zone_of(self, pop: str) -> str:
        """The zone in which a server of the topology starts; none where there is only one."""
        if not self._site.zones.pops:
            return ""
        return DEFAULT_ZONE if pop == self._site.pop.name else pop

    async def _default_network(self) -> Network:
        """The network `default` with its router, made at first use, and anew after somebody has deleted it."""
        if self._default is None or self._is_lost(self._default):
            self._default = asyncio.get_running_loop().create_task(self._make_default_network())
        return await asyncio.shield(self._default)

    def _is_lost(self, made: asyncio.Task[Network]) -> bool:
        if not made.done():
            return False
        return made.cancelled() or bool(made.exception()) or made.result().id not in self._tables.networks

    async def _make_default_network(self) -> Network:
        project = self._identity.admin_project.id
        for saved in self._tables.networks:
            if (saved.name, saved.project_id) == (DEFAULT_NETWORK, project):
                return saved
        network = await self._networks.create(Network(name=DEFAULT_NETWORK, project_id=project, port_security=False))
        subnet = Subnet(name=DEFAULT_NETWORK, project_id=project, network_id=network.id, cidr=DEFAULT_CIDR)
        subnet = await self._networks.create_subnet(subnet, default_gateway=True)
        router = Router(name=DEFAULT_NETWORK, project_id=project)
        router = await self._routers.create(router, gateway_network=self._networks.external.id)
        await self._routers.add_interface(router.id, subnet_id=subnet.id)
        return network
