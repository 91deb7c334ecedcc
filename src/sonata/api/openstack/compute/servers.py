"""Servers of the Compute API: create, list, show, update, delete."""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sonata.api.openstack.call import Call, inner
from sonata.api.openstack.compute import bodies
from sonata.api.openstack.compute.attributes import (
    CREATED,
    SHARED,
    check_known,
    read_access,
    refuse_password,
    refuse_unavailable,
)
from sonata.api.openstack.compute.block_devices import boot_image, read_disks
from sonata.api.openstack.compute.documents import ServerDocuments
from sonata.api.openstack.compute.flavors import usable
from sonata.api.openstack.compute.placement import read_placement
from sonata.api.openstack.compute.server_lists import ServerLists
from sonata.api.openstack.fields import ADDRESS, timestamp
from sonata.api.openstack.listing import Document, Query, ordered, page, tags_match
from sonata.api.openstack.reply import NO_CONTENT, Reply, json_reply
from sonata.api.openstack.routing import Handler, Routes
from sonata.api.openstack.topic import Topic, Truth
from sonata.emulator.cloud.causes import OverQuota
from sonata.emulator.cloud.compute.disks import DiskWish
from sonata.emulator.cloud.compute.nics import NicWish
from sonata.emulator.cloud.compute.servers import BootRequest, require_room
from sonata.emulator.cloud.compute.states import VM_STATES, power_state
from sonata.emulator.cloud.entities.compute import Flavor, Server
from sonata.emulator.cloud.network.ports import AddressWish
from sonata.errors import InvalidInput, NotFound

PAGE = 1000
LONGEST_USER_DATA = 65535


TOPIC = Topic(
    "servers",
    Truth(
        real=(
            "a server is processes of its own on a root file system of its own; ACTIVE when its program runs "
            "and, where its image says so, listens",
            "several at once; networks, ports, fixed addresses, security groups, hints, zones, tags, "
            "metadata; `No valid host was found` names the filter that left none",
            "`user_data` and `key_name` are followed at the first boot, by cloud-init where the image has "
            "it; where it has no `/bin/sh` the console log and the event of the start say that they are not; config "
            "drives are a folder",
            "boot from volume, image or snapshot, and further volumes",
            "console logs keep what was printed last: at least 1 MiB, on at most 2 MiB of disk and what is printed "
            "in 50 ms; `os-getConsoleOutput` shows up to 100 KiB of it, as Nova does",
        ),
        simplified=(
            "no `adminPass` is made up, and asking for one is refused (400): use `changePassword`",
            "after a crash of the emulator servers are SHUTOFF, with what their disks and console logs held",
            "a program that opens `/dev/stdout` or `/dev/stderr` anew other than to append (`echo x > /dev/stderr`) "
            "empties the console log; `>> /dev/stderr` adds to it",
        ),
        refused=(
            "injected files (`personality`, 400); more than 256 at once (400); volumes of servers that boot a disk",
        ),
    ),
)


def register(routes: Routes) -> None:
    """Add the routes of servers."""
    routes.about(TOPIC)
    lists = ServerLists()
    routes.add("GET", "/v2.1/servers", _summaries(lists))
    routes.add("GET", "/v2.1/servers/detail", _details(lists))
    routes.add("POST", "/v2.1/servers", _create, body=bodies.SERVER_CREATE)
    routes.add("GET", "/v2.1/servers/{id}", _show)
    routes.add("PUT", "/v2.1/servers/{id}", _update, body=bodies.SERVER_UPDATE)
    routes.add("DELETE", "/v2.1/servers/{id}", _delete)
    routes.add("GET", "/v2.1/servers/{id}/ips", _ips)


def find_server(call: Call) -> Server:
    """The server that a call means.

    Raises:
        NotFound: there is none that the caller may see.
    """
    server = call.cloud.tables.servers.peek(call.params["id"])
    if server is None or not call.sees(server):
        raise NotFound(f"Instance {call.params['id']} could not be found.")
    return server


# lists


def _selected(call: Call) -> tuple[list[Server], bool]:
    """The servers of a list, newest first, and whether more follow."""
    query = call.query
    everywhere = call.first("all_tenants").lower() in ("1", "true") or bool(call.first("all_projects"))
    asked = [(FILTERS[key], value) for key, value in query if key in FILTERS]
    servers = [
        server
        for server in reversed(tuple(call.cloud.tables.servers))
        if (everywhere or server.project_id == call.project_id)
        and call.sees(server)
        and all(fulfils(server, value) for fulfils, value in asked)
    ]
    sorted_by = {key: SORT_KEYS[key] for key in _sort_keys(query) if key in SORT_KEYS}
    keyed: list[Document] = [
        {"id": server.id, "server": server, **{key: how(server) for key, how in sorted_by.items()}}
        for server in servers
    ]
    found, more = page(ordered(keyed, query), query, unlimited=PAGE)
    return [one["server"] for one in found], more


