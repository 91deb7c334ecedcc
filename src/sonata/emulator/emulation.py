"""A whole running emulation: PoPs, links, endpoints and servers, composed out of ports."""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path
from typing import Literal

from sonata.emulator.addressing import router_address
from sonata.emulator.cloud import Cloud
from sonata.emulator.cloud.compute.consoles import SHELL
from sonata.emulator.cloud.entities.compute import Server
from sonata.emulator.cloud.entities.network import Subnet
from sonata.emulator.cloud.site import Kept, Zones
from sonata.emulator.cloud.tables import Tables
from sonata.emulator.contact import Contact
from sonata.emulator.data_plane import DataPlane
from sonata.emulator.endpoints import Endpoints
from sonata.emulator.events import EventLog
from sonata.emulator.link_check import LinkChecker
from sonata.emulator.links import Links
from sonata.emulator.management import Management
from sonata.emulator.memory import Memory, Recollection, document_of
from sonata.emulator.outlets import outlets_of
from sonata.emulator.resources import Resources
from sonata.emulator.roaming import Roaming
from sonata.emulator.vnis import Vnis
from sonata.emulator.wan import Wan
from sonata.errors import NotFound
from sonata.model.topology import Pop, ServerSeed, Topology
from sonata.ports.fabric import PortCounters
from sonata.ports.images import ImageStore
from sonata.ports.journal import Journal
from sonata.ports.runtime import Runtime, Tell, Terminal
from sonata.ports.volumes import VolumeStore

logger = logging.getLogger(__name__)

Progress = Callable[[str], None]

_PARALLEL_BOOTS = 8


@dataclass(frozen=True, slots=True)
class Machine:
    """An endpoint or server, for people."""

    name: str
    kind: Literal["endpoint", "server"]
    pop: str
    image: str
    status: str
    addresses: tuple[str, ...] = ()


