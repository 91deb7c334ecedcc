"""One request as handlers see it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from functools import lru_cache
from typing import Any

import msgspec
from starlette.datastructures import URL
from starlette.requests import Request

from sonata._lib.values import dataclass
from sonata.api.openstack.faults import Forbidden, NotAcceptable, TooLarge
from sonata.emulator.cloud import Cloud
from sonata.emulator.cloud.causes import NoSuch
from sonata.emulator.cloud.entities.base import Entity
from sonata.emulator.cloud.identity.tokens import REQUIRED, Token
from sonata.emulator.cloud.network.rbac import shared_with
from sonata.errors import InvalidInput, Unauthorised

Microversion = tuple[int, int]
OLDEST: Microversion = (2, 1)
NEWEST: Microversion = (2, 96)
LONGEST_BODY = 4 * 1024**2
DEEPEST_BODY = 100
PEOPLE = frozenset(("projects", "users", "groups", "roles", "application_credentials", "quota_limits"))
"""Tables whose ids a body may hold without a claim to the object."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request to one service of one PoP.

    Args:
        service: `identity`, `compute`, `network` or `image`.
        params: what the route's placeholders stand for.
        caller: who asks; None at public routes.
    """

    cloud: Cloud
    pop: str
    service: str
    request: Request
    params: Mapping[str, str] = field(default_factory=dict)
    caller: Token | None = None
    microversion: Microversion = OLDEST

    @property
    def token(self) -> Token:
        """Who asks.

        Raises:
            Unauthorised: nobody known.
        """
        if self.caller is None:
            raise Unauthorised(REQUIRED)
        return self.caller

    @property
    def project_id(self) -> str:
        """The project in which is asked; empty for a token that is for none, as only the identity service takes it."""
        return self.token.project.id if self.token.project else ""

    @property
    def query(self) -> list[tuple[str, str]]:
        """Query parameters in their order, repeated ones included."""
        return self.request.query_params.multi_items()

    def first(self, name: str, default: str = "") -> str:
        """The first value of a query parameter."""
        return self.request.query_params.get(name, default)

    def url(self, service: str, path: str = "") -> str:
        """The address of something in this PoP, as the client reached us."""
        return f"{base_url(self.request)}/{self.pop}/{service}{path}"

    async def json(self) -> dict[str, Any]:
        """The body as a JSON object.

        Raises:
            InvalidInput: it is none.
            TooLarge: it is larger than 4 MiB.
        """
        document = await self._decoded()
        if not isinstance(document, dict):
            raise InvalidInput("Malformed request body: a JSON object is needed")
        return document

    async def json_list(self) -> list[Any]:
        """The body as a JSON list.

        Raises:
            InvalidInput: it is none.
            TooLarge: it is larger than 4 MiB.
        """
        document = await self._decoded()
        if not isinstance(document, list):
            raise InvalidInput("Malformed request body: a JSON list is needed")
        return document

    async def _decoded(self) -> Any:
        body = bytearray()
        async for chunk in self.request.stream():
            body += chunk
            if len(body) > LONGEST_BODY:
                raise TooLarge(f"the request body is too long: at most {LONGEST_BODY} bytes are read")
        try:
            document = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidInput(f"Malformed request body: {error}") from None
        if body.count(b"{") + body.count(b"[") > DEEPEST_BODY and _depth(document) > DEEPEST_BODY:
            raise InvalidInput(f"Malformed request body: it is nested more than {DEEPEST_BODY} levels deep")
        self._refuse_foreign(document)
        return document

    def _refuse_foreign(self, document: Any) -> None:
        """Refuse bodies that name an object which the caller may not know of, wherever they name it.

        Raises:
            NoSuch: as if there were none.
        """
        if self.caller is None or self.token.is_admin:
            return
        for text in _texts(document):
            for kind, entity in self._named(text.rpartition("/")[2]):
                if not self.sees(entity):
                    raise NoSuch(kind, entity.id)

    def _named(self, entity_id: str) -> Iterator[tuple[str, Entity]]:
        """The objects of projects that have this id; who is who is the identity service's matter."""
        for name, table in self.cloud.tables:
            entity = None if name in PEOPLE else table.peek(entity_id)
            if entity is not None and entity.project_id and not hasattr(entity, "visibility"):
                yield table.kind, entity

    async def member(self, name: str) -> dict[str, Any]:
        """The object under one key of the body, as OpenStack wraps them.

        Raises:
            InvalidInput: there is none.
        """
        return inner(await self.json(), name)

    def sees(self, entity: Entity) -> bool:
        """Whether the caller may know of an object; what belongs to no project is the cloud's own."""
        if self.token.is_admin or (entity.project_id and entity.project_id == self.project_id):
            return True
        if getattr(entity, "shared", False) or getattr(entity, "external", False):
            return True
        return shared_with(self.cloud.tables, entity, self.project_id)

    def require_admin(self, action: str) -> None:
        """Refuse callers without the role `admin`.

        Raises:
            Forbidden: the caller has not got it.
        """
        if not self.token.is_admin:
            raise Forbidden(f"Policy doesn't allow {action} to be performed.")


