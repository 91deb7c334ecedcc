"""A resource of an API: one declaration gives list, show, create, bulk create, update, delete and tags."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from sonata._lib.values import dataclass
from sonata.api.openstack.call import Call
from sonata.api.openstack.faults import PreconditionFailed
from sonata.api.openstack.fields import TAGS, TEXT, TIME, Field, computed, or_none, read_fields, schema_of
from sonata.api.openstack.listing import Document, filtered, narrowed, ordered, page
from sonata.api.openstack.reply import NO_CONTENT, Reply, json_reply
from sonata.api.openstack.routing import Routes
from sonata.api.openstack.topic import NOTHING_TOLD, Topic, Truth
from sonata.emulator.cloud.causes import NoSuch
from sonata.emulator.cloud.entities.base import Entity
from sonata.emulator.cloud.identity.roles import Needed
from sonata.emulator.cloud.tables import Table, Tables
from sonata.errors import InvalidInput, SonataError

E = TypeVar("E", bound=Entity)
Values = dict[str, Any]
Create = Callable[[Call, Values], Awaitable[E]]
Update = Callable[[Call, E, Values], Awaitable[E]]
Delete = Callable[[Call, E], Awaitable[None]]
Within = Callable[[Call], Callable[[E], bool]]

ALL_TAGS = {"type": "object", "properties": {"tags": dict(TAGS.schema)}, "required": ["tags"]}
STANDARD: tuple[Field, ...] = (
    Field("id"),
    Field("name", TEXT, access="cu"),
    Field("description", or_none(TEXT, ""), access="cu", computed=lambda _cloud, entity: entity.description),
    Field("project_id", TEXT, access="c"),
    Field("tenant_id", TEXT, attr="project_id", access="c"),
    Field("tags", TAGS, access="c"),
    Field("created_at", TIME),
    Field("updated_at", TIME),
    computed("revision_number", lambda _cloud, entity: entity.revision),
)
"""What every resource has."""


@dataclass(frozen=True, kw_only=True)
class Resource(Generic[E]):
    """A resource of an API.

    Args:
        member: key of one object in bodies.
        collection: key of a list in bodies.
        path: below `base`.
        base: the API's version.
        truth: what is real of it, for the reference.
        table: where its entities are.
        fields: besides the standard ones.
        create: makes an entity of the values read; None when nobody may create one. So with `update` and `delete`.
        standard: what every resource of the service has.
        tag_routes: whether tags are a resource of their own below each object.
        within: of a nested path, which entities belong to it; refuses a parent that is not there.
        before_list: called before the collection is listed.
        needs: the role for changes, where it is not `member`.
    """

    member: str
    collection: str
    path: str
    table: Callable[[Tables], Table[E]]
    fields: tuple[Field, ...]
    create: Create[E] | None = None
    update: Update[E] | None = None
    delete: Delete[E] | None = None
    base: str = "/v2.0"
    truth: Truth = NOTHING_TOLD
    standard: tuple[Field, ...] = STANDARD
    tag_routes: bool = True
    within: Within[E] = lambda _call: lambda _entity: True
    before_list: Callable[[Call], None] = lambda _call: None
    needs: Needed | None = None

    @property
    def all_fields(self) -> tuple[Field, ...]:
        """Standard and own fields; own ones win."""
        return tuple({field.name: field for field in (*self.standard, *self.fields)}.values())

    def body(self, mode: str) -> dict[str, Any]:
        """The JSON Schema of a request body; `mode` is `c` (creation) or `u` (update)."""
        inner = schema_of(self.all_fields, mode)
        return {"type": "object", "properties": {self.member: inner}, "required": [self.member]}


class Service(Generic[E]):
    """The handlers of one resource."""

    def __init__(self, resource: Resource[E]) -> None:
        self._resource = resource
        self._shown = tuple(field for field in resource.all_fields if not field.hidden)
        self._read = resource.all_fields

    def register(self, routes: Routes) -> None:
        """Add the resource's routes."""
        resource, base = self._resource, f"{self._resource.base}{self._resource.path}"
        routes.about(Topic(resource.collection, resource.truth))
        routes.add("GET", base, self.list)
        routes.add("GET", f"{base}/{{id}}", self.show)
        if resource.create:
            routes.add("POST", base, self.create, needs=resource.needs, body=resource.body("c"))
        if resource.update:
            routes.add("PUT", f"{base}/{{id}}", self.update, needs=resource.needs, body=resource.body("u"))
        if resource.delete:
            routes.add("DELETE", f"{base}/{{id}}", self.delete, needs=resource.needs)
        if resource.tag_routes:
            _register_tags(self, routes, base)

    async def list(self, call: Call) -> Reply:
        """GET of the collection."""
        self._resource.before_list(call)
        query = call.query
        documents = filtered((self.document(call, entity) for entity in self._candidates(call)), query)
        found, more = page(ordered(documents, query), query)
        body: Document = {self._resource.collection: [narrowed(document, query) for document in found]}
        if more and found:
            next_page = str(call.request.url.include_query_params(marker=found[-1]["id"]))
            body[f"{self._resource.collection}_links"] = [{"rel": "next", "href": next_page}]
        return json_reply(body)

    async def show(self, call: Call) -> Reply:
        """GET of one."""
        document = narrowed(self.document(call, self._find(call)), call.query)
        return json_reply({self._resource.member: document})

    async def create(self, call: Call) -> Reply:
        """POST of one, or of several under the collection's key."""
        body = await call.json()
        if isinstance(several := body.get(self._resource.collection), list):
            made = await _all_or_none(
                several, partial(self._create, call), partial(self._resource.delete or _stays, call)
            )
            return json_reply({self._resource.collection: [self.document(call, one) for one in made]}, 201)
        if self._resource.member not in body:
            raise InvalidInput(f"Unable to find '{self._resource.member}' in request body")
        one = await self._create(call, body[self._resource.member])
        return json_reply({self._resource.member: self.document(call, one)}, 201)

    async def update(self, call: Call) -> Reply:
        """PUT of one."""
        entity = self.own(call)
        _check_revision(call, entity)
        body = await call.member(self._resource.member)
        _check_admin(call, self._read, body)
        values = read_fields(self._read, body, "u")
        if self._resource.update and values:
            entity = await self._resource.update(call, entity, values)
        return json_reply({self._resource.member: self.document(call, entity)})

    async def delete(self, call: Call) -> Reply:
        """DELETE of one."""
        if self._resource.delete:
            entity = self.own(call)
            _check_revision(call, entity)
            await self._resource.delete(call, entity)
        return NO_CONTENT

    async def list_tags(self, call: Call) -> Reply:
        """GET of the tags of one."""
        return json_reply({"tags": list(self._find(call).tags)})

    async def replace_tags(self, call: Call) -> Reply:
        """PUT of all tags of one."""
        try:
            tags = TAGS.read((await call.json()).get("tags"))
        except ValueError as error:
            raise InvalidInput(f"Invalid input for tags. Reason: {error}") from None
        self._set_tags(call, tags)
        return json_reply({"tags": list(tags)})

    async def clear_tags(self, call: Call) -> Reply:
        """DELETE of all tags of one."""
        self._set_tags(call, ())
        return NO_CONTENT

    async def has_tag(self, call: Call) -> Reply:
        """GET of one tag: 204 or 404."""
        self._require_tag(call)
        return NO_CONTENT

    async def add_tag(self, call: Call) -> Reply:
        """PUT of one tag."""
        self._set_tags(call, tuple(dict.fromkeys((*self._find(call).tags, call.params["tag"]))))
        return Reply(status=201)

    async def remove_tag(self, call: Call) -> Reply:
        """DELETE of one tag."""
        self._require_tag(call)
        self._set_tags(call, tuple(tag for tag in self._find(call).tags if tag != call.params["tag"]))
        return NO_CONTENT

    async def _create(self, call: Call, body: Any) -> E:
        if not isinstance(body, dict):
            raise InvalidInput(f"Invalid input: the body needs an object `{self._resource.member}`")
        _check_admin(call, self._read, body)
        values = read_fields(self._read, body, "c")
        if values.setdefault("project_id", call.project_id) != call.project_id:
            call.require_admin("creating for another project")
        create = self._resource.create
        if create is None:
            raise NoSuch(self._resource.member, "")
        return await create(call, values)

    def document(self, call: Call, entity: E) -> Document:
        """What the caller may see of an entity."""
        admin = call.token.is_admin
        return {field.name: field.show(call.cloud, entity) for field in self._shown if admin or not field.admin}

    def _candidates(self, call: Call) -> Iterable[E]:
        """Visible entities; ids and names asked for are looked at before any document is made."""
        ids = {value for key, value in call.query if key == "id"}
        names = {value for key, value in call.query if key == "name"}
        belongs = self._resource.within(call)
        for entity in filter(belongs, self._resource.table(call.cloud.tables)):
            if (not ids or entity.id in ids) and (not names or entity.name in names) and call.sees(entity):
                yield entity

    def _find(self, call: Call) -> E:
        table = self._resource.table(call.cloud.tables)
        entity = table.get(call.params["id"])
        if not call.sees(entity) or not self._resource.within(call)(entity):
            raise NoSuch(table.kind, entity.id)
        return entity

    def own(self, call: Call) -> E:
        """The entity of a call that changes it; what is merely shared may be seen but not changed."""
        entity = self._find(call)
        if entity.project_id != call.project_id:
            call.require_admin(f"changing a {self._resource.member} of another project")
        return entity

    def _set_tags(self, call: Call, tags: tuple[str, ...]) -> None:
        self._resource.table(call.cloud.tables).change(self.own(call).id, tags=tags)

    def _require_tag(self, call: Call) -> None:
        if call.params["tag"] not in self._find(call).tags:
            raise NoSuch("Tag", call.params["tag"])


