"""The clouds of an emulation: opened and closed with their PoPs, written down while they live."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import field
from functools import partial
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from pathlib import Path

from sonata._lib.values import dataclass
from sonata.emulator.addressing import end_of_pool, router_address
from sonata.emulator.cloud import Cloud
from sonata.emulator.cloud.entities.network import Subnet
from sonata.emulator.cloud.network.outer_addresses import give_up_from, held_from
from sonata.emulator.cloud.site import Kept, StationsChanged, Zones
from sonata.emulator.cloud.tables import Tables
from sonata.emulator.contact import Contact
from sonata.emulator.data_plane import DataPlane
from sonata.emulator.endpoints import Endpoints
from sonata.emulator.events import EventLog
from sonata.emulator.links import Links
from sonata.emulator.memory import Memory, Recollection, document_of
from sonata.emulator.outlets import outlets_of
from sonata.emulator.vnis import Vnis
from sonata.errors import Conflict, NotFound
from sonata.model.topology import Endpoint, Pop, ServerSeed, Topology
from sonata.ports.images import ImageStore
from sonata.ports.runtime import Fleet
from sonata.ports.volumes import VolumeStore

logger = logging.getLogger(__name__)

_PARALLEL_BOOTS = 8


@dataclass(frozen=True, slots=True)
class Ground:
    """What an emulation stands on.

    Args:
        folder: scratch folder.
        volumes: where the volumes of all clouds are kept; without it there are none.
        kept: folders of servers' disks and consoles, by PoP; without them they are in `folder`.
    """

    plane: DataPlane
    runtime: Fleet
    images: ImageStore
    folder: Path
    volumes: VolumeStore | None = None
    kept: Kept = field(default_factory=Kept)


@dataclass(frozen=True, slots=True)
class SiteNetwork:
    """A network of a site, as far as those need it who join networks of several sites."""

    pop: str
    id: str
    name: str
    cidrs: tuple[str, ...]


class Sites:
    """All clouds of one emulation, by the names of their PoPs.

    Args:
        topology: tells what is declared now.
    """

    def __init__(
        self,
        ground: Ground,
        links: Links,
        endpoints: Endpoints,
        memory: Memory,
        events: EventLog,
        topology: Callable[[], Topology],
    ) -> None:
        self.clouds: dict[str, Cloud] = {}
        self.on_stations_changed: Callable[[str], StationsChanged] = _nobody
        self._ground = ground
        self._links = links
        self._endpoints = endpoints
        self._memory = memory
        self._events = events
        self._topology = topology
        self._vnis = Vnis()

    def of(self, pop: str) -> Cloud:
        """The cloud that a PoP belongs to.

        Raises:
            NotFound: there is no such PoP, or it comes or goes just now.
        """
        self._links.pops.number_of(pop)
        topology = self._topology()
        cloud = self.clouds.get(topology.site_of(pop)) if pop in topology.pops else None
        if cloud is None:
            raise NotFound(
                f"PoP `{pop}` has no OpenStack at this moment", hint="it comes or goes; see `sonata emu events`"
            )
        return cloud

    def stations(self, pop: str, network_id: str) -> tuple[str, ...]:
        """MAC addresses of what is plugged into a network of a PoP's cloud.

        Raises:
            NotFound: the PoP has no cloud of its own, or that no such network.
        """
        if pop not in self.clouds:
            manager = self._topology().site_of(pop)
            raise NotFound(
                f"PoP `{pop}` has no networks of its own: it is an availability zone of `{manager}`",
                hint=f"name the network as one of `{manager}`, which has it in its zones, too",
            )
        cloud = self.clouds[pop]
        cloud.tables.networks.get(network_id)
        return cloud.stations(network_id)

    def networks(self) -> list[SiteNetwork]:
        """The networks that can be joined with those of other sites: all but the external ones."""
        return [
            SiteNetwork(pop, network.id, network.name, _cidrs(cloud, network.id))
            for pop, cloud in self.clouds.items()
            for network in cloud.tables.networks
            if not network.external
        ]

    def open(self, pop: Pop, saved: Tables | None = None) -> Cloud:
        """Open the cloud of a PoP that stands and is declared."""
        external = self._links.pops.external_of(pop.name)
        folder = self._folder(pop.name)
        folder.mkdir(parents=True, mode=0o700)
        ground = self._ground
        cloud = Cloud(
            pop=pop,
            plane=ground.plane,
            runtime=ground.runtime,
            images=ground.images,
            external=external,
            external_gateway=router_address(external).ip,
            folder=folder,
            on_stations_changed=self.on_stations_changed(pop.name),
            saved=saved,
            volumes=ground.volumes,
            kept=ground.kept.of(pop.name),
            zones=self._zones(pop),
            outlets=outlets_of(self._near(pop.name)),
        )
        self._events.watch(pop.name, cloud.tables)
        cloud.routers.outside.on_subnets = partial(self._number_six, pop.name)
        self.clouds[pop.name] = cloud
        return cloud

    def give_up_addresses(self, endpoints: Mapping[str, Mapping[str, int]]) -> None:
        """Leave endpoints of these numbers their addresses in the external networks of their PoPs.

        Raises:
            Conflict: somebody has one of them.
        """
        for pop, numbers in endpoints.items():
            if held := self.held_by_others(pop, numbers):
                raise Conflict(held, hint="delete what has them, or declare fewer endpoints")
            if pop in self.clouds:
                give_up_from(self.clouds[pop].tables, self._end_of_pool(pop, numbers))

    def held_by_others(self, pop: str, numbers: Mapping[str, int]) -> str:
        """Which addresses of endpoints of these numbers OpenStack has given out, in words; empty where none."""
        if pop not in self.clouds:
            return ""
        held = held_from(self.clouds[pop].tables, self._end_of_pool(pop, numbers))
        return f"PoP `{pop}` has given out addresses that its endpoints need: {', '.join(held)}" if held else ""

    def _end_of_pool(self, pop: str, numbers: Mapping[str, int]) -> IPv4Address:
        return end_of_pool(self._links.pops.external_of(pop), max(numbers.values(), default=-1) + 1)

    def _zones(self, pop: Pop) -> Zones:
        """The PoPs that a site has besides its own, and which of them it reaches."""
        contact = Contact(self._links, pop.name)
        return Zones(self._topology().managed(pop.name), self._vnis, contact.heard_of, contact.reaches)

    async def restore(self, earlier: Recollection) -> None:
        """Build the data plane of the clouds of an earlier life; servers stay off."""
        for pop, cloud in self.clouds.items():
            if pop in earlier.tables:
                await cloud.restore()

    async def remember(self, earlier: Recollection) -> None:
        """Write down what changes from now on; what belongs to PoPs that are gone is dropped."""
        for pop, tables in earlier.gone(self.clouds).items():
            logger.warning("PoP %s is gone: its %d servers and all else it had are dropped", pop, len(tables.servers))
            await self._drop_saved(pop, tables)
        for pop, cloud in self.clouds.items():
            self.remember_one(pop, cloud)

    def remember_one(self, pop: str, cloud: Cloud) -> None:
        """Write down what changes in a cloud from now on."""
        self._memory.keep_tables(pop, cloud.tables)

    def follow(self, names: Iterable[str]) -> None:
        """Let clouds have the PoPs and outlets that are declared now."""
        topology = self._topology()
        for name in names:
            pop = topology.pops[name]
            self.clouds[name].follow(pop, topology.managed(name), outlets_of(self._near(name)))

    async def boot(self, seeds: Sequence[ServerSeed]) -> Mapping[str, BaseException]:
        """Boot servers of the topology; how those failed that did, by name."""
        slots = asyncio.Semaphore(_PARALLEL_BOOTS)

        async def boot(seed: ServerSeed) -> None:
            async with slots:
                await self.of(seed.pop).seeds.boot(seed)

        ended = await asyncio.gather(*map(boot, seeds), return_exceptions=True)
        return {seed.name: how for seed, how in zip(seeds, ended, strict=True) if how is not None}

    async def shut(self, pop: str) -> None:
        """Close the cloud of a PoP for good: nobody reaches it at return, and nothing that it had is left."""
        cloud = self.clouds.pop(pop)
        try:
            await cloud.tear_down()
        finally:
            if cloud.tables.servers:
                self.clouds[pop] = cloud
        await self._memory.forget([document_of(pop)])
        await asyncio.to_thread(shutil.rmtree, self._folder(pop), ignore_errors=True)

    async def close(self, *, keep: bool) -> None:
        """Close all clouds as the emulation ends; `keep` leaves what the next start needs. Idempotent."""
        for cloud in self.clouds.values():
            await cloud.close(keep=keep)
        self.clouds.clear()

    def _near(self, site: str) -> list[Endpoint]:
        topology = self._topology()
        return [one for one in topology.endpoints.values() if topology.site_of(one.attach) == site]

    def _folder(self, pop: str) -> Path:
        return self._ground.folder / "pops" / pop

    async def _number_six(self, pop: str, subnets: Sequence[Subnet]) -> None:
        """Let the endpoints of a PoP have addresses in its external subnets of IPv6."""
        gateways = [(subnet.cidr, subnet.gateway_ip) for subnet in subnets]
        known = [(one, via) for one, via in gateways if isinstance(one, IPv6Network) and isinstance(via, IPv6Address)]
        await self._endpoints.number_six(pop, known)

    async def _drop_saved(self, pop: str, tables: Tables) -> None:
        """Drop what the cloud of a PoP that does not come back has left in the stores."""
        ground = self._ground
        for upload in tables.uploads:
            if upload.stored:
                with suppress(NotFound):
                    await asyncio.to_thread(ground.images.remove, upload.stored)
        if ground.volumes:
            for row in (*tables.volumes, *tables.snapshots):
                await asyncio.to_thread(ground.volumes.remove, row.id)
        for folder in ground.kept.of(pop).folders:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        await self._memory.forget([document_of(pop)])


def _cidrs(cloud: Cloud, network_id: str) -> tuple[str, ...]:
    return tuple(str(subnet.cidr) for subnet in cloud.networks.subnets_of(network_id))


def _nobody(_pop: str) -> StationsChanged:
    async def told(_network_id: str) -> None:
        pass

    return told
