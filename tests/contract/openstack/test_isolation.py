"""What one project has is nothing to another one, in every route of every service.

Routes and tables are enumerated, so that whatever is added is tried without a change here. Objects of project A are
made through the domain where their making matters, else put into their tables as their type hints say.
"""

from __future__ import annotations

import types
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from tests.contract.openstack.words import tables_of
from tests.fakes.fabric import FakeFabric
from tests.fakes.images import FakeImageStore
from tests.fakes.runtime import FakeRuntime

from sonata._lib.plain import decode, encode
from sonata.api.openstack.app import Surface
from sonata.api.openstack.routing import Target
from sonata.emulator.cloud import Cloud
from sonata.emulator.cloud.compute.nics import NicWish
from sonata.emulator.cloud.compute.servers import BootRequest
from sonata.emulator.cloud.entities.base import Entity
from sonata.emulator.cloud.entities.identity import Project, User
from sonata.emulator.cloud.entities.network import Network, Router, Subnet
from sonata.emulator.cloud.identity.assignments import Grant
from sonata.emulator.cloud.identity.tokens import Scope
from sonata.emulator.cloud.tables import Tables
from sonata.emulator.data_plane import DataPlane
from sonata.model.topology import GIB, Pop

POP = "edge"
MARK = "sesame"
"""Part of every name that project A gives."""
EXTERNAL = IPv4Network("100.64.3.0/24")
IDENTITY = frozenset(
    ("projects", "users", "groups", "roles", "assignments", "application_credentials", "token_keys", "revocations")
)
"""Tables whose rows belong to no project; `test_identity` looks after them."""
COMMON = frozenset(("flavors", "quota_limits"))
KINDS: Mapping[str, type[Entity]] = {name: get_args(hint)[0] for name, hint in get_type_hints(Tables).items()}
NOT_PUBLIC = {"visibility": "private", "is_public": False, "shared": False, "external": False}
READING_POSTS: frozenset[tuple[str, str]] = frozenset()
"""Service and path of what only reads, though its method is not GET."""
PROJECT = frozenset(("{project}", "{project_id}", "{tenant_id}"))
"""Placeholders of paths that stand for a project."""
UNSEEN = frozenset(("aggregates", "compute_services", "migrations", "image_members"))
"""Tables whose rows administrators alone see, or that are shown by other things' ids."""
FOREIGN_PARTS = {
    "networks": "{type: OS::Neutron::Port, properties: {network: %s}}",
    "ports": "{type: OS::Neutron::FloatingIP, properties: {floating_network: external, port_id: %s}}",
    "routers": "{type: OS::Neutron::RouterGateway, properties: {router_id: %s, network: external}}",
    "volumes": "{type: OS::Cinder::Volume, properties: {source_volid: %s, size: 1}}",
    "snapshots": "{type: OS::Cinder::Volume, properties: {snapshot_id: %s, size: 1}}",
    "software_configs": "{type: OS::Heat::SoftwareDeployment, properties: {config: %s, server: any}}",
}
"""What a template may make of another project's object, by table."""
ALL_PROJECTS = "all_tenants=1&all_projects=1&limit=1000"


@dataclass
class Answer:
    status: int
    body: bytes


