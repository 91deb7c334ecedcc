"""Networks and subnets of one cloud."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from sonata.emulator.cloud.causes import NetworkInUse, OverlappingSubnet, SubnetInUse
from sonata.emulator.cloud.entities.network import DHCP_OWNER, AddressRange, Network, Subnet
from sonata.emulator.cloud.network.addresses import Addresses, default_pools, is_host_of
from sonata.emulator.cloud.rollback import undone_on_failure
from sonata.emulator.cloud.site import EXTERNAL_POOL_START, Site
from sonata.errors import Conflict, InvalidInput, Unsupported
from sonata.ports.fabric import NetworkSpec


class Networks:
    """Layer 2 networks, each a bridge of the data plane, and the addresses on them.

    `on_release` is awaited with a network and a subnet (empty for all) before they are deleted, `on_subnets_changed`
    with a network after one of its subnets was made or changed.
    """

    def __init__(self, site: Site, addresses: Addresses) -> None:
        self._site = site
        self._tables = site.tables
        self._addresses = addresses
        self.on_release: Callable[[str, str], Awaitable[None]] = _nobody_cares
        self.on_subnets_changed: Callable[..., Awaitable[None]] = _nobody_cares
        self.external = next((network for network in self._tables.networks if network.external), None) or (
            self._add_external()
        )

    async def restore(self) -> None:
        """Bring saved networks to the data plane."""
        inner = (network for network in self._tables.networks if not network.external)
        specs = [NetworkSpec(network.fabric_id, self._site.pop.name, network.mtu) for network in inner]
        await self._site.plane.run(lambda fabric: fabric.networks.add_networks(specs))

    def _add_external(self) -> Network:
        """The external network, which stands in the data plane from the start."""
        network = self._tables.networks.add(Network(name="external", external=True))
        cidr = self._site.external
        first = cidr.network_address + min(EXTERNAL_POOL_START, cidr.num_addresses // 2)
        self._tables.subnets.add(
            Subnet(
                name="external",
                network_id=network.id,
                cidr=cidr,
                gateway_ip=self._site.external_gateway,
                pools=((first, cidr.broadcast_address - 1),),
                enable_dhcp=False,
            )
        )
        return network

    async def create(self, network: Network) -> Network:
        """Create a network; packets pass between its ports at return."""
        if network.external:
            raise Unsupported(
                f"network `{network.name}` cannot be external: a PoP has one external network",
                hint="use the network named `external`",
            )
        self._site.quotas.require(network.project_id, "network")
        self._tables.networks.add(network)
        spec = NetworkSpec(network.fabric_id, self._site.pop.name, network.mtu)
        with undone_on_failure(lambda: self._tables.networks.remove(network.id)):
            await self._site.plane.run(lambda fabric: fabric.networks.add_networks([spec]))
        return network

    async def update(self, network_id: str, **changes: Any) -> Network:
        """Change what may be changed of a network: name, description, admin_state_up, shared."""
        return self._tables.networks.change(network_id, **changes)

    async def delete(self, network_id: str) -> None:
        """Delete a network and its subnets.

        Raises:
            NetworkInUse: it has ports.
            Conflict: it is the external network.
        """
        network = self._tables.networks.get(network_id)
        if network.external:
            raise Conflict(f"Network {network_id} is the external network of this PoP and stays.")
        if any(port.network_id == network_id and port.device_owner != DHCP_OWNER for port in self._tables.ports):
            raise NetworkInUse(
                f"Unable to complete operation on network {network_id}. There are one or more ports still in use on "
                "the network."
            )
        await self.on_release(network_id, "")
        for subnet in self.subnets_of(network_id):
            self._drop_subnet(subnet)
        self._tables.networks.remove(network_id)
        name = (self._site.pop.name, network.fabric_id)
        await self._site.plane.run(lambda fabric: fabric.networks.remove_networks([name]))

    def subnets_of(self, network_id: str) -> tuple[Subnet, ...]:
        """The subnets of a network, oldest first."""
        return tuple(subnet for subnet in self._tables.subnets if subnet.network_id == network_id)

    async def create_subnet(self, subnet: Subnet, *, default_gateway: bool = False) -> Subnet:
        """Create a subnet; with `default_gateway` its first host is the gateway.

        Raises:
            InvalidInput: gateway or pools do not lie in it.
            OverlappingSubnet: it overlaps with another subnet of the network.
        """
        self._tables.networks.get(subnet.network_id)
        complete = _completed(subnet, default_gateway=default_gateway)
        for other in self.subnets_of(subnet.network_id):
            if other.cidr.overlaps(subnet.cidr):
                raise OverlappingSubnet(
                    f"Requested subnet with cidr: {subnet.cidr} for network: {subnet.network_id} overlaps with another "
                    f"subnet: {other.cidr}."
                )
        self._site.quotas.require(subnet.project_id, "subnet")
        made = self._tables.subnets.add(complete)
        await self.on_subnets_changed(subnet.network_id)
        return made

    async def update_subnet(self, subnet_id: str, **changes: Any) -> Subnet:
        """Change a subnet; running servers keep the gateway that they were started with."""
        subnet = self._tables.subnets.get(subnet_id)
        _check_pools(subnet, changes.get("pools", subnet.pools))
        _check_gateway(subnet, changes.get("gateway_ip", subnet.gateway_ip))
        changed = self._tables.subnets.change(subnet_id, **changes)
        await self.on_subnets_changed(subnet.network_id)
        return changed

    async def delete_subnet(self, subnet_id: str) -> None:
        """Delete a subnet.

        Raises:
            SubnetInUse: ports have addresses in it.
        """
        subnet = self._tables.subnets.get(subnet_id)
        if self._tables.networks.get(subnet.network_id).external:
            raise Conflict(f"Subnet {subnet_id} belongs to the external network of this PoP and stays.")
        if self._in_use(subnet_id):
            raise SubnetInUse(
                f"Unable to complete operation on subnet {subnet_id}: One or more ports have an IP allocation from "
                "this subnet."
            )
        await self.on_release(subnet.network_id, subnet_id)
        self._drop_subnet(subnet)

    def _in_use(self, subnet_id: str) -> bool:
        """Whether anybody but the network's own services has an address in a subnet."""
        ports = (port for port in self._tables.ports if port.device_owner != DHCP_OWNER)
        return any(fixed.subnet_id == subnet_id for port in ports for fixed in port.fixed_ips)

    def _drop_subnet(self, subnet: Subnet) -> None:
        self._addresses.forget(subnet.id)
        self._tables.subnets.remove(subnet.id)


