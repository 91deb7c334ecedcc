"""Layer 2 gateways: interfaces of the world outside joined to networks, as networking-l2gw has it.

A device is an endpoint of the topology, an interface one of its further ones. A connection lays a patch between the
network's bridge and the outlet of each interface: from then on both are one layer 2 network, in all PoPs that the
network stands in. With a segmentation id it is that VLAN of the interface, and others may be in other networks. What
comes from outside has no security group, as nothing has that is no port.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

from sonata.emulator.cloud.causes import NetworkInUse
from sonata.emulator.cloud.entities.l2_gateway import L2Gateway, L2GatewayConnection
from sonata.emulator.cloud.network.causes import (
    L2GatewayConnectionExists,
    L2GatewayDeviceNotFound,
    L2GatewayInterfaceNotFound,
    L2GatewayInUse,
    L2GatewaySegmentationIDExists,
)
from sonata.emulator.cloud.rollback import undone_on_failure
from sonata.emulator.cloud.site import Site
from sonata.emulator.cloud.tables import Tables
from sonata.emulator.outlets import Outlet
from sonata.errors import Conflict, InvalidInput, NotFound, Unsupported
from sonata.ports.fabric import Fabric, PatchSpec

logger = logging.getLogger(__name__)


class L2Gateways:
    """The layer 2 gateways of one cloud and their connections; `on_joined` is awaited when a network's have changed."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._gateways = site.tables.l2_gateways
        self._connections = site.tables.l2_gateway_connections
        self._networks = site.tables.networks
        self.on_joined: Callable[[str], Awaitable[None]] = _nobody

    def create(self, gateway: L2Gateway) -> L2Gateway:
        """Create a gateway; its interfaces are looked at when it is connected."""
        return self._gateways.add(gateway)

    def update(self, gateway_id: str, **changes: Any) -> L2Gateway:
        """Change a gateway.

        Raises:
            L2GatewayInUse: its devices are to change while it is connected.
        """
        if "devices" in changes:
            self._refuse_connected(gateway_id)
        return self._gateways.change(gateway_id, **changes)

    def delete(self, gateway_id: str) -> None:
        """Delete a gateway.

        Raises:
            L2GatewayInUse: it is connected.
        """
        self._gateways.get(gateway_id)
        self._refuse_connected(gateway_id)
        self._gateways.remove(gateway_id)

    async def connect(self, connection: L2GatewayConnection) -> L2GatewayConnection:
        """Join a gateway's interfaces to a network; frames pass at return.

        Raises:
            InvalidInput: the network is the external one.
            Conflict: a VLAN is to be joined, and chains lead to the interface as it is.
            Unsupported: a VLAN is to be joined, and the kernel has none.
            L2GatewayConnectionExists, L2GatewaySegmentationIDExists: they are joined to a network already.
            L2GatewayDeviceNotFound, L2GatewayInterfaceNotFound: an interface is not there.
        """
        gateway, network = self._gateways.get(connection.l2_gateway_id), self._networks.get(connection.network_id)
        if network.external:
            raise InvalidInput(f"Network {network.id} is external; layer 2 gateways join networks of projects.")
        outlets = self._outlets(gateway)
        self._refuse_joined(connection, outlets)
        self._refuse_steered(connection, outlets)
        self._connections.add(connection)
        with undone_on_failure(partial(self._connections.remove, connection.id)):
            await self._join(connection, outlets)
        await self.on_joined(connection.network_id)
        return connection

    async def disconnect(self, connection_id: str) -> None:
        """Take a gateway's interfaces and a network apart again."""
        connection = self._connections.get(connection_id)
        doomed = [self._patch(connection, outlet).id for outlet in self._known_outlets(connection)]
        await self._site.plane.run(lambda fabric: _cut(fabric, doomed))
        self._connections.remove(connection_id)
        await self.on_joined(connection.network_id)
        await self._site.on_stations_changed(connection.network_id)

    async def restore(self) -> None:
        """Join what was joined in an earlier life; connections to what is not there any more are dropped."""
        for connection in self._connections:
            try:
                await self._join(connection, self._outlets(self._gateways.get(connection.l2_gateway_id)))
            except (NotFound, Unsupported) as error:
                logger.warning("layer 2 gateway connection %s is dropped: %s", connection.id, error.message)
                self._connections.remove(connection.id)

    def stations(self, network_id: str) -> Iterator[tuple[str, str]]:
        """PoPs and MAC addresses of what gateways join to a network."""
        for connection in self._connections:
            if connection.network_id == network_id:
                yield from ((outlet.pop, outlet.mac) for outlet in self._known_outlets(connection))

    def network_of(self, outlet: Outlet) -> str:
        """Id of the network that an outlet is joined to; empty when there is none."""
        joined = (one.network_id for one in self._connections if outlet in self._known_outlets(one))
        return next(joined, "")

    def require_apart(self, network_id: str) -> None:
        """Refuse to let a network go that a gateway is joined to.

        Raises:
            NetworkInUse: naming the connection.
        """
        for connection in self._connections:
            if connection.network_id == network_id:
                raise NetworkInUse(
                    f"Unable to complete operation on network {network_id}. L2 gateway connection {connection.id} "
                    "uses it."
                )

    async def _join(self, connection: L2GatewayConnection, outlets: list[Outlet]) -> None:
        # The network has to stand where an outlet is, which may be another PoP of the site.
        await self._site.on_stations_changed(connection.network_id)
        patches = [self._patch(connection, outlet) for outlet in outlets]
        await self._site.plane.run(lambda fabric: _lay(fabric, patches))

    def _patch(self, connection: L2GatewayConnection, outlet: Outlet) -> PatchSpec:
        network = self._networks.get(connection.network_id)
        names = (self._site.id_of(network, outlet.pop), outlet.network)
        return PatchSpec(f"{connection.id}-{outlet.network}", outlet.pop, names, connection.segmentation_id)

    def _outlets(self, gateway: L2Gateway) -> list[Outlet]:
        """What a gateway names, all of it.

        Raises:
            L2GatewayDeviceNotFound, L2GatewayInterfaceNotFound: telling what there is.
        """
        return [self._outlet(device.name, name) for device in gateway.devices for name in device.interfaces]

    def _outlet(self, device: str, interface: str) -> Outlet:
        known = {outlet.interface: outlet for outlet in self._site.outlets if outlet.device == device}
        if not known:
            devices = ", ".join(sorted({outlet.device for outlet in self._site.outlets})) or "none"
            raise L2GatewayDeviceNotFound(
                f"L2 Gateway Device {device} could not be found. Devices are endpoints of the topology with "
                f"`interfaces`: {devices}."
            )
        if interface not in known:
            raise L2GatewayInterfaceNotFound(
                f"L2 Gateway interface '{interface}' not found: device {device} has {', '.join(sorted(known))}."
            )
        return known[interface]

    def _known_outlets(self, connection: L2GatewayConnection) -> list[Outlet]:
        return _named(self._gateways.get(connection.l2_gateway_id), self._site.outlets)

    def _refuse_connected(self, gateway_id: str) -> None:
        if any(one.l2_gateway_id == gateway_id for one in self._connections):
            raise L2GatewayInUse(
                f"L2 Gateway '{gateway_id}' still has active mappings with one or more neutron networks."
            )

    def _refuse_joined(self, connection: L2GatewayConnection, outlets: list[Outlet]) -> None:
        for other in self._connections:
            if (other.l2_gateway_id, other.network_id) == (connection.l2_gateway_id, connection.network_id):
                raise L2GatewayConnectionExists(
                    f"The specified mapping '{connection.network_id}' exists on network gateway "
                    f"'{connection.l2_gateway_id}'."
                )
            if _apart(connection, other):
                continue
            for outlet in set(outlets).intersection(self._known_outlets(other)):
                raise L2GatewaySegmentationIDExists(
                    f"Interface {outlet.interface} of device {outlet.device} is joined to network {other.network_id} "
                    f"by connection {other.id}, {_share(other)}. It may be in several networks with a segmentation id "
                    "of its own for each."
                )

    def _refuse_steered(self, connection: L2GatewayConnection, outlets: list[Outlet]) -> None:
        """Packets that chains lead to a box have no tag."""
        if not connection.segmentation_id:
            return
        boxes = {outlet.mac: outlet for outlet in outlets}
        for pair in self._site.tables.port_pairs:
            for port in map(self._site.tables.ports.get, (pair.ingress, pair.egress)):
                if port.network_id == connection.network_id and (outlet := boxes.get(port.mac)):
                    raise Conflict(
                        f"Port {port.id} of port pair {pair.id} stands for interface {outlet.interface} of device "
                        f"{outlet.device}, and chains lead to devices without tags: join it without a segmentation id."
                    )