class House:
    """A cloud with the projects A and B, and its surface without a network in between."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.surface = Surface({POP: cloud}, "unused")
        self.a, self.ann = self._project("alpha", "ann", "member")
        self.b, self.ben = self._project("beta", "ben", "member")
        self.rea = self._user("rea", "reader", self.a)
        self._touched = True
        cloud.tables.watch(self._touch)
        self._state: dict[str, Any] = {}

    def _project(self, name: str, user: str, role: str) -> tuple[Project, str]:
        project = self.cloud.identity.directory.create_project(Project(id=f"{name:0<32}", name=name))
        return project, self._user(user, role, project)

    def _user(self, name: str, role: str, project: Project) -> str:
        """A token of a new user."""
        identity = self.cloud.identity
        user = identity.directory.create_user(User(id=f"{name:0<32}", name=name, project_id=project.id))
        grant = Grant("user", user.id, "project", project.id, self.cloud.tables.roles.find(role).id)
        identity.assignments.grant(grant)
        return identity.tokens.issue(user, Scope("project", project.id), ("password",))[0]

    async def furnish(self, project: Project, mark: str) -> None:
        """Give a project one of everything."""
        await self._make_core(project.id, mark)
        for name, kind in KINDS.items():
            if name not in IDENTITY | COMMON and not self.owned(name, project.id):
                getattr(self.cloud.tables, name).add(_Maker(self, project.id, mark).made(kind))

    async def _make_core(self, project: str, mark: str) -> None:
        cloud = self.cloud
        network = await cloud.networks.create(Network(name=f"{mark} net", project_id=project))
        subnet = Subnet(name=mark, network_id=network.id, cidr=IPv4Network("10.1.0.0/24"), project_id=project)
        await cloud.networks.create_subnet(subnet, default_gateway=True)
        router = Router(name=mark, project_id=project)
        await cloud.routers.create(router, gateway_network=cloud.networks.external.id)
        request = BootRequest(
            name=f"{mark} server",
            project_id=project,
            user_id=f"{'ann':0<32}",
            image_id=cloud.images.find("host").id,
            flavor=cloud.tables.flavors.find("tiny"),
            nics=[NicWish(network_id=network.id)],
        )
        await cloud.servers.settled(cloud.servers.create(request).id)

    def rows_of(self, table: str, project: str = "") -> list[Entity]:
        """A project's rows, A's unless told otherwise."""
        return [row for row in getattr(self.cloud.tables, table) if row.project_id == (project or self.a.id)]

    def owned(self, table: str, project: str = "") -> list[str]:
        """Their ids."""
        return [row.id for row in self.rows_of(table, project)]

    def _touch(self) -> None:
        self._touched = True

    def state(self) -> dict[str, Any]:
        """All that A has; found out anew after a change only."""
        if self._touched:
            rows = {name: [row for row in table if row.project_id == self.a.id] for name, table in self.cloud.tables}
            self._state, self._touched = dict(decode(encode(rows))), False
        return self._state

    # calls

    async def ask(self, method: str, path: str, token: str = "", body: Any = None, query: str = "") -> Answer:
        """One request."""
        headers = [(b"host", b"test"), (b"content-type", b"application/json")]
        headers += [(b"x-openstack-nova-api-version", b"2.96")]
        headers += [(b"x-auth-token", token.encode())] if token else []
        scope = {"type": "http", "method": method, "path": f"/{POP}{path}", "root_path": "", "headers": headers}
        scope |= {"query_string": query.encode(), "scheme": "http", "server": ("test", 80), "http_version": "1.1"}
        scope |= {"raw_path": path.encode(), "client": ("test", 1), "asgi": {"version": "3.0"}}
        answer = Answer(0, b"")

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"" if body is None else encode(body), "more_body": False}

        async def send(message: Any) -> None:
            answer.status = message.get("status", answer.status)
            answer.body += message.get("body", b"")

        await self.surface(scope, receive, send)
        return answer

    def routes(self) -> Iterator[tuple[str, str, str, Target]]:
        """Service, method, path and target of every route."""
        for service, routes in self.surface.services.items():
            yield from ((service, method, path, target) for method, path, target in routes)

    def rows(self, word: str, project: str = "") -> list[Entity]:
        """A project's rows in the tables that a word of a path or a field may mean."""
        known = [name for name, _table in self.cloud.tables if name not in IDENTITY]
        return [row for name in tables_of(word, known) for row in self.rows_of(name, project)]

    def candidates(self, word: str, project: str = "") -> list[str]:
        """The ids of those rows."""
        return [row.id for row in self.rows(word, project)]

    def paths(self, pattern: str, project: str = "") -> Iterator[str]:
        """The paths of a pattern: the first object in them is a project's, the others are A's.

        A project in the path is that of the one who asks, and A's.
        """
        segments = pattern.split("/")
        homes = [self.b.id, self.a.id] if PROJECT.intersection(segments) else [""]
        for home in homes:
            yield from self._filled([home if segment in PROJECT else segment for segment in segments], project)

    def _filled(self, segments: list[str], project: str) -> Iterator[str]:
        first = next((number for number, segment in enumerate(segments) if segment.startswith("{")), None)
        if first is None:
            yield "/".join(segments)
            return
        word, name = segments[first - 1], segments[first].strip("{}")
        for row in self._addressed(word, name, project):
            chosen = {word: row}
            yield "/".join(self._segment(segments, number, chosen) for number in range(len(segments)))

    def _addressed(self, word: str, name: str, project: str) -> list[Any]:
        """What the first placeholder of a path may stand for."""
        if word in ("projects", "os-quota-sets", "quotas"):
            return [self.a]
        if word == "users":
            return [self.cloud.tables.users.get(f"{'ann':0<32}")]
        if found := self.rows(word, project) or self.rows(name, project):
            return found
        tables = [table for name, table in self.cloud.tables if name not in IDENTITY]
        return [row for table in tables for row in table if row.project_id == (project or self.a.id)]

    def _segment(self, segments: list[str], number: int, chosen: dict[str, Any]) -> str:
        """A segment, or what its placeholder stands for: a name or id of what the word before it means."""
        if not segments[number].startswith("{"):
            return segments[number]
        name = segments[number].strip("{}")
        word = next(segment for segment in reversed(segments[:number]) if not segment.startswith("{"))
        if word not in chosen:
            found = [*self.rows(name), *self.rows(word)] if name not in ("id", "name") else self.rows(word)
            chosen[word] = next(iter(found), None)
        row = chosen[word]
        return "any" if row is None else (name == "name" and row.name) or row.id

    def bodies(self, target: Target) -> Iterator[Any]:
        """Bodies for a route: of its schema with references to what A has, else such as most take."""
        if target.body:
            for form in target.body.get("anyOf", [target.body]):
                yield self._example(form, "", only=("required",))
                yield self._example(form, "", only=("required", "reference"))
        else:
            every = {"subnet_id": "subnets", "port_id": "ports", "network_id": "networks", "server_id": "servers"}
            yield {key: next(iter(self.owned(table)), "any") for key, table in every.items()}
            yield {}

    def _example(self, schema: Mapping[str, Any], name: str, only: tuple[str, ...]) -> Any:
        for choice in schema.get("anyOf", schema.get("oneOf", ())):
            return self._example(choice, name, only)
        if "enum" in schema:
            return schema["enum"][0]
        kind = schema.get("type", "string")
        kind = kind[0] if isinstance(kind, list) else kind
        if kind == "object":
            known = schema.get("properties", {})
            wrapped = len(known) == 1
            wanted = [
                key for key in known if wrapped or key in schema.get("required", ()) or self._is_wanted(key, only)
            ]
            return {key: self._example(known[key], key, only) for key in wanted}
        if kind == "array":
            return [self._example(schema["items"], name, only)] if "items" in schema else []
        plain = {"integer": schema.get("minimum", 1), "number": 1, "boolean": True, "null": None}
        return plain[kind] if kind in plain else self._text(name)

    def _is_wanted(self, key: str, only: tuple[str, ...]) -> bool:
        return "reference" in only and bool(self._reference(key))

    def _reference(self, key: str) -> list[str]:
        return [] if key in ("name", "id", "project_id", "tenant_id") else self.candidates(key)

    def _text(self, name: str) -> str:
        if name == "cidr":
            return "10.77.0.0/24"
        if name in ("ingress", "egress"):
            return self.owned("ports")[0]
        return next(iter(self._reference(name)), "text")


