"""Types of resources that are one object of a service: made by a POST, deleted by a DELETE."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

from sonata._lib.values import dataclass
from sonata.emulator.cloud.orchestration.calls import CallRefused
from sonata.emulator.cloud.orchestration.kinds.base import Changed, Kind
from sonata.emulator.cloud.orchestration.kinds.finding import with_ids
from sonata.emulator.cloud.orchestration.work import NotWell, ResourceFailed, Work

Body = dict[str, Any]
Shape = Callable[[Body], Body]
BUSY = 409
"""What Octavia answers while a load balancer is being changed."""


def as_it_is(body: Body) -> Body:
    """The body without a change."""
    return body


KEPT = frozenset(("OS::Nova::Server", "OS::Nova::ServerGroup", "OS::Cinder::Volume"))
"""Types whose objects outlive a failed action, besides those of networks."""
LOST = frozenset(("ERROR", "DELETED", "SOFT_DELETED", "DELETING"))
"""Of what is in one of these states, another is made."""


@dataclass(frozen=True, kw_only=True)
class RestKind(Kind):
    """One object of a service.

    Args:
        service: path segment of the service.
        path: of the collection; `{property}` stands for a property, `{project}` for the project's id.
        member: key of the object in bodies.
        names: keys in the body of properties that are called otherwise there.
        not_sent: properties that are no part of the body.
        shape: last touch on the body.
        ready: values of `status_key` with which the object is ready; empty when it is so at once.
        method: of updates.
        waits_when_busy: whether a conflict means that another change is going on.
        gone_when: values of `status_key` with which a deleted object counts as gone.
    """

    service: str
    path: str
    member: str
    names: Mapping[str, str] = field(default_factory=dict)
    not_sent: frozenset[str] = frozenset()
    shape: Shape = as_it_is
    status_key: str = "status"
    ready: frozenset[str] = frozenset()
    method: str = "PUT"
    named: bool = True
    tagged: bool = False
    waits_when_busy: bool = False
    gone_when: frozenset[str] = frozenset()

    async def create(self, work: Work) -> None:
        """POST the object and wait until it is ready."""
        body = await self.body(work, work.properties)
        if self.named and "name" in self.properties:
            body.setdefault("name", work.physical_name)
        document = await self._send(work, "POST", self.collection(work), {self.member: self.shape(body)})
        work.made(self.id_in(document[self.member]))
        await self._tag(work)
        await self.wait_ready(work)

    async def update(self, work: Work, changed: Changed) -> None:
        """PUT what has changed."""
        await self._tag(work)
        changes = {key: self._wanted(work, key) for key in changed if key not in self._apart}
        if changes:
            body = await self.body(work, changes)
            await self._send(work, self.method, self.item(work), {self.member: self.shape(body)})
            await self.wait_ready(work)

    def _wanted(self, work: Work, key: str) -> Any:
        """The value of a property now; what the template no longer gives becomes what it is when it is not given."""
        value = work.properties.get(key)
        if value is not None:
            return value
        if key == "name":
            return work.physical_name
        one = self.properties.get(key)
        empty: dict[str, Any] = {"list": [], "map": {}}
        return "" if key == "description" else empty.get(one.kind) if one else None

    async def delete(self, work: Work) -> None:
        """DELETE the object and wait until it is gone."""
        if not work.physical_id:
            return
        try:
            await self._send(work, "DELETE", self.item(work), None)
            await work.until(lambda: self.is_gone(work))
        except CallRefused as error:
            if error.status != 404:
                raise

    async def check(self, work: Work) -> None:
        """Look whether the object is there and ready."""
        document = await self.shown(work)
        status = document.get(self.status_key)
        if self.ready and status not in self.ready:
            expected = sorted(self.ready)[0] if len(self.ready) == 1 else sorted(self.ready)
            raise NotWell(f"'{self.status_key}': expected '{expected}', got '{status}'")

    async def is_lost(self, work: Work) -> bool:
        """Servers, their groups, volumes and what belongs to networks are kept where they are well."""
        if not work.physical_id or not (self.service == "network" or self.name in KEPT):
            return True
        try:
            status = str((await self.shown(work)).get(self.status_key))
        except CallRefused as error:
            if error.status == 404:
                return True
            raise
        return status.upper() in LOST

    async def shown(self, work: Work) -> Mapping[str, Any]:
        """GET of the object."""
        document: Mapping[str, Any] = (await work.call(self.service, "GET", self.item(work)))[self.member]
        return document

    async def attribute(self, work: Work, name: str) -> Any:
        """A field of the object, under the name of its attribute or of its property."""
        if name == "show":
            return await self.shown(work)
        return (await self.shown(work)).get(self.names.get(name, name))

    async def body(self, work: Work, values: Mapping[str, Any]) -> Body:
        """The object of a request: ids for names, the service's keys, `value_specs` beside the rest."""
        found = await with_ids(work, self.properties, values)
        body = {self.names.get(key, key): value for key, value in found.items() if key not in self._apart}
        return {**body, **(found.get("value_specs") or {})}

    async def wait_ready(self, work: Work) -> None:
        """Wait until the object is ready.

        Raises:
            ResourceFailed: it went into ERROR.
        """
        if self.ready:
            await work.until(lambda: self._is_ready(work))

    async def _is_ready(self, work: Work) -> bool:
        document = await self.shown(work)
        status = document.get(self.status_key)
        if status == "ERROR":
            why = (document.get("fault") or {}).get("message") or "Unknown"
            raise ResourceFailed(f'Went to status ERROR due to "Message: {why}, Code: Unknown"')
        return status in self.ready

    async def is_gone(self, work: Work) -> bool:
        """Whether the object is there no more."""
        try:
            document = await self.shown(work)
        except CallRefused as error:
            if error.status == 404:
                return True
            raise
        return document.get(self.status_key) in self.gone_when

    def id_in(self, document: Mapping[str, Any]) -> str:
        """The id of an object in its document."""
        return str(document["id"])

    def collection(self, work: Work) -> str:
        """Path of the collection."""
        return self.path.format(project=work.stack.project_id, **work.properties)

    def item(self, work: Work) -> str:
        """Path of the object."""
        return f"{self.collection(work)}/{work.physical_id}"

    @property
    def _apart(self) -> frozenset[str]:
        apart = self.not_sent | {"value_specs"}
        return apart | {"tags"} if self.tagged else apart

    async def _tag(self, work: Work) -> None:
        """Tags of Neutron objects are a resource of their own."""
        if self.tagged and work.properties.get("tags") is not None:
            await work.call(self.service, "PUT", f"{self.item(work)}/tags", {"tags": work.properties["tags"]})

    async def _send(self, work: Work, method: str, path: str, body: Any) -> Any:
        if not self.waits_when_busy:
            return await work.call(self.service, method, path, body)
        answers: list[Any] = []

        async def accepted() -> bool:
            try:
                answers.append(await work.call(self.service, method, path, body))
            except CallRefused as error:
                if error.status != BUSY or "immutable" not in str(error):
                    raise
                return False
            return True

        await work.until(accepted)
        return answers[0]
