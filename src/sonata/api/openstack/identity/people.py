"""Projects, users, groups and roles of the Identity API: list, show, create, change, delete.

Source: OpenStack Identity API v3 reference.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

from sonata._lib.values import dataclass
from sonata.api.openstack.call import Call
from sonata.api.openstack.fields import LONGEST_TEXT
from sonata.api.openstack.identity import bodies
from sonata.api.openstack.identity.documents import (
    group_document,
    linked,
    listed,
    project_document,
    role_document,
    user_document,
)
from sonata.api.openstack.listing import Document
from sonata.api.openstack.reply import NO_CONTENT, Reply, json_reply
from sonata.api.openstack.routing import Routes
from sonata.api.openstack.topic import Topic, Truth
from sonata.emulator.cloud.entities.base import Entity
from sonata.emulator.cloud.entities.identity import Group, Project, Role, User
from sonata.emulator.cloud.identity import DOMAIN_ID, passwords
from sonata.emulator.cloud.identity.directory import found, hex_id
from sonata.emulator.cloud.tables import Table, Tables
from sonata.errors import InvalidInput, NotFound, Unsupported

E = TypeVar("E", bound=Entity)
Values = dict[str, Any]

LONGEST_PROJECT_NAME = 64
SHOWN_ONLY = frozenset(("id", "links", "domain_id", "parent_id", "is_domain", "password_expires_at"))
"""Of a body, what is checked or passed over, and never kept."""


@dataclass(frozen=True, kw_only=True)
class Kind(Generic[E]):
    """A kind of object of the Identity API.

    Args:
        member: key of one object in bodies; the collection has an `s`.
        table: where its entities are.
        document: how one is shown.
        known: attributes of a body besides name and description, and what reads them.
        extensible: whether unknown attributes are kept, as Keystone does for projects and users.
        longest: characters of a name.
        truth: what the reference tells.
        may_show: whether the caller may see one without being an administrator.
    """

    member: str
    table: Callable[[Tables], Table[E]]
    document: Callable[[E], Document]
    create: Callable[[Call, Values], Awaitable[E]]
    update: Callable[[Call, str, Values], Awaitable[E]]
    delete: Callable[[Call, str], None]
    known: Mapping[str, Callable[[Any], Values]]
    extensible: bool = False
    longest: int = LONGEST_TEXT
    may_show: Callable[[Call, E], bool]
    truth: Truth

    @property
    def collection(self) -> str:
        """Key of a list, and the path below `/v3`."""
        return f"{self.member}s"


class People(Generic[E]):
    """The handlers of one kind."""

    def __init__(self, kind: Kind[E]) -> None:
        self._kind = kind

    def register(self, routes: Routes) -> None:
        """Add the kind's routes."""
        base, kind = f"/v3/{self._kind.collection}", self._kind.member
        routes.about(Topic(self._kind.collection, self._kind.truth))
        routes.add("GET", base, self.list, needs="admin")
        routes.add("POST", base, self.create, needs="admin", body=bodies.person(kind, new=True))
        routes.add("GET", f"{base}/{{id}}", self.show, needs="any")
        routes.add("PATCH", f"{base}/{{id}}", self.update, needs="admin", body=bodies.person(kind, new=False))
        routes.add("DELETE", f"{base}/{{id}}", self.delete, needs="admin")

    async def list(self, call: Call) -> Reply:
        """GET of the collection."""
        return listed(call, self._kind.collection, map(self._kind.document, self._kind.table(call.cloud.tables)))

    async def show(self, call: Call) -> Reply:
        """GET of one."""
        entity = self._kind.table(call.cloud.tables).peek(call.params["id"])
        if entity is None or not self._kind.may_show(call, entity):
            call.require_admin(f"identity:get_{self._kind.member}")
        return self._reply(call, found(self._kind.table(call.cloud.tables), call.params["id"]))

    async def create(self, call: Call) -> Reply:
        """POST of one."""
        body = await call.member(self._kind.member)
        values = self._read(body)
        if "name" not in values:
            raise InvalidInput(f"Invalid input for {self._kind.member}: 'name' is a required property")
        return self._reply(call, await self._kind.create(call, values), 201)

    async def update(self, call: Call) -> Reply:
        """PATCH of one."""
        entity = found(self._kind.table(call.cloud.tables), call.params["id"])
        values = self._read(await call.member(self._kind.member))
        if "extra" in values:
            values["extra"] = {**getattr(entity, "extra", {}), **values["extra"]}
        return self._reply(call, await self._kind.update(call, entity.id, values))

    async def delete(self, call: Call) -> Reply:
        """DELETE of one."""
        self._kind.delete(call, call.params["id"])
        return NO_CONTENT

    def _reply(self, call: Call, entity: E, status: int = 200) -> Reply:
        return json_reply({self._kind.member: linked(call, self._kind.collection, self._kind.document(entity))}, status)

    def _read(self, body: Document) -> Values:
        """The values of a body by attribute.

        Raises:
            InvalidInput: one of them is ill-formed or unknown.
        """
        _check_domain(body)
        values: Values = {}
        extra: Values = {}
        for name, value in body.items():
            if name == "name":
                values["name"] = _name(value, self._kind.longest)
            elif name == "description":
                values["description"] = _text(name, value)
            elif name in self._kind.known:
                values.update(self._kind.known[name](value))
            elif name not in SHOWN_ONLY:
                extra[name] = value
        if extra and not self._kind.extensible:
            unknown = ", ".join(map(repr, extra))
            raise InvalidInput(f"Additional properties are not allowed ({unknown} was unexpected)")
        return {**values, "extra": extra} if extra else values