@dataclass
class _Maker:
    """Makes rows of a project up; references lead to rows of the same project."""

    house: House
    project: str
    mark: str

    def made(self, kind: type[Any]) -> Any:
        """A value of a dataclass; what need not be given is left away."""
        hints = get_type_hints(kind)
        values = {field.name: self._value(field, hints[field.name]) for field in fields(kind) if self._given(field)}
        if issubclass(kind, Entity):
            values |= {"project_id": self.project, "name": f"{self.mark} {kind.__name__}"}
            values |= {"user_id": self._user()} if "user_id" in hints else {}
        return kind(**values)

    def _user(self) -> str:
        return f"{'ann' if self.project == self.house.a.id else 'ben':0<32}"

    def _given(self, field: Field[Any]) -> bool:
        required = field.default is MISSING and field.default_factory is MISSING
        return required or field.name in NOT_PUBLIC or field.name == "access" or bool(self._referenced(field.name))

    def _referenced(self, name: str) -> list[str]:
        refers = name.endswith("_id") and name != "project_id"
        return self.house.candidates(name.removesuffix("_id"), self.project) if refers else []

    def _value(self, field: Field[Any], hint: Any) -> Any:
        if field.name in NOT_PUBLIC:
            return NOT_PUBLIC[field.name]
        if field.name == "access":
            return (self.project,)
        return next(iter(self._referenced(field.name)), None) or self._plain(hint)

    def _plain(self, hint: Any) -> Any:
        origin = get_origin(hint)
        if origin in (Union, types.UnionType):
            return None if type(None) in get_args(hint) else self._plain(get_args(hint)[0])
        if origin is Literal:
            return get_args(hint)[0]
        if is_dataclass(hint) and isinstance(hint, type):
            return self.made(hint)
        if origin is tuple and Ellipsis not in get_args(hint):
            return tuple(self._plain(each) for each in get_args(hint))
        plain: dict[Any, Any] = {str: self.mark, int: 1, float: 1.0, bool: False, bytes: b"", tuple: (), frozenset: ()}
        plain |= {IPv4Address: IPv4Address("10.1.0.9"), IPv4Network: IPv4Network("10.9.0.0/24")}
        return plain.get(origin or hint, {})


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    plane = DataPlane(FakeFabric())
    pop = Pop(POP, cpus=4, memory_bytes=GIB)
    cloud = Cloud(pop, plane, FakeRuntime(), FakeImageStore(), EXTERNAL, EXTERNAL[1], tmp_path, _nobody_cares)
    made = House(cloud)
    await made.furnish(made.a, MARK)
    await made.furnish(made.b, "open")
    yield made
    await cloud.close()
    await plane.close()


