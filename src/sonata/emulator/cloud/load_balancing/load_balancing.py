"""All of load balancing of one cloud."""

from __future__ import annotations

from sonata.emulator.cloud.appliances import Appliances
from sonata.emulator.cloud.load_balancing.balancers import LoadBalancers
from sonata.emulator.cloud.load_balancing.changes import Changes
from sonata.emulator.cloud.load_balancing.haproxy import HaproxyDriver
from sonata.emulator.cloud.load_balancing.nftables import NftablesDriver
from sonata.emulator.cloud.load_balancing.parts import HealthMonitors, L7Policies, Listeners, Members, Pools
from sonata.emulator.cloud.network.ports import Ports
from sonata.emulator.cloud.network.routers import FloatingIps
from sonata.emulator.cloud.site import Site
from sonata.ports.load_balancing import Driver


class LoadBalancing:
    """Load balancers with their listeners, pools, members, health monitors and policies, and their providers.

    Args:
        drivers: providers instead of those that this machine has.
    """

    def __init__(
        self,
        site: Site,
        ports: Ports,
        floating_ips: FloatingIps,
        appliances: Appliances,
        drivers: tuple[Driver, ...] | None = None,
    ) -> None:
        self.changes = Changes(site, ports, floating_ips)
        revive, has_users = self.changes.revive, lambda: "uid" not in site.runtime.unenforced
        own: tuple[Driver, ...] = (
            HaproxyDriver(appliances, revive, drops_privileges=has_users),
            NftablesDriver(appliances, revive),
        )
        self.changes.drivers.update({driver.name: driver for driver in (own if drivers is None else drivers)})
        self.balancers = LoadBalancers(site, ports, self.changes)
        self.listeners = Listeners(site, self.changes)
        self.pools = Pools(site, self.changes)
        self.members = Members(site, self.changes)
        self.health_monitors = HealthMonitors(site, self.changes)
        self.policies = L7Policies(site, self.changes)

    async def close(self) -> None:
        """End background work."""
        await self.changes.close()
