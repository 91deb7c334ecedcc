"""The Image API v2 of a PoP.

Source: OpenStack Image service API v2 reference; the schema is what clients check our own answers against.
"""

from __future__ import annotations

import uuid
from typing import Any

from sonata.api.openstack.call import Call
from sonata.api.openstack.fields import (
    FLAG,
    TAGS,
    TEXT,
    Field,
    integer,
    one_of,
    or_none,
    read_fields,
    timestamp,
)
from sonata.api.openstack.listing import Document, filtered, ordered, page
from sonata.api.openstack.reply import NO_CONTENT, Reply, json_reply
from sonata.api.openstack.routing import Routes
from sonata.emulator.cloud.entities.image import GlanceImage
from sonata.errors import Conflict, InvalidInput, NotFound

VERSIONS = ("v2.16", "v2.15", "v2.9", "v2.7", "v2.6", "v2.5", "v2.4", "v2.3", "v2.2", "v2.1", "v2.0")
PAGE = 25
CONTAINER_FORMATS = one_of("docker", "bare", "ami", "ari", "aki", "ovf", "ova", "compressed")
DISK_FORMATS = one_of("raw", "qcow2", "ami", "ari", "aki", "vhd", "vhdx", "vmdk", "vdi", "iso", "ploop")

BASE_FIELDS = (
    Field("id", TEXT, access="c"),
    Field("name", or_none(TEXT, ""), access="cu"),
    Field("visibility", one_of("public", "private", "shared", "community"), access="cu"),
    Field("protected", FLAG, access="cu"),
    Field("container_format", or_none(CONTAINER_FORMATS), access="cu"),
    Field("disk_format", or_none(DISK_FORMATS), access="cu"),
    Field("min_disk", integer(0, 2**31), attr="min_disk_gib", access="cu"),
    Field("min_ram", integer(0, 2**31), attr="min_ram_mib", access="cu"),
    Field("tags", TAGS, access="cu"),
    Field("owner", or_none(TEXT, ""), attr="project_id", access="c"),
    Field("os_hidden", FLAG, access="cu"),
)
BASE_NAMES = frozenset(field.name for field in BASE_FIELDS)
READ_ONLY = frozenset(
    ("status", "size", "virtual_size", "checksum", "os_hash_algo", "os_hash_value", "created_at", "updated_at", "file")
) | {"schema", "self", "direct_url", "locations", "stores"}


def image_routes() -> Routes:
    """All routes of the service."""
    routes = Routes()
    routes.add("GET", "/", _versions, public=True)
    routes.add("GET", "/versions", _version_list, public=True)
    routes.add("GET", "/v2", _version_list, public=True)
    routes.add("GET", "/v2/images", _list)
    routes.add("POST", "/v2/images", _create)
    routes.add("GET", "/v2/images/{id}", _show)
    routes.add("PATCH", "/v2/images/{id}", _patch)
    routes.add("DELETE", "/v2/images/{id}", _delete)
    routes.add("PUT", "/v2/images/{id}/file", _upload)
    routes.add("GET", "/v2/images/{id}/members", _members)
    routes.add("PUT", "/v2/images/{id}/tags/{tag}", _add_tag)
    routes.add("DELETE", "/v2/images/{id}/tags/{tag}", _remove_tag)
    routes.add("GET", "/v2/schemas/image", _schema)
    routes.add("GET", "/v2/schemas/images", _schema_list)
    routes.add("GET", "/v2/schemas/metadefs/{kind}", _metadef_schema)
    routes.add("GET", "/v2/info/import", _import_info)
    routes.add("GET", "/v2/info/stores", _stores)
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