def _sort_keys(query: Query) -> set[str]:
    """The keys that a list is to be sorted by."""
    plain = {value for key, value in query if key == "sort_key"}
    return plain | {part.partition(":")[0] for key, value in query if key == "sort" for part in value.split(",")}


SORT_KEYS: dict[str, Callable[[Server], Any]] = {
    "created_at": lambda server: server.created_at,
    "updated_at": lambda server: server.updated_at,
    "display_name": lambda server: server.name,
    "name": lambda server: server.name,
    "uuid": lambda server: server.id,
    "vm_state": lambda server: VM_STATES[server.status],
    "status": lambda server: server.status,
    "power_state": power_state,
    "host": lambda server: server.host,
    "locked": lambda server: server.locked,
    "availability_zone": lambda server: server.availability_zone,
    "task_state": lambda server: server.task_state,
    "project_id": lambda server: server.project_id,
}

FILTERS: dict[str, Callable[[Server, str], bool]] = {
    "name": lambda server, asked: _matches(asked, server.name),
    "status": lambda server, asked: server.shown_status == asked.upper(),
    "host": lambda server, asked: server.host == asked,
    "node": lambda server, asked: server.host == asked,
    "vm_state": lambda server, asked: VM_STATES[server.status] == asked,
    "task_state": lambda server, asked: (server.task_state or "") == asked,
    "power_state": lambda server, asked: str(power_state(server)) == asked,
    "availability_zone": lambda server, asked: server.availability_zone == asked,
    "locked": lambda server, asked: server.locked is (asked.lower() in ("true", "1")),
    "description": lambda server, asked: asked in server.description,
    "image": lambda server, asked: server.image_id == asked.rpartition("/")[2],
    "flavor": lambda server, asked: server.flavor.id == asked.rpartition("/")[2],
    "uuid": lambda server, asked: server.id == asked,
    "id": lambda server, asked: server.id == asked,
    "project_id": lambda server, asked: server.project_id == asked,
    "tenant_id": lambda server, asked: server.project_id == asked,
    "user_id": lambda server, asked: server.user_id == asked,
    "key_name": lambda server, asked: server.key_name == asked,
    "reservation_id": lambda server, asked: server.reservation_id == asked,
    "deleted": lambda _server, asked: asked.lower() in ("false", "0", ""),
    "changes-since": lambda server, asked: timestamp(server.updated_at) >= asked[:19],
    "tags": lambda server, asked: tags_match(server.tags, "tags", asked),
    "tags-any": lambda server, asked: tags_match(server.tags, "tags-any", asked),
    "not-tags": lambda server, asked: tags_match(server.tags, "not-tags", asked),
    "not-tags-any": lambda server, asked: tags_match(server.tags, "not-tags-any", asked),
}


def _matches(pattern: str, name: str) -> bool:
    """Nova takes the name of a list as a regular expression."""
    try:
        return re.search(pattern, name) is not None
    except re.error:
        raise InvalidInput(f"Invalid regular expression in filter name: {pattern}") from None


def _listed(call: Call, servers: Sequence[Server], documents: Sequence[object], more: bool) -> Reply:
    body: Document = {"servers": documents}
    if more and servers:
        following = call.request.url.include_query_params(marker=servers[-1].id)
        body["servers_links"] = [{"rel": "next", "href": str(following)}]
    return json_reply(body)


def _summaries(lists: ServerLists) -> Handler:
    """The handler of plain lists."""

    async def handle(call: Call) -> Reply:
        def make() -> Reply:
            servers, more = _selected(call)
            documents = ServerDocuments(call)
            return _listed(call, servers, [documents.summary(server) for server in servers], more)

        return lists.answer(call, make)

    return handle


def _details(lists: ServerLists) -> Handler:
    """The handler of detailed lists, which polling clients ask for again and again."""

    async def handle(call: Call) -> Reply:
        def make() -> Reply:
            servers, more = _selected(call)
            return _listed(call, servers, lists.documents(call, servers), more)

        return lists.answer(call, make)

    return handle


async def _show(call: Call) -> Reply:
    return json_reply({"server": ServerDocuments(call).detail(find_server(call))})


async def _ips(call: Call) -> Reply:
    return json_reply({"addresses": ServerDocuments(call).addresses(find_server(call))})


# creation


