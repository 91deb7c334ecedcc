"""What all parts of one cloud share: its PoP, its state, and the ports to the world below."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.network import Network
from sonata.emulator.cloud.quotas import Quotas
from sonata.emulator.cloud.tables import Tables
from sonata.emulator.cloud.turns import Turns
from sonata.emulator.data_plane import DataPlane
from sonata.emulator.outlets import Outlet
from sonata.emulator.vnis import Vnis
from sonata.errors import Unsupported
from sonata.model.topology import Pop
from sonata.ports.images import ImageStore
from sonata.ports.runtime import Fleet
from sonata.ports.volumes import VolumeStore

StationsChanged = Callable[[str], Awaitable[None]]

DEFAULT_ZONE = "nova"
"""Availability zone of a site's own PoP."""

EXTERNAL_POOL_START = 64
"""Host number from which routers and floating IPs get addresses; those below are for the PoP and its endpoints."""


@dataclass(frozen=True, slots=True)
class Zones:
    """The PoPs that a site has as availability zones besides its own.

    Args:
        vnis: where it gets the numbers of networks over several PoPs from.
        heard_of: when a PoP was last in reach over links, in Unix time: now, unless it is cut off.
        reaches: whether a PoP is in reach over links.
    """

    pops: tuple[Pop, ...] = ()
    vnis: Vnis = field(default_factory=Vnis)
    heard_of: Callable[[str], float] = lambda _pop: time.time()
    reaches: Callable[[str], bool] = lambda _pop: True


@dataclass(frozen=True, slots=True)
class Kept:
    """Private folders of what may outlive a cloud; None for a part of the cloud's own folder.

    Args:
        disks: of servers, what they have written to their root file systems.
        consoles: what servers have said.
    """

    disks: Path | None = None
    consoles: Path | None = None

    @property
    def folders(self) -> tuple[Path, ...]:
        """Those that are named."""
        return tuple(folder for folder in (self.disks, self.consoles) if folder)

    def of(self, pop: str) -> Kept:
        """The part of one PoP."""
        return Kept(self.disks and self.disks / pop, self.consoles and self.consoles / pop)


@dataclass(slots=True, eq=False)
class Site:
    """One emulated OpenStack site. PoP, zones and outlets change while it stands, see `Cloud.follow`; the rest stays.

    Args:
        external: the PoP's external network.
        external_gateway: the PoP's router there.
        folder: where uploads and the like are kept while the cloud lives.
        on_stations_changed: awaited with a network id after the MAC addresses plugged into it have changed.
        tables: its state; empty for a new site.
        volume_store: where volumes are kept; None for a site without block storage.
        server_turns: whoever changes what a server has or does waits for its turn there.
        zones: its further PoPs.
        kept: where what outlives the cloud is kept.
        outlets: interfaces of the world outside that layer 2 gateways can join to networks.
    """

    pop: Pop
    plane: DataPlane
    runtime: Fleet
    images: ImageStore
    external: IPv4Network
    external_gateway: IPv4Address
    folder: Path
    on_stations_changed: StationsChanged
    tables: Tables = field(default_factory=Tables)
    volume_store: VolumeStore | None = None
    zones: Zones = field(default_factory=Zones)
    server_turns: Turns = field(default_factory=Turns)
    kept: Kept = field(default_factory=Kept)
    outlets: tuple[Outlet, ...] = ()

    @property
    def pops(self) -> tuple[Pop, ...]:
        """All its PoPs, its own first."""
        return (self.pop, *self.zones.pops)

    def pop_of(self, host: str) -> Pop:
        """The PoP that a host is in; its own for a host that is not there."""
        return next((pop for pop in self.zones.pops for one in pop.hypervisors if one.name == host), self.pop)

    @property
    def zone_pops(self) -> dict[str, Pop]:
        """The PoP of each availability zone of the site, its own first."""
        return {DEFAULT_ZONE: self.pop, **{pop.name: pop for pop in self.zones.pops}}

    def service_pop(self, network: Network) -> Pop:
        """Where a network's services stand: in the first zone that is asked for, else in the site's own PoP."""
        known = (pop for hint in network.zone_hints if (pop := self.zone_pops.get(hint)))
        return next(known, self.pop)

    def is_near(self, host: str) -> bool:
        """Whether a host is in the site's own PoP, where its routers are."""
        return self.pop_of(host) is self.pop

    def id_of(self, network: Network, pop: str) -> str:
        """A network's name in the data plane of a PoP; the external network of this site is no other one's."""
        return network.fabric_id if pop == self.pop.name else network.id

    @property
    def disks(self) -> Path:
        """The folder of servers' disks: what they have written to their root file systems, by their ids."""
        return self.kept.disks or self.folder / "disks"

    @property
    def consoles(self) -> Path:
        """The folder of what servers say on their consoles."""
        return self.kept.consoles or self.folder / "consoles"

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
