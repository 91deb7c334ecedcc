"""What the data plane is to do for a router, out of the tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from sonata.emulator.cloud.causes import InvalidRoutesForRouter
from sonata.emulator.cloud.entities.network import FloatingIp, Port, PortForwarding, Router, StaticRoute
from sonata.emulator.cloud.network.pools import scope_of_network
from sonata.emulator.cloud.network.ports import Ports
from sonata.emulator.cloud.network.qos import shape_of
from sonata.emulator.cloud.site import Site
from sonata.ports.fabric import Forwarding, PortShape, Route, RouterInterface, RouterSpec


class RouterSpecs:
    """Specifications of one cloud's routers."""

    def __init__(self, site: Site, ports: Ports) -> None:
        self._site = site
        self._tables = site.tables
        self._ports = ports

    def of(self, router: Router) -> RouterSpec:
        """What the data plane is to do; a router that is switched off has no legs."""
        spec = RouterSpec(id=router.id, pop=self._site.pop.name)
        if not router.admin_state_up:
            return spec
        legs = [self._tables.ports.get(port_id) for port_id in router.interfaces]
        spec = replace(
            spec,
            interfaces=tuple(self._interface(port) for port in legs if port.admin_state_up),
            routes=tuple(Route(route.destination, route.nexthop) for route in router.routes),
        )
        outer = self.external_port(router)
        return replace(spec, **self._outside(router, outer)) if outer else spec

    def _outside(self, router: Router, outer: Port) -> dict[str, Any]:
        """The part of a router's specification that is about the external network."""
        first, *further = sorted(self._ports.interfaces(outer), key=lambda value: value.version)
        return {
            "external": first,
            "external_further": tuple(further),
            "external_mac": outer.mac,
            "external_gateway": self._site.external_gateway,
            "external_gateway6": self._gateway6(outer),
            "external_scopes": self._scopes(outer.network_id),
            "snat": router.gateway is None or router.gateway.snat,
            "floating": {one.address: one.fixed_address for one in self.floating_ips(router.id) if one.fixed_address},
            "forwardings": tuple(map(self._forwarding, self.forwardings(router.id))),
            "shapes": self._shapes(router, IPv4Address(int(first.ip))),
        }

    def policies(self, router: Router) -> dict[str, str]:
        """QoS policies that a router holds, by floating IP; by its own id for its own address."""
        known = {one.floating_ip_id: "" for one in self.forwardings(router.id)}
        known |= {one.id: "" for one in self.floating_ips(router.id)}
        found = {one: self._tables.floating_ips.get(one).qos_policy for one in known}
        return {**found, router.id: router.gateway.qos_policy if router.gateway else ""}

    def _shapes(self, router: Router, own: IPv4Address) -> dict[IPv4Address, PortShape]:
        addresses = {one.id: one.address for one in self._tables.floating_ips} | {router.id: own}
        policies = {key: self._tables.qos_policies.peek(policy) for key, policy in self.policies(router).items()}
        shapes = {addresses[key]: shape_of(policy) for key, policy in policies.items()}
        return {address: shape for address, shape in shapes.items() if shape != PortShape()}

    def _forwarding(self, forwarding: PortForwarding) -> Forwarding:
        outer = self._tables.floating_ips.get(forwarding.floating_ip_id).address
        ranges = (forwarding.outer_ports, forwarding.inner_ports)
        return Forwarding(outer, ranges[0], forwarding.protocol, forwarding.inner_address, ranges[1])

    def _interface(self, port: Port) -> RouterInterface:
        network = self._tables.networks.get(port.network_id)
        first, *further = self._ports.interfaces(port)
        scopes = self._scopes(port.network_id)
        return RouterInterface(port.id, network.fabric_id, first, port.mac, tuple(further), scopes)

    def _scopes(self, network_id: str) -> tuple[str, str]:
        """Address scopes of a network for both versions of IP, empty for none."""
        four, six = (scope_of_network(self._tables, network_id, version) or "" for version in (4, 6))
        return four, six

    def _gateway6(self, outer: Port) -> IPv6Address | None:
        """The PoP's router for IPv6, as the subnet of a leg's address there tells."""
        gateways = [subnet.gateway_ip for subnet in self._ports.subnets(outer)]
        return next((gateway for gateway in gateways if isinstance(gateway, IPv6Address)), None)

    def check_routes(self, router: Router, routes: Sequence[StaticRoute]) -> None:
        """Refuse routes whose next hop is no neighbour of a router.

        Raises:
            InvalidRoutesForRouter: naming the next hop.
        """
        ports = [self._tables.ports.get(port_id) for port_id in router.interfaces]
        ports += [outer] if (outer := self.external_port(router)) else []
        near = [subnet.cidr for port in ports for subnet in self._ports.subnets(port)]
        own = {fixed.address for port in ports for fixed in port.fixed_ips}
        for route in routes:
            if route.nexthop in own:
                raise InvalidRoutesForRouter(f"Invalid format for routes: {route.nexthop} is used by the router itself")
            if not any(route.nexthop in cidr for cidr in near):
                raise InvalidRoutesForRouter(
                    f"Invalid format for routes: the nexthop {route.nexthop} is not connected with router"
                )

    def external_port(self, router: Router) -> Port | None:
        """The router's port on the external network."""
        return self._tables.ports.get(router.gateway.port_id) if router.gateway else None

    def floating_ips(self, router_id: str) -> tuple[FloatingIp, ...]:
        """The floating IPs that a router translates."""
        return tuple(floating for floating in self._tables.floating_ips if floating.router_id == router_id)

    def forwardings(self, router_id: str) -> tuple[PortForwarding, ...]:
        """The port forwardings that a router does."""
        return tuple(one for one in self._tables.port_forwardings if one.router_id == router_id)