async def _create(call: Call) -> Reply:
    document = await call.json()
    body = inner(document, "server")
    request = _boot_request(call, document, body)
    least, count = _counts(body)
    call.cloud.quotas.require(call.project_id, "metadata_items", len(request.metadata))
    count = _affordable(call, request, least, count)
    requests = [request] if count == 1 else [_numbered(request, number) for number in range(count)]
    servers = [call.cloud.servers.create(one) for one in requests]
    documents = ServerDocuments(call)
    if body.get("return_reservation_id"):
        return json_reply({"reservation_id": request.reservation_id}, 202)
    first = servers[0]
    answer: Document = {
        "id": first.id,
        "links": documents.links(first),
        "OS-DCF:diskConfig": "AUTO",
        "security_groups": [{"name": name} for name in first.security_groups],
    }
    return json_reply({"server": answer}, 202, location=answer["links"][0]["href"])


def _numbered(request: BootRequest, number: int) -> BootRequest:
    return replace(request, name=f"{request.name}-{number + 1}", launch_index=number)


def _affordable(call: Call, request: BootRequest, least: int, most: int) -> int:
    """How many servers the quotas permit; at least `least`, else none of them is created.

    Raises:
        OverQuota: not even `least`.
    """
    for count in range(most, least, -1):
        try:
            require_room(call.cloud.site, request, count)
        except OverQuota:
            continue
        return count
    require_room(call.cloud.site, request, least)
    return least


def _counts(body: Document) -> tuple[int, int]:
    least, most = body.get("min_count", 1), body.get("max_count", body.get("min_count", 1))
    least, most = _whole("min_count", least), _whole("max_count", most)
    if least > most:
        raise InvalidInput("min_count must be <= max_count")
    return least, most


def _whole(name: str, value: Any) -> int:
    text = str(value)
    if isinstance(value, bool) or not text.isdigit() or not 1 <= int(text) <= bodies.MOST_AT_ONCE:
        raise InvalidInput(f"Invalid input for field {name}: {value} is not in 1..{bodies.MOST_AT_ONCE}")
    return int(text)


def _boot_request(call: Call, document: Document, body: Document) -> BootRequest:
    check_known(call, body, CREATED)
    refuse_password(body)
    name = read_name(body)
    refuse_unavailable(body, name)
    disks = read_disks(call, body)
    return BootRequest(
        name=name,
        project_id=call.project_id,
        user_id=call.token.user.id,
        image_id=_image_id(call, body, disks),
        flavor=read_flavor(call, body.get("flavorRef")),
        nics=_nics(call, body.get("networks")),
        description=str(body.get("description") or ""),
        metadata=read_texts("metadata", body.get("metadata") or {}),
        tags=read_tags(body.get("tags") or []),
        user_data=read_user_data(body),
        key_name=_text_or_none(body, "key_name"),
        public_key=_public_key(call, body),
        security_groups=_group_names(call, body.get("security_groups")),
        **read_placement(call, document),
        **read_access(body),
        config_drive=body.get("config_drive") in (True, "true", "True"),
        reservation_id=f"r-{uuid.uuid4().hex[:8]}",
        disks=disks,
    )


def read_name(body: Document) -> str:
    """The name in a body.

    Raises:
        InvalidInput: it is none.
    """
    name = body.get("name")
    if not isinstance(name, str) or not 1 <= len(name.strip()) <= 255:
        raise InvalidInput("Invalid input for field/attribute name: a string of 1 to 255 characters is needed")
    return name.strip()


def _text_or_none(body: Document, key: str) -> str | None:
    text = body.get(key)
    if text is not None and not isinstance(text, str):
        raise InvalidInput(f"Invalid input for field/attribute {key}: a string is needed")
    return text


def read_user_data(body: Document) -> str | None:
    """User data in base64, as Nova limits it.

    Raises:
        InvalidInput: it is no base64, or too long.
    """
    text = _text_or_none(body, "user_data")
    if text and len(text) > LONGEST_USER_DATA:
        raise InvalidInput(f"Invalid input for field/attribute user_data. Value is longer than {LONGEST_USER_DATA}")
    try:
        base64.b64decode("".join((text or "").split()), validate=True)
    except ValueError:
        raise InvalidInput("Userdata content needs to be valid base 64.") from None
    return text


def _public_key(call: Call, body: Document) -> str:
    """The public key of the caller's key pair that a body names."""
    name = _text_or_none(body, "key_name")
    if not name:
        return ""
    try:
        return call.cloud.keypairs.find(call.token.user.id, name).public_key
    except NotFound:
        raise InvalidInput("Invalid key_name provided.") from None


def _image_id(call: Call, body: Document, disks: Sequence[DiskWish]) -> str:
    """The image that a server boots: `imageRef`, or that of its boot device; empty when its root is a volume.

    Raises:
        InvalidInput: there is none that the caller may use.
    """
    if any(disk.is_root for disk in disks):
        return ""
    image_id = body.get("imageRef") or boot_image(body)
    if not isinstance(image_id, str) or not image_id:
        raise InvalidInput("Invalid imageRef provided: a server needs an image, or a volume with boot index 0.")
    image_id = image_id.rstrip("/").rpartition("/")[2]
    try:
        image = call.cloud.images.get(image_id)
    except NotFound:
        image = None
    if image is None or not (call.token.is_admin or call.cloud.image_members.may_see(image, call.project_id)):
        raise InvalidInput(f"Image {image_id} could not be found.")
    return image.id


