"""Networks and subnets of one cloud."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from sonata.emulator.addressing import automatic_address
from sonata.emulator.cloud.causes import GatewayIpInUse, NetworkInUse, OverlappingSubnet, SubnetInUse
from sonata.emulator.cloud.entities.network import (
    DHCP_OWNER,
    ROUTER_INTERFACE_OWNER,
    AddressRange,
    Network,
    Port,
    Subnet,
)
from sonata.emulator.cloud.network.addresses import Addresses, default_pools, first_host, is_host_of
from sonata.emulator.cloud.network.segments import on_a_segment
from sonata.emulator.cloud.network.spreading import Spreading
from sonata.emulator.cloud.network.standing import Standing
from sonata.emulator.cloud.rollback import undone_on_failure
from sonata.emulator.cloud.site import EXTERNAL_POOL_START, Site
from sonata.errors import Conflict, InvalidInput, Unsupported
from sonata.ports.fabric import Fabric, NetworkSpec


class Networks:
    """Layer 2 networks, each a bridge of the data plane, and the addresses on them.

    `on_release` is awaited with a network and a subnet (empty for all) before they are deleted, `on_subnets_changed`
    with a network after one of its subnets was made or changed; `on_delete` refuses to let a network go.
    """

    def __init__(self, site: Site, addresses: Addresses, standing: Standing, spreading: Spreading) -> None:
        self._site = site
        self._spreading = spreading
        self._standing = standing
        self._tables = site.tables
        self._addresses = addresses
        self.on_release: Callable[[str, str], Awaitable[None]] = _nobody_cares
        self.on_subnets_changed: Callable[..., Awaitable[None]] = _nobody_cares
        self.on_delete: Callable[[str], None] = lambda _network_id: None
        self.external = next((network for network in self._tables.networks if network.external), None) or (
            self._add_external()
        )

    async def restore(self) -> None:
        """Bring saved networks to the data plane."""
        inner = (network for network in self._tables.networks if not network.external)
        specs = [spec for network in inner for spec in self._spreading.specs(network)]
        await self._site.plane.run(lambda fabric: fabric.networks.add_networks(specs))

    def _add_external(self) -> Network:
        """The external network, which stands in the data plane from the start."""
        network = Network(name="external", external=True, network_type="flat", is_default=True)
        self._tables.networks.add(network)
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
        network = self._tables.networks.add(on_a_segment(network, self._tables.networks))
        specs = self._spreading.specs(network)
        with undone_on_failure(lambda: self._tables.networks.remove(network.id)):
            await self._site.plane.run(lambda fabric: fabric.networks.add_networks(specs))
        return network

    async def update(self, network_id: str, **changes: Any) -> Network:
        """Change a network; what is plugged into it follows at once.

        Raises:
            Conflict: MTU or state of the external network are to change.
        """
        before = self._tables.networks.get(network_id)
        after = self._tables.networks.change(network_id, **changes)
        if (before.mtu, before.admin_state_up) == (after.mtu, after.admin_state_up):
            return after
        with undone_on_failure(lambda: self._tables.networks.put_back(before, changes)):
            if after.external:
                raise Conflict(f"Network {network_id} is the external network of this PoP: it is up, with its MTU.")
            for spec in self._spreading.specs(after):
                await self._site.plane.run(partial(_change, spec))
        return after

    async def delete(self, network_id: str) -> None:
        """Delete a network and its subnets.

        Raises:
            NetworkInUse: it has ports.
            Conflict: it is the external network.
        """
        network = self._tables.networks.get(network_id)
        if network.external:
            raise Conflict(f"Network {network_id} is the external network of this PoP and stays.")
        self._refuse_used(network_id)
        self.on_delete(network_id)
        await self.on_release(network_id, "")
        await self._spreading.follow([network_id])
        if self._is_used(network_id):  # by a port that has come meanwhile
            await self.on_subnets_changed(network_id)
        self._refuse_used(network_id)
        for subnet in self.subnets_of(network_id):
            self._drop_subnet(subnet)
        self._tables.networks.remove(network_id)
        name = (self._site.pop.name, network.fabric_id)
        await self._site.plane.run(lambda fabric: fabric.networks.remove_networks([name]))

    def _is_used(self, network_id: str) -> bool:
        return any(port.network_id == network_id and port.device_owner != DHCP_OWNER for port in self._tables.ports)

    def _refuse_used(self, network_id: str) -> None:
        if self._is_used(network_id):
            raise NetworkInUse(
                f"Unable to complete operation on network {network_id}. There are one or more ports still in use on "
                "the network."
            )

    def subnets_of(self, network_id: str) -> tuple[Subnet, ...]:
        """The subnets of a network, oldest first."""
        return tuple(subnet for subnet in self._tables.subnets if subnet.network_id == network_id)

    async def create_subnet(self, subnet: Subnet, *, default_gateway: bool = False) -> Subnet:
        """Create a subnet; with `default_gateway` its first host is the gateway.

        Raises:
            InvalidInput: gateway or pools do not lie in it.
            OverlappingSubnet: it overlaps with another subnet of the network.
        """
        network = self._tables.networks.get(subnet.network_id)
        complete = _completed(subnet, default_gateway=default_gateway)
        if network.external:
            self._check_external(complete)
        for other in self.subnets_of(subnet.network_id):
            if other.cidr.overlaps(subnet.cidr):
                raise OverlappingSubnet(
                    f"Requested subnet with cidr: {subnet.cidr} for network: {subnet.network_id} overlaps with another "
                    f"subnet: {other.cidr}."
                )
        self._site.quotas.require(subnet.project_id, "subnet")
        made = self._tables.subnets.add(complete)
        if made.is_automatic:
            await self._standing.follow(self._give_automatic(made))
        await self.on_subnets_changed(subnet.network_id)
        return made

    def _give_automatic(self, subnet: Subnet) -> Iterable[str]:
        """Give the ports that are there already their addresses in a new subnet where hosts find them by themselves."""
        found = [port for port in self._tables.ports if port.network_id == subnet.network_id]
        for port in found:
            if not port.device_owner.startswith("network:"):
                fixed = self._addresses.take(subnet, automatic_address(subnet.cidr, port.mac))
                self._tables.ports.change(port.id, fixed_ips=(*port.fixed_ips, fixed))
                yield port.id

    async def update_subnet(self, subnet_id: str, **changes: Any) -> Subnet:
        """Change a subnet; running servers get the new gateway and routes at once.

        Raises:
            InvalidInput: gateway or pools do not lie in it.
            Conflict: a router has the gateway address that is to change.
        """
        subnet = self._tables.subnets.get(subnet_id)
        _check_pools(subnet, changes.get("pools", subnet.pools))
        _check_gateway(subnet, changes.get("gateway_ip", subnet.gateway_ip))
        if "gateway_ip" in changes and changes["gateway_ip"] != subnet.gateway_ip:
            self._check_gateway_free(subnet)
        after = self._tables.subnets.change(subnet_id, **changes)
        if (after.gateway_ip, after.host_routes) != (subnet.gateway_ip, subnet.host_routes):
            with undone_on_failure(lambda: self._tables.subnets.put_back(subnet, changes)):
                await self._standing.follow(port.id for port in self._ports_in(subnet_id))
        await self.on_subnets_changed(subnet.network_id)
        return after

    def _ports_in(self, subnet_id: str) -> list[Port]:
        return [port for port in self._tables.ports if any(one.subnet_id == subnet_id for one in port.fixed_ips)]

    def _check_gateway_free(self, subnet: Subnet) -> None:
        for port in self._ports_in(subnet.id):
            if port.device_owner == ROUTER_INTERFACE_OWNER and any(
                fixed.address == subnet.gateway_ip for fixed in port.fixed_ips
            ):
                raise GatewayIpInUse(
                    f"Current gateway ip {subnet.gateway_ip} already in use by port {port.id}. Unable to update."
                )

    async def delete_subnet(self, subnet_id: str) -> None:
        """Delete a subnet.

        Raises:
            SubnetInUse: ports have addresses in it.
        """
        subnet = self._tables.subnets.get(subnet_id)
        external = self._tables.networks.get(subnet.network_id).external
        if external and subnet.cidr.version == 4:
            raise Conflict(f"Subnet {subnet_id} belongs to the external network of this PoP and stays.")
        self._refuse_subnet_used(subnet)
        await self.on_release(subnet.network_id, subnet_id)
        if self._in_use(subnet):  # by a port that has come meanwhile
            await self.on_subnets_changed(subnet.network_id)
        self._refuse_subnet_used(subnet)
        ports = self._ports_in(subnet_id)
        for port in ports:
            kept = tuple(fixed for fixed in port.fixed_ips if fixed.subnet_id != subnet_id)
            self._tables.ports.change(port.id, fixed_ips=kept)
        self._drop_subnet(subnet)
        await self._standing.follow(port.id for port in ports)
        if external:
            await self.on_subnets_changed(subnet.network_id)

    def _check_external(self, subnet: Subnet) -> None:
        """Refuse a further subnet of the external network: it has one of IPv4, and at most one of IPv6."""
        if subnet.cidr.version == 4 or any(one.cidr.version == 6 for one in self.subnets_of(subnet.network_id)):
            raise Conflict(f"The external network of this PoP has its subnet of IPv{subnet.cidr.version}.")
        if subnet.cidr.prefixlen != 64 or subnet.gateway_ip is None or subnet.address_mode or subnet.ra_mode:
            raise InvalidInput(
                "Invalid input for operation: a subnet of IPv6 of the external network is a /64 with a gateway, which "
                "is the PoP's router, and has no modes; endpoints get EUI-64 addresses in it."
            )

    def _in_use(self, subnet: Subnet) -> bool:
        """Whether an address keeps a subnet; the network's services give theirs up, and so do hosts by themselves."""
        ports = [port for port in self._ports_in(subnet.id) if port.device_owner != DHCP_OWNER]
        return any(not subnet.is_automatic or port.device_owner.startswith("network:") for port in ports)

    def _refuse_subnet_used(self, subnet: Subnet) -> None:
        if self._in_use(subnet):
            raise SubnetInUse(
                f"Unable to complete operation on subnet {subnet.id}: One or more ports have an IP allocation from "
                "this subnet."
            )

    def _drop_subnet(self, subnet: Subnet) -> None:
        self._addresses.forget(subnet.id)
        self._tables.subnets.remove(subnet.id)


