"""Routers between networks and their way to the external network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

from sonata._lib.values import dataclass
from sonata.emulator.cloud.causes import (
    ExternalGatewayForFloatingIPNotFound,
    FipInUseByPortForwarding,
    PortInUse,
    RouterInterfaceInUseByRoute,
    RouterInUse,
)
from sonata.emulator.cloud.entities.network import (
    FLOATING_IP_OWNER,
    ROUTER_GATEWAY_OWNER,
    ROUTER_INTERFACE_OWNER,
    FloatingIp,
    Gateway,
    Port,
    PortForwarding,
    Router,
    Subnet,
)
from sonata.emulator.cloud.network.outside import Outside
from sonata.emulator.cloud.network.ports import AddressWish, Ports
from sonata.emulator.cloud.network.router_specs import RouterSpecs
from sonata.emulator.cloud.rollback import undone_on_failure
from sonata.emulator.cloud.site import Site
from sonata.emulator.cloud.tables import Table
from sonata.errors import Conflict, InvalidInput, NotFound


@dataclass(frozen=True, slots=True)
class Leg:
    """A router interface: what Neutron answers when one is added or removed."""

    router: Router
    port: Port
    subnet: Subnet


class Routers:
    """Routers; every change is brought to the data plane as the router's whole new specification, out of `specs`.

    The PoP's own router follows them: `outside`.
    """

    def __init__(self, site: Site, ports: Ports) -> None:
        self._site = site
        self._tables = site.tables
        self._ports = ports
        self.specs = RouterSpecs(site, ports)
        self.outside = Outside(site)

    async def create(
        self,
        router: Router,
        gateway: Sequence[AddressWish] | None = None,
        gateway_network: str = "",
        snat: bool = True,
        qos_policy: str = "",
    ) -> Router:
        """Create a router, with a leg on the external network if one is named."""
        self._site.quotas.require(router.project_id, "router")
        self._tables.routers.add(router)
        async with AsyncExitStack() as undone:
            undone.push_async_callback(self._site.plane.run, lambda fabric: fabric.networks.remove_router(router.id))
            undone.callback(self._forget, router.id)
            made = await self.set_gateway(router.id, gateway_network, gateway, snat=snat, qos_policy=qos_policy)
            undone.pop_all()
        return made

    async def update(self, router_id: str, **changes: Any) -> Router:
        """Change a router; it forwards accordingly at return.

        Raises:
            InvalidRoutesForRouter: a route's next hop is no neighbour of it.
        """
        before = self._tables.routers.get(router_id)
        self.specs.check_routes(before, changes.get("routes", ()))
        router = self._tables.routers.change(router_id, **changes)
        with undone_on_failure(lambda: self._tables.routers.put_back(before, changes)):
            await self.apply(router)
        return router

    async def set_gateway(
        self,
        router_id: str,
        network_id: str,
        wishes: Sequence[AddressWish] | None = None,
        *,
        snat: bool = True,
        qos_policy: str | None = None,
    ) -> Router:
        """Give a router a leg on the external network, or take it away when `network_id` is empty.

        The QoS policy is that of the leg's own address: empty for none, None leaves it.

        Raises:
            InvalidInput: the network is not external, or no address of IPv4 is wished for.
            RouterInUse: a floating IP needs the leg that is to go.
        """
        router = self._tables.routers.get(router_id)
        _require_four(self._tables.subnets, wishes or ())
        if not network_id and router.gateway:
            _check_unused(router, (*self.specs.floating_ips(router_id), *self.specs.forwardings(router_id)))
        if router.gateway and network_id == router.gateway.network_id:
            if wishes:
                self._ports.update(router.gateway.port_id, wishes)
            policy = router.gateway.qos_policy if qos_policy is None else qos_policy
            return await self.update(router_id, gateway=replace(router.gateway, snat=snat, qos_policy=policy))
        gateway = self._new_gateway(router, network_id, wishes) if network_id else None
        gateway = gateway and replace(gateway, snat=snat, qos_policy=qos_policy or "")
        with undone_on_failure(lambda: self._ports.drop(gateway.port_id if gateway else "")):
            after = await self.update(router_id, gateway=gateway)
        self._drop_gateway(router)
        return after

    async def delete(self, router_id: str) -> None:
        """Delete a router.

        Raises:
            RouterInUse: it has interfaces.
        """
        router = self._tables.routers.get(router_id)
        if any(port.device_owner == ROUTER_INTERFACE_OWNER for port in self._ports.of_device(router_id)):
            raise RouterInUse(f"Router {router_id} still has ports")
        _check_unused(router, (*self.specs.floating_ips(router_id), *self.specs.forwardings(router_id)))
        self._forget(router_id)
        await self._site.plane.run(lambda fabric: fabric.networks.remove_router(router_id))
        await self.outside.follow()

    async def add_interface(self, router_id: str, *, subnet_id: str = "", port_id: str = "") -> Leg:
        """Give a router a leg in a subnet (at its gateway address) or at an existing, unbound port.

        Raises:
            InvalidInput: the subnet has no gateway address, or overlaps with another leg's.
            PortInUse: the port is bound.
        """
        router = self._tables.routers.get(router_id)
        port = self._take_port(router, port_id) if port_id else self._gateway_port(router, subnet_id)
        with undone_on_failure(lambda: self._take_back(router, port, made=not port_id)):
            await self.apply(_with_leg(self._tables.routers, router_id, port.id))
        await self._site.on_stations_changed(port.network_id)
        return Leg(self._tables.routers.get(router_id), port, self._ports.subnets(port)[0])

    async def remove_interface(self, router_id: str, *, subnet_id: str = "", port_id: str = "") -> Leg:
        """Take a router's leg away, and its port.

        Raises:
            NotFound: it has no such leg.
            RouterInUse: a floating IP leads through it.
        """
        router = self._tables.routers.get(router_id)
        port = _leg(router, map(self._tables.ports.get, router.interfaces), subnet_id, port_id)
        subnet = self._ports.subnets(port)[0]
        self._check_leg_not_needed(router, port, subnet)
        router = _without_leg(self._tables.routers, router_id, port.id)
        with undone_on_failure(lambda: _with_leg(self._tables.routers, router_id, port.id)):
            await self.apply(router)
        self._ports.drop(port.id)
        await self._site.on_stations_changed(port.network_id)
        return Leg(router, port, subnet)

    async def apply(self, router: Router) -> None:
        """Bring a router to the data plane as it is now."""
        spec = self.specs.of(router)
        await self._site.plane.run(lambda fabric: fabric.networks.set_router(spec))
        await self.outside.follow()

    def _new_gateway(self, router: Router, network_id: str, wishes: Sequence[AddressWish] | None) -> Gateway:
        if not self._tables.networks.get(network_id).external:
            raise InvalidInput(f"Network {network_id} is not an external network")
        port = Port(network_id=network_id, device_id=router.id, device_owner=ROUTER_GATEWAY_OWNER, plugged=True)
        return Gateway(network_id, self._ports.create(port, wishes or None).id)

    def _forget(self, router_id: str) -> None:
        self._drop_gateway(self._tables.routers.get(router_id))
        self._tables.routers.remove(router_id)

    def _drop_gateway(self, router: Router) -> None:
        if router.gateway:
            self._ports.drop(router.gateway.port_id)

    def _gateway_port(self, router: Router, subnet_id: str) -> Port:
        """A port at the subnet's gateway address, for the router."""
        subnet = self._tables.subnets.get(subnet_id)
        if subnet.gateway_ip is None:
            raise InvalidInput(f"Subnet for router interface must have a gateway IP: {subnet_id}")
        self._check_overlap(router, subnet)
        port = Port(
            network_id=subnet.network_id,
            project_id=router.project_id,
            device_id=router.id,
            device_owner=ROUTER_INTERFACE_OWNER,
            plugged=True,
        )
        return self._ports.create(port, [AddressWish(subnet.id, subnet.gateway_ip)])

    def _take_port(self, router: Router, port_id: str) -> Port:
        """An unbound port, bound to the router."""
        port = self._tables.ports.get(port_id)
        if port.device_id:
            raise PortInUse(f"Unable to complete operation on port {port_id}. Port already has an attached device.")
        subnets = self._ports.subnets(port)
        if not subnets or sum(subnet.cidr.version == 4 for subnet in subnets) > 1:
            raise InvalidInput(f"Router port {port_id} needs an address, and at most one of IPv4")
        for subnet in subnets:
            self._check_overlap(router, subnet)
        return self._tables.ports.change(
            port_id, device_id=router.id, device_owner=ROUTER_INTERFACE_OWNER, plugged=True
        )

    def _take_back(self, router: Router, port: Port, *, made: bool) -> None:
        """Forget a leg that the data plane refused."""
        _without_leg(self._tables.routers, router.id, port.id)
        if made:
            self._ports.drop(port.id)
        else:
            self._tables.ports.change(port.id, device_id="", device_owner="", plugged=False)

    def _check_overlap(self, router: Router, subnet: Subnet) -> None:
        for port_id in router.interfaces:
            for other in self._ports.subnets(self._tables.ports.get(port_id)):
                if other.id == subnet.id:
                    raise InvalidInput(f"Router already has a port on subnet {subnet.id}")
                if other.cidr.overlaps(subnet.cidr):
                    raise InvalidInput(
                        f"Cidr {subnet.cidr} of subnet {subnet.id} overlaps with cidr {other.cidr} of subnet {other.id}"
                    )

    async def follow_port(self, port: Port) -> None:
        """Bring the router of a leg to the data plane, since the port of the leg has changed."""
        if port.device_owner in (ROUTER_INTERFACE_OWNER, ROUTER_GATEWAY_OWNER):
            await self.apply(self._tables.routers.get(port.device_id))

    async def follow_scopes(self) -> None:
        """Bring all routers to the data plane, since subnets are in other address scopes now."""
        await self._apply_each(router.id for router in self._tables.routers)
        await self.outside.follow()

    async def follow_policy(self, policy_id: str) -> None:
        """Bring the routers that hold a QoS policy to the data plane, since its rules have changed."""
        holding = (one.id for one in self._tables.routers if policy_id in self.specs.policies(one).values())
        await self._apply_each(holding)

    async def _apply_each(self, router_ids: Iterable[str]) -> None:
        """Bring routers to the data plane, each as it is when its turn comes."""
        for router_id in tuple(router_ids):
            if router := self._tables.routers.peek(router_id):
                await self.apply(router)

    def _check_leg_not_needed(self, router: Router, leg: Port, subnet: Subnet) -> None:
        if any(route.nexthop in subnet.cidr for route in router.routes):
            raise RouterInterfaceInUseByRoute(
                f"Router interface for subnet {subnet.id} on router {router.id} cannot be deleted, as it is required "
                "by one or more routes."
            )
        inside = [one.fixed_address for one in self.specs.floating_ips(router.id)]
        inside += [one.inner_address for one in self.specs.forwardings(router.id)]
        if any(address in subnet.cidr for address in inside if address):
            raise RouterInUse(
                f"Router interface for subnet {subnet.id} on router {router.id} cannot be deleted, as it is required "
                f"by one or more floating IPs."
            )


