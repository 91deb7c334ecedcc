"""The auto-allocated topology of a project: a network with subnets and a router, made when first asked for."""

from __future__ import annotations

from sonata.emulator.cloud.causes import AutoAllocationFailure
from sonata.emulator.cloud.entities.network import Network, Router, Subnet
from sonata.emulator.cloud.network.networks import Networks
from sonata.emulator.cloud.network.pools import SubnetPools
from sonata.emulator.cloud.network.routers import Routers
from sonata.emulator.cloud.site import Site
from sonata.errors import SonataError

NETWORK, ROUTER = "auto_allocated_network", "auto_allocated_router"


class AutoTopology:
    """Makes and removes auto-allocated topologies."""

    def __init__(self, site: Site, networks: Networks, routers: Routers, pools: SubnetPools) -> None:
        self._tables = site.tables
        self._networks = networks
        self._routers = routers
        self._pools = pools

    def check(self) -> None:
        """Refuse when it cannot be made.

        Raises:
            AutoAllocationFailure: there is no default subnet pool.
        """
        if not any(self._pools.default(version) for version in (4, 6)):
            raise AutoAllocationFailure(
                "Deployment error: Unable to provide auto allocated topology: No default subnetpools defined."
            )

    def find(self, project_id: str) -> Network | None:
        """The project's topology."""
        own = (NETWORK, project_id)
        return next((network for network in self._tables.networks if (network.name, network.project_id) == own), None)

    async def ensure(self, project_id: str) -> Network:
        """The project's topology, made when it is not there; servers on it reach the outside at return."""
        if found := self.find(project_id):
            return found
        self.check()
        try:
            return await self._make(project_id)
        except SonataError:
            await self.delete(project_id)
            raise

    async def _make(self, project_id: str) -> Network:
        network = await self._networks.create(Network(name=NETWORK, project_id=project_id))
        router = Router(name=ROUTER, project_id=project_id)
        router = await self._routers.create(router, gateway_network=self._networks.external.id)
        for version in (4, 6):
            if pool := self._pools.default(version):
                subnet = Subnet(
                    name=f"auto_allocated_subnet_v{version}",
                    project_id=project_id,
                    network_id=network.id,
                    cidr=self._pools.allocate(pool, project_id, None, None),
                    subnetpool_id=pool.id,
                )
                made = await self._networks.create_subnet(subnet, default_gateway=True)
                await self._routers.add_interface(router.id, subnet_id=made.id)
        return network

    async def delete(self, project_id: str) -> None:
        """Remove the project's topology; idempotent.

        Raises:
            NetworkInUse: something of the project is plugged in.
        """
        network = self.find(project_id)
        own = (ROUTER, project_id)
        for router in [router for router in self._tables.routers if (router.name, router.project_id) == own]:
            for port_id in router.interfaces:
                await self._routers.remove_interface(router.id, port_id=port_id)
            await self._routers.delete(router.id)
        if network:
            await self._networks.delete(network.id)