class Emulation:
    """One emulated infrastructure.

    Args:
        plane: the data plane; closed together with the emulation.
        runtime: runs machines; closed together with the emulation.
        folder: scratch folder.
        journal: where the clouds and connections are written down, and come back from.
        volumes: where the volumes of all clouds are kept; without it there are none.
        kept: folders of servers' disks and consoles, by PoP; without them they are in `folder`.
    """

    def __init__(
        self,
        topology: Topology,
        plane: DataPlane,
        runtime: Runtime,
        images: ImageStore,
        folder: Path,
        journal: Journal,
        volumes: VolumeStore | None = None,
        kept: Kept | None = None,
    ) -> None:
        self.topology = topology
        self._plane = plane
        self._runtime = runtime
        self._images = images
        self._folder = folder
        self._volumes = volumes
        self._kept = kept or Kept()
        self.events = EventLog()
        self.links = Links(topology, plane, self.events)
        self.link_checker = LinkChecker(self.links, plane)
        self.endpoints = Endpoints(topology, self.links, plane, runtime, folder, self.events)
        self.roaming = Roaming(topology, self.links, self.endpoints, plane, self.events)
        self.clouds: dict[str, Cloud] = {}
        self.management = Management(self.links, plane)
        self._memory = Memory(journal)
        self._vnis = Vnis()
        self.resources = Resources(topology, runtime, folder)
        self.wan = Wan(self.links, plane, self._stations, self.endpoints.attached, self.events)
        self.wan.figures = self.resources.figures()

    @property
    def runtime(self) -> Runtime:
        """What runs the machines."""
        return self._runtime

    async def start(self, progress: Progress = lambda message: None) -> None:
        """Bring everything up, with the clouds of an earlier life that the journal tells of.

        After a failure `close` removes what stands, and the journal is as it was.

        Raises:
            NotFound: an image of the topology does not exist; nothing was started then.
            SonataError: whatever fabric or runtime could not do.
        """
        self._check_images()
        earlier = await self._memory.recall()
        progress(f"{len(self.topology.pops)} PoPs and {len(self.topology.links)} links")
        await self.links.bring_up()
        await self.resources.limit()
        await self.endpoints.lay_outlets()
        for pop in self.topology.sites:
            self.clouds[pop.name] = self._open_cloud(pop, earlier.tables.get(pop.name))
        if earlier.tables:
            progress(f"what {len(earlier.tables)} PoPs had before the emulation died")
            await self._restore(earlier)
        if noisy := await self.resources.make_noise():
            progress(f"noisy neighbours in {noisy} PoPs")
        if self.topology.endpoints:
            progress(f"{len(self.topology.endpoints)} endpoints")
            await self.endpoints.start(self._images)
        if self.topology.servers:
            progress(f"{len(self.topology.servers)} servers")
        await self._boot_servers(self.topology.servers.values())
        await self._remember(earlier)
        self.events.tell("emulation.started", self.topology.name, pops=len(self.topology.pops))

    async def keep_going(self) -> None:
        """Set going again what ends by itself in the data plane, until cancelled."""
        await self._plane.keep_going()

    async def close(self, *, keep: bool = False) -> None:
        """Stop everything; `keep` leaves what the next start needs to go on. Idempotent."""
        await self._memory.close()
        for cloud in self.clouds.values():
            await cloud.close(keep=keep)
        self.clouds.clear()
        await self._runtime.close()
        await self._plane.close()

    async def capture(self, link: str) -> socket.socket:
        """A packet socket on a link, or on the access link of an endpoint; the caller closes it.

        Raises:
            NotFound: no link of this name.
        """
        self.links.find(link)
        return await self._plane.run(lambda fabric: fabric.underlay.packet_socket(link))

    async def capture_port(self, machine: str, interface: str) -> socket.socket:
        """A packet socket on an interface of an endpoint or server, taken in its PoP; the caller closes it.

        Raises:
            NotFound: there is no such machine, or it has no such interface.
        """
        ports = await self._interfaces(machine)
        if interface not in ports:
            raise NotFound(f"`{machine}` has no interface `{interface}`", hint=f"it has {', '.join(ports) or 'none'}")
        return await self._plane.run(lambda fabric: fabric.underlay.packet_socket(ports[interface]))

    async def _interfaces(self, machine: str) -> Mapping[str, str]:
        """Ports of a machine by the names of their interfaces."""
        if endpoint := self.endpoints.find(machine):
            return {"eth0": endpoint.port_id}
        _, server = self.server_of(machine)
        return {f"eth{number}": nic.port_id for number, nic in enumerate(server.nics)}

    async def exec(
        self, name: str, argv: Sequence[str], stdin: bytes = b"", tell: Tell | None = None
    ) -> tuple[int, bytes, bytes]:
        """Run a command in an endpoint or a server (`POP/SERVER`); returns exit status, stdout and stderr.

        With `tell` the output goes there as it comes, and none is returned.

        Raises:
            NotFound: there is no such machine.
        """
        if endpoint := self.endpoints.find(name):
            return await self.endpoints.exec(endpoint, argv, stdin, tell)
        cloud, server = self.server_of(name)
        return await cloud.exec(server, argv, stdin, tell)

    async def terminal(self, name: str, *, rows: int, columns: int) -> Terminal:
        """A shell on a terminal in an endpoint or a server (`POP/SERVER`); the caller closes it.

        Raises:
            NotFound: there is no such machine.
            Conflict: the server is off.
        """
        if endpoint := self.endpoints.find(name):
            return await self.endpoints.terminal(endpoint, SHELL, rows=rows, columns=columns)
        cloud, server = self.server_of(name)
        return await cloud.consoles.shell(server, SHELL, rows=rows, columns=columns)

    async def counters(self, name: str) -> Mapping[str, PortCounters]:
        """Counters of the ports of an endpoint or server, by port id.

        Raises:
            NotFound: there is no such machine.
        """
        if endpoint := self.endpoints.find(name):
            return await self._plane.run(lambda fabric: fabric.machines.counters([endpoint.port_id]))
        cloud, server = self.server_of(name)
        return await cloud.port_counters(server)

    def machines(self) -> list[Machine]:
        """Everything that commands can be run in, endpoints first."""
        endpoints = [
            Machine(
                state.endpoint.name,
                "endpoint",
                state.endpoint.attach,
                state.image.name,
                state.status,
                (str(state.address.ip), *(str(value.ip) for value in state.six)),
            )
            for state in self.endpoints
        ]
        servers = [
            Machine(
                f"{pop}/{server.name}",
                "server",
                cloud.site.pop_of(server.host).name,
                cloud.image_name(server),
                server.status,
                _addresses_of(cloud, server),
            )
            for pop, cloud in self.clouds.items()
            for server in cloud.tables.servers
        ]
        return endpoints + servers

    async def _restore(self, earlier: Recollection) -> None:
        """Build the data plane of the clouds and connections of an earlier life; servers stay off."""
        for pop, cloud in self.clouds.items():
            if pop in earlier.tables:
                await cloud.restore()
        await self.wan.restore(earlier.connections)

    async def _remember(self, earlier: Recollection) -> None:
        """Write down what changes from now on; what belongs to PoPs that are gone is dropped."""
        for pop, tables in earlier.gone(self.clouds).items():
            logger.warning("PoP %s is gone: its %d servers and all else it had are dropped", pop, len(tables.servers))
            for upload in tables.uploads:
                if upload.stored:
                    with suppress(NotFound):
                        await asyncio.to_thread(self._images.remove, upload.stored)
            if self._volumes:
                for row in (*tables.volumes, *tables.snapshots):
                    await asyncio.to_thread(self._volumes.remove, row.id)
            for folder in self._kept.of(pop).folders:
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            await self._memory.forget([document_of(pop)])
        for pop, cloud in self.clouds.items():
            self._memory.keep_tables(pop, cloud.tables)
        self.wan.on_change = self._memory.keep_connections(self.wan.connections)

    async def _boot_servers(self, seeds: Iterable[ServerSeed]) -> None:
        slots = asyncio.Semaphore(_PARALLEL_BOOTS)

        async def boot(seed: ServerSeed) -> None:
            async with slots:
                await self.clouds[self.topology.site_of(seed.pop)].boot_seed(seed)

        for failure in await asyncio.gather(*map(boot, seeds), return_exceptions=True):
            if failure is not None:
                raise failure

    def server_of(self, name: str) -> tuple[Cloud, Server]:
        """A server by its name (`POP/SERVER`), with its cloud.

        Raises:
            NotFound: there is no such PoP or server.
        """
        pop, slash, server = name.partition("/")
        if not slash:
            known = ", ".join(f"`{state.endpoint.name}`" for state in self.endpoints) or "none"
            raise NotFound(f"no endpoint `{name}`", hint=f"endpoints: {known}; name a server as `POP/SERVER`")
        self.links.number_of(pop)
        cloud = self.clouds[self.topology.site_of(pop)]
        return cloud, cloud.find_server(server)

    def _stations(self, pop: str, network_id: str) -> tuple[str, ...]:
        if pop not in self.clouds:
            manager = self.topology.site_of(pop)
            raise NotFound(
                f"PoP `{pop}` has no networks of its own: it is an availability zone of `{manager}`",
                hint=f"name the network as one of `{manager}`, which has it in its zones, too",
            )
        cloud = self.clouds[pop]
        cloud.tables.networks.get(network_id)
        return cloud.stations(network_id)

    def _open_cloud(self, pop: Pop, saved: Tables | None) -> Cloud:
        external = self.links.external_of(pop.name)
        folder = self._folder / "pops" / pop.name
        folder.mkdir(parents=True, mode=0o700)

        async def stations_changed(network_id: str) -> None:
            await self.wan.stations_changed(pop.name, network_id)

        cloud = Cloud(
            pop=pop,
            plane=self._plane,
            runtime=self._runtime,
            images=self._images,
            external=external,
            external_gateway=router_address(external).ip,
            folder=folder,
            on_stations_changed=stations_changed,
            saved=saved,
            volumes=self._volumes,
            kept=self._kept.of(pop.name),
            zones=Zones(self.topology.managed(pop.name), self._vnis, Contact(self.links, pop.name).heard_of),
            outlets=outlets_of(
                endpoint
                for endpoint in self.topology.endpoints.values()
                if self.topology.site_of(endpoint.attach) == pop.name
            ),
        )
        self.events.watch(pop.name, cloud.tables)
        cloud.routers.outside.on_subnets = partial(self._number_six, pop.name)
        return cloud

    async def _number_six(self, pop: str, subnets: Sequence[Subnet]) -> None:
        """Let the endpoints of a PoP have addresses in its external subnets of IPv6."""
        gateways = [(subnet.cidr, subnet.gateway_ip) for subnet in subnets]
        known = [(one, via) for one, via in gateways if isinstance(one, IPv6Network) and isinstance(via, IPv6Address)]
        await self.endpoints.number_six(pop, known)

    def _check_images(self) -> None:
        names = [endpoint.image for endpoint in self.topology.endpoints.values()]
        names += [seed.image for seed in self.topology.servers.values()]
        for name in dict.fromkeys(names):
            self._images.get(name)


def _addresses_of(cloud: Cloud, server: Server) -> tuple[str, ...]:
    """Fixed addresses of a server, in the order of its interfaces."""
    ports = filter(None, (cloud.tables.ports.peek(nic.port_id) for nic in server.nics))
    return tuple(str(fixed.address) for port in ports for fixed in port.fixed_ips)