class FloatingIps:
    """Addresses of the external network, given out and led to ports."""

    def __init__(self, site: Site, ports: Ports, routers: Routers) -> None:
        self._quotas = site.quotas
        self._tables = site.tables
        self._ports = ports
        self._routers = routers

    async def create(
        self, floating: FloatingIp, wish: AddressWish | None, port_id: str = "", fixed: IPv4Address | None = None
    ) -> FloatingIp:
        """Give out a floating address; `floating.address` is filled in here.

        Raises:
            InvalidInput: the network is not external, or the subnet not of IPv4.
        """
        if not self._tables.networks.get(floating.network_id).external:
            raise InvalidInput(f"Network {floating.network_id} is not a valid external network")
        if wish and wish.subnet_id and self._tables.subnets.get(wish.subnet_id).cidr.version == 6:
            raise InvalidInput(f"Bad floatingip request: subnet {wish.subnet_id} is of IPv6, floating IPs are of IPv4.")
        self._quotas.require(floating.project_id, "floatingip")
        outer = self._ports.create(
            Port(network_id=floating.network_id, device_id=floating.id, device_owner=FLOATING_IP_OWNER),
            None if wish is None else [wish],
        )
        self._tables.floating_ips.add(_located(floating, outer))
        with undone_on_failure(lambda: self._forget(floating.id, outer.id)):
            return await self.associate(floating.id, port_id, fixed)

    async def update(self, floating_id: str, **changes: Any) -> FloatingIp:
        """Change description or QoS policy; on failure it stays as it was."""
        before = self._tables.floating_ips.get(floating_id)
        after = self._tables.floating_ips.change(floating_id, **changes)
        if after.qos_policy != before.qos_policy:
            with undone_on_failure(lambda: self._tables.floating_ips.put_back(before, changes)):
                for router_id in {after.router_id, *self._forwarded_by(floating_id)} - {""}:
                    await self._routers.apply(self._tables.routers.get(router_id))
        return after

    def _forwarded_by(self, floating_id: str) -> set[str]:
        """The routers that forward ports of a floating IP."""
        return {one.router_id for one in self._tables.port_forwardings if one.floating_ip_id == floating_id}

    async def associate(self, floating_id: str, port_id: str, fixed: IPv4Address | None = None) -> FloatingIp:
        """Lead a floating address to a port, or nowhere when `port_id` is empty.

        Raises:
            NotFound: no router leads from the external network to the port.
            Conflict: the port's address has another floating IP.
        """
        before = self._tables.floating_ips.get(floating_id)
        if port_id and any(one.floating_ip_id == floating_id for one in self._tables.port_forwardings):
            raise FipInUseByPortForwarding(f"Floating IP {floating_id} in use by Port Forwarding resources.")
        inner, router_id = self._target(before, port_id, fixed) if port_id else (None, "")
        target = {"port_id": port_id, "fixed_address": inner, "router_id": router_id}
        after = self._tables.floating_ips.change(floating_id, **target)
        with undone_on_failure(lambda: self._tables.floating_ips.put_back(before, target)):
            for changed in {before.router_id, after.router_id} - {""}:
                await self._routers.apply(self._tables.routers.get(changed))
        return after

    async def delete(self, floating_id: str) -> None:
        """Give a floating address back."""
        if any(one.floating_ip_id == floating_id for one in self._tables.port_forwardings):
            raise FipInUseByPortForwarding(f"Floating IP {floating_id} in use by Port Forwarding resources.")
        floating = await self.associate(floating_id, "")
        self._forget(floating_id, floating.gateway_port_id)

    async def forget_port(self, port_id: str) -> None:
        """Lead the floating addresses of a port nowhere, and forward no ports to it, since it is deleted."""
        forwardings, floating_ips = self._tables.port_forwardings, self._tables.floating_ips
        while forwarding := next((one for one in forwardings if one.port_id == port_id), None):
            forwardings.remove(forwarding.id)
            await self._routers.apply(self._tables.routers.get(forwarding.router_id))
        while floating := next((one for one in floating_ips if one.port_id == port_id), None):
            await self.associate(floating.id, "")

    def _forget(self, floating_id: str, outer_port_id: str) -> None:
        self._tables.floating_ips.remove(floating_id)
        self._ports.drop(outer_port_id)

    def _target(self, floating: FloatingIp, port_id: str, fixed: IPv4Address | None) -> tuple[IPv4Address, str]:
        port = self._tables.ports.get(port_id)
        inner = [(one.subnet_id, one.address) for one in port.fixed_ips if isinstance(one.address, IPv4Address)]
        subnet_id, address = next((pair for pair in inner if fixed in (None, pair[1])), ("", None))
        if address is None:
            raise InvalidInput(f"Port {port_id} does not have fixed ip address {fixed or ''}")
        taken = (other for other in self._tables.floating_ips if other.port_id == port_id and other.id != floating.id)
        if any(other.fixed_address == address for other in taken):
            raise Conflict(f"Cannot associate floating IP {floating.address} with port {port_id}: it has one already.")
        return address, self.router_to(floating, subnet_id, port_id)

    def router_to(self, floating: FloatingIp, subnet_id: str, port_id: str) -> str:
        """The router that leads from the external network to a subnet.

        Raises:
            ExternalGatewayForFloatingIPNotFound: there is none.
        """
        for router in self._tables.routers:
            if router.gateway and self._has_leg(router, subnet_id):
                return router.id
        raise ExternalGatewayForFloatingIPNotFound(
            f"External network {floating.network_id} is not reachable from subnet {subnet_id}. Therefore, "
            f"cannot associate Port {port_id} with a Floating IP."
        )

    def _has_leg(self, router: Router, subnet_id: str) -> bool:
        ports = map(self._tables.ports.get, router.interfaces)
        return any(fixed.subnet_id == subnet_id for port in ports for fixed in port.fixed_ips)


