"""Lists of images: which of them a project gets to see, filters, order and pages."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from sonata.api.openstack.call import Call
from sonata.api.openstack.image.documents import VISIBILITIES, image_document
from sonata.api.openstack.listing import Document, filtered, ordered, page
from sonata.api.openstack.reply import Reply, json_reply
from sonata.emulator.cloud.entities.image import GlanceImage
from sonata.errors import InvalidInput

PAGE, LONGEST_PAGE = 25, 1000
SORT_KEYS = frozenset(
    ("name", "status", "container_format", "disk_format", "size", "id", "created_at", "updated_at", "owner",
     "min_disk", "min_ram", "visibility", "os_hidden", "protected")
)  # fmt: skip
_OWN = frozenset(
    ("visibility", "member_status", "size_min", "size_max", "created_at", "updated_at", "os_hidden", "tag", "sort",
     "changes-since")
)  # fmt: skip
"""Filters that mean something else than equality."""
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
    "eq": operator.eq,
    "neq": operator.ne,
}
Query = list[tuple[str, str]]


async def list_images(call: Call) -> Reply:
    """GET /v2/images."""
    query = call.query
    images = [image for image in call.cloud.images.list() if _listed(call, image) and _fits(call, image)]
    images.sort(key=lambda image: (image.created_at, image.id), reverse=True)
    plain = _expanded([(key, value) for key, value in query if key not in _OWN])
    documents = filtered((image_document(call, image) for image in images), plain)
    found, more = _page(_sorted(documents, query), query)
    body: Document = {"images": found, "schema": "/v2/schemas/images", "first": _first(call)}
    if more and found:
        following = call.request.url.include_query_params(marker=found[-1]["id"])
        body["next"] = f"/v2/images?{following.query}"
    return json_reply(body)


def _first(call: Call) -> str:
    query = call.request.url.remove_query_params("marker").query
    return f"/v2/images?{query}" if query else "/v2/images"


def _listed(call: Call, image: GlanceImage) -> bool:
    """Whether a project's lists have an image: visible, and of the visibility that is asked for."""
    asked = call.first("visibility")
    if asked and asked not in (*VISIBILITIES, "all"):
        raise InvalidInput(f"Invalid visibility value: {asked}")
    if asked not in ("", "all") and image.visibility != asked:
        return False
    if image.visibility == "public" or image.project_id == call.project_id:
        return True
    if image.visibility == "community":
        return asked in ("community", "all")
    return _is_offered(call, image) or (call.token.is_admin and not call.first("member_status"))


def _is_offered(call: Call, image: GlanceImage) -> bool:
    wanted = call.first("member_status", "accepted")
    if wanted not in ("accepted", "pending", "rejected", "all"):
        raise InvalidInput(f"Invalid status: {wanted}")
    status = call.cloud.image_members.status(image.id, call.project_id)
    return image.visibility == "shared" and status is not None and wanted in ("all", status)


def _fits(call: Call, image: GlanceImage) -> bool:
    """Whether an image fulfils the filters that are no equality."""
    hidden = call.first("os_hidden", "false").lower() in ("true", "1")
    size = image.size_bytes or 0
    return (
        image.hidden is hidden
        and size >= _bytes(call, "size_min", 0)
        and size <= _bytes(call, "size_max", size)
        and all(value in image.tags for key, value in call.query if key == "tag")
        and all(_in_time(image.created_at, value) for key, value in call.query if key == "created_at")
        and all(_in_time(image.updated_at, value) for key, value in call.query if key == "updated_at")
    )


def _bytes(call: Call, name: str, default: int) -> int:
    text = call.first(name, str(default))
    if not text.isdigit():
        raise InvalidInput(f"Invalid value '{text}' for parameter '{name}'.")
    return int(text)


def _in_time(have: float, asked: str) -> bool:
    """Whether a time fulfils `gt:2026-01-01T00:00:00Z`; seconds are what Glance shows and compares."""
    name, separator, text = asked.partition(":")
    if name not in _COMPARE:
        name, text = "eq", asked
    elif not separator:
        raise InvalidInput(f"Invalid time filter: {asked}")
    try:
        wanted = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"'{text}' is not a valid time.") from None
    wanted = wanted if wanted.tzinfo else wanted.replace(tzinfo=UTC)
    return _COMPARE[name](int(have), int(wanted.timestamp()))


def _expanded(query: Iterable[tuple[str, str]]) -> Query:
    """Glance's `in:a,b` as repeated values."""
    pairs: Query = []
    for key, value in query:
        values = value.removeprefix("in:").split(",") if value.startswith("in:") else [value]
        pairs += [(key, one.strip('"')) for one in values]
    return pairs


def _sorted(documents: list[Document], query: Query) -> list[Document]:
    """In the order that is asked for, each key with its direction; without one newest first.

    Raises:
        InvalidInput: there is no such key or direction, or both forms of sorting are mixed.
    """
    forms = {key for key, _value in query if key in ("sort", "sort_key", "sort_dir")}
    if "sort" in forms and len(forms) > 1:
        raise InvalidInput("Old and new sorting syntax cannot be combined")
    for key, value in query:
        words = [value] if key == "sort_key" else []
        words += [part.partition(":")[0] for part in value.split(",")] if key == "sort" else []
        if wrong := [word for word in words if word not in SORT_KEYS]:
            raise InvalidInput(f"Invalid sort key: {wrong[0]}")
        if key == "sort_dir" and value not in ("asc", "desc"):
            raise InvalidInput(f"Invalid sort direction: {value}")
    # Glance sorts downwards where no direction is given.
    given = [value for key, value in query if key == "sort_dir"]
    keys = [value for key, value in query if key == "sort_key"]
    default = given[0] if len(given) == 1 else "desc"
    pairs: Query = [("sort_dir", each) for each in [*given, *[default] * (len(keys) - len(given))]]
    pairs += [("sort_key", key) for key in keys]
    pairs += [("sort", ",".join(map(_directed, value.split(",")))) for key, value in query if key == "sort"]
    return ordered(documents, pairs)


def _directed(part: str) -> str:
    return part if ":" in part else f"{part}:desc"


def _page(documents: list[Document], query: Query) -> tuple[list[Document], bool]:
    limit = dict(query).get("limit", "")
    if limit == "0":
        return [], False
    if limit.isdigit() and int(limit) > LONGEST_PAGE:
        query = [*(pair for pair in query if pair[0] != "limit"), ("limit", str(LONGEST_PAGE))]
    return page(documents, query, unlimited=PAGE)
