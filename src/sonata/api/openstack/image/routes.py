"""The Image API v2 of a PoP.

Source: OpenStack Image service API v2 reference; the schema is what clients check our own answers against.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

import sonata.api.openstack.image.data as data
import sonata.api.openstack.image.sharing as sharing
from sonata.api.openstack.call import Call
from sonata.api.openstack.faults import Forbidden
from sonata.api.openstack.fields import schema_of
from sonata.api.openstack.image.documents import (
    BASE_FIELDS,
    collection_schema,
    find_image,
    image_document,
    image_schema,
    member_schema,
    own_image,
    read_image,
)
from sonata.api.openstack.image.listing import list_images
from sonata.api.openstack.image.patch import OPERATIONS, patch_image
from sonata.api.openstack.listing import Document
from sonata.api.openstack.reply import NO_CONTENT, Reply, json_reply
from sonata.api.openstack.routing import Routes
from sonata.api.openstack.schemas import ID, WORDS, choice, many, record
from sonata.api.openstack.topic import Topic, Truth
from sonata.emulator.cloud.entities.image import GlanceImage
from sonata.errors import InvalidInput, NotFound

VERSIONS = ("v2.16", "v2.15", "v2.9", "v2.7", "v2.6", "v2.5", "v2.4", "v2.3", "v2.2", "v2.1", "v2.0")
MOST_TAGS = 128
NEW_IMAGE = {**schema_of(BASE_FIELDS, "c"), "additionalProperties": WORDS}
STEP = {"op": choice(*OPERATIONS), "path": {"type": "string", "pattern": "^/"}, "value": {}}
PATCH = many(record(STEP, ["op", "path"]))
NEW_MEMBER = record({"member": ID}, ["member"])
MEMBER_ANSWER = record({"status": choice(*sharing.STATUSES)}, ["status"])
IMPORT = record({"method": record({"name": choice(*data.IMPORT_METHODS)}, ["name"])}, ["method"])

IMAGES = Topic(
    "images",
    Truth(
        real=(
            "an OCI or docker archive, or a tar file of a root file system (docker or bare, raw), boots; it is also "
            "kept and given back byte for byte, with md5 and sha512",
            "a disk (qcow2, or raw with a boot sector) boots in a virtual machine, by its own boot loader and kernel, "
            "where qemu is installed; `os_shutdown_timeout` is how long it may take to shut down (60 s)",
            "other disks (iso, vmdk, ...) are kept and given back; min_disk and min_ram hold at boot",
            "visibility, members, protection, hiding, deactivation, tags, properties, glance-direct import",
            "a server whose image is deleted runs on and can be started again",
            "`os_command_line` with `init=/program -- arguments` says what a root file system runs",
        ),
        simplified=("the images of the local store are public, and nobody changes them (409)",),
        refused=(
            "booting a disk without qemu, one that leans on other files, or one in another format (400); "
            "download of an image of the local store (501); import by web-download or copy-image (400); "
            "locations (403)",
        ),
    ),
)


def image_routes() -> Routes:
    """All routes of the service."""
    routes = Routes()
    routes.add("GET", "/", _versions, public=True)
    routes.add("GET", "/versions", _version_list, public=True)
    routes.add("GET", "/v2", _version_list, public=True)
    routes.about(IMAGES)
    routes.add("GET", "/v2/images", list_images)
    routes.add("POST", "/v2/images", _create, body=NEW_IMAGE)
    routes.add("GET", "/v2/images/{id}", _show)
    routes.add("PATCH", "/v2/images/{id}", patch_image, body=PATCH)
    routes.add("DELETE", "/v2/images/{id}", _delete)
    routes.add("PUT", "/v2/images/{id}/file", data.upload)
    routes.add("GET", "/v2/images/{id}/file", data.download)
    routes.add("PUT", "/v2/images/{id}/stage", data.stage)
    routes.add("POST", "/v2/images/{id}/import", data.import_image, body=IMPORT)
    routes.add("POST", "/v2/images/{id}/actions/deactivate", data.deactivate, needs="admin")
    routes.add("POST", "/v2/images/{id}/actions/reactivate", data.reactivate, needs="admin")
    routes.add("GET", "/v2/images/{id}/members", sharing.list_members)
    routes.add("POST", "/v2/images/{id}/members", sharing.add_member, body=NEW_MEMBER)
    routes.add("GET", "/v2/images/{id}/members/{member}", sharing.show_member)
    routes.add(
        "PUT",
        "/v2/images/{id}/members/{member}",
        sharing.answer_member,
        body=MEMBER_ANSWER,
    )
    routes.add("DELETE", "/v2/images/{id}/members/{member}", sharing.remove_member)
    routes.add("PUT", "/v2/images/{id}/tags/{tag}", _add_tag)
    routes.add("DELETE", "/v2/images/{id}/tags/{tag}", _remove_tag)
    routes.add("GET", "/v2/images/{id}/tasks", _tasks_of)
    routes.add("GET", "/v2/tasks", _tasks, needs="admin")
    routes.add("GET", "/v2/schemas/{kind}", _schema)
    routes.add("GET", "/v2/schemas/metadefs/{kind}", _metadef_schema)
    routes.add("GET", "/v2/metadefs/namespaces", _namespaces)
    routes.add("GET", "/v2/metadefs/resource_types", _resource_types)
    routes.add("GET", "/v2/info/import", data.import_info)
    routes.add("GET", "/v2/info/stores", data.stores)
    routes.add("GET", "/v2/info/usage", data.usage)
    return routes


def _version_documents(call: Call) -> Document:
    link = {"rel": "self", "href": call.url("image", "/v2/")}
    return {
        "versions": [
            {"id": version, "status": "CURRENT" if version == VERSIONS[0] else "SUPPORTED", "links": [link]}
            for version in VERSIONS
        ]
    }


async def _versions(call: Call) -> Reply:
    return json_reply(_version_documents(call), 300)


async def _version_list(call: Call) -> Reply:
    return json_reply(_version_documents(call))


async def _show(call: Call) -> Reply:
    return json_reply(image_document(call, find_image(call)))


async def _create(call: Call) -> Reply:
    values = read_image(call, await call.json(), "c")
    values.setdefault("project_id", call.project_id)
    if "id" in values:
        _require_uuid(values["id"])
    values.setdefault("visibility", "shared")
    values.setdefault("container_format", None)
    values.setdefault("disk_format", None)
    image = await call.cloud.images.create(GlanceImage(status="queued", **values))
    location = call.url("image", f"/v2/images/{image.id}")
    methods = ",".join(data.IMPORT_METHODS)
    return json_reply(image_document(call, image), 201, location=location, openstack_image_import_methods=methods)


def _require_uuid(text: str) -> None:
    try:
        uuid.UUID(text)
    except ValueError:
        raise InvalidInput(f"Invalid image id format: {text}") from None


async def _delete(call: Call) -> Reply:
    image = own_image(call, "delete")
    if image.protected:
        raise Forbidden(f"Image {image.id} is protected and cannot be deleted.")
    await call.cloud.images.delete(image.id)
    return NO_CONTENT


async def _add_tag(call: Call) -> Reply:
    image = own_image(call, "tag")
    tags = tuple(dict.fromkeys((*image.tags, call.params["tag"])))
    if len(tags) > MOST_TAGS or len(call.params["tag"]) > 255:
        raise InvalidInput(f"The limit has been exceeded: at most {MOST_TAGS} tags of 255 characters.")
    await call.cloud.images.update(image.id, tags=tags)
    return NO_CONTENT


async def _remove_tag(call: Call) -> Reply:
    image = own_image(call, "untag")
    if call.params["tag"] not in image.tags:
        raise NotFound(f"Tag {call.params['tag']} not found for image {image.id}.")
    await call.cloud.images.update(image.id, tags=tuple(tag for tag in image.tags if tag != call.params["tag"]))
    return NO_CONTENT


async def _tasks_of(call: Call) -> Reply:
    find_image(call)
    return json_reply({"tasks": []})


async def _tasks(call: Call) -> Reply:
    return json_reply({"tasks": [], "schema": "/v2/schemas/tasks", "first": "/v2/tasks"})


async def _schema(call: Call) -> Reply:
    known: dict[str, Callable[[], Document]] = {
        "image": image_schema,
        "images": lambda: collection_schema("images", image_schema()),
        "member": member_schema,
        "members": lambda: collection_schema("members", member_schema()),
    }
    if call.params["kind"] not in known:
        raise NotFound(f"there is no schema {call.params['kind']}")
    return json_reply(known[call.params["kind"]]())


async def _metadef_schema(call: Call) -> Reply:
    known = ("namespace", "namespaces", "resource_type", "resource_types", "property", "properties", "tag", "tags")
    if call.params["kind"] not in (*known, "object", "objects"):
        raise NotFound(f"there is no schema {call.params['kind']}")
    return json_reply({"name": call.params["kind"], "properties": {}, "additionalProperties": {"type": "string"}})


async def _namespaces(call: Call) -> Reply:
    first = "/v2/metadefs/namespaces"
    return json_reply({"namespaces": [], "first": first, "schema": "/v2/schemas/metadefs/namespaces"})


async def _resource_types(call: Call) -> Reply:
    return json_reply({"resource_types": []})
