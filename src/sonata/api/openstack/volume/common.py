"""What all parts of the Block Storage API have in common: paths, lists, metadata, finding what a call means."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from sonata.api.openstack.call import Call, Microversion
from sonata.api.openstack.listing import Document, filtered, ordered, page
from sonata.api.openstack.reply import Reply, json_reply
from sonata.api.openstack.routing import Handler, Routes, Schema
from sonata.api.openstack.volume import bodies
from sonata.emulator.cloud.entities.base import Entity
from sonata.emulator.cloud.entities.volume import Snapshot, Volume
from sonata.emulator.cloud.identity.roles import Needed
from sonata.emulator.cloud.tables import Table
from sonata.errors import InvalidInput, NotFound

E = TypeVar("E", bound=Entity)

LONGEST_PAGE = 1000
HUGE = 2**31 - 1
NOT_FILTERS = frozenset(("all_tenants", "offset", "with_count", "sort", "metadata", "is_public", "usage"))


class Paths:
    """Adds routes with and without the project in their path; the project must be the caller's own."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes

    def add(
        self, method: str, path: str, handler: Handler, *, needs: Needed | None = None, body: Schema | None = None
    ) -> None:
        """Add `/v3{path}` and `/v3/{project_id}{path}`."""

        async def checked(call: Call) -> Reply:
            if call.params["project_id"] != call.project_id and not call.token.is_admin:
                raise InvalidInput("Malformed request url: the project of the path is not the token's.")
            return await handler(call)

        checked.__doc__ = handler.__doc__
        self._routes.add(method, f"/v3{path}", handler, needs=needs, body=body)
        self._routes.add(method, f"/v3/{{project_id}}{path}", checked, needs=needs, body=body)


def precise(seconds: float) -> str:
    """Unix time as Cinder writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")


def links(call: Call, collection: str, entity_id: str) -> list[dict[str, str]]:
    """The two links that Cinder gives to everything."""
    return [
        {"rel": "self", "href": call.url("volume", f"/v3/{call.project_id}/{collection}/{entity_id}")},
        {"rel": "bookmark", "href": call.url("volume", f"/{call.project_id}/{collection}/{entity_id}")},
    ]


def find(call: Call, table: Table[E], what: str, name: str = "id") -> E:
    """What a call means.

    Raises:
        NotFound: there is none that the caller may see.
    """
    entity = table.peek(call.params[name])
    if entity is None or not call.sees(entity):
        raise NotFound(f"{what} {call.params[name]} could not be found.")
    return entity


def visible(call: Call, table: Table[E]) -> list[E]:
    """What the caller's lists have, newest first: the project's own, or all where an administrator asks for them."""
    everything = call.token.is_admin and call.first("all_tenants").lower() in ("1", "true")
    found = [one for one in table if everything or one.project_id == call.project_id]
    wanted = metadata_filter(call)
    if wanted:
        found = [one for one in found if wanted.items() <= dict(getattr(one, "metadata", {})).items()]
    return sorted(found, key=lambda one: (one.created_at, one.id), reverse=True)


def metadata_filter(call: Call) -> dict[str, str]:
    """The dictionary in `metadata={'key': 'value'}`, which clients write as Python does.

    Raises:
        InvalidInput: it is none.
    """
    text = call.first("metadata")
    if not text:
        return {}
    try:
        wanted = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        wanted = None
    if not isinstance(wanted, dict):
        raise InvalidInput(f"Invalid input received: metadata filter '{text[:80]}' is no dictionary.")
    return {str(key): str(value) for key, value in wanted.items()}


def listed(
    call: Call,
    collection: str,
    documents: Iterable[Document],
    shown: Callable[[Document], Document] = lambda document: document,
    *,
    counted_since: Microversion | None = None,
) -> Reply:
    """An answer with one page of a list.

    Args:
        call: its filters, order and page.
        collection: key of the list, and its path.
        documents: complete ones.
        shown: what of each is shown.
        counted_since: microversion from which `with_count` is answered.
    """
    query = [(key, value) for key, value in call.query if key not in NOT_FILTERS]
    query += [("sort", _directed(call.first("sort")))] if call.first("sort") else []
    found = filtered(documents, [pair for pair in query if pair[0] != "sort"])
    total = len(found)
    found = ordered(found, query)[_whole(call, "offset", 0) :]
    limit = _whole(call, "limit", LONGEST_PAGE)
    query = [*(pair for pair in query if pair[0] != "limit"), ("limit", str(min(limit, LONGEST_PAGE)))]
    found, more = page(found, query) if limit else ([], False)
    body: Document = {collection: [shown(one) for one in found]}
    if more and found:
        following = call.request.url.include_query_params(marker=found[-1]["id"])
        body[f"{collection}_links"] = [{"rel": "next", "href": str(following)}]
    if counted_since and call.microversion >= counted_since and call.first("with_count").lower() in ("true", "1"):
        body["count"] = total
    return json_reply(body)


def _directed(text: str) -> str:
    """Cinder sorts downwards where no direction is given."""
    return ",".join(part if ":" in part else f"{part}:desc" for part in text.split(","))


def _whole(call: Call, name: str, default: int) -> int:
    text = call.first(name, str(default))
    if not text.isdigit():
        raise InvalidInput(f"Invalid input received: {name} must be an integer of at least 0, not '{text[:20]}'.")
    return int(text)


# reading bodies


def text_of(body: Mapping[str, Any], *names: str, longest: int = 255) -> str | None:
    """The first of several names that a body has, as text; None when it has none.

    Raises:
        InvalidInput: it is no text, or too long.
    """
    for name in names:
        value = body.get(name)
        if value is None:
            continue
        if not isinstance(value, str) or len(value) > longest:
            raise InvalidInput(
                f"Invalid input for field/attribute {name}. Value: {str(value)[:40]}. It must be a text "
                f"of at most {longest} characters."
            )
        return value.strip()
    return None


def whole_of(body: Mapping[str, Any], name: str, low: int = 1) -> int:
    """A whole number in a body.

    Raises:
        InvalidInput: it is none, or too small or large.
    """
    value = body.get(name)
    number = int(value) if isinstance(value, str) and value.strip().isdigit() and len(value) < 12 else value
    if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= HUGE:
        raise InvalidInput(
            f"Invalid input for field/attribute {name}. Value: {str(value)[:40]}. It must be an integer "
            f"of at least {low}."
        )
    return number


def flag_of(body: Mapping[str, Any], name: str, default: bool | None = None) -> bool:
    """A truth value in a body.

    Raises:
        InvalidInput: it is none.
    """
    value = body.get(name, default)
    known = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    found = value if isinstance(value, bool) else known.get(str(value).lower())
    if found is None:
        raise InvalidInput(f"Invalid input for field/attribute {name}. Value: {str(value)[:40]}. It is no boolean.")
    return found


def texts_of(value: Any, what: str = "metadata") -> dict[str, str]:
    """An object of texts.

    Raises:
        InvalidInput: it is none, or one is too long.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidInput(f"Invalid input for field/attribute {what}: an object is needed.")
    for key, text in value.items():
        if not isinstance(text, str) or not 1 <= len(key) <= 255 or len(text) > 255:
            raise InvalidInput(
                f"Invalid input for field/attribute {what}: {key[:40]} must be a text of at most 255 characters."
            )
    return dict(value)


