"""Flavors and servers, as the Compute API v2.1 names them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from sonata.emulator.cloud.entities.base import Entity


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavor(Entity):
    """A size of servers: memory in MiB, disks in GiB."""

    vcpus: int
    ram_mib: int
    disk_gib: int = 0
    ephemeral_gib: int = 0
    swap_mib: int = 0
    is_public: bool = True
    rxtx_factor: float = 1.0
    extra_specs: Mapping[str, str] = field(default_factory=dict)


class ServerStatus:
    """Values of `Server.status` (Compute API, server concepts)."""

    BUILD = "BUILD"
    ACTIVE = "ACTIVE"
    SHUTOFF = "SHUTOFF"
    REBOOT = "REBOOT"
    ERROR = "ERROR"


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
        claimed: whether it counts against the PoP's capacity.
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
