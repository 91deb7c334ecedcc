"""What the PoP's own router does for routers of projects: IPv6 on the external network, and routes inwards.

An administrator gives the external network a subnet of IPv6: the PoP's router has its gateway address, endpoints of the
PoP have addresses in it. Inner prefixes are routed to, without translation, over the router of a project that has a
gateway: those of IPv6, and those of IPv4 in the address scope of the external network, as a dynamic routing agent
would announce them. Of prefixes that overlap the first one counts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Interface, IPv6Network

from sonata._lib.ip import Address, Prefix
from sonata.emulator.addressing import EXTERNAL_POOL, LINK_POOL
from sonata.emulator.cloud.entities.network import Port, Router, Subnet
from sonata.emulator.cloud.network.pools import scope_of_network
from sonata.emulator.cloud.site import Site

Told = tuple[tuple[IPv6Interface, ...], tuple[tuple[Prefix, Address], ...]]
_OF_THE_UNDERLAY = (EXTERNAL_POOL, LINK_POOL)


class Outside:
    """Keeps the PoP's router in line with the external network and with the routers of projects.

    `on_subnets` is awaited with the external subnets of IPv6 when they have changed.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._tables = site.tables
        self._told: Told | None = ((), ())
        self._numbered: tuple[IPv6Interface, ...] = ()
        self.on_subnets: Callable[[Sequence[Subnet]], Awaitable[None]] = _nobody_cares

    async def follow(self) -> None:
        """Bring the PoP's router in line; does nothing where nothing has changed."""
        subnets = [subnet for subnet in self._tables.subnets if self._is_external(subnet) and subnet.cidr.version == 6]
        addresses = tuple(
            IPv6Interface((int(subnet.gateway_ip), subnet.cidr.prefixlen)) for subnet in subnets if subnet.gateway_ip
        )
        wanted = (addresses, tuple(self._routes()))
        if wanted == self._told:
            return
        # What is interrupted is said again with the next change.
        self._told = None
        await self._site.plane.run(
            lambda fabric: fabric.underlay.set_outside(self._site.pop.name, addresses, dict(wanted[1]))
        )
        self._told = wanted
        if addresses != self._numbered:
            self._numbered = addresses
            await self.on_subnets(subnets)

    def _is_external(self, subnet: Subnet) -> bool:
        return self._tables.networks.get(subnet.network_id).external

    def _routes(self) -> Iterator[tuple[Prefix, Address]]:
        taken: list[Prefix] = []
        for router in self._tables.routers:
            for prefix, via in self._ways_in(router):
                if not any(prefix.overlaps(other) for other in taken):
                    taken.append(prefix)
                    yield prefix, via

    def _ways_in(self, router: Router) -> Iterator[tuple[Prefix, Address]]:
        """Prefixes behind a router, and its address outside."""
        if not router.gateway or not router.admin_state_up:
            return
        outer = self._tables.ports.get(router.gateway.port_id)
        ways = {fixed.address.version: fixed.address for fixed in reversed(outer.fixed_ips)}
        for leg in map(self._tables.ports.get, router.interfaces):
            for subnet in self._subnets(leg):
                if subnet.cidr.version in ways and self._is_announced(subnet, outer.network_id):
                    yield subnet.cidr, ways[subnet.cidr.version]

    def _subnets(self, leg: Port) -> list[Subnet]:
        return [self._tables.subnets.get(fixed.subnet_id) for fixed in leg.fixed_ips] if leg.admin_state_up else []

    def _is_announced(self, subnet: Subnet, external: str) -> bool:
        version = subnet.cidr.version
        own, outer = (scope_of_network(self._tables, one, version) for one in (subnet.network_id, external))
        return own == outer and (version == 6 or own is not None) and not self._is_of_the_site(subnet.cidr)

    def _is_of_the_site(self, prefix: Prefix) -> bool:
        """Whether a prefix is, in part, what the site itself is made of."""
        if isinstance(prefix, IPv4Network):
            return any(prefix.overlaps(own) for own in _OF_THE_UNDERLAY)
        outer = (one.cidr for one in self._tables.subnets if self._is_external(one))
        return any(isinstance(one, IPv6Network) and prefix.overlaps(one) for one in outer)


async def _nobody_cares(_subnets: Sequence[Subnet]) -> None:
    pass