# metadata of volumes and snapshots


class MetadataRoutes:
    """The metadata of one kind of entities, below their path.

    Args:
        found: the entity that a call means.
        table: where it is.
    """

    def __init__(self, found: Callable[[Call], Volume | Snapshot], table: Callable[[Call], Table[Any]]) -> None:
        self._found = found
        self._table = table

    def register(self, paths: Paths, base: str) -> None:
        """Add the routes."""
        base = f"{base}/{{id}}/metadata"
        paths.add("GET", base, self._show)
        paths.add("POST", base, self._add, body=bodies.METADATA)
        paths.add("PUT", base, self._replace, body=bodies.METADATA)
        paths.add("GET", f"{base}/{{key}}", self._show_one)
        paths.add("PUT", f"{base}/{{key}}", self._set_one, body=bodies.METADATUM)
        paths.add("DELETE", f"{base}/{{key}}", self._remove_one)

    async def _show(self, call: Call) -> Reply:
        return json_reply({"metadata": dict(self._found(call).metadata)})

    async def _add(self, call: Call) -> Reply:
        return self._kept(call, {**self._found(call).metadata, **texts_of(await call.member("metadata"))})

    async def _replace(self, call: Call) -> Reply:
        return self._kept(call, texts_of(await call.member("metadata")))

    async def _show_one(self, call: Call) -> Reply:
        return json_reply({"meta": {call.params["key"]: _existing(call, self._found(call).metadata)}})

    async def _set_one(self, call: Call) -> Reply:
        meta = texts_of(await call.member("meta"))
        if set(meta) != {call.params["key"]}:
            raise InvalidInput("Invalid input received: Request body and URI mismatch.")
        self._kept(call, {**self._found(call).metadata, **meta})
        return json_reply({"meta": meta})

    async def _remove_one(self, call: Call) -> Reply:
        metadata = self._found(call).metadata
        _existing(call, metadata)
        self._kept(call, {key: value for key, value in metadata.items() if key != call.params["key"]})
        return Reply()

    def _kept(self, call: Call, changed: Mapping[str, str]) -> Reply:
        self._table(call).change(self._found(call).id, metadata=dict(changed))
        return json_reply({"metadata": dict(changed)})


def _existing(call: Call, metadata: Mapping[str, str]) -> str:
    key = call.params["key"]
    if key not in metadata:
        raise NotFound(f"Metadata item with key {key} not found.")
    return metadata[key]
