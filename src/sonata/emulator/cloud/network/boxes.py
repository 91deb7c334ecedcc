"""Physical boxes as functions of chains: endpoints of the topology that layer 2 gateways join to networks."""

from __future__ import annotations

from collections.abc import Iterator

from sonata.emulator.cloud.entities.network import Port
from sonata.emulator.cloud.network.l2_gateways import outlets_joined_to
from sonata.emulator.cloud.site import Site
from sonata.emulator.outlets import Outlet
from sonata.errors import Conflict


class Boxes:
    """Which ports stand for interfaces of boxes.

    `have_started` tells whether packets come in at these: endpoints start after what a cloud had in an earlier life.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._tables = site.tables
        self.have_started = False

    def outlet_of(self, port: Port) -> Outlet | None:
        """The interface of a box that a port stands for: one with its MAC address, joined to its network."""
        return next((outlet for outlet, tag in self._behind(port) if not tag), None)

    def refuse_tagged(self, port: Port) -> None:
        """Refuse to lead chains to the interface of a box by one of its VLANs.

        Raises:
            Conflict: the port stands for one.
        """
        for outlet, tag in self._behind(port):
            if tag:
                raise Conflict(
                    f"Port {port.id} stands for interface {outlet.interface} of device {outlet.device}, which is "
                    f"joined by its VLAN {tag}: chains lead to devices that are joined without a segmentation id."
                )

    def _behind(self, port: Port) -> Iterator[tuple[Outlet, int]]:
        """The interfaces of boxes that a port may stand for, each with the VLAN of it that is joined, 0 for all."""
        if not port.device_id:
            for outlet, connection in outlets_joined_to(self._tables, self._site.outlets, port.network_id):
                if outlet.mac == port.mac:
                    yield outlet, connection.segmentation_id

    def passes(self, port: Port) -> bool:
        """Whether packets pass at a port that belongs to no server: it stands for a box here, or one in another PoP."""
        return not port.device_id and (self.have_started or not self.outlet_of(port))

    def ports_on(self, network_id: str) -> list[str]:
        """The ports of a network that may stand for boxes."""
        return [port.id for port in self._tables.ports if port.network_id == network_id and not port.device_id]
