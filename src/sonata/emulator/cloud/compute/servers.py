"""Servers and their life cycle: BUILD, ACTIVE, SHUTOFF, ERROR, as the Compute API guide describes them.

Creating, starting, stopping and deleting answer at once and go on in the background, one at a time for each server.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from sonata.emulator.cloud.background import Background
from sonata.emulator.cloud.compute.capacity import usage
from sonata.emulator.cloud.compute.nics import Nics, NicWish
from sonata.emulator.cloud.compute.power import Power, described
from sonata.emulator.cloud.compute.wiring import Wiring
from sonata.emulator.cloud.entities.compute import Fault, Flavor, Server, ServerStatus
from sonata.emulator.cloud.image.images import Images
from sonata.emulator.cloud.site import Site
from sonata.errors import Conflict, QuotaExceeded, SonataError
from sonata.ports.runtime import MachineExit

logger = logging.getLogger(__name__)

NO_VALID_HOST = "No valid host was found. There are not enough hosts available."
VM_STATES = {
    ServerStatus.BUILD: "building",
    ServerStatus.ACTIVE: "active",
    ServerStatus.SHUTOFF: "stopped",
    ServerStatus.REBOOT: "active",
    ServerStatus.ERROR: "error",
}
"""Nova's inner name of each status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BootRequest:
    """A server to be created.

    Args:
        nics: None for the project's only network, if it has exactly one.
        argv: its program; None for the image's.
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
    availability_zone: str = "nova"
    config_drive: bool = False
    launch_index: int = 0
    reservation_id: str = ""


class Servers:
    """The servers of one cloud."""

    def __init__(self, site: Site, wiring: Wiring, images: Images, nics: Nics) -> None:
        self._site = site
        self._table = site.tables.servers
        self._images = images
        self._nics = nics
        self.power = Power(site, wiring, images, self._ended)
        self.on_deleted: Callable[[str], Awaitable[None]] = _nobody_cares
        self._background = Background(
            lambda server_id, error: self._fail(server_id, f"{type(error).__name__}: {error}")
        )

    def create(self, request: BootRequest) -> Server:
        """Accept a server; it is built in the background.

        Raises:
            NoSuch, InvalidInput: image, port or network do not exist.
            PortInUse: a port is bound.
            Conflict: no network is named and the project has several.
            OverQuota: the project has as many as it may have.
        """
        image = self._images.bootable(request.image_id)
        wishes = self._nics.default_wishes(request.project_id) if request.nics is None else request.nics
        self._nics.check(wishes)
        require_room(self._site, request)
        server = self._table.add(_new_server(request, image.argv))
        server = self._nics.bind_existing(server, wishes)
        self._background.spawn(server.id, self._build(server.id, wishes))
        return server

    def start(self, server_id: str) -> None:
        """Start a server that is off."""
        self._begin(server_id, "start", "powering-on", {ServerStatus.SHUTOFF}, self._start)

    def stop(self, server_id: str) -> None:
        """Stop a running server."""
        self._begin(server_id, "stop", "powering-off", {ServerStatus.ACTIVE, ServerStatus.ERROR}, self._stop)

    def reboot(self, server_id: str) -> None:
        """Stop a server and start it again."""
        allowed = {ServerStatus.ACTIVE, ServerStatus.SHUTOFF, ServerStatus.ERROR}
        self._begin(server_id, "reboot", "rebooting", allowed, self._reboot)

    async def delete(self, server_id: str) -> None:
        """Delete a server in whatever state; nothing of it is left once it is gone from the table."""
        if self._table.get(server_id).task_state == "deleting":
            return
        self._table.change(server_id, task_state="deleting")
        await self._background.cancel(server_id)
        self._background.spawn(server_id, self._destroy(server_id))

    async def settled(self, server_id: str) -> Server | None:
        """Wait until nothing is going on with a server; None when it is gone."""
        await self._background.wait(server_id)
        return self._table.peek(server_id)

    async def close(self) -> None:
        """End all background work; machines and ports go with runtime and data plane."""
        await self._background.close()

    async def _build(self, server_id: str, wishes: Sequence[NicWish]) -> None:
        with self._failing(server_id):
            self._claim(server_id)
            self._table.change(server_id, task_state="networking")
            self._nics.make_missing(server_id, wishes)
            self._table.change(server_id, task_state="spawning")
            await self._switch_on(server_id)

    def _claim(self, server_id: str) -> None:
        """Count a server against the PoP's capacity."""
        if not usage(self._site.pop, self._site.tables).fits(self._table.get(server_id).flavor):
            raise QuotaExceeded(NO_VALID_HOST)
        self._table.change(server_id, claimed=True)

    async def _start(self, server_id: str) -> None:
        with self._failing(server_id):
            await self._switch_on(server_id)

    async def _stop(self, server_id: str) -> None:
        with self._failing(server_id):
            await self.power.off(self._table.get(server_id))
            self._table.change(server_id, status=ServerStatus.SHUTOFF, task_state=None, fault=None)

    async def _reboot(self, server_id: str) -> None:
        with self._failing(server_id):
            self._table.change(server_id, status=ServerStatus.REBOOT)
            await self.power.off(self._table.get(server_id))
            await self._switch_on(server_id)

    async def _destroy(self, server_id: str) -> None:
        with self._failing(server_id):
            # As Nova does: who wants a program to end in order stops the server first.
            await self.power.off(self._table.get(server_id), grace_s=0.0)
            await self._nics.release_all(self._table.get(server_id))
            self.power.forget(server_id)
            await self.on_deleted(server_id)
            self._table.remove(server_id)

    async def _power_lost(self, server_id: str, how: MachineExit) -> None:
        """Tidy up after a program that ended by itself."""
        with self._failing(server_id):
            await self.power.off(self._table.get(server_id))
            fault = Fault(described(how)) if how.status else None
            self._table.change(server_id, status=ServerStatus.SHUTOFF, task_state=None, fault=fault)

    async def _switch_on(self, server_id: str) -> None:
        await self.power.on(self._table.get(server_id))
        self._table.change(server_id, status=ServerStatus.ACTIVE, task_state=None, fault=None, launched_at=time.time())

    async def _ended(self, server_id: str, how: MachineExit) -> None:
        """A program that had been ready ended; the server is off now, unless somebody is switching it off anyway."""
        server = self._table.peek(server_id)
        if server and server.status == ServerStatus.ACTIVE and not server.task_state:
            self._table.change(server_id, task_state="powering-off")
            self._background.spawn(server_id, self._power_lost(server_id, how))

    def _begin(
        self,
        server_id: str,
        action: str,
        task_state: str,
        allowed: set[str],
        work: Callable[[str], Coroutine[None, None, None]],
    ) -> None:
        """Start an action in the background if the server's state permits it."""
        server = self._table.get(server_id)
        if server.task_state:
            raise Conflict(f"Cannot '{action}' instance {server_id} while it is in task_state {server.task_state}")
        if server.status not in allowed:
            state = VM_STATES[server.status]
            raise Conflict(f"Cannot '{action}' instance {server_id} while it is in vm_state {state}")
        self._table.change(server_id, task_state=task_state)
        self._background.spawn(server_id, work(server_id))

    @contextmanager
    def _failing(self, server_id: str) -> Iterator[None]:
        """Turn a failure into the server's fault."""
        try:
            yield
        except SonataError as error:
            logger.warning("server failed", extra={"server": server_id, "cause": str(error)})
            self._fail(server_id, str(error))

    def _fail(self, server_id: str, message: str) -> None:
        if server_id in self._table:
            self._table.change(server_id, status=ServerStatus.ERROR, task_state=None, fault=Fault(message))


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
        availability_zone=request.availability_zone,
        config_drive=request.config_drive,
        launch_index=request.launch_index,
        reservation_id=request.reservation_id,
    )


def require_room(site: Site, request: BootRequest, count: int = 1) -> None:
    """Refuse more servers like this than the project may have.

    Raises:
        OverQuota: of instances, cores or ram.
    """
    each = {"instances": 1, "cores": request.flavor.vcpus, "ram": request.flavor.ram_mib}
    site.quotas.require_all(request.project_id, {name: more * count for name, more in each.items()})