def read_flavor(call: Call, reference: Any) -> Flavor:
    """A flavor that a body refers to.

    Raises:
        InvalidInput: there is none that the caller may use.
    """
    flavor_id = str(reference or "").rstrip("/").rpartition("/")[2]
    flavor = call.cloud.tables.flavors.peek(flavor_id)
    if flavor and usable(call, flavor):
        return flavor
    raise InvalidInput(f"Flavor {flavor_id} could not be found.")


def _nics(call: Call, networks: Any) -> list[NicWish] | None:
    if networks in (None, "auto", []):
        return None
    if networks == "none":
        return []
    if not isinstance(networks, list) or not all(isinstance(one, dict) for one in networks):
        raise InvalidInput("Invalid input for field/attribute networks: a list of objects is needed")
    return [read_nic(call, one) for one in networks]


def read_nic(call: Call, asked: Document) -> NicWish:
    """An interface as clients ask for it, by port or by network.

    Raises:
        InvalidInput: there is no such port or network.
    """
    if port_id := asked.get("port"):
        port = call.cloud.tables.ports.peek(str(port_id))
        if port is None or not call.sees(port):
            raise InvalidInput(f"Port {port_id} could not be found.")
        return NicWish(port_id=port.id, tag=_nic_tag(asked))
    network = call.cloud.tables.networks.peek(str(asked.get("uuid")))
    if network is None or not call.sees(network):
        raise InvalidInput(f"Network {asked.get('uuid')} could not be found.")
    return NicWish(network_id=network.id, address=_address(asked.get("fixed_ip")), tag=_nic_tag(asked))


def _nic_tag(asked: Document) -> str:
    tag = asked.get("tag")
    return read_tags([tag])[0] if tag is not None else ""


def _address(text: Any) -> AddressWish | None:
    if not text:
        return None
    try:
        return AddressWish(address=ADDRESS.read(text))
    except ValueError as error:
        raise InvalidInput(f"Invalid fixed IP address: {error}") from None


def _group_names(call: Call, asked: Any) -> tuple[str, ...]:
    if not asked:
        return ("default",)
    if not isinstance(asked, list) or not all(isinstance(group, dict) for group in asked):
        raise InvalidInput("Invalid input for field/attribute security_groups: a list of objects is needed")
    try:
        found = [call.cloud.security_groups.find(str(group.get("name")), call.project_id) for group in asked]
    except NotFound as error:
        raise InvalidInput(str(error)) from None
    return tuple(group.name for group in found)


def read_texts(what: str, asked: Any) -> dict[str, str]:
    """An object of strings, as metadata are.

    Raises:
        InvalidInput: it is none, or too long.
    """
    if not isinstance(asked, dict) or not all(isinstance(value, str) for value in asked.values()):
        raise InvalidInput(f"Invalid input for field/attribute {what}: an object of strings is needed")
    if too_long := [key for key, value in asked.items() if not key or len(key) > 255 or len(value) > 255]:
        raise InvalidInput(f"Invalid input for field/attribute {what}: `{too_long[0][:20]}` exceeds 255 characters")
    return dict(asked)


def read_tags(asked: Any) -> tuple[str, ...]:
    """Tags of a server.

    Raises:
        InvalidInput: they are none.
    """
    if not isinstance(asked, list) or not all(isinstance(tag, str) for tag in asked):
        raise InvalidInput("Invalid input for field/attribute tags: a list of strings is needed")
    if wrong := [tag for tag in asked if not 0 < len(tag) <= 60 or "/" in tag or "," in tag]:
        raise InvalidInput(f"Invalid tag `{wrong[0][:70]}`: 1 to 60 characters without `/` and `,` are needed")
    if len(set(asked)) > 50:
        raise InvalidInput("The number of tags exceeded the per-server limit 50")
    return tuple(dict.fromkeys(asked))


# changes


async def _update(call: Call) -> Reply:
    server, body = find_server(call), await call.member("server")
    check_known(call, body, SHARED)
    changes: Document = {**read_access(body)}
    if "name" in body:
        changes["name"] = read_name(body)
    refuse_unavailable(body, changes.get("name", server.name))
    if "description" in body:
        changes["description"] = str(body["description"] or "")
    if changes:
        server = call.cloud.tables.servers.change(server.id, **changes)
    return json_reply({"server": ServerDocuments(call).detail(server)})


async def _delete(call: Call) -> Reply:
    await call.cloud.servers.delete(find_server(call).id)
    return NO_CONTENT
