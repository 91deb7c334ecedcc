"""What all parts of one cloud share: its PoP, its state, and the ports to the world below."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from sonata.emulator.cloud.quotas import Quotas
from sonata.emulator.cloud.tables import Tables
from sonata.emulator.cloud.turns import Turns
from sonata.emulator.data_plane import DataPlane
from sonata.errors import Unsupported
from sonata.model.topology import Pop
from sonata.ports.images import ImageStore
from sonata.ports.runtime import Runtime
from sonata.ports.volumes import VolumeStore

StationsChanged = Callable[[str], Awaitable[None]]

EXTERNAL_POOL_START = 64
"""Host number from which routers and floating IPs get addresses; those below are for the PoP and its endpoints."""


@dataclass(frozen=True, slots=True)
class Site:
    """One emulated OpenStack site.

    Args:
        external: the PoP's external network.
        external_gateway: the PoP's router there.
        folder: where consoles and uploads are kept while the cloud lives.
        on_stations_changed: awaited with a network id after the MAC addresses plugged into it have changed.
        tables: its state; empty for a new site.
        volume_store: where volumes are kept; None for a site without block storage.
        server_turns: whoever changes what a server has or does waits for its turn there.
    """

    pop: Pop
    plane: DataPlane
    runtime: Runtime
    images: ImageStore
    external: IPv4Network
    external_gateway: IPv4Address
    folder: Path
    on_stations_changed: StationsChanged
    tables: Tables = field(default_factory=Tables)
    volume_store: VolumeStore | None = None
    server_turns: Turns = field(default_factory=Turns)

    @property
    def volumes(self) -> VolumeStore:
        """Where volumes are kept.

        Raises:
            Unsupported: nowhere.
        """
        if self.volume_store is None:
            raise Unsupported("this site has no place for volumes")
        return self.volume_store

    @property
    def quotas(self) -> Quotas:
        """What projects may have, and have."""
        return Quotas(self.tables)