def image_document(call: Call, image: GlanceImage) -> Document:
    """An image as Glance shows it."""
    path = f"/v2/images/{image.id}"
    return {
        **image.properties,
        "id": image.id,
        "name": image.name or None,
        "status": image.status,
        "visibility": image.visibility,
        "protected": image.protected,
        "os_hidden": False,
        "owner": image.project_id or call.cloud.identity.admin_project.id,
        "container_format": image.container_format,
        "disk_format": image.disk_format,
        "min_disk": image.min_disk_gib,
        "min_ram": image.min_ram_mib,
        "size": image.size_bytes,
        "virtual_size": None,
        "checksum": None,
        "os_hash_algo": "sha256" if image.digest else None,
        "os_hash_value": image.digest.removeprefix("sha256:") or None,
        "tags": list(image.tags),
        "created_at": timestamp(image.created_at),
        "updated_at": timestamp(image.updated_at),
        "self": path,
        "file": f"{path}/file",
        "schema": "/v2/schemas/image",
    }


def _sees(call: Call, image: GlanceImage) -> bool:
    return call.token.is_admin or image.visibility in ("public", "community") or image.project_id == call.project_id


def _find(call: Call) -> GlanceImage:
    try:
        image = call.cloud.images.get(call.params["id"])
    except NotFound:
        image = None
    if image is None or not _sees(call, image):
        raise NotFound(f"No image found with ID {call.params['id']}")
    return image


async def _list(call: Call) -> Reply:
    query = [("tags" if key == "tag" else key, value) for key, value in call.query]
    images = (image for image in call.cloud.images.list() if _sees(call, image))
    newest_first = sorted(images, key=lambda image: image.created_at, reverse=True)
    documents = filtered((image_document(call, image) for image in newest_first), _expanded(query))
    found, more = page(ordered(documents, query), query, unlimited=PAGE)
    body: Document = {"images": found, "schema": "/v2/schemas/images", "first": "/v2/images"}
    if more and found:
        following = call.request.url.include_query_params(marker=found[-1]["id"])
        body["next"] = f"/v2/images?{following.query}"
    return json_reply(body)