def _located(floating: FloatingIp, outer: Port) -> FloatingIp:
    return replace(floating, address=IPv4Address(int(outer.fixed_ips[0].address)), gateway_port_id=outer.id)


def _require_four(subnets: Table[Subnet], wishes: Sequence[AddressWish]) -> None:
    """Refuse a way out without IPv4, which masquerading and floating IPs need."""
    versions: list[int] = [subnets.get(one.subnet_id).cidr.version for one in wishes if one.subnet_id]
    versions += [one.address.version if one.address else one.version or 4 for one in wishes if not one.subnet_id]
    if versions and 4 not in versions:
        raise InvalidInput("Invalid input for operation: external_fixed_ips need an address of IPv4 here.")


def _with_leg(routers: Table[Router], router_id: str, port_id: str) -> Router:
    return routers.change(router_id, interfaces=(*routers.get(router_id).interfaces, port_id))


def _without_leg(routers: Table[Router], router_id: str, port_id: str) -> Router:
    others = (other for other in routers.get(router_id).interfaces if other != port_id)
    return routers.change(router_id, interfaces=tuple(others))


def _leg(router: Router, ports: Iterable[Port], subnet_id: str, port_id: str) -> Port:
    for port in ports:
        if port.id == port_id or (not port_id and any(fixed.subnet_id == subnet_id for fixed in port.fixed_ips)):
            return port
    wanted = f"port {port_id}" if port_id else f"subnet {subnet_id}"
    raise NotFound(f"Router {router.id} has no interface on {wanted}")


def _check_unused(router: Router, users: Sequence[FloatingIp | PortForwarding]) -> None:
    if users:
        raise RouterInUse(
            f"Gateway cannot be updated for router {router.id}, since a gateway to external network is required by "
            "one or more floating IPs."
        )
