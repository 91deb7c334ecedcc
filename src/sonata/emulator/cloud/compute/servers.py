"""Servers and their life: created, started, stopped, deleted, as the Compute API guide describes it.

Everything answers at once and goes on in the background, one piece of work at a time for each server.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field

from sonata._lib.values import dataclass
from sonata.emulator.cloud.compute.capacity import GIB
from sonata.emulator.cloud.compute.disks import Disks, DiskWish
from sonata.emulator.cloud.compute.nics import Nics, NicWish
from sonata.emulator.cloud.compute.operations import Operations
from sonata.emulator.cloud.compute.power import Power, described
from sonata.emulator.cloud.compute.roots import SHUTDOWN_S
from sonata.emulator.cloud.compute.scheduler import Request, Scheduler
from sonata.emulator.cloud.compute.states import require_unlocked
from sonata.emulator.cloud.compute.wiring import Wiring
from sonata.emulator.cloud.entities.compute import Fault, Flavor, Server, ServerStatus
from sonata.emulator.cloud.entities.image import GlanceImage
from sonata.emulator.cloud.image.images import Images
from sonata.emulator.cloud.site import DEFAULT_ZONE, Site
from sonata.errors import InvalidInput
from sonata.ports.runtime import MachineExit

NO_VALID_HOST = "No valid host was found. There are not enough hosts available."
PROVING_S = 6.0
"""A program that ends within this time has failed to start: clients that wait look every 5 s, and know ERROR alone."""
PROGRAM_HINT = "look at its console log, or give its image a program that stays (`os_command_line`)"
RUNNING = frozenset((ServerStatus.ACTIVE, ServerStatus.PAUSED, ServerStatus.SUSPENDED, ServerStatus.VERIFY_RESIZE))
"""Statuses in which the end of a program is a surprise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BootRequest:
    """A server to be created.

    Args:
        nics: None for the project's only network, if it has exactly one.
        argv: its program; None for the image's.
        disks: volumes, the root among them where it boots from one; `image_id` is empty then.
        availability_zone: empty for any.
        host: the only host that may be taken, empty for any.
        group_id: the server group that it joins.
        hints: further wishes, lists of server ids by Nova's names.
    """

    name: str
    project_id: str
    user_id: str
    image_id: str
    flavor: Flavor
    nics: Sequence[NicWish] | None = None
    argv: tuple[str, ...] | None = None
    description: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    user_data: str | None = None
    key_name: str | None = None
    public_key: str = ""
    security_groups: tuple[str, ...] = ("default",)
    availability_zone: str = ""
    host: str = ""
    group_id: str = ""
    hints: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    config_drive: bool = False
    access_ipv4: str = ""
    access_ipv6: str = ""
    launch_index: int = 0
    reservation_id: str = ""
    disks: tuple[DiskWish, ...] = ()


