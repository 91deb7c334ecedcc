"""In which states which action is allowed, as Nova decides it (Compute API guide, server concepts)."""

from __future__ import annotations

from sonata.emulator.cloud.asking import ASKER
from sonata.emulator.cloud.entities.compute import Server, ServerStatus
from sonata.errors import Conflict

VM_STATES = {
    ServerStatus.BUILD: "building",
    ServerStatus.ACTIVE: "active",
    ServerStatus.SHUTOFF: "stopped",
    ServerStatus.ERROR: "error",
    ServerStatus.PAUSED: "paused",
    ServerStatus.SUSPENDED: "suspended",
    ServerStatus.RESCUE: "rescued",
    ServerStatus.VERIFY_RESIZE: "resized",
    ServerStatus.SHELVED: "shelved",
    ServerStatus.SHELVED_OFFLOADED: "shelved_offloaded",
}
"""Nova's inner name of each status."""

_ON = {ServerStatus.ACTIVE}
_ON_OR_OFF = {ServerStatus.ACTIVE, ServerStatus.SHUTOFF}
_WITH_DISK = {ServerStatus.ACTIVE, ServerStatus.SHUTOFF, ServerStatus.PAUSED, ServerStatus.SUSPENDED}

ALLOWED: dict[str, set[str]] = {
    "start": {ServerStatus.SHUTOFF},
    "stop": {ServerStatus.ACTIVE, ServerStatus.ERROR},
    "reboot": _ON,
    "reboot_hard": {*_WITH_DISK, ServerStatus.ERROR},
    "pause": _ON,
    "unpause": {ServerStatus.PAUSED},
    "suspend": _ON,
    "resume": {ServerStatus.SUSPENDED},
    "rescue": {*_ON_OR_OFF, ServerStatus.ERROR},
    "unrescue": {ServerStatus.RESCUE},
    "rebuild": {*_ON_OR_OFF, ServerStatus.ERROR},
    "resize": _ON_OR_OFF,
    "migrate": _ON_OR_OFF,
    "confirmResize": {ServerStatus.VERIFY_RESIZE},
    "revertResize": {ServerStatus.VERIFY_RESIZE},
    "live_migration": {ServerStatus.ACTIVE, ServerStatus.PAUSED},
    "evacuate": {*_ON_OR_OFF, ServerStatus.ERROR},
    "shelve": _WITH_DISK,
    "shelveOffload": {ServerStatus.SHELVED},
    "unshelve": {ServerStatus.SHELVED, ServerStatus.SHELVED_OFFLOADED},
    "createImage": _WITH_DISK,
    "createBackup": _WITH_DISK,
    "changePassword": _ON,
    "attach_interface": {ServerStatus.ACTIVE, ServerStatus.SHUTOFF, ServerStatus.PAUSED},
    "detach_interface": {ServerStatus.ACTIVE, ServerStatus.SHUTOFF, ServerStatus.PAUSED},
    "restore": set(),
}
"""The statuses in which an action may begin."""

POWER_STATES = {
    ServerStatus.ACTIVE: 1,
    ServerStatus.RESCUE: 1,
    ServerStatus.PAUSED: 3,
    ServerStatus.SHUTOFF: 4,
    ServerStatus.SUSPENDED: 4,
    ServerStatus.SHELVED: 4,
    ServerStatus.SHELVED_OFFLOADED: 4,
}
"""What the hypervisor would tell (Compute API, power_state): 1 runs, 3 is frozen, 4 is off."""
RUNS = 1


def power_state(server: Server) -> int:
    """What the hypervisor would tell of a server."""
    status = (
        server.previous.status if server.previous and server.status == ServerStatus.VERIFY_RESIZE else server.status
    )
    return POWER_STATES.get(status, 0)


def is_on(server: Server) -> bool:
    """Whether machine and ports of a server stand, frozen or not."""
    return power_state(server) in (1, 3) or server.status == ServerStatus.SUSPENDED


def require(server: Server, action: str, shown_as: str = "") -> None:
    """Refuse an action that a server's state or lock does not permit.

    Raises:
        Conflict: with the state.
    """
    name = shown_as or action
    require_unlocked(server)
    if server.task_state:
        raise Conflict(f"Cannot '{name}' instance {server.id} while it is in task_state {server.task_state}")
    if server.status not in ALLOWED[action]:
        raise Conflict(f"Cannot '{name}' instance {server.id} while it is in vm_state {VM_STATES[server.status]}")


def require_unlocked(server: Server) -> None:
    """Refuse to touch a locked server, unless an administrator asks.

    Raises:
        Conflict: it is locked.
    """
    if server.locked and not ASKER.get().is_admin:
        raise Conflict(f"Instance {server.id} is locked")
