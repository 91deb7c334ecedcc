"""A whole running emulation: PoPs, links, endpoints and servers, composed out of ports."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from sonata._lib.values import dataclass
from sonata.emulator.cloud import Cloud
from sonata.emulator.cloud.compute.consoles import SHELL
from sonata.emulator.cloud.entities.compute import Server
from sonata.emulator.cloud.site import Kept
from sonata.emulator.data_plane import DataPlane
from sonata.emulator.endpoints import Endpoints
from sonata.emulator.events import EventLog
from sonata.emulator.host_room import watch_room
from sonata.emulator.link_check import LinkChecker
from sonata.emulator.links import Links
from sonata.emulator.management import Management
from sonata.emulator.memory import Memory, Recollection
from sonata.emulator.numbering import Numbers, all_numbered
from sonata.emulator.resources import Resources
from sonata.emulator.roaming import Roaming
from sonata.emulator.sites import Ground, Sites
from sonata.emulator.wan import Wan
from sonata.errors import NotFound
from sonata.model.topology import Topology
from sonata.ports.fabric import PortCounters
from sonata.ports.images import ImageStore
from sonata.ports.journal import Journal
from sonata.ports.runtime import Fleet, Tell, Terminal
from sonata.ports.volumes import VolumeStore

Progress = Callable[[str], None]


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
        runtime: Fleet,
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
        self._disks = kept.disks if kept and kept.disks else folder
        self.events = EventLog()
        self.links = Links(plane, self.events)
        self.link_checker = LinkChecker(self.links, plane)
        self.endpoints = Endpoints(self.links, plane, runtime, images, folder, self.events)
        self.roaming = Roaming(lambda: self.topology, self.links, self.endpoints, plane, self.events)
        self.management = Management(self.links.pops, plane)
        self._memory = Memory(journal)
        ground = Ground(plane, runtime, images, folder, volumes, kept or Kept())
        self.sites = Sites(ground, self.links, self.endpoints, self._memory, self.events, lambda: self.topology)
        self.resources = Resources(lambda: self.topology, runtime, folder)
        self.wan = Wan(self.links, plane, self.sites.stations, self.endpoints.attached, self.events)
        self.wan.view.figures = self.resources.figures
        self.sites.on_stations_changed = lambda pop: partial(self.wan.stations_changed, pop)
        self.numbers_changed: Callable[[], None] = lambda: None

    @property
    def clouds(self) -> Mapping[str, Cloud]:
        """The clouds by their PoPs, as they are at any time."""
        return self.sites.clouds

    @property
    def images(self) -> ImageStore:
        """The image store."""
        return self._images

    @property
    def numbers(self) -> Numbers:
        """The numbers that decide about addresses."""
        return Numbers(self.links.pops.numbers, self.links.numbers, self.endpoints.numbers)

    @property
    def runtime(self) -> Fleet:
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
        topology, numbers = self.topology, all_numbered(self.topology, earlier.numbers)
        await self._expect(topology)
        progress(f"{len(topology.pops)} PoPs and {len(topology.links)} links")
        await self.links.pops.add(numbers.pops)
        await self.links.add(topology.links, numbers.links)
        await self.links.reroute()
        noisy = await self.resources.follow()
        await self.endpoints.lay_outlets(topology.endpoints.values())
        for pop in topology.sites:
            self.sites.open(pop, earlier.tables.get(pop.name))
        if earlier.tables:
            progress(f"what {len(earlier.tables)} PoPs had before the emulation died")
            await self.sites.restore(earlier)
            await self.wan.restore(earlier.connections)
        if noisy:
            progress(f"noisy neighbours in {noisy} PoPs")
        if topology.endpoints:
            progress(f"{len(topology.endpoints)} endpoints")
            self.sites.give_up_addresses(numbers.endpoints)
            await self.endpoints.add(list(topology.endpoints.values()), numbers.endpoints)
        for cloud in self.clouds.values():
            await cloud.endpoints_started()
        if topology.servers:
            progress(f"{len(topology.servers)} servers")
        for failure in (await self.sites.boot(list(topology.servers.values()))).values():
            raise failure
        await self._plane.run(lambda fabric: fabric.expect(machines=0, routers=0))
        await self._remember(earlier)
        self.events.tell("emulation.started", topology.name, pops=len(topology.pops))

    async def _expect(self, topology: Topology) -> None:
        """Tell the fabric how much is to come; what serves the servers, and their routers, waits to be called."""
        machines = len(topology.endpoints) + len(topology.servers)
        await self._plane.run(lambda fabric: fabric.expect(machines=machines, routers=0))

    async def keep_going(self) -> None:
        """Set going again what ends by itself in the data plane, and tell of a full disk, until cancelled."""
        name = self.topology.name
        mending = self._plane.keep_going(lambda mended: self.events.tell("plane.mended", name, what=mended))
        await asyncio.gather(mending, watch_room(self._disks, self.events, name))

    async def close(self, *, keep: bool = False) -> None:
        """Stop everything; `keep` leaves what the next start needs to go on. Idempotent."""
        await self._memory.close()
        await self.sites.close(keep=keep)
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
            machine = await self.endpoints.woken(endpoint)
            return await self.runtime.exec(machine, argv, stdin=stdin, tell=tell)
        cloud, server = self.server_of(name)
        return await cloud.exec(server, argv, stdin, tell)

    async def terminal(self, name: str, *, rows: int, columns: int) -> Terminal:
        """A shell on a terminal in an endpoint or a server (`POP/SERVER`); the caller closes it.

        Raises:
            NotFound: there is no such machine.
            Conflict: the server is off.
        """
        if endpoint := self.endpoints.find(name):
            machine = await self.endpoints.woken(endpoint)
            return await self.runtime.terminal(machine, SHELL, rows=rows, columns=columns)
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

    async def _remember(self, earlier: Recollection) -> None:
        """Write down what changes from now on."""
        await self.sites.remember(earlier)
        self.wan.on_change = self._memory.keep_connections(self.wan.connections)
        self.numbers_changed = self._memory.keep_numbers(lambda: self.numbers)

    def server_of(self, name: str) -> tuple[Cloud, Server]:
        """A server by its name (`POP/SERVER`), with its cloud.

        Raises:
            NotFound: there is no such PoP or server.
        """
        pop, slash, server = name.partition("/")
        if not slash:
            known = ", ".join(f"`{state.endpoint.name}`" for state in self.endpoints) or "none"
            raise NotFound(f"no endpoint `{name}`", hint=f"endpoints: {known}; name a server as `POP/SERVER`")
        cloud = self.sites.of(pop)
        return cloud, cloud.find_server(server)

    def _check_images(self) -> None:
        names = [endpoint.image for endpoint in self.topology.endpoints.values()]
        names += [seed.image for seed in self.topology.servers.values()]
        for name in dict.fromkeys(names):
            self._images.get(name)


def _addresses_of(cloud: Cloud, server: Server) -> tuple[str, ...]:
    """Fixed addresses of a server, in the order of its interfaces."""
    ports = filter(None, (cloud.tables.ports.peek(nic.port_id) for nic in server.nics))
    return tuple(str(fixed.address) for port in ports for fixed in port.fixed_ips)
