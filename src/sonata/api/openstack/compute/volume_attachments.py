"""Volumes of servers in the Compute API: os-volume_attachments."""

from __future__ import annotations

from sonata.api.openstack.call import Call
from sonata.api.openstack.compute import bodies
from sonata.api.openstack.compute.block_devices import read_tag, read_text, sees_volume
from sonata.api.openstack.compute.servers import find_server
from sonata.api.openstack.listing import Document, page
from sonata.api.openstack.reply import ACCEPTED, Reply, json_reply
from sonata.api.openstack.routing import Routes
from sonata.api.openstack.topic import Topic, Truth
from sonata.emulator.cloud.compute.disks import DiskWish
from sonata.emulator.cloud.entities.volume import Attachment
from sonata.errors import Conflict, InvalidInput, NotFound

TAGGABLE, TAG_SHOWN, TERMINATION_SHOWN, UPDATABLE, ID_GONE = (2, 49), (2, 70), (2, 79), (2, 85), (2, 89)
BASE = "/v2.1/servers/{id}/os-volume_attachments"


TOPIC = Topic(
    "volume attachments",
    Truth(
        real=("a volume appears in the running server as the folder `/mnt/vdb` at once, and after each reboot",),
        refused=("detaching a root volume (400), or one in which a process works (409); swapping volumes (409)",),
    ),
)


def register(routes: Routes) -> None:
    """Add the routes of a server's volumes."""
    routes.about(TOPIC)
    routes.add("GET", BASE, _list)
    routes.add("POST", BASE, _attach, body=bodies.VOLUME_ATTACH)
    routes.add("GET", f"{BASE}/{{volume}}", _show)
    routes.add("PUT", f"{BASE}/{{volume}}", _update, body=bodies.VOLUME_UPDATE)
    routes.add("DELETE", f"{BASE}/{{volume}}", _detach)


def _document(call: Call, attachment: Attachment) -> Document:
    version = call.microversion
    document: Document = {
        "volumeId": attachment.volume_id,
        "serverId": attachment.server_id,
        "device": attachment.device,
    }
    if version < ID_GONE:
        document["id"] = attachment.volume_id
    else:
        document.update(attachment_id=attachment.id, bdm_uuid=attachment.id)
    if version >= TAG_SHOWN:
        document["tag"] = attachment.tag
    if version >= TERMINATION_SHOWN:
        document["delete_on_termination"] = attachment.delete_on_termination
    return document


async def _list(call: Call) -> Reply:
    found = [_document(call, one) for one in call.cloud.attachments.of_server(find_server(call).id)]
    start = call.first("offset", "0")
    found, _more = page(found[int(start) if start.isdigit() else 0 :], call.query)
    return json_reply({"volumeAttachments": found})


def _find(call: Call) -> Attachment:
    return call.cloud.attachments.find(find_server(call).id, call.params["volume"])


async def _show(call: Call) -> Reply:
    return json_reply({"volumeAttachment": _document(call, _find(call))})


async def _attach(call: Call) -> Reply:
    server, asked = find_server(call), await call.member("volumeAttachment")
    volume_id = asked.get("volumeId")
    if not isinstance(volume_id, str) or not sees_volume(call, volume_id):
        raise NotFound(f"Volume {volume_id} could not be found.")
    wish = DiskWish(
        source="volume",
        source_id=volume_id,
        device=read_text(asked, "device"),
        tag=read_tag(asked) if call.microversion >= TAGGABLE else None,
        delete_on_termination=asked.get("delete_on_termination") is True and call.microversion >= TERMINATION_SHOWN,
    )
    attachment = await call.cloud.attachments.attach(server.id, wish)
    return json_reply({"volumeAttachment": _document(call, attachment)})


async def _update(call: Call) -> Reply:
    """Change whether a volume goes with its server; swapping volumes is refused."""
    attachment, asked = _find(call), await call.member("volumeAttachment")
    if asked.get("volumeId", attachment.volume_id) != attachment.volume_id:
        raise Conflict("Cannot swap volumes: this site's servers keep the volume that they have", hint="detach it")
    if call.microversion < UPDATABLE:
        raise InvalidInput("Invalid input: volumeId is the volume that is attached already.")
    if not isinstance(keep := asked.get("delete_on_termination"), bool):
        raise InvalidInput("Invalid input for field/attribute delete_on_termination: a boolean is needed.")
    call.cloud.tables.volume_attachments.change(attachment.id, delete_on_termination=keep)
    return ACCEPTED


async def _detach(call: Call) -> Reply:
    attachment = _find(call)
    await call.cloud.attachments.detach(attachment.server_id, attachment.volume_id)
    return ACCEPTED
