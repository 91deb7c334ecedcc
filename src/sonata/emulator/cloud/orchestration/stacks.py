"""The stacks of one cloud: what users ask of them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.orchestration import (
    Definition,
    Owner,
    Stack,
    StackResource,
    State,
)
from sonata.emulator.cloud.orchestration.blueprint import Blueprint, compiled
from sonata.emulator.cloud.orchestration.calls import Authority
from sonata.emulator.cloud.orchestration.departures import Departures
from sonata.emulator.cloud.orchestration.deployments import Deployments
from sonata.emulator.cloud.orchestration.hooks import clear_hook
from sonata.emulator.cloud.orchestration.journal import Journal
from sonata.emulator.cloud.orchestration.operations import Operations
from sonata.emulator.cloud.orchestration.refusals import EntityNotFound, NotSupported, StackExists
from sonata.emulator.cloud.orchestration.signalling import addressee, details_in, knows_secret
from sonata.emulator.cloud.orchestration.snapshots import Snapshots
from sonata.emulator.cloud.orchestration.validation import validate
from sonata.emulator.cloud.orchestration.views import Views
from sonata.emulator.cloud.tables import Tables
from sonata.errors import Conflict, InvalidInput, SonataError, Unsupported
from sonata.formats.hot.errors import StackValidationFailed

LONGEST_NAME = 255
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_.-]*")


RunInServer = Callable[[str, Sequence[str], bytes], Awaitable[tuple[int, bytes, bytes]]]


async def _no_servers(_server_id: str, _argv: Sequence[str], _stdin: bytes) -> tuple[int, bytes, bytes]:
    raise Unsupported("nothing can be run in servers here")


@dataclass(frozen=True, slots=True, kw_only=True)
class StackRequest:
    """A stack to be made."""

    name: str
    owner: Owner
    definition: Definition
    disable_rollback: bool = True
    timeout_mins: int | None = None
    tags: tuple[str, ...] = ()
    base_url: str = ""
    adopted: Mapping[str, Any] | None = None


class Stacks:
    """The stacks of one cloud."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.views = Views(tables, _Nested(self))
        self._journal = Journal(tables)
        self.operations = Operations(tables, self.views, self._journal)
        self.snapshots = Snapshots(tables, self.views, self._journal, self.operations, self.replanned)
        self._departures = Departures(tables, self._journal, self.operations, self.snapshots)
        self.run_in_server: RunInServer = _no_servers
        self.deployments = Deployments(tables, self.views, self.operations, lambda *call: self.run_in_server(*call))

    def attach(self, authority: Authority) -> None:
        """Let stacks act through the APIs of the cloud; idempotent."""
        self.views.authority = authority

    async def close(self) -> None:
        """End all operations; what they have made goes with the cloud."""
        await self.operations.close()
        await self.views.judge.close()

    def find(self, project_id: str, name_or_id: str) -> Stack:
        """A stack of a project by name or id.

        Raises:
            EntityNotFound: there is none.
        """
        for stack in self.tables.stacks:
            if stack.project_id == project_id and name_or_id in (stack.id, stack.name):
                return stack
        raise EntityNotFound("Stack", name_or_id)

    async def planned(self, request: StackRequest) -> tuple[Stack, Blueprint]:
        """The stack that a request would make, not yet in the table.

        Raises:
            InvalidInput: name, template or parameters are not valid.
            StackExists: the name is taken.
        """
        if not _NAME.fullmatch(request.name) or len(request.name) > LONGEST_NAME:
            raise StackValidationFailed(
                f'Invalid stack name {request.name} must contain only alphanumeric or "_-." characters, must start '
                f"with alpha and must be {LONGEST_NAME} characters or less."
            )
        project = request.owner.project_id
        if any((stack.name, stack.project_id) == (request.name, project) for stack in self.tables.stacks):
            raise StackExists(f"The Stack ({request.name}) already exists.")
        stack = Stack(
            name=request.name,
            project_id=project,
            owner=request.owner,
            definition=request.definition,
            disable_rollback=request.disable_rollback,
            timeout_mins=request.timeout_mins,
            tags=request.tags,
            base_url=request.base_url,
        )
        blueprint = await compiled(request.definition, stack, self.views.judge)
        await validate(blueprint, stack)
        await self.views.require_parameters(stack, blueprint)
        return stack, blueprint

    async def create(self, request: StackRequest) -> Stack:
        """Begin to create a stack, or to adopt one whose objects are there.

        Raises:
            InvalidInput, StackExists: as `planned`.
        """
        stack, blueprint = await self.planned(request)
        if request.adopted:
            return self.adopt(stack, blueprint, request.adopted)
        return self.operations.begin_new(stack, "CREATE", lambda end: self.operations.create(stack.id, blueprint, end))

    def adopt(self, stack: Stack, blueprint: Blueprint, exported: Mapping[str, Any]) -> Stack:
        """Begin to adopt a stack from what was exported of it.

        Raises:
            InvalidInput: that is not of its form.
        """
        resources = exported.get("resources")
        if not isinstance(resources, Mapping):
            raise InvalidInput("Invalid adopt data: there are no resources in it")
        return self.operations.begin_new(
            stack, "ADOPT", lambda end: self.operations.adopt(stack.id, blueprint, resources, end)
        )

    async def update(self, stack_id: str, definition: Definition, **changes: Any) -> None:
        """Begin to bring a stack to another definition; an update that goes on gives way to it.

        Args:
            stack_id: of the stack.
            definition: all of it, anew.
            changes: `timeout_mins`, `disable_rollback`, `tags`.

        Raises:
            NotSupported: it is suspended or being deleted.
            InvalidInput: template or parameters are not valid.
        """
        stack = self._changeable(stack_id)
        blueprint = await self.replanned(stack, definition)
        stack = self._changeable(stack_id)
        self.operations.begin(
            stack_id,
            "UPDATE",
            lambda end: self.operations.update(stack_id, blueprint, end),
            **{**changes, "definition": definition, "previous": stack.definition},
        )

    def _changeable(self, stack_id: str) -> Stack:
        stack = self.tables.stacks.get(stack_id)
        if stack.action in ("SUSPEND", "DELETE"):
            state = "suspended" if stack.action == "SUSPEND" else "deleting"
            raise NotSupported(f"Updating a stack when it is {state}")
        return stack

    async def replanned(self, stack: Stack, definition: Definition) -> Blueprint:
        """What a stack would become, checked.

        Raises:
            InvalidInput: template or parameters are not valid, or an immutable parameter changes.
        """
        blueprint = await compiled(definition, stack, self.views.judge, self.views.facade(stack))
        await validate(blueprint, stack)
        await self.views.require_parameters(stack, blueprint)
        old = (await self.views.blueprint(stack)).parameters
        for name, parameter in blueprint.template.parameters.items():
            if parameter.immutable and name in old and old[name] != blueprint.parameters[name]:
                raise InvalidInput(f"The following parameters are immutable and may not be updated: {name}")
        return blueprint

    def delete(self, stack_id: str) -> None:
        """Begin to delete a stack; what goes on with it ends first."""
        self._departures.delete(stack_id)

    def act(self, stack_id: str, action: str) -> None:
        """Begin `CHECK`, `SUSPEND` or `RESUME`; nothing happens to what is suspended, or resumed, already."""
        stack = self.tables.stacks.get(stack_id)
        if action != "CHECK" and (stack.action, stack.status) == (action, State.COMPLETE):
            return
        self.operations.begin(stack_id, action, lambda end: self.operations.visit(stack_id, action, end))

    def cancel(self, stack_id: str, *, rollback: bool) -> None:
        """Cancel an update, and go back to what was before if so wanted; without rollback a creation, too.

        Raises:
            NotSupported: there is nothing to cancel.
        """
        stack = self.tables.stacks.get(stack_id)
        allowed = ("UPDATE",) if rollback else ("UPDATE", "CREATE")
        if stack.status != State.IN_PROGRESS or stack.action not in allowed:
            raise NotSupported(f"Cancelling update when stack is {stack.action}_{stack.status}")
        if rollback:
            self.operations.roll_back(stack_id)
        else:
            self.operations.cancel(stack_id)

    def abandon(self, stack_id: str) -> None:
        """Begin to forget a stack and leave its objects alone; nested stacks go with it."""
        self._departures.abandon(stack_id)

    def stop(self, stack_id: str) -> None:
        """Ask what goes on with a stack to end soon; idempotent."""
        self.operations.stop(stack_id)

    async def settled(self, stack_id: str) -> Stack | None:
        """Wait until nothing goes on with a stack; None when it is gone."""
        return await self.operations.settled(stack_id)

    async def signal(self, stack: Stack, row: StackResource, details: Any) -> None:
        """Hand a signal to a resource, or let it go on where a hook holds it up.

        Raises:
            NotSupported: it is suspended or being deleted.
            InvalidInput: it takes none, or not this one.
        """
        if isinstance(details, Mapping) and "unset_hook" in details:
            clear_hook(self.tables, self._journal, row, str(details["unset_hook"]))
            return
        if row.action in ("SUSPEND", "DELETE"):
            self._journal.note(row, f"Cannot signal resource during {row.action}")
            raise NotSupported(f"Signal resource during {row.action}")
        await self.views.kind(stack, row).signal(self.views.work(stack, row), details)

    async def post(self, target: str, token: str, body: bytes) -> tuple[int, str]:
        """Take what a server sends: a signal with the secret of its resource. HTTP status, and what to tell."""
        if (found := addressee(target)) is None:
            return 404, "The resource could not be found."
        stack_id, name, signature = found
        row = self.views.row(stack_id, name)
        if row is None or not knows_secret(row, signature or token):
            return 401, "Authentication required"
        try:
            await self.signal(self.tables.stacks.get(stack_id), row, details_in(body))
        except SonataError as error:
            return 409 if isinstance(error, Conflict) else 400, error.message
        return 200, ""

    def mark(self, row: StackResource, reason: str, *, unhealthy: bool) -> None:
        """Say that a resource is not well, so that the next update replaces it; or that it is well again."""
        status = State.FAILED if unhealthy else State.COMPLETE
        self._journal.resource(row.id, "CHECK", status, reason, broken=unhealthy)