def _completed(subnet: Subnet, *, default_gateway: bool) -> Subnet:
    gateway = subnet.gateway_ip
    if default_gateway:
        gateway = subnet.cidr.network_address + (0 if subnet.cidr.prefixlen >= 31 else 1)
    _check_gateway(subnet, gateway)
    pools = subnet.pools or default_pools(subnet.cidr, gateway)
    _check_pools(subnet, pools)
    return replace(subnet, gateway_ip=gateway, pools=pools)


def _check_gateway(subnet: Subnet, gateway: Any) -> None:
    if gateway is not None and not is_host_of(subnet.cidr, gateway):
        raise InvalidInput(f"Gateway {gateway} is not valid on subnet {subnet.cidr}.")


def _check_pools(subnet: Subnet, pools: tuple[AddressRange, ...]) -> None:
    for first, last in pools:
        if first > last or first not in subnet.cidr or last not in subnet.cidr:
            raise InvalidInput(f"The allocation pool {first}-{last} is not valid for subnet {subnet.cidr}.")
    ordered = sorted(pools)
    for (_, last), (first, _) in itertools.pairwise(ordered):
        if first <= last:
            raise InvalidInput(f"Found overlapping allocation pools of subnet {subnet.cidr} at {first}.")


async def _nobody_cares(*_ids: str) -> None:
    pass
