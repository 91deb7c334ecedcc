"""The data of images on the wire: upload, download, staging, import, and letting them be used or not."""

from __future__ import annotations

import asyncio
from typing import Any

from sonata.api.openstack.call import Call
from sonata.api.openstack.faults import UnsupportedMediaType
from sonata.api.openstack.image.documents import find_image, own_image
from sonata.api.openstack.listing import Document
from sonata.api.openstack.reply import ACCEPTED, NO_CONTENT, Reply, json_reply
from sonata.emulator.cloud.causes import StorageFull
from sonata.emulator.cloud.image.data import LARGEST
from sonata.errors import Conflict, InvalidInput, SonataError, Unsupported

IMPORT_METHODS = ("glance-direct",)
BINARY = "application/octet-stream"
_imports: set[asyncio.Task[None]] = set()


async def upload(call: Call) -> Reply:
    """PUT /v2/images/{id}/file."""
    _check_body(call)
    await call.cloud.images.upload(own_image(call, "upload to").id, call.request.stream())
    return NO_CONTENT


async def stage(call: Call) -> Reply:
    """PUT /v2/images/{id}/stage."""
    _check_body(call)
    await call.cloud.images.stage(own_image(call, "stage data of").id, call.request.stream())
    return NO_CONTENT


async def download(call: Call) -> Reply:
    """GET /v2/images/{id}/file: the data as they were uploaded; 204 where there are none yet."""
    image = find_image(call)
    path = call.cloud.images.data_of(image.id)
    if path is None:
        if image.status == "active":
            raise Unsupported(
                f"image {image.id} belongs to the emulation's image store, which keeps no archive of it",
                hint="`sonata image ls` shows where it is from",
            )
        return NO_CONTENT
    headers = {"content-type": BINARY, **({"content-md5": image.checksum} if image.checksum else {})}
    return Reply(headers=headers, file=path)


async def import_image(call: Call) -> Reply:
    """POST /v2/images/{id}/import."""
    image = own_image(call, "import to")
    method = await _method(call)
    if method not in IMPORT_METHODS:
        raise InvalidInput(f"Unknown import method name '{method}'; there is {', '.join(IMPORT_METHODS)}.")
    if image.status != "uploading":
        raise Conflict(f"Only images with status 'uploading' can be imported; {image.id} is {image.status}.")
    if image.container_format is None or image.disk_format is None:
        raise InvalidInput("Both container_format and disk_format must be set before import.")
    task = asyncio.get_running_loop().create_task(_import(call, image.id))
    _imports.add(task)
    task.add_done_callback(_imports.discard)
    return ACCEPTED


async def _import(call: Call, image_id: str) -> None:
    """Import in the background; what went wrong shows in the image, which waits for data again."""
    try:
        await call.cloud.images.import_staged(image_id)
    except SonataError:
        return


async def _method(call: Call) -> str:
    asked: Any = (await call.json()).get("method")
    if not isinstance(asked, dict) or not isinstance(asked.get("name"), str):
        raise InvalidInput("Import request requires a 'method' field with a 'name'.")
    return str(asked["name"])


async def deactivate(call: Call) -> Reply:
    """POST /v2/images/{id}/actions/deactivate: nobody gets its data any more."""
    call.cloud.images.activate(find_image(call).id, active=False)
    return NO_CONTENT


async def reactivate(call: Call) -> Reply:
    """POST /v2/images/{id}/actions/reactivate."""
    call.cloud.images.activate(find_image(call).id, active=True)
    return NO_CONTENT


async def import_info(call: Call) -> Reply:
    """GET /v2/info/import."""
    methods: Document = {"description": "Import methods available.", "type": "array", "value": list(IMPORT_METHODS)}
    return json_reply({"import-methods": methods})


async def stores(call: Call) -> Reply:
    """GET /v2/info/stores."""
    return json_reply({"stores": [{"id": "local", "description": "this site's own disk", "default": "true"}]})


async def usage(call: Call) -> Reply:
    """GET /v2/info/usage: nothing is limited but by the disk."""
    images = [image for image in call.cloud.images.list() if image.project_id == call.project_id]
    used = {
        "image_size_total": sum(image.size_bytes or 0 for image in images) // 1024**2,
        "image_count_total": len(images),
        "image_stage_total": 0,
        "image_count_uploading": sum(image.status in ("saving", "uploading", "importing") for image in images),
    }
    return json_reply({"usage": {name: {"usage": value, "limit": -1} for name, value in used.items()}})


def _check_body(call: Call) -> None:
    """Refuse data of another kind, or more of them than an image may have, before they are sent."""
    if call.request.headers.get("content-type", "").partition(";")[0] != BINARY:
        raise UnsupportedMediaType(f"the content type must be {BINARY}")
    length = call.request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > LARGEST:
        raise StorageFull(f"Denying attempt to upload image larger than {LARGEST} bytes.")
