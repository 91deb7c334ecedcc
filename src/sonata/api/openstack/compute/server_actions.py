"""`POST /servers/{id}/action`: what can be done with a server.

Source: OpenStack Compute API reference, servers - run an action.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import field
from typing import Any

from sonata._lib.tails import tail
from sonata._lib.values import dataclass
from sonata.api.openstack.call import Call, Microversion
from sonata.api.openstack.compute import bodies
from sonata.api.openstack.compute.attributes import read_access, refuse_password, refuse_unavailable
from sonata.api.openstack.compute.consoles import OLD_CONSOLES, old_console
from sonata.api.openstack.compute.documents import ServerDocuments
from sonata.api.openstack.compute.placement import read_zone
from sonata.api.openstack.compute.servers import (
    find_server,
    read_flavor,
    read_name,
    read_texts,
    read_user_data,
)
from sonata.api.openstack.listing import Document
from sonata.api.openstack.reply import ACCEPTED, NO_CONTENT, Reply, json_reply
from sonata.api.openstack.routing import Routes
from sonata.api.openstack.topic import Topic, Truth
from sonata.emulator.cloud.compute.rebuilding import Rebuild
from sonata.emulator.cloud.compute.states import require
from sonata.emulator.cloud.entities.compute import Server
from sonata.emulator.cloud.entities.image import GlanceImage
from sonata.errors import InvalidInput, NotFound

LONGEST_CONSOLE = 100 * 1024
REASONED, IMAGE_TOLD, PASSWORDLESS, HOST_NAMED, ZONE_NAMED = (2, 73), (2, 45), (2, 14), (2, 56), (2, 77)
UNSHELVED_TO_HOST: Microversion = (2, 91)
DISKS_FOUND_OUT, FORCED, NOT_FORCED = (2, 25), (2, 30), (2, 68)
FLAGS = {
    **dict.fromkeys(("true", "1", "on", "yes", "t", "y"), True),
    **dict.fromkeys(("false", "0", "off", "no", "f", "n"), False),
}

Action = Callable[[Call, Server, Any], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Doing:
    """An action: what it does, and whether only administrators may."""

    run: Action
    admin: bool = False
    until: Microversion = field(default=(9, 9))


TOPIC = Topic(
    "server actions",
    Truth(
        real=(
            "start, stop, reboot, pause and suspend (frozen processes, silent ports), rebuild, rescue (the "
            "own disk is in `/mnt`), shelve, lock",
            "resize and migrate change the kernel's limits while the server runs where it can; both sizes "
            "are claimed until confirmed or reverted",
            "createImage keeps what the server wrote as a layer on its image; createBackup so, and deletes the oldest "
            "backups of its type beyond `rotation`; changePassword where the image has `chpasswd`",
            "live migration keeps processes and TCP connections, also between PoPs that the site manages as zones: "
            "ports move there; the event tells how long the server stood still; one that fails is undone",
        ),
        simplified=("all hosts of a site are this machine: a migration moves claims and ports, and copies no memory",),
        refused=(
            "actions that are not listed here (400); what the state forbids (409)",
            "live migration to another PoP of a server with a direct or macvtap port: the event and the server's fault "
            "say so, and it goes on where it is",
        ),
    ),
)


def register(routes: Routes) -> None:
    """Add the route of actions."""
    routes.about(TOPIC)
    routes.add("POST", "/v2.1/servers/{id}/action", _action, body=bodies.SERVER_ACTION)


async def _action(call: Call) -> Reply:
    server, body = find_server(call), await call.json()
    if len(body) != 1:
        raise InvalidInput("Invalid input: the body must name exactly one action")
    ((name, arguments),) = body.items()
    doing = ACTIONS.get(name)
    if doing is None or call.microversion >= doing.until:
        raise InvalidInput(f"There is no such action: {name}. Actions here are: {', '.join(sorted(ACTIONS))}")
    if doing.admin:
        call.require_admin(f"os_compute_api:{name}")
    return await doing.run(call, server, arguments)


def _simple(work: Callable[[Call, str], object]) -> Action:
    """An action without arguments that is accepted."""

    async def run(call: Call, server: Server, _arguments: Any) -> Reply:
        work(call, server.id)
        return ACCEPTED

    return run


def _object(arguments: Any, action: str, *known: str) -> Document:
    """Arguments as an object of known fields; null is an empty one.

    Raises:
        InvalidInput: they are something else.
    """
    if arguments is None:
        return {}
    if not isinstance(arguments, dict):
        raise InvalidInput(f"Invalid input for field/attribute {action}: an object is needed")
    if further := sorted(set(arguments) - set(known)):
        raise InvalidInput(
            f"Invalid input for field/attribute {action}. Additional properties are not allowed "
            f"({further[0]!r} was unexpected)"
        )
    return arguments


def _text(arguments: Document, name: str, default: str | None = None) -> str:
    text = arguments.get(name, default)
    if not isinstance(text, str):
        raise InvalidInput(f"Invalid input for field/attribute {name}: a string is needed")
    return text


async def _reboot(call: Call, server: Server, arguments: Any) -> Reply:
    kind = str(_object(arguments, "reboot", "type").get("type")).upper()
    if kind not in ("SOFT", "HARD"):
        raise InvalidInput(f"Invalid input for field/attribute type: {kind} is not one of ['SOFT', 'HARD']")
    call.cloud.servers.reboot(server.id, hard=kind == "HARD")
    return ACCEPTED


async def _lock(call: Call, server: Server, arguments: Any) -> Reply:
    known = ("locked_reason",) if call.microversion >= REASONED else ()
    reason = _object(arguments, "lock", *known).get("locked_reason")
    if reason is not None and (not isinstance(reason, str) or not 1 <= len(reason) <= 255):
        raise InvalidInput("Invalid input for field/attribute locked_reason: 1 to 255 characters are needed")
    call.cloud.freezing.lock(server.id, reason)
    return ACCEPTED


async def _reset_state(call: Call, server: Server, arguments: Any) -> Reply:
    state = _text(_object(arguments, "os-resetState", "state"), "state")
    if state not in ("active", "error"):
        raise InvalidInput(f"Invalid input for field/attribute state: {state} is not one of ['active', 'error']")
    call.cloud.servers.reset(server.id, active=state == "active")
    return ACCEPTED


async def _rescue(call: Call, server: Server, arguments: Any) -> Reply:
    asked = _object(arguments, "rescue", "adminPass", "rescue_image_ref")
    refuse_password(asked)
    image_id = _image(call, asked.get("rescue_image_ref") or server.image_id)
    call.cloud.rebuilding.rescue(server.id, image_id)
    return json_reply({})


def _image(call: Call, reference: Any) -> str:
    image_id = str(reference).rstrip("/").rpartition("/")[2]
    try:
        image = call.cloud.images.get(image_id)
    except NotFound:
        raise InvalidInput(f"Image {image_id} could not be found.") from None
    if image.status != "active":
        raise InvalidInput(f"Image {image_id} is not active.")
    return image.id


REBUILT = (
    "imageRef", "name", "metadata", "adminPass", "description", "accessIPv4", "accessIPv6", "key_name", "user_data",
    "OS-DCF:diskConfig", "preserve_ephemeral", "hostname", "trusted_image_certificates",
)  # fmt: skip


async def _rebuild(call: Call, server: Server, arguments: Any) -> Reply:
    asked = _object(arguments, "rebuild", *REBUILT)
    if "imageRef" not in asked:
        raise InvalidInput("Invalid input for field/attribute rebuild. 'imageRef' is a required property")
    refuse_password(asked)
    server = call.cloud.rebuilding.rebuild(
        server.id, Rebuild(_image(call, asked["imageRef"]), _rebuilt_attributes(call, server, asked))
    )
    document = ServerDocuments(call).detail(server)
    return json_reply({"server": document}, 202, location=document["links"][0]["href"])


def _rebuilt_attributes(call: Call, server: Server, asked: Document) -> Document:
    """What of a server changes with its image."""
    changes: Document = {**read_access(asked)}
    if "name" in asked:
        changes["name"] = read_name(asked)
    refuse_unavailable(asked, changes.get("name", server.name))
    if "metadata" in asked:
        changes["metadata"] = read_texts("metadata", asked["metadata"])
    if "description" in asked:
        changes["description"] = str(asked["description"] or "")
    if "user_data" in asked:
        changes["user_data"] = read_user_data(asked)
    if "key_name" in asked:
        name = asked["key_name"]
        changes["key_name"] = name
        changes["public_key"] = call.cloud.keypairs.find(call.token.user.id, str(name)).public_key if name else ""
    return changes


async def _unshelve(call: Call, server: Server, arguments: Any) -> Reply:
    known = [name for name, since in UNSHELVE if call.microversion >= since]
    asked = _object(arguments, "unshelve", *known)
    zone, _ = read_zone(call, asked.get("availability_zone"))
    host = str(asked.get("host") or "")
    if host:
        call.require_admin("os_compute_api:os-shelve:unshelve_to_host")
        call.cloud.hosts.get(host)
    call.cloud.rebuilding.unshelve(server.id, zone or (server.availability_zone if server.pinned_zone else ""), host)
    return ACCEPTED


UNSHELVE = (("availability_zone", ZONE_NAMED), ("host", UNSHELVED_TO_HOST))
"""What may be said about an unshelving, and since when."""


async def _resize(call: Call, server: Server, arguments: Any) -> Reply:
    asked = _object(arguments, "resize", "flavorRef", "OS-DCF:diskConfig")
    call.cloud.moving.resize(server.id, read_flavor(call, asked.get("flavorRef")))
    return ACCEPTED


async def _confirm(call: Call, server: Server, _arguments: Any) -> Reply:
    call.cloud.moving.confirm(server.id)
    return NO_CONTENT


async def _create_image(call: Call, server: Server, arguments: Any) -> Reply:
    asked = _object(arguments, "createImage", "name", "metadata")
    image = _image_of(call, server, asked, {"image_type": "snapshot"})
    return _image_told(call, await call.cloud.rebuilding.snapshot(server.id, image))


async def _create_backup(call: Call, server: Server, arguments: Any) -> Reply:
    asked = _object(arguments, "createBackup", "name", "backup_type", "rotation", "metadata")
    kind, rotation = _text(asked, "backup_type"), str(asked.get("rotation"))
    if not rotation.isdigit():
        raise InvalidInput(f"Invalid input for field/attribute rotation: {asked.get('rotation')!r} is no count")
    if not server.image_id:
        raise InvalidInput("Backup is not supported for volume-backed instances.")
    image = _image_of(call, server, asked, {"image_type": "backup", "backup_type": kind})
    return _image_told(call, await call.cloud.rebuilding.back_up(server.id, image, int(rotation)))


def _image_of(call: Call, server: Server, asked: Document, kind: Mapping[str, str]) -> GlanceImage:
    """An image that is to be made of a server."""
    metadata = read_texts("metadata", asked.get("metadata") or {})
    call.cloud.quotas.require(call.project_id, "metadata_items", len(metadata))
    own = {**kind, "instance_uuid": server.id, "base_image_ref": server.image_id}
    return GlanceImage(
        name=read_name(asked),
        project_id=call.project_id,
        status="queued",
        visibility="private",
        properties={**metadata, **own, "user_id": call.token.user.id},
    )


def _image_told(call: Call, image: GlanceImage) -> Reply:
    if call.microversion >= IMAGE_TOLD:
        return json_reply({"image_id": image.id}, 202)
    return Reply(status=202, headers={"location": call.url("image", f"/images/{image.id}")})


async def _change_password(call: Call, server: Server, arguments: Any) -> Reply:
    password = _text(_object(arguments, "changePassword", "adminPass"), "adminPass")
    await call.cloud.rebuilding.change_password(server.id, password)
    return ACCEPTED


async def _migrate(call: Call, server: Server, arguments: Any) -> Reply:
    asked = _object(arguments, "migrate", *(("host",) if call.microversion >= HOST_NAMED else ()))
    call.cloud.moving.migrate(server.id, _known_host(call, asked))
    return ACCEPTED


async def _migrate_live(call: Call, server: Server, arguments: Any) -> Reply:
    needed = ("host", "block_migration", *(() if call.microversion >= DISKS_FOUND_OUT else ("disk_over_commit",)))
    optional = ("force",) if FORCED <= call.microversion < NOT_FORCED else ()
    asked = _object(arguments, "os-migrateLive", *needed, *optional)
    if missing := [name for name in needed if name not in asked]:
        raise InvalidInput(f"Invalid input for field/attribute os-migrateLive. {missing[0]!r} is a required property")
    if asked["block_migration"] != "auto" or call.microversion < DISKS_FOUND_OUT:
        _flag(asked, "block_migration")
    force = _flag(asked, "force")
    if force and asked["host"] is None:
        raise InvalidInput("Can't force to a non-provided destination")
    call.cloud.live_migration.begin(server.id, _known_host(call, asked), force=force)
    return ACCEPTED


def _flag(arguments: Document, name: str) -> bool:
    """A boolean as Nova reads it, false when it is not given.

    Raises:
        InvalidInput: it is none.
    """
    value = str(arguments.get(name, False)).lower()
    if value not in FLAGS:
        raise InvalidInput(f"Invalid input for field/attribute {name}. Value: {arguments[name]}. It is not a boolean")
    return FLAGS[value]


async def _evacuate(call: Call, server: Server, arguments: Any) -> Reply:
    asked = _object(arguments, "evacuate", "host", "adminPass", "onSharedStorage", "force")
    refuse_password(asked)
    call.cloud.moving.evacuate(server.id, _known_host(call, asked))
    return json_reply({}) if call.microversion < PASSWORDLESS else Reply()


def _known_host(call: Call, asked: Document) -> str:
    host = asked.get("host")
    if host is None:
        return ""
    try:
        return call.cloud.hosts.get(str(host)).name
    except NotFound as error:
        raise InvalidInput(error.message) from None


async def _force_delete(call: Call, server: Server, _arguments: Any) -> Reply:
    await call.cloud.servers.delete(server.id)
    return ACCEPTED


async def _restore(_call: Call, server: Server, _arguments: Any) -> Reply:
    require(server, "restore")
    return ACCEPTED


async def _console(call: Call, server: Server, arguments: Any) -> Reply:
    length = _object(arguments, "os-getConsoleOutput", "length").get("length")
    if length is not None and not str(length).lstrip("-").isdigit():
        raise InvalidInput(f"Invalid input for field/attribute length: {length} is not an integer")
    newest = await asyncio.to_thread(tail, call.cloud.servers.power.consoles.path(server.id), LONGEST_CONSOLE)
    lines = newest.decode(errors="replace").splitlines(keepends=True)
    wanted = lines if length is None or int(length) < 0 else lines[len(lines) - min(int(length), len(lines)) :]
    return json_reply({"output": "".join(wanted)})


async def _add_security_group(call: Call, server: Server, arguments: Any) -> Reply:
    await call.cloud.nics.add_group(server, _named_group(arguments))
    return ACCEPTED


async def _remove_security_group(call: Call, server: Server, arguments: Any) -> Reply:
    await call.cloud.nics.remove_group(server, _named_group(arguments))
    return ACCEPTED


def _named_group(arguments: Any) -> str:
    name = arguments.get("name") if isinstance(arguments, dict) else None
    if not isinstance(name, str) or not name:
        raise InvalidInput("Missing parameter dict: 'name' of the security group is a required property")
    return name


ACTIONS: dict[str, Doing] = {
    "os-start": Doing(_simple(lambda call, one: call.cloud.servers.start(one))),
    "os-stop": Doing(_simple(lambda call, one: call.cloud.servers.stop(one))),
    "reboot": Doing(_reboot),
    "pause": Doing(_simple(lambda call, one: call.cloud.freezing.pause(one))),
    "unpause": Doing(_simple(lambda call, one: call.cloud.freezing.unpause(one))),
    "suspend": Doing(_simple(lambda call, one: call.cloud.freezing.suspend(one))),
    "resume": Doing(_simple(lambda call, one: call.cloud.freezing.resume(one))),
    "lock": Doing(_lock),
    "unlock": Doing(_simple(lambda call, one: call.cloud.freezing.unlock(one))),
    "rescue": Doing(_rescue),
    "unrescue": Doing(_simple(lambda call, one: call.cloud.rebuilding.unrescue(one))),
    "os-resetState": Doing(_reset_state, admin=True),
    "rebuild": Doing(_rebuild),
    "shelve": Doing(_simple(lambda call, one: call.cloud.rebuilding.shelve(one))),
    "shelveOffload": Doing(_simple(lambda call, one: call.cloud.rebuilding.offload(one)), admin=True),
    "unshelve": Doing(_unshelve),
    "resize": Doing(_resize),
    "confirmResize": Doing(_confirm),
    "revertResize": Doing(_simple(lambda call, one: call.cloud.moving.revert(one))),
    "createImage": Doing(_create_image),
    "createBackup": Doing(_create_backup),
    "changePassword": Doing(_change_password),
    "migrate": Doing(_migrate, admin=True),
    "os-migrateLive": Doing(_migrate_live, admin=True),
    "evacuate": Doing(_evacuate, admin=True),
    "forceDelete": Doing(_force_delete),
    "restore": Doing(_restore),
    "os-getConsoleOutput": Doing(_console),
    "addSecurityGroup": Doing(_add_security_group),
    "removeSecurityGroup": Doing(_remove_security_group),
    **{name: Doing(old_console(kind), until=(2, 6)) for name, kind in OLD_CONSOLES.items()},
}