def outlets_joined_to(
    tables: Tables, outlets: Iterable[Outlet], network_id: str
) -> Iterator[tuple[Outlet, L2GatewayConnection]]:
    """The outlets that gateways join to a network, and what joins each."""
    for connection in tables.l2_gateway_connections:
        if connection.network_id == network_id:
            for outlet in _named(tables.l2_gateways.get(connection.l2_gateway_id), outlets):
                yield outlet, connection


def _apart(one: L2GatewayConnection, other: L2GatewayConnection) -> bool:
    """Whether an interface may be joined by both."""
    tags = {one.segmentation_id, other.segmentation_id}
    return len(tags) == 2 and 0 not in tags


def _share(connection: L2GatewayConnection) -> str:
    """What of an interface is joined."""
    return f"its VLAN {connection.segmentation_id}" if connection.segmentation_id else "all of it"


def _named(gateway: L2Gateway, outlets: Iterable[Outlet]) -> list[Outlet]:
    named = {(device.name, name) for device in gateway.devices for name in device.interfaces}
    return [outlet for outlet in outlets if (outlet.device, outlet.interface) in named]


async def _nobody(_network_id: str) -> None:
    pass


def _lay(fabric: Fabric, patches: list[PatchSpec]) -> None:
    """Lay all patches, or none."""
    with ExitStack() as undone:
        for patch in patches:
            undone.callback(fabric.networks.remove_patch, patch.id)
            fabric.networks.set_patch(patch)
        undone.pop_all()


def _cut(fabric: Fabric, patch_ids: list[str]) -> None:
    for patch_id in patch_ids:
        fabric.networks.remove_patch(patch_id)