def _expanded(query: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Glance's `in:a,b` as repeated values."""
    pairs: list[tuple[str, str]] = []
    for key, value in query:
        values = value.removeprefix("in:").split(",") if value.startswith("in:") else [value]
        pairs += [(key, one.strip('"')) for one in values]
    return pairs


async def _show(call: Call) -> Reply:
    return json_reply(image_document(call, _find(call)))


async def _create(call: Call) -> Reply:
    body = await call.json()
    values = _values(body, "c")
    values.setdefault("project_id", call.project_id)
    if "id" in values:
        _require_uuid(values["id"])
    values.setdefault("visibility", "shared")
    values.setdefault("container_format", None)
    values.setdefault("disk_format", None)
    image = await call.cloud.images.create(GlanceImage(status="queued", **values))
    location = call.url("image", f"/v2/images/{image.id}")
    return json_reply(image_document(call, image), 201, location=location)


def _values(body: Document, mode: str) -> dict[str, Any]:
    """The known fields of a body by attribute, the rest as properties.

    Raises:
        InvalidInput: a field is read-only or ill-formed; a property is no string.
    """
    if read_only := sorted(READ_ONLY & set(body)):
        raise InvalidInput(f"Attribute '{read_only[0]}' is read-only.")
    values = read_fields(BASE_FIELDS, {name: value for name, value in body.items() if name in BASE_NAMES}, mode)
    values.pop("os_hidden", None)
    properties = {name: value for name, value in body.items() if name not in BASE_NAMES}
    if wrong := [name for name, value in properties.items() if not isinstance(value, str)]:
        raise InvalidInput(f"Invalid input for property {wrong[0]}: a string is needed.")
    return {**values, "properties": properties} if properties else values


def _require_uuid(text: str) -> None:
    try:
        uuid.UUID(text)
    except ValueError:
        raise InvalidInput(f"Invalid image id format: {text}") from None


async def _patch(call: Call) -> Reply:
    """PATCH with a JSON patch: add, replace, remove of top-level members."""
    image = _find(call)
    changes = _patched(image_document(call, image), await _operations(call))
    merged = {name: value for name, value in changes.items() if name not in READ_ONLY | {"id", "owner"}}
    values = _values(merged, "u")
    values.setdefault("properties", {})
    image = await call.cloud.images.update(image.id, **values)
    return json_reply(image_document(call, image))


async def _operations(call: Call) -> list[Document]:
    wrapped = await call.json_list()
    if not all(isinstance(operation, dict) and "path" in operation and "op" in operation for operation in wrapped):
        raise InvalidInput("Malformed request body: a list of JSON patch operations is needed")
    return wrapped


def _patched(document: Document, operations: list[Document]) -> Document:
    result = dict(document)
    for operation in operations:
        name = str(operation["path"]).lstrip("/").replace("~1", "/").replace("~0", "~")
        if name in READ_ONLY | {"id", "owner"}:
            raise InvalidInput(f"Attribute '{name}' is read-only.")
        if operation["op"] == "remove":
            if name not in result or name in BASE_NAMES:
                raise Conflict(f"Property {name} does not exist.")
            del result[name]
        elif operation["op"] in ("add", "replace"):
            result[name] = operation.get("value")
        else:
            raise InvalidInput(f"Operations must be one of add, replace, remove: got '{operation['op']}'")
    return result


async def _delete(call: Call) -> Reply:
    await call.cloud.images.delete(_find(call).id)
    return NO_CONTENT


async def _upload(call: Call) -> Reply:
    if call.request.headers.get("content-type", "").partition(";")[0] != "application/octet-stream":
        raise InvalidInput("the content type must be application/octet-stream")
    await call.cloud.images.upload(_find(call).id, call.request.stream())
    return NO_CONTENT


async def _members(call: Call) -> Reply:
    _find(call)
    return json_reply({"members": [], "schema": "/v2/schemas/members"})


async def _add_tag(call: Call) -> Reply:
    image = _find(call)
    tags = tuple(dict.fromkeys((*image.tags, call.params["tag"])))
    await call.cloud.images.update(image.id, tags=tags)
    return NO_CONTENT


async def _remove_tag(call: Call) -> Reply:
    image = _find(call)
    if call.params["tag"] not in image.tags:
        raise NotFound(f"tag {call.params['tag']} not found for image {image.id}.")
    await call.cloud.images.update(image.id, tags=tuple(tag for tag in image.tags if tag != call.params["tag"]))
    return NO_CONTENT


def _nullable(kind: str) -> Document:
    return {"type": ["null", kind]}


def _schema_document() -> Document:
    text, number = {"type": "string"}, {"type": "integer"}
    null_text, null_number = _nullable("string"), _nullable("integer")
    properties: Document = {
        **dict.fromkeys(("id", "status", "visibility", "created_at", "updated_at", "self", "file", "schema"), text),
        **dict.fromkeys(("name", "owner", "container_format", "disk_format", "checksum"), null_text),
        **dict.fromkeys(("os_hash_algo", "os_hash_value"), null_text),
        **dict.fromkeys(("min_disk", "min_ram"), number),
        **dict.fromkeys(("size", "virtual_size"), null_number),
        "protected": {"type": "boolean"},
        "os_hidden": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 255}},
    }
    link = {"rel": "self", "href": "{self}"}
    return {
        "name": "image",
        "properties": properties,
        "additionalProperties": {"type": "string"},
        "links": [link, {"rel": "enclosure", "href": "{file}"}, {"rel": "describedby", "href": "{schema}"}],
    }


async def _schema(call: Call) -> Reply:
    return json_reply(_schema_document())


async def _schema_list(call: Call) -> Reply:
    properties = {"images": {"type": "array", "items": _schema_document()}, "schema": {"type": "string"}}
    return json_reply({"name": "images", "properties": properties, "links": []})


async def _metadef_schema(call: Call) -> Reply:
    known = ("namespace", "namespaces", "resource_type", "resource_types", "property", "properties", "tag", "tags")
    if call.params["kind"] not in (*known, "object", "objects"):
        raise NotFound(f"there is no schema {call.params['kind']}")
    return json_reply({"name": call.params["kind"], "properties": {}, "additionalProperties": {"type": "string"}})


async def _import_info(call: Call) -> Reply:
    return json_reply({"import-methods": {"description": "Import methods available.", "type": "array", "value": []}})


async def _stores(call: Call) -> Reply:
    return json_reply({"stores": [{"id": "store", "default": "true"}]})