def _depth(document: Any) -> int:
    """How deep lists and objects are nested."""
    deepest, waiting = 0, [(document, 1)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, dict | list):
            deepest = max(deepest, depth)
            waiting.extend((inside, depth + 1) for inside in (value.values() if isinstance(value, dict) else value))
    return deepest


def _texts(document: Any) -> Iterator[str]:
    """All strings in a document but its keys."""
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def inner(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The object under a key.

    Raises:
        InvalidInput: there is none.
    """
    found = document.get(name)
    if not isinstance(found, dict):
        raise InvalidInput(f"Invalid input: the body needs an object `{name}`")
    return found


def microversion_of(request: Request) -> Microversion:
    """The compute microversion asked for: 2.1 when none is.

    Raises:
        InvalidInput: it cannot be read.
        NotAcceptable: it is out of range.
    """
    asked = request.headers.get("openstack-api-version", "").removeprefix("compute ").strip()
    asked = asked or request.headers.get("x-openstack-nova-api-version", "").strip()
    return _read_version(asked)


@lru_cache(maxsize=256)
def _read_version(asked: str) -> Microversion:
    if not asked or " " in asked:
        return OLDEST
    if asked == "latest":
        return NEWEST
    if not re.fullmatch(r"\d+\.\d+", asked):
        raise InvalidInput(f"API Version String {asked} is of invalid format. Must be of format MajorNum.MinorNum.")
    major, minor = asked.split(".")
    version = (int(major), int(minor))
    if not OLDEST <= version <= NEWEST:
        raise NotAcceptable(
            f"Version {asked} is not supported by the API. Minimum is {_dotted(OLDEST)} and maximum is "
            f"{_dotted(NEWEST)}."
        )
    return version


def base_url(request: Request) -> str:
    """The address of everything here, as the client reached us, without a slash at its end."""
    scope = request.scope
    server = scope.get("server")
    root = str(scope.get("app_root_path", scope.get("root_path", "")))
    return _base_url(str(scope["scheme"]), request.headers.get("host"), tuple(server) if server else None, root)


@lru_cache(maxsize=256)
def _base_url(scheme: str, host: str | None, server: tuple[str, int] | None, root: str) -> str:
    """What Starlette makes of these parts of a request; few clients use many of them."""
    headers = [] if host is None else [(b"host", host.encode("latin-1"))]
    url = URL(scope={"scheme": scheme, "server": server, "path": root.rstrip("/"), "headers": headers})
    return f"{url.scheme}://{url.netloc}{url.path}"


def microversion_headers(version: Microversion) -> dict[str, str]:
    """What Nova tells about the microversion in each answer."""
    return {
        "openstack-api-version": f"compute {_dotted(version)}",
        "x-openstack-nova-api-version": _dotted(version),
        "vary": "OpenStack-API-Version, X-OpenStack-Nova-API-Version",
    }


def _dotted(version: Microversion) -> str:
    return f"{version[0]}.{version[1]}"
