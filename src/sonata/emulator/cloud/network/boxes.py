"""Physical boxes as functions of chains: endpoints of the topology that layer 2 gateways join to networks."""

from __future__ import annotations

from sonata.emulator.cloud.entities.network import Port
from sonata.emulator.cloud.network.l2_gateways import outlets_joined_to
from sonata.emulator.cloud.site import Site
from sonata.emulator.outlets import Outlet


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
        if port.device_id:
            return None
        joined = outlets_joined_to(self._tables, self._site.outlets, port.network_id)
        return next((outlet for outlet in joined if outlet.mac == port.mac), None)

    def passes(self, port: Port) -> bool:
        """Whether packets pass at a port that belongs to no server: it stands for a box here, or one in another PoP."""
        return not port.device_id and (self.have_started or not self.outlet_of(port))

    def ports_on(self, network_id: str) -> list[str]:
        """The ports of a network that may stand for boxes."""
        return [port.id for port in self._tables.ports if port.network_id == network_id and not port.device_id]
