"""Load balancers and their virtual addresses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import Any

from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.base import new_id
from sonata.emulator.cloud.entities.load_balancing import LoadBalancer, Provisioning
from sonata.emulator.cloud.entities.network import LOAD_BALANCER_OWNER, Port
from sonata.emulator.cloud.load_balancing.causes import Invalid
from sonata.emulator.cloud.load_balancing.changes import Changes, flavor_data
from sonata.emulator.cloud.load_balancing.plugs import device_of
from sonata.emulator.cloud.load_balancing.tree import Tree
from sonata.emulator.cloud.network.ports import AddressWish, Ports
from sonata.emulator.cloud.rollback import undone_on_failure
from sonata.emulator.cloud.site import Site
from sonata.ports.load_balancing import Report, Statistics

DEFAULT_PROVIDER = "haproxy"


@dataclass(frozen=True, slots=True)
class VipWish:
    """The virtual address as a client asks for it; at least one of network, subnet and port."""

    network_id: str = ""
    subnet_id: str = ""
    port_id: str = ""
    address: IPv4Address | None = None


class LoadBalancers:
    """The load balancers of one cloud."""

    def __init__(self, site: Site, ports: Ports, changes: Changes) -> None:
        self._tables = site.tables
        self._quotas = site.quotas
        self._ports = ports
        self._changes = changes

    @contextmanager
    def creating(self, project_id: str, wish: VipWish, values: Mapping[str, Any]) -> Iterator[LoadBalancer]:
        """Make a load balancer with the parts that are added inside, or nothing at all; its address is known at once.

        Afterwards it is PENDING_CREATE, and carried out.

        Raises:
            Invalid: there is no such network, subnet or port, or the provider or flavor does not exist.
        """
        provider = values.get("provider") or self._provider_of_flavor(values.get("flavor_id")) or DEFAULT_PROVIDER
        self._changes.driver(provider)
        self._quotas.require(project_id, "load_balancer")
        balancer_id = new_id()
        port = self._vip_port(balancer_id, project_id, wish)
        made = not wish.port_id
        fixed = port.fixed_ips[0]
        with undone_on_failure(lambda: self._release(port, made=made)), self._changes.beginning(balancer_id):
            balancer = LoadBalancer(
                id=balancer_id,
                vip_address=fixed.address,
                vip_subnet_id=fixed.subnet_id,
                vip_network_id=port.network_id,
                vip_port_id=port.id,
                vip_port_made=made,
                project_id=project_id,
                **{**values, "provider": provider},
            )
            yield self._tables.load_balancers.add(balancer)
        self._changes.spawn(balancer_id)

    def update(self, balancer_id: str, **values: Any) -> LoadBalancer:
        """Change name, description, admin_state_up, tags."""
        return self._changes.change(balancer_id, lambda: self._tables.load_balancers.change(balancer_id, **values))

    def delete(self, balancer_id: str, *, cascade: bool) -> None:
        """Delete a load balancer, with all that belongs to it where `cascade` is true.

        Raises:
            Invalid: it has parts.
        """
        self._changes.require_mutable(balancer_id, Provisioning.ERROR)
        tree = Tree(self._tables, balancer_id)
        if not cascade and (tree.listeners() or tree.pools()):
            raise Invalid(f"Cannot delete Load Balancer {balancer_id} - it has children")
        for table, part in tuple(tree.parts()):
            table.change(part.id, provisioning_status=Provisioning.PENDING_DELETE)
        self._changes.spawn(balancer_id)

    async def failover(self, balancer_id: str) -> None:
        """Build the appliance of a load balancer anew."""
        await self._changes.failover(balancer_id)

    async def statistics(self, balancer_id: str) -> Statistics:
        """Counters of all its listeners, at this moment."""
        return sum((await self._report(balancer_id)).frontends.values(), Statistics())

    async def listener_statistics(self, listener_id: str) -> Statistics:
        """Counters of a listener, at this moment."""
        balancer_id = self._tables.listeners.get(listener_id).load_balancer_id
        return (await self._report(balancer_id)).frontends.get(listener_id, Statistics())

    async def _report(self, balancer_id: str) -> Report:
        return await self._changes.refresh(balancer_id) or Report()

    def _provider_of_flavor(self, flavor_id: str | None) -> str:
        if not flavor_id:
            return ""
        flavor_data(self._tables, flavor_id)
        return self._tables.lb_flavor_profiles.get(
            self._tables.lb_flavors.get(flavor_id).flavor_profile_id
        ).provider_name

    def _vip_port(self, balancer_id: str, project_id: str, wish: VipWish) -> Port:
        if wish.port_id:
            return self._take_port(balancer_id, wish)
        network_id = self._network_of(wish)
        port = Port(
            name=f"octavia-lb-{balancer_id}",
            project_id=project_id,
            network_id=network_id,
            device_id=device_of(balancer_id),
            device_owner=LOAD_BALANCER_OWNER,
        )
        asked = [AddressWish(wish.subnet_id, wish.address)] if wish.subnet_id or wish.address else None
        made = self._ports.create(port, asked)
        if not made.fixed_ips:
            self._ports.drop(made.id)
            raise Invalid(f"Supplied network does not contain a subnet: {network_id}")
        return made

    def _take_port(self, balancer_id: str, wish: VipWish) -> Port:
        port = self._tables.ports.peek(wish.port_id)
        if port is None:
            raise Invalid(f"Port {wish.port_id} not found.")
        if port.device_id:
            raise Invalid(f"Port {wish.port_id} is already used by {port.device_id}.")
        if not port.fixed_ips:
            raise Invalid(f"Port {wish.port_id} has no address.")
        return self._tables.ports.change(port.id, device_id=device_of(balancer_id), device_owner=LOAD_BALANCER_OWNER)

    def _network_of(self, wish: VipWish) -> str:
        if wish.subnet_id:
            subnet = self._tables.subnets.peek(wish.subnet_id)
            if subnet is None:
                raise Invalid(f"Subnet {wish.subnet_id} not found.")
            if wish.network_id and wish.network_id != subnet.network_id:
                raise Invalid("Supplied VIP subnet does not belong to the supplied VIP network.")
            return subnet.network_id
        if not wish.network_id:
            raise Invalid("VIP must contain one of: vip_port_id, vip_network_id, vip_subnet_id.")
        if wish.network_id not in self._tables.networks:
            raise Invalid(f"Network {wish.network_id} not found.")
        return wish.network_id

    def _release(self, port: Port, *, made: bool) -> None:
        if made:
            self._ports.drop(port.id)
        else:
            self._tables.ports.change(port.id, device_id="", device_owner="")