async def _nobody_cares(_network_id: str) -> None:
    pass


def leaks(house: House, answer: Answer, asked: str) -> list[str]:
    """What of A is in an answer, besides what was asked for."""
    text = answer.body.decode(errors="replace")
    ids = {row for name, _table in house.cloud.tables if name not in IDENTITY for row in house.owned(name)}
    secrets = {house.a.id, "alpha", MARK, *ids}
    return sorted(secret for secret in secrets if secret in text and not (answer.status >= 400 and secret in asked))


@pytest.mark.anyio
async def test_the_house_shows_its_owner_everything(house: House) -> None:
    """Else the other tests would prove nothing: each kind of object is found where they look for it."""
    tables = [name for name in KINDS if name not in IDENTITY | COMMON | UNSEEN]
    unseen = {name: {row.id: row.name for row in house.rows_of(name)} for name in tables}
    assert all(unseen.values())
    for service, method, pattern, _target in house.routes():
        if method == "GET" and "{" in pattern:
            for path in house.paths(pattern):
                answer = await house.ask("GET", f"/{service}{path}", house.ann)
                text = answer.body.decode(errors="replace") if answer.status == 200 else ""
                for rows in unseen.values():
                    for row, name in tuple(rows.items()):
                        if row in text or (name and name in text):
                            del rows[row]
    assert {name for name, rows in unseen.items() if rows} == set()


@pytest.mark.anyio
async def test_templates_of_one_project_use_nothing_of_another(house: House) -> None:
    """A template is text: what it names is looked up in the name of the stack's owner."""
    before = house.state()
    for table, part in FOREIGN_PARTS.items():
        template = f"{{heat_template_version: rocky, resources: {{part: {part % house.owned(table)[0]}}}}}"
        body = {"stack_name": f"uses-{table}".replace("_", "-"), "template": template}
        made = await house.ask("POST", f"/orchestration/v1/{house.b.id}/stacks", house.ben, body)
        if made.status == 201:
            stack = await house.cloud.stacks.settled(decode(made.body)["stack"]["id"])
            assert stack, table
            assert stack.status == "FAILED", (table, stack.status_reason)
        else:
            assert made.status in (400, 404), (table, made.body)
    assert house.state() == before


@pytest.mark.anyio
async def test_nothing_of_another_project_is_shown_or_changed(house: House) -> None:
    findings: list[str] = []
    for service, method, pattern, target in house.routes():
        for path in house.paths(pattern) if "{" in pattern else [pattern]:
            for body in [None] if method in ("GET", "DELETE") else house.bodies(target):
                findings += await finding(house, method, f"/{service}{path}", body)
    assert findings == []