class Servers:
    """The servers of one cloud."""

    def __init__(
        self, site: Site, wiring: Wiring, images: Images, nics: Nics, scheduler: Scheduler, disks: Disks
    ) -> None:
        self._site = site
        self._table = site.tables.servers
        self._groups = site.tables.server_groups
        self._images = images
        self._nics = nics
        self._scheduler = scheduler
        self._disks = disks
        self.power = Power(site, wiring, images, disks, self._ended)
        self.on_deleted: Callable[[str], Awaitable[None]] = _nobody_cares
        self.operations = Operations(site)
        self.switched_on: dict[str, float] = {}
        """When servers were switched on, by a clock that nobody sets; those that were off since the start are not."""

    def create(self, request: BootRequest) -> Server:
        """Accept a server; it is built in the background.

        Raises:
            NoSuch, InvalidInput: image, port, network or group do not exist.
            PortInUse: a port is bound.
            Conflict: no network is named and the project has several.
            OverQuota: the project has as many as it may have.
        """
        argv = program_of(request, self._images, self._disks)
        wishes = self._nics.default_wishes(request.project_id) if request.nics is None else request.nics
        self._nics.check(wishes)
        self._disks.check(request.disks)
        require_room(self._site, request)
        server = self._table.add(_new_server(request, argv))
        self._join_group(server, request.group_id)
        server = self._nics.bind_existing(server, wishes)
        self._disks.bind_existing(server, request.disks)
        self.operations.go(server, "create", lambda server_id: self._build(server_id, request, wishes))
        return server

    def start(self, server_id: str) -> None:
        """Start a server that is off."""
        self.operations.begin(server_id, "start", "powering-on", self.switch_on)

    def stop(self, server_id: str) -> None:
        """Stop a running server."""
        self.operations.begin(server_id, "stop", "powering-off", self._stop)

    def reboot(self, server_id: str, *, hard: bool = True) -> None:
        """Stop a server and start it again; softly, its program may end in order."""
        task, rule = ("rebooting_hard", "reboot_hard") if hard else ("rebooting", "reboot")
        self.operations.begin(server_id, "reboot", task, lambda one: self._reboot(one, hard=hard), rule=rule)

    async def delete(self, server_id: str) -> None:
        """Delete a server in whatever state; nothing of it is left once it is gone from the table.

        Raises:
            Conflict: it is locked.
        """
        server = self._table.get(server_id)
        require_unlocked(server)
        if server.task_state == "deleting":
            return
        self._table.change(server_id, task_state="deleting")
        await self.operations.cancel(server_id)
        # What was cancelled may have ended with something else to show.
        self.operations.go(self._table.change(server_id, task_state="deleting"), "delete", self._destroy)

    def reset(self, server_id: str, *, active: bool) -> None:
        """Say that a server is well, or that it is not, whatever it does (`os-resetState`)."""
        status = ServerStatus.ACTIVE if active else ServerStatus.ERROR
        self._table.change(server_id, status=status, task_state=None, fault=None if active else Fault("reset by hand"))

    async def settled(self, server_id: str) -> Server | None:
        """Wait until nothing is going on with a server; None when it is gone."""
        return await self.operations.settled(server_id)

    async def close(self) -> None:
        """End all background work; machines and ports go with runtime and data plane."""
        await self.operations.close()

    async def _build(self, server_id: str, request: BootRequest, wishes: Sequence[NicWish]) -> str | None:
        self.place(server_id, request.availability_zone, request.host)
        self._table.change(server_id, task_state="networking")
        self._nics.make_missing(server_id, wishes)
        if request.disks:
            self._table.change(server_id, task_state="block_device_mapping")
            await self._disks.make_missing(server_id, request.disks)
        self._table.change(server_id, task_state="spawning")
        return await self.switch_on(server_id)

    def place(self, server_id: str, zone: str = "", host: str = "") -> None:
        """Choose a host for a server and claim its capacity.

        Raises:
            NoValidHost: none has room.
        """
        server = self._table.get(server_id)
        cores = self._scheduler.cores_for(server, server.flavor)
        found = self._scheduler.pick(Request(server.flavor, server, zone=zone, host=host))
        zone = self._scheduler.zone_of(found)
        self._table.change(server_id, claimed=True, host=found, cores=cores, availability_zone=zone)

    def _join_group(self, server: Server, group_id: str) -> None:
        if not group_id:
            return
        group = self._groups.peek(group_id)
        if group is None or group.project_id != server.project_id:
            self._table.remove(server.id)
            raise InvalidInput(f"Instance group {group_id} could not be found.")
        self._site.quotas.require(server.project_id, "server_group_members", used=len(group.members))
        self._groups.change(group_id, members=(*group.members, server.id))

    async def _stop(self, server_id: str) -> None:
        await self.power.off(self._table.get(server_id))
        self._table.change(server_id, status=ServerStatus.SHUTOFF, task_state=None, fault=None)

    async def _reboot(self, server_id: str, *, hard: bool) -> str | None:
        server = self._table.get(server_id)
        await self.power.off(server, grace_s=0.0 if hard else SHUTDOWN_S)
        return await self.switch_on(server_id)

    async def _destroy(self, server_id: str) -> None:
        # As Nova does: who wants a program to end in order stops the server first.
        await self.power.off(self._table.get(server_id), grace_s=0.0)
        await self._nics.release_all(self._table.get(server_id))
        await self._disks.release_all(self._table.get(server_id))
        self.power.consoles.drop(server_id)
        await self.on_deleted(server_id)
        await self.power.wipe(server_id)
        for group in self._groups:
            if server_id in group.members:
                kept = tuple(member for member in group.members if member != server_id)
                self._groups.change(group.id, members=kept)
        self._table.remove(server_id)
        self.switched_on.pop(server_id, None)
        await self._images.sweep()

    async def _power_lost(self, server_id: str, how: MachineExit) -> None:
        """Tidy up after a program that ended by itself: one that ended at once has failed to start."""
        server = self._table.get(server_id)
        await self.power.off(server)
        status, fault = ServerStatus.SHUTOFF, Fault(described(how)) if how.status else None
        if self._has_just_started(server_id):
            status, fault = ServerStatus.ERROR, Fault(f"{described(how)} as soon as it was started; {PROGRAM_HINT}")
        self._table.change(server_id, status=status, task_state=None, fault=fault)

    async def switch_on(self, server_id: str) -> str | None:
        """Switch a server on and say so; returns what is worth telling of it."""
        told = await self.power.on(self._table.get(server_id))
        self.switched_on[server_id] = time.monotonic()
        self._table.change(server_id, status=ServerStatus.ACTIVE, task_state=None, fault=None, launched_at=time.time())
        return told

    def _has_just_started(self, server_id: str) -> bool:
        return time.monotonic() - self.switched_on.get(server_id, -PROVING_S) < PROVING_S

    async def _ended(self, server_id: str, how: MachineExit) -> None:
        """A program that had been ready ended; the server is off now, or after what is going on with it."""
        server = self._table.peek(server_id)
        if server is None or server.task_state == "deleting":
            return
        if server.status in RUNNING and not server.task_state:
            self._table.change(server_id, task_state="powering-off")
        self.operations.unasked(server_id, lambda one: self._settle_end(one, how))

    async def _settle_end(self, server_id: str, how: MachineExit) -> None:
        """Let a server be off whose program ended, unless it was switched off or on again meanwhile."""
        if self._table.get(server_id).status in RUNNING and self.power.end_of(server_id) is how:
            await self._power_lost(server_id, how)