def _check_domain(body: Document) -> None:
    """There is one domain, and projects lie directly in it."""
    if body.get("domain_id") not in (None, DOMAIN_ID):
        raise NotFound(f"Could not find domain: {body['domain_id']}.")
    if body.get("is_domain"):
        raise Unsupported("projects that act as domains do not exist here: there is one domain, `Default`")
    if body.get("parent_id") not in (None, DOMAIN_ID):
        raise Unsupported("projects do not nest here: their parent is the domain", hint="leave `parent_id` out")


def _name(value: Any, longest: int) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > longest:
        raise InvalidInput(f"Invalid input for field 'name': a string of 1 to {longest} characters is needed")
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str | None):
        raise InvalidInput(f"Invalid input for field '{name}': {value!r} is not of type 'string'")
    return value or ""


def _flag(value: Any) -> Values:
    if not isinstance(value, bool):
        raise InvalidInput(f"Invalid input for field 'enabled': {value!r} is not of type 'boolean'")
    return {"enabled": value}


def _tags(value: Any) -> Values:
    if not isinstance(value, list) or len(value) > 80 or not all(isinstance(tag, str) for tag in value):
        raise InvalidInput("Invalid input for field 'tags': a list of at most 80 strings is needed")
    if wrong := [tag for tag in value if not 0 < len(tag) <= LONGEST_TEXT or "/" in tag or "," in tag]:
        raise InvalidInput(f"Invalid input for field 'tags': '{wrong[0][:40]}' is no tag")
    return {"tags": tuple(dict.fromkeys(value))}


def _options(value: Any) -> Values:
    if not isinstance(value, dict) or not value.keys() <= {"immutable"}:
        raise InvalidInput("Invalid input for field 'options': the only option here is 'immutable'")
    return {"immutable": value["immutable"] is True} if "immutable" in value else {}


def _no_options(value: Any) -> Values:
    if value != {}:
        raise InvalidInput(f"Invalid input for field 'options': users have no options here, and {value!r} asks for one")
    return {}


def _password(value: Any) -> Values:
    if not isinstance(value, str | None):
        raise InvalidInput("Invalid input for field 'password': a string is needed")
    return {"password": value}


def _default_project(value: Any) -> Values:
    return {"project_id": _text("default_project_id", value)}


# projects


async def _create_project(call: Call, values: Values) -> Project:
    return call.cloud.identity.directory.create_project(Project(id=hex_id(), **values))


async def _update_project(call: Call, project_id: str, values: Values) -> Project:
    return call.cloud.identity.directory.update_project(project_id, **values)


def _delete_project(call: Call, project_id: str) -> None:
    call.cloud.identity.directory.delete_project(project_id)


def _is_own_project(call: Call, project: Project) -> bool:
    return project.id in call.cloud.identity.assignments.targets_of(call.token.user.id, "project")


PROJECTS = Kind[Project](
    member="project",
    table=lambda tables: tables.projects,
    document=project_document,
    create=_create_project,
    update=_update_project,
    delete=_delete_project,
    known={"enabled": _flag, "tags": _tags, "options": _options},
    extensible=True,
    longest=LONGEST_PROJECT_NAME,
    may_show=_is_own_project,
    truth=Truth(
        real=("what a project may not see answers 404, and lists leave it out",),
        simplified=("deleting a project leaves what other services have of it to administrators, as Keystone does",),
        refused=(
            "nested projects and projects that act as domains (501); changing or deleting those of the bootstrap (403)",
        ),
    ),
)


# users


async def _with_hash(values: Values) -> Values:
    """A password in values becomes its hash; null means that none lets the user in."""
    if "password" not in values:
        return values
    password = values.pop("password")
    return {**values, "password_hash": "" if password is None else await passwords.hashed(password)}


async def _create_user(call: Call, values: Values) -> User:
    return call.cloud.identity.directory.create_user(User(id=hex_id(), **await _with_hash(values)))


async def _update_user(call: Call, user_id: str, values: Values) -> User:
    return call.cloud.identity.directory.update_user(user_id, **await _with_hash(values))


def _delete_user(call: Call, user_id: str) -> None:
    call.cloud.identity.directory.delete_user(user_id)


