"""The Neutron ports of load balancers: the VIP's, and one in each further network of members."""

from __future__ import annotations

from sonata.emulator.cloud.entities.load_balancing import LoadBalancer
from sonata.emulator.cloud.entities.network import LOAD_BALANCER_OWNER, Port
from sonata.emulator.cloud.load_balancing.tree import Tree
from sonata.emulator.cloud.network.ports import AddressWish, Ports
from sonata.emulator.cloud.network.routers import FloatingIps
from sonata.emulator.cloud.site import Site


class Plugs:
    """Ports of one cloud's load balancers."""

    def __init__(self, site: Site, ports: Ports, floating_ips: FloatingIps) -> None:
        self._tables = site.tables
        self._ports = ports
        self._floating_ips = floating_ips

    def reach_members(self, tree: Tree) -> None:
        """Make a port in each network of members that the VIP's port does not reach directly."""
        device = device_of(tree.balancer.id)
        mine = {fixed.subnet_id for port in self._ports.of_device(device) for fixed in port.fixed_ips}
        for subnet_id in sorted(_member_subnets(tree) - mine):
            subnet = self._tables.subnets.get(subnet_id)
            if subnet.network_id != tree.balancer.vip_network_id:
                port = Port(
                    name=f"octavia-lb-member-{tree.balancer.id}",
                    network_id=subnet.network_id,
                    device_id=device,
                    device_owner=LOAD_BALANCER_OWNER,
                )
                self._ports.create(port, [AddressWish(subnet_id)])

    def port_ids(self, tree: Tree) -> tuple[str, ...]:
        """The ports that the load balancer needs now, the VIP's first."""
        subnets, vip = _member_subnets(tree), tree.balancer.vip_port_id
        others = [
            port.id
            for port in self._ports.of_device(device_of(tree.balancer.id))
            if port.id != vip and any(fixed.subnet_id in subnets for fixed in port.fixed_ips)
        ]
        return (vip, *others)

    async def drop_others(self, balancer_id: str, kept: set[str]) -> None:
        """Drop the ports of a load balancer but these; idempotent."""
        for port in self._ports.of_device(device_of(balancer_id)):
            if port.id not in kept:
                await self._floating_ips.forget_port(port.id)
                self._ports.drop(port.id)

    async def release(self, balancer: LoadBalancer) -> None:
        """Drop all ports of a load balancer that is gone; a VIP's port that was there before is free again."""
        kept = set() if balancer.vip_port_made else {balancer.vip_port_id}
        await self.drop_others(balancer.id, kept)
        if kept and balancer.vip_port_id in self._tables.ports:
            self._tables.ports.change(balancer.vip_port_id, device_id="", device_owner="")


def device_of(balancer_id: str) -> str:
    """What a load balancer's ports carry as `device_id`."""
    return f"lb-{balancer_id}"


def _member_subnets(tree: Tree) -> set[str]:
    return {member.subnet_id for pool in tree.pools() for member in tree.members(pool.id) if member.subnet_id}
