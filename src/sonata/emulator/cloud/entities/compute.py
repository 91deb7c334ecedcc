"""Flavors and servers, as the Compute API v2.1 names them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import field

from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.base import Entity


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavor(Entity):
    """A size of servers: memory in MiB, disks in GiB; a private one is for `projects`."""

    vcpus: int
    ram_mib: int
    disk_gib: int = 0
    ephemeral_gib: int = 0
    swap_mib: int = 0
    is_public: bool = True
    rxtx_factor: float = 1.0
    extra_specs: Mapping[str, str] = field(default_factory=dict)
    projects: tuple[str, ...] = ()


class ServerStatus:
    """Values of `Server.status` (Compute API, server concepts); what merely passes by follows from the task."""

    BUILD = "BUILD"
    ACTIVE = "ACTIVE"
    SHUTOFF = "SHUTOFF"
    ERROR = "ERROR"
    PAUSED = "PAUSED"
    SUSPENDED = "SUSPENDED"
    RESCUE = "RESCUE"
    VERIFY_RESIZE = "VERIFY_RESIZE"
    SHELVED = "SHELVED"
    SHELVED_OFFLOADED = "SHELVED_OFFLOADED"


PASSING = {
    "rebooting": "REBOOT",
    "rebooting_hard": "HARD_REBOOT",
    "rebuilding": "REBUILD",
    "rebuild_spawning": "REBUILD",
    "migrating": "MIGRATING",
    "resize_prep": "RESIZE",
    "resize_migrating": "RESIZE",
    "resize_migrated": "RESIZE",
    "resize_finish": "RESIZE",
    "resize_reverting": "REVERT_RESIZE",
    "updating_password": "PASSWORD",  # nosec B105  # a status
}
"""Statuses that a server shows while a task of this name goes on."""


@dataclass(frozen=True, slots=True)
class Previous:
    """What a server was before a resize or migration that is still to be confirmed; its capacity stays claimed."""

    flavor: Flavor
    host: str
    status: str


@dataclass(frozen=True, slots=True)
class Nic:
    """A server's interface. `owned` ports were made for the server and go with it; `tag` tells it apart inside."""

    port_id: str
    ifname: str
    owned: bool
    tag: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a server is not well. `code` is the HTTP status that Nova would have answered."""

    message: str
    code: int = 500
    created_at: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server(Entity):
    """A server.

    Args:
        argv: its program; empty for an idle server.
        user_data: in base64, as given.
        public_key: of the key pair `key_name`, as it was when the server was created.
        claimed: whether it counts against its host's capacity.
        host: the hypervisor that it is on, empty before it has one.
        cores: processors of the host that are its own (`hw:cpu_policy=dedicated`).
        previous: what a resize or migration has to go back to.
        rescue_image_id: what it runs while it is rescued.
        hints: what its creator asked of the scheduler.
        pinned_zone: whether its creator named the zone, so that it must stay there.
        nics: in the order eth0, eth1, ...
    """

    user_id: str = ""
    image_id: str
    flavor: Flavor
    status: str = ServerStatus.BUILD
    task_state: str | None = "scheduling"
    fault: Fault | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    nics: tuple[Nic, ...] = ()
    argv: tuple[str, ...] = ()
    user_data: str | None = None
    key_name: str | None = None
    public_key: str = ""
    security_groups: tuple[str, ...] = ("default",)
    availability_zone: str = "nova"
    config_drive: bool = False
    launched_at: float | None = None
    launch_index: int = 0
    reservation_id: str = ""
    claimed: bool = False
    host: str = ""
    cores: tuple[int, ...] = ()
    previous: Previous | None = None
    rescue_image_id: str = ""
    locked: bool = False
    locked_reason: str | None = None
    hints: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pinned_zone: bool = False
    access_ipv4: str = ""
    access_ipv6: str = ""

    @property
    def shown_status(self) -> str:
        """The status as the API shows it, with what is going on."""
        return PASSING.get(self.task_state or "", self.status)


@dataclass(frozen=True, slots=True)
class ActionEvent:
    """A step of an action; `finished_at` is None while it goes on."""

    name: str
    host: str
    started_at: float
    finished_at: float | None = None
    result: str | None = None
    details: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAction(Entity):
    """What somebody asked of a server (Compute API, os-instance-actions); `name` is the action's."""

    server_id: str
    request_id: str
    user_id: str = ""
    message: str | None = None
    events: tuple[ActionEvent, ...] = ()