def _check_admin(call: Call, fields: Iterable[Field], body: Document) -> None:
    """Refuse fields that only administrators may give."""
    if given := sorted(field.name for field in fields if field.admin and field.name in body):
        call.require_admin(f"setting {', '.join(given)}")


def _check_revision(call: Call, entity: Entity) -> None:
    """Refuse a change that was meant for another revision (`If-Match: revision_number=N`).

    Raises:
        PreconditionFailed: it has another one.
        InvalidInput: the header says something else.
    """
    condition = call.request.headers.get("if-match", "")
    if not condition:
        return
    name, _, number = condition.partition("=")
    if name.strip() != "revision_number" or not number.strip().isdigit():
        raise InvalidInput(f"Bad If-Match header: '{condition[:80]}' is not of the form revision_number=N")
    if int(number) != entity.revision:
        raise PreconditionFailed(f"Constrained to {number.strip()}, but current revision is {entity.revision}")


def _register_tags(service: Service[E], routes: Routes, base: str) -> None:
    routes.add("GET", f"{base}/{{id}}/tags", service.list_tags)
    routes.add(
        "PUT",
        f"{base}/{{id}}/tags",
        service.replace_tags,
        body=ALL_TAGS,
    )
    routes.add("DELETE", f"{base}/{{id}}/tags", service.clear_tags)
    routes.add("GET", f"{base}/{{id}}/tags/{{tag}}", service.has_tag)
    routes.add("PUT", f"{base}/{{id}}/tags/{{tag}}", service.add_tag)
    routes.add("DELETE", f"{base}/{{id}}/tags/{{tag}}", service.remove_tag)


async def _stays(_call: Call, _entity: Entity) -> None:
    """What cannot be deleted is not taken back either."""


async def _all_or_none(
    bodies: Iterable[Any], create: Callable[[Any], Awaitable[E]], take_back: Callable[[E], Awaitable[None]]
) -> Sequence[E]:
    """Create all, as Neutron's bulk requests do; when one fails the earlier ones are taken back."""
    made: deque[E] = deque()
    try:
        for body in bodies:
            made.appendleft(await create(body))
    except SonataError:
        for one in made:
            await take_back(one)
        raise
    return tuple(reversed(made))
