"""PATCH of an image: JSON patch (RFC 6902) with `add`, `replace` and `remove` of what is at the top of the document.

Two media types exist: `...images-v2.1-json-patch` (`{"op", "path", "value"}`), and `v2.0` with the operation's name as
the key of the path.
"""

from __future__ import annotations

from typing import Any

from sonata.api.openstack.call import Call
from sonata.api.openstack.faults import Forbidden, UnsupportedMediaType
from sonata.api.openstack.image.documents import BASE_NAMES, image_document, own_image, read_image, refuse_reserved
from sonata.api.openstack.listing import Document
from sonata.api.openstack.reply import Reply, json_reply
from sonata.errors import Conflict, InvalidInput

NEW, OLD = "application/openstack-images-v2.1-json-patch", "application/openstack-images-v2.0-json-patch"
OPERATIONS = ("add", "replace", "remove")


async def patch_image(call: Call) -> Reply:
    """PATCH /v2/images/{id}."""
    kind = call.request.headers.get("content-type", "").partition(";")[0].strip()
    if kind not in (NEW, OLD):
        raise UnsupportedMediaType(f"the content type must be {NEW} or {OLD}")
    image = own_image(call, "modify")
    operations = [_operation(one, kind) for one in await call.json_list()]
    before = {**image_document(call, image), "owner": image.project_id}
    own = {name: value for name, value in before.items() if name in BASE_NAMES or name in image.properties}
    own.pop("id")
    after = _applied(own, operations)
    changed = {name: value for name, value in after.items() if name in BASE_NAMES and value != own.get(name)}
    values = read_image(call, {**changed, **{name: after[name] for name in after if name not in BASE_NAMES}}, "u")
    _refuse_late(image.status, changed)
    values.setdefault("properties", {})
    return json_reply(image_document(call, await call.cloud.images.update(image.id, **values)))


def _refuse_late(status: str, changed: Document) -> None:
    """Refuse to change the format of data that are there."""
    if status not in ("queued", "importing") and (late := {"disk_format", "container_format"} & changed.keys()):
        raise Forbidden(f"Attribute {min(late)} can be only replaced for a queued image.")


def _operation(asked: Any, kind: str) -> tuple[str, str, Any]:
    """Operation, name and value of one step."""
    if not isinstance(asked, dict):
        raise InvalidInput("Operations must be JSON objects.")
    operation, path = asked.get("op"), asked.get("path")
    if kind == OLD:
        operation = next((name for name in OPERATIONS if name in asked), None)
        path = asked.get(str(operation))
    if operation not in OPERATIONS:
        raise InvalidInput("Operations must be one of: add, replace, remove.")
    if operation != "remove" and "value" not in asked:
        raise InvalidInput(f'Operation "{operation}" requires a member named "value".')
    return str(operation), _name(path), asked.get("value")


def _name(path: Any) -> str:
    """The member that a JSON pointer (RFC 6901) means.

    Raises:
        InvalidInput: it is no pointer, or leads deeper.
        Forbidden: only the service sets it.
    """
    if not isinstance(path, str) or not path.startswith("/"):
        raise InvalidInput(f'Pointer `{path}` does not start with "/".')
    if "/" in path[1:]:
        raise InvalidInput(f"Invalid JSON pointer for this resource: '{path}'")
    name = path[1:].replace("~1", "/").replace("~0", "~")
    refuse_reserved(name)
    if name == "id":
        raise Forbidden("Attribute 'id' is read-only.")
    return name


def _applied(document: Document, operations: list[tuple[str, str, Any]]) -> Document:
    result = dict(document)
    for operation, name, value in operations:
        if operation == "remove":
            if name in BASE_NAMES:
                raise Forbidden(f"Property {name} may not be removed.")
            if name not in result:
                raise Conflict(f"Property {name} does not exist.")
            del result[name]
            continue
        if operation == "replace" and name not in result:
            raise Conflict(f"Property {name} does not exist.")
        result[name] = value
    return result