def _check_modes(subnet: Subnet) -> None:
    """Refuse IPv6 modes that contradict one another, or the prefix (Networking API, IPv6 subnets)."""
    modes = {subnet.address_mode, subnet.ra_mode} - {None}
    if modes and subnet.cidr.version == 4:
        raise InvalidInput("Invalid input for operation: ipv6_ra_mode and ipv6_address_mode are for IPv6 subnets only.")
    if len(modes) > 1:
        raise InvalidInput(
            f"Invalid input for operation: ipv6_ra_mode set to '{subnet.ra_mode}' with ipv6_address_mode set to "
            f"'{subnet.address_mode}' is not valid. If both attributes are set, they must be the same value."
        )
    if modes and not subnet.enable_dhcp:
        raise InvalidInput(
            "Invalid input for operation: ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to "
            "False."
        )
    if subnet.is_automatic and subnet.cidr.prefixlen != 64:
        raise InvalidInput(
            "Invalid input for operation: Invalid CIDR "
            f"{subnet.cidr} for IPv6 address mode. OpenStack uses the EUI-64 address format, which requires the prefix "
            "to be /64."
        )


def _completed(subnet: Subnet, *, default_gateway: bool) -> Subnet:
    gateway = subnet.gateway_ip
    if default_gateway:
        gateway = first_host(subnet.cidr)
    _check_gateway(subnet, gateway)
    _check_modes(subnet)
    pools = subnet.pools or default_pools(subnet.cidr, gateway)
    _check_pools(subnet, pools)
    return replace(subnet, gateway_ip=gateway, pools=pools)


def _check_gateway(subnet: Subnet, gateway: Any) -> None:
    if subnet.cidr.version == 6 and gateway is not None and gateway.is_link_local:
        raise InvalidInput(f"Gateway {gateway} is not valid on subnet: link-local gateways are not offered here.")
    if gateway is not None and not is_host_of(subnet.cidr, gateway):
        raise InvalidInput(f"Gateway {gateway} is not valid on subnet {subnet.cidr}.")


def _check_pools(subnet: Subnet, pools: tuple[AddressRange, ...]) -> None:
    for first, last in pools:
        inside = first in subnet.cidr and last in subnet.cidr
        if not inside or int(first) > int(last):
            raise InvalidInput(f"The allocation pool {first}-{last} is not valid for subnet {subnet.cidr}.")
    ordered = sorted(pools, key=lambda pool: int(pool[0]))
    for (_, last), (first, _) in itertools.pairwise(ordered):
        if int(first) <= int(last):
            raise InvalidInput(f"Found overlapping allocation pools of subnet {subnet.cidr} at {first}.")


def _change(spec: NetworkSpec, fabric: Fabric) -> None:
    fabric.networks.change_network(spec)


async def _nobody_cares(*_ids: str) -> None:
    pass
