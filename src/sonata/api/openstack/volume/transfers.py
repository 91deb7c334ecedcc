"""Transfers of volumes between projects: `/os-volume-transfer`, and `/volume-transfers` from microversion 3.55 on."""

from __future__ import annotations

from sonata.api.openstack.call import Call
from sonata.api.openstack.listing import Document
from sonata.api.openstack.reply import ACCEPTED, Reply, json_reply
from sonata.api.openstack.volume import bodies
from sonata.api.openstack.volume.common import Paths, find, links, listed, precise, text_of, visible
from sonata.emulator.cloud.entities.volume import Transfer
from sonata.errors import InvalidInput, NotFound

PATHS = ("/os-volume-transfer", "/volume-transfers")


def register(paths: Paths) -> None:
    """Add the routes of transfers."""
    for base in PATHS:
        paths.add("GET", base, _list)
        paths.add("GET", f"{base}/detail", _detail)
        paths.add("POST", base, _create, body=bodies.TRANSFER)
        paths.add("GET", f"{base}/{{id}}", _show)
        paths.add("DELETE", f"{base}/{{id}}", _delete)
        paths.add("POST", f"{base}/{{id}}/accept", _accept, body=bodies.ACCEPT)


def _document(call: Call, transfer: Transfer) -> Document:
    document: Document = {
        "id": transfer.id,
        "name": transfer.name,
        "volume_id": transfer.volume_id,
        "created_at": precise(transfer.created_at),
        "links": links(call, "os-volume-transfer", transfer.id),
    }
    if call.microversion >= (3, 57):
        document.update(source_project_id=transfer.project_id, destination_project_id=None, accepted=False)
    return document


def _short(document: Document) -> Document:
    return {name: document[name] for name in ("id", "name", "volume_id", "links")}


async def _list(call: Call) -> Reply:
    documents = (_document(call, one) for one in visible(call, call.cloud.tables.volume_transfers))
    return listed(call, "transfers", documents, _short)


async def _detail(call: Call) -> Reply:
    documents = (_document(call, one) for one in visible(call, call.cloud.tables.volume_transfers))
    return listed(call, "transfers", documents)


async def _show(call: Call) -> Reply:
    return json_reply({"transfer": _document(call, find(call, call.cloud.tables.volume_transfers, "Transfer"))})


async def _create(call: Call) -> Reply:
    body = await call.member("transfer")
    volume_id = text_of(body, "volume_id") or ""
    volume = call.cloud.tables.volumes.peek(volume_id)
    if volume is None or not call.sees(volume):
        raise NotFound(f"Volume {volume_id} could not be found.")
    transfer, key = call.cloud.transfers.offer(volume, text_of(body, "name") or "")
    return json_reply({"transfer": {**_document(call, transfer), "auth_key": key}}, 202)


async def _delete(call: Call) -> Reply:
    call.cloud.transfers.withdraw(find(call, call.cloud.tables.volume_transfers, "Transfer").id)
    return ACCEPTED


async def _accept(call: Call) -> Reply:
    """Take a volume over; who knows the key may, of whatever project."""
    key = text_of(await call.member("accept"), "auth_key")
    if not key:
        raise InvalidInput("Invalid input for field/attribute auth_key: a key is needed.")
    if call.params["id"] not in call.cloud.tables.volume_transfers:
        raise NotFound(f"Transfer {call.params['id']} could not be found.")
    transfer = call.cloud.transfers.accept(call.params["id"], key, call.project_id, call.token.user.id)
    return json_reply({"transfer": _short(_document(call, transfer))}, 202)