class _Nested:
    """What types that hold stacks of their own need of the engine."""

    def __init__(self, stacks: Stacks) -> None:
        self._stacks = stacks
        self.tables = stacks.tables

    def stop(self, stack_id: str) -> None:
        """Ask what goes on with a stack to end soon; idempotent."""
        self._stacks.stop(stack_id)

    async def create_nested(self, parent: Stack, resource: StackResource, definition: Definition) -> str:
        """Begin to create a nested stack; returns its id."""
        nested, blueprint = await self._planned(parent, resource, definition)
        operations = self._stacks.operations
        operations.begin_new(nested, "CREATE", lambda end: operations.create(nested.id, blueprint, end))
        return nested.id

    async def adopt_nested(self, parent: Stack, resource: StackResource, exported: Mapping[str, Any]) -> str:
        """Begin to adopt a nested stack from what was exported of it; returns its id."""
        parts = (exported.get(key) or {} for key in ("template", "environment", "files"))
        nested, blueprint = await self._planned(parent, resource, Definition(*parts))
        return self._stacks.adopt(nested, blueprint, exported).id

    async def _planned(self, parent: Stack, resource: StackResource, definition: Definition) -> tuple[Stack, Blueprint]:
        nested = replace(
            Stack(owner=parent.owner, definition=definition),
            name=f"{parent.name}-{resource.name}-{resource.id.replace('-', '')[:12]}",
            project_id=parent.project_id,
            parent_id=parent.id,
            parent_resource=resource.name,
            timeout_mins=parent.timeout_mins,
            base_url=parent.base_url,
        )
        views = self._stacks.views
        blueprint = await compiled(definition, nested, views.judge, views.facade(nested))
        await validate(blueprint, nested)
        return nested, blueprint

    async def update_nested(self, stack_id: str, definition: Definition) -> None:
        """Begin to update a nested stack."""
        await self._stacks.settled(stack_id)
        await self._stacks.update(stack_id, definition)

    async def act_nested(self, stack_id: str, action: str) -> None:
        """Begin to delete, check, suspend or resume a nested stack."""
        if action == "DELETE":
            self._stacks.delete(stack_id)
        else:
            self._stacks.act(stack_id, action)

    async def outputs(self, stack_id: str) -> Mapping[str, Any]:
        """Outputs of a stack by name."""
        stack = self.tables.stacks.peek(stack_id)
        shown = await self._stacks.views.outputs(stack) if stack else []
        return {one["output_key"]: one.get("output_value") for one in shown}

    async def attribute_of(self, stack_id: str, resource: str, name: str, path: tuple[Any, ...] = ()) -> Any:
        """An attribute of a resource; None when that is not there."""
        return await self._stacks.views.attribute_of(stack_id, resource, name, path)

    def in_background(self, name: str, work: Coroutine[None, None, None]) -> None:
        """Let something go on for which no operation waits."""
        self._stacks.operations.in_background(name, work)

    async def run_in_server(self, server_id: str, argv: Sequence[str], stdin: bytes) -> tuple[int, bytes, bytes]:
        """Run a command in a server that is on; status, output, errors."""
        return await self._stacks.run_in_server(server_id, argv, stdin)

    def reference_of(self, stack_id: str, resource: str) -> Any:
        """What `get_resource` of a resource is; None when that is not there."""
        return self._stacks.views.reference_of(stack_id, resource)
