"""How Glance shows images, what may be set of them, and the schemas that say so."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sonata.api.openstack.call import Call
from sonata.api.openstack.faults import Forbidden
from sonata.api.openstack.fields import FLAG, TAGS, TEXT, Field, integer, one_of, or_none, read_fields, timestamp
from sonata.api.openstack.listing import Document
from sonata.emulator.cloud.entities.image import GlanceImage, ImageMember
from sonata.errors import InvalidInput, NotFound

CONTAINER_FORMATS = ("docker", "bare", "ami", "ari", "aki", "ovf", "ova", "compressed")
DISK_FORMATS = ("raw", "qcow2", "ami", "ari", "aki", "vhd", "vhdx", "vmdk", "vdi", "iso", "ploop")
VISIBILITIES = ("public", "private", "shared", "community")
HUGE = 2**31 - 1
UUID = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"

BASE_FIELDS = (
    Field("id", TEXT, access="c"),
    Field("name", or_none(TEXT, ""), access="cu"),
    Field("visibility", one_of(*VISIBILITIES), access="cu"),
    Field("protected", FLAG, access="cu"),
    Field("container_format", or_none(one_of(*CONTAINER_FORMATS)), access="cu"),
    Field("disk_format", or_none(one_of(*DISK_FORMATS)), access="cu"),
    Field("min_disk", integer(0, HUGE), attr="min_disk_gib", access="cu"),
    Field("min_ram", integer(0, HUGE), attr="min_ram_mib", access="cu"),
    Field("tags", TAGS, access="cu"),
    Field("owner", or_none(TEXT, ""), attr="project_id", access="cu"),
    Field("os_hidden", FLAG, attr="hidden", access="cu"),
)
BASE_NAMES = frozenset(field.name for field in BASE_FIELDS)
READ_ONLY = frozenset(
    ("status", "size", "virtual_size", "checksum", "os_hash_algo", "os_hash_value", "created_at", "updated_at", "file")
) | {"schema", "self", "direct_url", "locations", "stores"}
RESERVED = frozenset(("location", "deleted", "deleted_at"))
RESERVED_PREFIX = "os_glance"
LONGEST_PROPERTY = 65535


def image_document(call: Call, image: GlanceImage) -> Document:
    """An image as Glance shows it."""
    path = f"/v2/images/{image.id}"
    has_data = image.sha512 or image.digest
    return {
        **image.properties,
        "id": image.id,
        "name": image.name or None,
        "status": image.status,
        "visibility": image.visibility,
        "protected": image.protected,
        "os_hidden": image.hidden,
        "owner": image.project_id or call.cloud.identity.admin_project.id,
        "container_format": image.container_format,
        "disk_format": image.disk_format,
        "min_disk": image.min_disk_gib,
        "min_ram": image.min_ram_mib,
        "size": image.size_bytes,
        "virtual_size": image.virtual_size_bytes,
        "checksum": image.checksum,
        "os_hash_algo": ("sha512" if image.sha512 else "sha256") if has_data else None,
        "os_hash_value": image.sha512 or image.digest.removeprefix("sha256:") or None,
        "tags": list(image.tags),
        "created_at": timestamp(image.created_at),
        "updated_at": timestamp(image.updated_at),
        "self": path,
        "file": f"{path}/file",
        "schema": "/v2/schemas/image",
    }


def member_document(member: ImageMember) -> Document:
    """A project with which an image is shared."""
    return {
        "member_id": member.project_id,
        "image_id": member.image_id,
        "status": member.status,
        "created_at": timestamp(member.created_at),
        "updated_at": timestamp(member.updated_at),
        "schema": "/v2/schemas/member",
    }


def find_image(call: Call) -> GlanceImage:
    """The image that a call means.

    Raises:
        NotFound: there is none that the caller may see.
    """
    image_id = call.params["id"]
    try:
        image = call.cloud.images.get(image_id)
    except NotFound:
        raise NotFound(f"No image found with ID {image_id}") from None
    if not call.token.is_admin and not call.cloud.image_members.may_see(image, call.project_id):
        raise NotFound(f"No image found with ID {image_id}")
    return image


def own_image(call: Call, action: str) -> GlanceImage:
    """The image of a call that changes it.

    Raises:
        Forbidden: it belongs to another project.
        Conflict: it belongs to the emulation's image store.
    """
    image = find_image(call)
    if not call.token.is_admin and image.project_id != call.project_id:
        raise Forbidden(f"You are not permitted to {action} this image.")
    return call.cloud.images.own(image.id)


def read_image(call: Call, body: Document, mode: str) -> dict[str, Any]:
    """The known fields of a body by attribute, the rest as properties.

    Raises:
        Forbidden: a field is read-only or reserved.
        InvalidInput: a field is ill-formed; a property is no string.
    """
    for name in body:
        refuse_reserved(name)
    values = read_fields(BASE_FIELDS, {name: value for name, value in body.items() if name in BASE_NAMES}, mode)
    if values.get("project_id", call.project_id) != call.project_id and not call.token.is_admin:
        raise Forbidden(f"You are not permitted to create images owned by '{values['project_id']}'.")
    if values.get("visibility") == "public":
        call.require_admin("publicize_image")
    properties = {name: value for name, value in body.items() if name not in BASE_NAMES}
    if wrong := [name for name, value in properties.items() if not isinstance(value, str)]:
        raise InvalidInput(f"Invalid input for property {wrong[0]}: a string is needed.")
    if wrong := [name for name, value in properties.items() if not name or len(name) + len(value) > LONGEST_PROPERTY]:
        raise InvalidInput(f"Invalid input for property {wrong[0][:40]}: it is too long.")
    if len(properties) > 128:
        raise InvalidInput("The limit has been exceeded on the number of allowed image properties: 128.")
    return {**values, "properties": properties} if properties else values


def refuse_reserved(name: str) -> None:
    """Refuse to set what only the service sets.

    Raises:
        Forbidden: this is so.
    """
    if name in READ_ONLY:
        raise Forbidden(f"Attribute '{name}' is read-only.")
    if name in RESERVED or name.startswith(RESERVED_PREFIX):
        raise Forbidden(f"Attribute '{name}' is reserved.")


def _each(names: Iterable[str], kind: Document) -> Document:
    return {name: dict(kind) for name in names}


def _nullable(kind: str) -> Document:
    return {"type": ["null", kind]}


def image_schema() -> Document:
    """What clients check our own answers against."""
    text, number = {"type": "string"}, {"type": "integer"}
    shown: Document = {
        **_each(("created_at", "updated_at", "self", "file", "schema"), {**text, "readOnly": True}),
        "id": {**text, "pattern": UUID},
        "status": {
            **text,
            "readOnly": True,
            "enum": [
                "queued", "saving", "active", "killed", "deleted", "uploading", "importing", "pending_delete",
                "deactivated",
            ],
        },
        "visibility": {**text, "enum": list(VISIBILITIES)},
        "name": {**_nullable("string"), "maxLength": 255},
        "owner": {**_nullable("string"), "maxLength": 255},
        "container_format": {**_nullable("string"), "enum": [None, *CONTAINER_FORMATS]},
        "disk_format": {**_nullable("string"), "enum": [None, *DISK_FORMATS]},
        **_each(("checksum", "os_hash_algo", "os_hash_value"), {**_nullable("string"), "readOnly": True}),
        **_each(("min_disk", "min_ram"), number),
        **_each(("size", "virtual_size"), {**_nullable("integer"), "readOnly": True}),
        "protected": {"type": "boolean"},
        "os_hidden": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 255}},
    }  # fmt: skip
    links = [
        {"rel": "self", "href": "{self}"},
        {"rel": "enclosure", "href": "{file}"},
        {"rel": "describedby", "href": "{schema}"},
    ]
    return {"name": "image", "properties": shown, "additionalProperties": {"type": "string"}, "links": links}


def member_schema() -> Document:
    """Of a project with which an image is shared."""
    text = {"type": "string"}
    shown: Document = {
        **_each(("member_id", "image_id", "created_at", "updated_at", "schema"), text),
        "status": {**text, "enum": ["pending", "accepted", "rejected"]},
    }
    return {"name": "member", "properties": shown}


def collection_schema(name: str, one: Document) -> Document:
    """Of a list."""
    text = {"type": "string"}
    properties = {name: {"type": "array", "items": one}, "schema": text, "first": text, "next": text}
    links = [{"rel": "first", "href": "{first}"}, {"rel": "next", "href": "{next}"}]
    return {"name": name, "properties": properties, "links": [*links, {"rel": "describedby", "href": "{schema}"}]}