async def _nobody_cares(_server_id: str) -> None:
    pass


def _new_server(request: BootRequest, image_argv: tuple[str, ...]) -> Server:
    return Server(
        name=request.name,
        project_id=request.project_id,
        user_id=request.user_id,
        image_id=request.image_id,
        flavor=request.flavor,
        argv=image_argv if request.argv is None else request.argv,
        description=request.description,
        metadata=dict(request.metadata),
        tags=request.tags,
        user_data=request.user_data,
        key_name=request.key_name,
        public_key=request.public_key,
        security_groups=request.security_groups,
        availability_zone=request.availability_zone or DEFAULT_ZONE,
        pinned_zone=bool(request.availability_zone),
        hints=dict(request.hints),
        config_drive=request.config_drive,
        access_ipv4=request.access_ipv4,
        access_ipv6=request.access_ipv6,
        launch_index=request.launch_index,
        reservation_id=request.reservation_id,
    )


def program_of(request: BootRequest, images: Images, disks: Disks) -> tuple[str, ...]:
    """What the root of a new server runs.

    Raises:
        NoSuch, InvalidInput: there is no such image, it cannot be booted, or the flavor is too small for it.
    """
    roots = (disk.source_id for disk in request.disks if disk.is_root and disk.source == "image")
    image_id = request.image_id or next(roots, "")
    if not image_id:
        return disks.program_of(request.disks)
    if why := _too_small(request.flavor, images.get(image_id), local=bool(request.image_id)):
        raise InvalidInput(why)
    return images.bootable(image_id).argv


def _too_small(flavor: Flavor, image: GlanceImage, *, local: bool) -> str:
    """Why a flavor cannot hold an image; empty when it can."""
    if flavor.ram_mib < image.min_ram_mib:
        return "Flavor's memory is too small for requested image."
    if local and 0 < flavor.disk_gib < image.min_disk_gib:
        return (
            "Flavor's disk is smaller than the minimum size specified in image metadata. Flavor disk is "
            f"{flavor.disk_gib * GIB} bytes, minimum size is {image.min_disk_gib * GIB} bytes."
        )
    return ""


def require_room(site: Site, request: BootRequest, count: int = 1) -> None:
    """Refuse more servers like this than the project may have.

    Raises:
        OverQuota: of instances, cores or ram.
    """
    each = {"instances": 1, "cores": request.flavor.vcpus, "ram": request.flavor.ram_mib}
    site.quotas.require_all(request.project_id, {name: more * count for name, more in each.items()})