USERS = Kind[User](
    member="user",
    table=lambda tables: tables.users,
    document=user_document,
    create=_create_user,
    update=_update_user,
    delete=_delete_user,
    known={
        "enabled": _flag,
        "password": _password,
        "default_project_id": _default_project,
        "options": _no_options,
    },
    extensible=True,
    may_show=lambda call, user: user.id == call.token.user.id,
    truth=Truth(
        real=("own passwords, kept as argon2id; whoever is disabled gets in no more, at once",),
        refused=("options of users (400); changing or deleting `admin` (403)",),
    ),
)


# groups and roles


async def _create_group(call: Call, values: Values) -> Group:
    return call.cloud.identity.directory.create_group(Group(id=hex_id(), **values))


async def _update_group(call: Call, group_id: str, values: Values) -> Group:
    return call.cloud.identity.directory.update_group(group_id, **values)


def _delete_group(call: Call, group_id: str) -> None:
    call.cloud.identity.directory.delete_group(group_id)


GROUPS = Kind[Group](
    member="group",
    table=lambda tables: tables.groups,
    document=group_document,
    create=_create_group,
    update=_update_group,
    delete=_delete_group,
    known={},
    may_show=lambda call, group: call.token.user.id in group.members,
    truth=Truth(
        real=("members have the roles that the group is granted",),
    ),
)


async def _create_role(call: Call, values: Values) -> Role:
    return call.cloud.identity.directory.create_role(Role(id=hex_id(), **values))


async def _update_role(call: Call, role_id: str, values: Values) -> Role:
    return call.cloud.identity.directory.update_role(role_id, **values)


def _delete_role(call: Call, role_id: str) -> None:
    call.cloud.identity.directory.delete_role(role_id)


ROLES = Kind[Role](
    member="role",
    table=lambda tables: tables.roles,
    document=role_document,
    create=_create_role,
    update=_update_role,
    delete=_delete_role,
    known={"options": _options},
    may_show=lambda _call, _role: False,
    truth=Truth(
        real=(
            "`reader` may read, `member` may change what its project has, `admin` may all; each brings those before it",
        ),
        simplified=("roles of other names are made and granted, and allow nothing by themselves",),
        refused=(
            "roles of domains, inherited assignments (404); changing or deleting the roles of the bootstrap (403)",
        ),
    ),
)


PROJECTS_AND_GROUPS = Truth(real=("who joins or leaves a group has, or loses, its roles at the next call",))


def register(routes: Routes) -> None:
    """Add the routes of projects, users, groups, roles, and of who is in which group."""
    People(PROJECTS).register(routes)
    People(USERS).register(routes)
    People(GROUPS).register(routes)
    People(ROLES).register(routes)
    routes.about(Topic("who is in which group and project", PROJECTS_AND_GROUPS))
    routes.add("GET", "/v3/users/{id}/projects", _projects_of_user, needs="any")
    routes.add("GET", "/v3/users/{id}/groups", _groups_of_user, needs="any")
    routes.add("GET", "/v3/groups/{id}/users", _members, needs="admin")
    routes.add("GET", "/v3/groups/{id}/users/{user}", _is_member, needs="admin")
    routes.add("PUT", "/v3/groups/{id}/users/{user}", _join, needs="admin")
    routes.add("DELETE", "/v3/groups/{id}/users/{user}", _leave, needs="admin")


def require_self_or_admin(call: Call, action: str) -> User:
    """The user of the path, who is the caller unless that is an administrator.

    Raises:
        Forbidden: another user asks.
        NotFound: there is no such user.
    """
    if call.params["id"] != call.token.user.id:
        call.require_admin(action)
    return found(call.cloud.tables.users, call.params["id"])


async def _projects_of_user(call: Call) -> Reply:
    user = require_self_or_admin(call, "identity:list_user_projects")
    own = call.cloud.identity.assignments.targets_of(user.id, "project")
    projects: Iterable[Project] = (project for project in call.cloud.tables.projects if project.id in own)
    return listed(call, "projects", map(project_document, projects))


async def _groups_of_user(call: Call) -> Reply:
    user = require_self_or_admin(call, "identity:list_groups_for_user")
    groups = (group for group in call.cloud.tables.groups if user.id in group.members)
    return listed(call, "groups", map(group_document, groups))


async def _members(call: Call) -> Reply:
    group = found(call.cloud.tables.groups, call.params["id"])
    users = (user for user in call.cloud.tables.users if user.id in group.members)
    return listed(call, "users", map(user_document, users))


async def _is_member(call: Call) -> Reply:
    call.cloud.identity.directory.require_member(call.params["id"], call.params["user"])
    return NO_CONTENT


async def _join(call: Call) -> Reply:
    call.cloud.identity.directory.join(call.params["id"], call.params["user"])
    return NO_CONTENT


async def _leave(call: Call) -> Reply:
    call.cloud.identity.directory.leave(call.params["id"], call.params["user"])
    return NO_CONTENT
