"""One emulated OpenStack site: the domain behind its APIs."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from sonata.emulator.cloud.appliances import Appliances
from sonata.emulator.cloud.compute.capacity import Usage, usage
from sonata.emulator.cloud.compute.carrying import Carrying
from sonata.emulator.cloud.compute.consoles import Consoles
from sonata.emulator.cloud.compute.flavors import Flavors
from sonata.emulator.cloud.compute.freezing import Freezing
from sonata.emulator.cloud.compute.hosts import Hosts
from sonata.emulator.cloud.compute.keypairs import KeyPairs
from sonata.emulator.cloud.compute.leftovers import drop_all, sweep
from sonata.emulator.cloud.compute.live_migration import LiveMigration
from sonata.emulator.cloud.compute.moving import Moving
from sonata.emulator.cloud.compute.nics import Nics
from sonata.emulator.cloud.compute.rebuilding import Rebuilding
from sonata.emulator.cloud.compute.scheduler import Scheduler
from sonata.emulator.cloud.compute.servers import Servers
from sonata.emulator.cloud.compute.states import RUNS, power_state
from sonata.emulator.cloud.compute.targets import Targets
from sonata.emulator.cloud.compute.wiring import Wiring
from sonata.emulator.cloud.entities.compute import Server, ServerStatus
from sonata.emulator.cloud.eviction import evict
from sonata.emulator.cloud.firstboot.boot_folder import BootFolders
from sonata.emulator.cloud.identity import Identity
from sonata.emulator.cloud.image.images import Images
from sonata.emulator.cloud.image.members import ImageMembers
from sonata.emulator.cloud.load_balancing.load_balancing import LoadBalancing
from sonata.emulator.cloud.network.addresses import Addresses
from sonata.emulator.cloud.network.auto_topology import AutoTopology
from sonata.emulator.cloud.network.callers import Callers
from sonata.emulator.cloud.network.filters import PortFilters
from sonata.emulator.cloud.network.footing import Footing
from sonata.emulator.cloud.network.forwarding import PortForwardings
from sonata.emulator.cloud.network.l2_gateways import L2Gateways
from sonata.emulator.cloud.network.networks import Networks
from sonata.emulator.cloud.network.places import Places
from sonata.emulator.cloud.network.pools import SubnetPools
from sonata.emulator.cloud.network.port_changes import PortChanges
from sonata.emulator.cloud.network.ports import Ports
from sonata.emulator.cloud.network.qos import Qos
from sonata.emulator.cloud.network.rbac import Rbac
from sonata.emulator.cloud.network.routers import FloatingIps, Routers
from sonata.emulator.cloud.network.security import SecurityGroups
from sonata.emulator.cloud.network.service_graphs import ServiceGraphs
from sonata.emulator.cloud.network.services import NetworkServices
from sonata.emulator.cloud.network.sfc import Chaining
from sonata.emulator.cloud.network.spreading import Spreading
from sonata.emulator.cloud.network.standing import Standing
from sonata.emulator.cloud.network.steering import Steering
from sonata.emulator.cloud.orchestration.stacks import Stacks
from sonata.emulator.cloud.recovery import lose_power, renumber
from sonata.emulator.cloud.seeds import Seeds
from sonata.emulator.cloud.site import Kept, Site, StationsChanged, Zones
from sonata.emulator.cloud.tables import Tables
from sonata.emulator.cloud.volume.attachments import Attachments
from sonata.emulator.cloud.volume.transfers import Transfers
from sonata.emulator.cloud.volume.types import VolumeTypes
from sonata.emulator.cloud.volume.volumes import Volumes
from sonata.emulator.data_plane import DataPlane
from sonata.emulator.outlets import Outlet
from sonata.errors import Conflict
from sonata.model.topology import Pop
from sonata.ports.fabric import PortCounters
from sonata.ports.images import ImageStore
from sonata.ports.runtime import Fleet, Tell
from sonata.ports.volumes import VolumeStore

logger = logging.getLogger(__name__)


class Cloud:
    """One site with its projects, networks, servers, chains and images.

    Its parts are public: `networks`, `ports`, `routers`, `floating_ips`, `security_groups`, `chaining`, `images`,
    `flavors`, `keypairs`, `servers`, `nics`, `identity`, `quotas`, and `tables` with their state. The PoP's data plane
    (`Underlay.add_pops`) stands before the cloud is used.

    Args:
        external: the PoP's external network.
        external_gateway: the PoP's router there.
        folder: private folder for uploads and the like; exists.
        on_stations_changed: awaited with a network id after the MAC addresses plugged into it have changed.
        saved: the tables of the same cloud before it died; `restore` then builds the data plane from them.
        volumes: where volumes are kept; without it there are none.
        zones: the PoPs that it has as availability zones besides its own.
        kept: folders that `close` keeps when told so.
        outlets: interfaces of the world outside that layer 2 gateways can join to networks.
    """

    def __init__(
        self,
        pop: Pop,
        plane: DataPlane,
        runtime: Fleet,
        images: ImageStore,
        external: IPv4Network,
        external_gateway: IPv4Address,
        folder: Path,
        on_stations_changed: StationsChanged,
        saved: Tables | None = None,
        volumes: VolumeStore | None = None,
        zones: Zones | None = None,
        kept: Kept | None = None,
        outlets: Sequence[Outlet] = (),
    ) -> None:
        tables = self.tables = Tables() if saved is None else _woken(saved, pop, external, external_gateway)
        self._tell, changed, zones = on_stations_changed, self._stations_changed, zones or Zones()
        below, around = (plane, runtime, images), (external, external_gateway)
        self.site = Site(pop, *below, *around, folder, changed, tables, volumes, zones, kept=kept or Kept())
        self.site.outlets = tuple(outlets)
        self.quotas = self.site.quotas
        addresses = Addresses()
        self.identity = Identity(self.tables)
        self.flavors = Flavors(self.tables)
        self.keypairs = KeyPairs(self.tables)
        if saved is None:
            self.flavors.add_defaults()
        places = Places(self.site)
        self._spreading = Spreading(self.site, places)
        self.filters = PortFilters(self.site, places)
        self.security_groups = SecurityGroups(self.site, self.filters)
        self.qos = Qos(self.site)
        self.security_groups.default(self.identity.admin_project.id)
        standing = Standing(self.site, places)
        self.networks = Networks(self.site, addresses, standing, self._spreading)
        self.l2_gateways = L2Gateways(self.site)
        self.ports = Ports(self.site, addresses)
        self.routers = Routers(self.site, self.ports)
        self.floating_ips = FloatingIps(self.site, self.ports, self.routers)
        self.subnet_pools = SubnetPools(self.site)
        self.rbac = Rbac(self.site)
        self.auto_topology = AutoTopology(self.site, self.networks, self.routers, self.subnet_pools)
        self.port_forwardings = PortForwardings(self.site, self.routers, self.floating_ips)
        self._steering = Steering(self.site, places)
        self.chaining = Chaining(self.site, self._steering)
        self.service_graphs = ServiceGraphs(self.site, self._steering)
        self.images = Images(self.site)
        self.image_members = ImageMembers(self.tables)
        footing = Footing(places, self._spreading, self.filters)
        self.wiring = Wiring(self.site, self.ports, self._steering, footing, self.qos, standing)
        changed_with = self.ports, standing, self.routers, self.floating_ips
        self.port_changes = PortChanges(self.site, self.wiring.turns, *changed_with)
        self.appliances = Appliances(self.site, self.wiring)
        self.nics = Nics(self.site, self.ports, self.wiring, self.floating_ips, self.security_groups)
        self.load_balancing = LoadBalancing(self.site, self.ports, self.floating_ips, self.appliances)
        self.volume_types = VolumeTypes(self.tables)
        self.volumes = Volumes(self.site, self.images, self.volume_types)
        self.attachments = Attachments(self.site, self.volumes, self.wiring.machine_id)
        self.transfers = Transfers(self.tables, self.volumes)
        self.hosts = Hosts(self.site)
        self.scheduler = Scheduler(self.tables, self.hosts, sorted(os.sched_getaffinity(0)))
        self.servers = Servers(self.site, self.wiring, self.images, self.nics, self.scheduler, self.attachments)
        self.freezing = Freezing(self.tables, self.servers.operations, self.servers.power)
        self.rebuilding = Rebuilding(self.site, self.servers, self.images)
        self.consoles = Consoles(self.tables.servers, self.servers.power)
        carrying = Carrying(self.site, self.wiring, standing, footing, self._steering)
        targets = Targets(tables, self.scheduler, self.hosts, carrying)
        self.moving = Moving(self.site, self.servers, self.scheduler, self.hosts, targets)
        self.live_migration = LiveMigration(tables, self.servers.operations, self.servers.power, targets, carrying)
        self.stacks = Stacks(self.tables)
        self.services = NetworkServices(self.site, self.ports, self.wiring, Callers(self.site, standing, footing))
        boot_folders = BootFolders(self.tables, folder / "boot")
        self.servers.power.dressing = boot_folders.dress
        self.servers.on_deleted = boot_folders.discard
        self.seeds = Seeds(self.site, self.identity, self.networks, self.routers, self.images, self.servers)
        self._introduce()

    def _introduce(self) -> None:
        """Let parts know who is to be told what they do."""
        steering = self._steering
        self.l2_gateways.on_joined = lambda network_id: steering.ports_changed(steering.boxes.ports_on(network_id))
        self._spreading.guests = self.l2_gateways.stations
        self.networks.on_delete = self.l2_gateways.require_apart
        self.qos.on_rules_changed = self.routers.follow_policy
        self.load_balancing.changes.listener = self._steering.pools_changed
        self.services.on_post = self.stacks.post
        self.stacks.run_in_server = self._run_in_server
        self.wiring.on_servers_moved = self.services.follow
        self.networks.on_release = self.services.release
        self.networks.on_subnets_changed = self._subnets_changed
        self.port_changes.on_service_port_changed = self.services.port_changed
        self.nics.on_service_port_deleted = self.services.release

    @property
    def pop(self) -> Pop:
        """The site's own PoP as it is now."""
        return self.site.pop

    def follow(self, pop: Pop, zones: Sequence[Pop], outlets: Sequence[Outlet]) -> None:
        """Have these hosts and zones, with what they offer, and these outlets from now on.

        No server is on a host that goes, and no gateway joins an outlet that goes.
        """
        self.site.pop, self.site.outlets = pop, tuple(outlets)
        self.site.zones = replace(self.site.zones, pops=tuple(zones))
        self.hosts.follow()

    async def evict(self, hosts: Collection[str]) -> None:
        """Delete all servers on some hosts, also those that are locked.

        Raises:
            PermanentError: one cannot be deleted.
        """
        await evict(self.servers, self.tables, [one for one in self.tables.servers if one.host in hosts])

    async def tear_down(self) -> None:
        """Delete its servers, end all else and leave nothing of it in runtime and store; its PoPs stay."""
        await self.stacks.close()
        await self.evict({"", *(host.name for host in self.hosts.all)})
        await self.close()

    async def restore(self) -> None:
        """Build the data plane of saved tables: networks, routers, chains; servers stay off."""
        self.images.restore()
        await self.images.sweep()
        await sweep(self.site)
        self.volumes.restore()
        await self.networks.restore()
        for router in self.tables.routers:
            await self.routers.apply(router)
        await self.routers.outside.follow()
        await self.l2_gateways.restore()
        await self._steering.restore()
        self.load_balancing.changes.restore()

    async def endpoints_started(self) -> None:
        """Take note that what is outside of the PoP has its interfaces: chains may lead through it."""
        self._steering.boxes.have_started = True
        await self._steering.restore()

    async def _run_in_server(self, server_id: str, argv: Sequence[str], stdin: bytes) -> tuple[int, bytes, bytes]:
        server = self.tables.servers.get(server_id)
        if server.status != ServerStatus.ACTIVE:
            raise Conflict(f"server {server.name} is {server.status}; only in an ACTIVE one something can be run")
        return await self.servers.power.exec(server, argv, stdin)

    @property
    def usage(self) -> Usage:
        """Capacity of the site's PoPs and what is claimed of it."""
        return usage(self.site.pops, self.tables)

    async def _subnets_changed(self, network_id: str) -> None:
        if self.tables.networks.get(network_id).external:
            await self.routers.outside.follow()
        else:
            await self.services.subnets_changed(network_id)

    async def _stations_changed(self, network_id: str) -> None:
        """Let the site's other PoPs, and then the wide area, know where the ports of a network are."""
        await self._spreading.follow([network_id])
        await self._tell(network_id)

    def stations(self, network_id: str) -> tuple[str, ...]:
        """MAC addresses that are plugged into a network here, routers and what layer 2 gateways join to it included; a
        stand-in for another PoP is not.
        """
        ports = (port for port in self.tables.ports if port.network_id == network_id)
        guests = (mac for _pop, mac in self.l2_gateways.stations(network_id))
        return (*(port.mac for port in ports if port.plugged), *guests)

    def find_server(self, name_or_id: str) -> Server:
        """A server by id or name.

        Raises:
            NoSuch: there is none.
            Conflict: several have the name.
        """
        return self.tables.servers.find(name_or_id)

    def image_name(self, server: Server) -> str:
        """What a server booted, for people."""
        return self.images.find(server.image_id).name if server.image_id else "a volume"

    async def exec(
        self, server: Server, argv: Sequence[str], stdin: bytes = b"", tell: Tell | None = None
    ) -> tuple[int, bytes, bytes]:
        """Run a command in a server; returns exit status, stdout and stderr.

        Raises:
            Conflict: the server does not run.
        """
        if power_state(server) != RUNS:
            raise Conflict(f"server `{server.name}` is {server.status}, not ACTIVE", hint="start it first")
        return await self.servers.power.exec(server, argv, stdin, tell)

    async def port_counters(self, server: Server) -> Mapping[str, PortCounters]:
        """Counters of a server's interfaces by their name in it, `eth0`, ..."""
        return await self.wiring.counters(server)

    async def close(self, *, keep: bool = False) -> None:
        """End background work and, unless `keep`, remove uploads; machines and ports go with runtime and data plane."""
        await self.seeds.close()
        await self.stacks.close()
        await self.servers.close()
        await self.load_balancing.close()
        await self.volumes.close()
        await self.appliances.close()
        await self.services.close()
        if not keep:
            await self.images.discard()
            await self.volumes.discard()
            await drop_all(self.site)


def _woken(saved: Tables, pop: Pop, external: IPv4Network, external_gateway: IPv4Address) -> Tables:
    """The tables of an earlier life, true for this one."""
    lose_power(saved)
    if renumber(saved, external, external_gateway):
        logger.warning("the external network of PoP %s is %s now; its floating IPs moved", pop.name, external)
    return saved