@pytest.mark.anyio
async def test_own_objects_do_not_lead_to_those_of_others(house: House) -> None:
    """The path names what B has, the body what A has."""
    findings: list[str] = []
    for service, method, pattern, target in house.routes():
        objects = [part for part in pattern.split("/") if part.startswith("{") and part not in PROJECT]
        without_body = method in ("GET", "DELETE")
        if objects and service != "identity" and not (without_body and len(objects) < 2):
            for path in house.paths(pattern, house.b.id):
                for body in [None] if without_body else house.bodies(target):
                    findings += await finding(house, method, f"/{service}{path}", body)
    assert findings == []


async def finding(house: House, method: str, path: str, body: Any) -> list[str]:
    """What is wrong with the answer that B gets, and with what it did."""
    before = house.state()
    answer = await house.ask(method, path, house.ben, body, ALL_PROJECTS if method == "GET" else "")
    call, found = f"{method} {path} {body or ''}: {answer.status}", []
    if shown := leaks(house, answer, f"{path} {encode(body).decode()}"):
        found.append(f"{call} shows {shown}")
    if answer.status >= 500 and answer.status != 501:
        found.append(f"{call} {answer.body.decode()}")
    if (after := house.state()) != before:
        found.append(f"{call} changed {[name for name in after if after[name] != before[name]]}")
    return found


@pytest.mark.anyio
async def test_lists_asked_for_another_project_are_empty_or_refused(house: House) -> None:
    findings = []
    for service, method, pattern, _target in house.routes():
        if method != "GET" or "{" in pattern:
            continue
        for key in ("project_id", "tenant_id", "owner", "project", "user_id"):
            asked = f"{'ann':0<32}" if key == "user_id" else house.a.id
            answer = await house.ask("GET", f"/{service}{pattern}", house.ben, query=f"{key}={asked}&{ALL_PROJECTS}")
            if shown := [secret for secret in leaks(house, answer, "") if secret not in house.a.id]:
                findings.append(f"{service}{pattern}?{key}: {answer.status} shows {shown}")
    assert findings == []


@pytest.mark.anyio
async def test_a_reader_changes_nothing(house: House) -> None:
    before, findings = house.state(), []
    for service, method, pattern, target in house.routes():
        if method == "GET" or target.public or target.needs == "any" or (service, pattern) in READING_POSTS:
            continue
        for path in house.paths(pattern) if "{" in pattern else [pattern]:
            answer = await house.ask(method, f"/{service}{path}", house.rea, {})
            if answer.status != 403:
                findings.append(f"{method} {service}{pattern}: {answer.status}")
    assert findings == []
    assert house.state() == before


@pytest.mark.anyio
async def test_nobody_gets_in_without_a_token(house: House) -> None:
    for service, method, pattern, target in house.routes():
        for token in ("", "guessed") if not target.public else ():
            answer = await house.ask(method, f"/{service}{pattern}", token, {})
            assert answer.status == 401, f"{method} {service}{pattern}"


@pytest.mark.anyio
async def test_what_administrators_do_is_refused_to_members(house: House) -> None:
    for service, method, pattern, target in house.routes():
        if target.needs == "admin":
            answer = await house.ask(method, f"/{service}{pattern}", house.ann, {})
            assert answer.status == 403, f"{method} {service}{pattern}"


@pytest.mark.anyio
async def test_a_console_is_opened_by_the_token_that_was_given_out_for_it_alone(house: House) -> None:
    """The one address that is in no table of routes."""
    server = house.owned("servers")[0]
    wish = {"remote_console": {"protocol": "serial", "type": "serial"}}
    consoles = f"/compute/v2.1/servers/{server}/remote-consoles"
    assert (await house.ask("POST", consoles, house.ben, wish)).status == 404
    assert (await house.ask("POST", consoles, house.ann, wish)).status == 200
    for token in ("", "guessed", server, house.ben):
        messages: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        async def send(message: Any, messages: list[Any] = messages) -> None:
            messages.append(message)

        scope = {"type": "websocket", "path": f"/{POP}/compute/console", "root_path": "", "headers": []}
        await house.surface(scope | {"query_string": f"token={token}".encode()}, receive, send)
        assert [message["type"] for message in messages] == ["websocket.close"], token
