"""The stacks of one cloud: what users ask of them, and their operations in the background.

Each operation has one task; another operation on the same stack begins when the one before has ended.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from sonata.emulator.cloud.background import Background
from sonata.emulator.cloud.causes import NoSuch
from sonata.emulator.cloud.entities.orchestration import Definition, Owner, Stack, StackResource, State
from sonata.emulator.cloud.orchestration.blueprint import Blueprint, compiled
from sonata.emulator.cloud.orchestration.calls import Authority
from sonata.emulator.cloud.orchestration.deployment import Deployment, Failed, in_order
from sonata.emulator.cloud.orchestration.journal import Journal
from sonata.emulator.cloud.orchestration.validation import validate
from sonata.emulator.cloud.orchestration.views import Views
from sonata.emulator.cloud.orchestration.work import Deadline
from sonata.emulator.cloud.tables import Tables
from sonata.errors import Conflict, InvalidInput, SonataError
from sonata.formats.hot.errors import StackValidationFailed
from sonata.formats.hot.graph import dependants

logger = logging.getLogger(__name__)

LONGEST_NAME = 255
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_.-]*")


class StackExists(Conflict):
    """The project has a stack of this name."""


class ActionInProgress(Conflict):
    """Something is going on with a stack."""


class ActionNotComplete(Conflict):
    """A stack is not in the state that an action needs."""


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
        self.views = Views(tables, self)
        self._journal = Journal(tables)
        self._background = Background(self._crashed)
        self._deadlines: dict[str, tuple[str, Deadline]] = {}
        self._number = count(1)

    def attach(self, authority: Authority) -> None:
        """Let stacks act through the APIs of the cloud; idempotent."""
        self.views.authority = authority

    async def close(self) -> None:
        """End all operations; what they have made goes with the cloud."""
        await self._background.close()

    def find(self, project_id: str, name_or_id: str) -> Stack:
        """A stack of a project by name or id.

        Raises:
            NoSuch: there is none.
        """
        for stack in self.tables.stacks:
            if stack.project_id == project_id and name_or_id in (stack.id, stack.name):
                return stack
        raise NoSuch("Stack", name_or_id)

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
        blueprint = compiled(request.definition, stack)
        await validate(blueprint, stack)
        return stack, blueprint

    async def create(self, request: StackRequest) -> Stack:
        """Begin to create a stack, or to adopt one whose objects are there.

        Raises:
            InvalidInput, StackExists: as `planned`.
        """
        stack, blueprint = await self.planned(request)
        if request.adopted:
            adopt = _adopted(request.adopted)
            return self._begin_new(stack, "ADOPT", lambda deadline: self._adopt(stack.id, blueprint, adopt))
        return self._begin_new(stack, "CREATE", lambda deadline: self._create(stack.id, blueprint, deadline))

    async def update(self, stack_id: str, definition: Definition, **changes: Any) -> None:
        """Begin to bring a stack to another definition.

        Args:
            changes: `timeout_mins`, `disable_rollback`, `tags`.

        Raises:
            ActionInProgress: something is going on with it.
            InvalidInput: template or parameters are not valid.
        """
        stack = self._idle(stack_id, "UPDATE")
        blueprint = await self.replanned(stack, definition)
        changes.update(definition=definition, previous=stack.definition, changed_at=time.time())
        self._journal.stack(stack.id, "UPDATE", State.IN_PROGRESS, "Stack UPDATE started", **changes)
        self._spawn(stack.id, lambda deadline: self._update(stack.id, blueprint, deadline))

    async def replanned(self, stack: Stack, definition: Definition) -> Blueprint:
        """What a stack would become, checked.

        Raises:
            InvalidInput: template or parameters are not valid, or an immutable parameter changes.
        """
        blueprint = compiled(definition, stack, self.views.facade(stack))
        await validate(blueprint, stack)
        old = self.views.blueprint(stack).parameters
        for name, parameter in blueprint.template.parameters.items():
            if parameter.immutable and name in old and old[name] != blueprint.parameters[name]:
                raise InvalidInput(f"The following parameters are immutable and may not be updated: {name}")
        return blueprint

    def delete(self, stack_id: str) -> None:
        """Begin to delete a stack; what goes on with it ends first."""
        stack = self.tables.stacks.get(stack_id)
        if (stack.action, stack.status) == ("DELETE", State.IN_PROGRESS):
            return
        self.stop(stack_id)
        self._journal.stack(stack_id, "DELETE", State.IN_PROGRESS, "Stack DELETE started")
        self._spawn(stack_id, lambda deadline: self._delete(stack_id, deadline))

    def act(self, stack_id: str, action: str) -> None:
        """Begin `CHECK`, `SUSPEND` or `RESUME`.

        Raises:
            ActionInProgress: something is going on with it.
            ActionNotComplete: it is suspended already, or not at all.
        """
        stack = self._idle(stack_id, action)
        if stack.status == State.COMPLETE and (action == "SUSPEND") and stack.action == "SUSPEND":
            raise ActionNotComplete(f"Stack {stack.name} is suspended already.")
        if action == "RESUME" and stack.action != "SUSPEND" and stack.action != "RESUME":
            raise ActionNotComplete(f"Stack {stack.name} is not suspended.")
        self._journal.stack(stack_id, action, State.IN_PROGRESS, f"Stack {action} started")
        self._spawn(stack_id, lambda deadline: self._visit(stack_id, action, deadline))

    def cancel(self, stack_id: str, *, rollback: bool) -> None:
        """Cancel an update, and go back to what was before if so wanted; without rollback a creation, too.

        Raises:
            Conflict: there is nothing to cancel.
        """
        stack = self.tables.stacks.get(stack_id)
        allowed = ("UPDATE",) if rollback else ("UPDATE", "CREATE")
        if stack.status != State.IN_PROGRESS or stack.action not in allowed:
            state = f"{stack.action}_{stack.status}"
            raise ActionNotComplete(f"Cancelling update when stack is {state} is not supported.")
        self.tables.stacks.change(stack_id, disable_rollback=not rollback)
        self.stop(stack_id)

    def stop(self, stack_id: str) -> None:
        """Ask what goes on with a stack to end soon; idempotent."""
        if stack_id in self._deadlines:
            self._deadlines[stack_id][1].stopped = True

    def abandon(self, stack_id: str) -> None:
        """Forget a stack and leave its objects alone; nested stacks go with it.

        Raises:
            ActionInProgress: something is going on with it.
        """
        self._idle(stack_id, "ABANDON")
        for nested in self.tables.stacks:
            if nested.parent_id == stack_id:
                self.abandon(nested.id)
        self._forget(stack_id)

    async def settled(self, stack_id: str) -> Stack | None:
        """Wait until nothing goes on with a stack; None when it is gone."""
        while stack_id in self._deadlines:
            await self._background.wait(self._deadlines[stack_id][0])
        return self.tables.stacks.peek(stack_id)

    async def signal(self, stack: Stack, row: StackResource, details: Any) -> None:
        """Hand a signal to a resource.

        Raises:
            InvalidInput: it takes none, or not this one.
        """
        await self.views.kind(stack, row).signal(self.views.work(stack, row), details)

    def mark(self, row: StackResource, reason: str, *, unhealthy: bool) -> None:
        """Say that a resource is not well, so that the next update replaces it; or that it is well again."""
        status = State.FAILED if unhealthy else State.COMPLETE
        self._journal.resource(row.id, "CHECK", status, reason, broken=unhealthy)

    async def create_nested(self, parent: Stack, resource: StackResource, definition: Definition) -> str:
        """Begin to create a nested stack; returns its id."""
        nested = replace(
            Stack(owner=parent.owner, definition=definition),
            name=f"{parent.name}-{resource.name}-{resource.id.replace('-', '')[:12]}",
            project_id=parent.project_id,
            parent_id=parent.id,
            parent_resource=resource.name,
            timeout_mins=parent.timeout_mins,
            base_url=parent.base_url,
        )
        blueprint = compiled(definition, nested, self.views.facade(nested))
        await validate(blueprint, nested)
        self._begin_new(nested, "CREATE", lambda deadline: self._create(nested.id, blueprint, deadline))
        return nested.id

    async def update_nested(self, stack_id: str, definition: Definition) -> None:
        """Begin to update a nested stack."""
        await self.settled(stack_id)
        await self.update(stack_id, definition)

    async def act_nested(self, stack_id: str, action: str) -> None:
        """Begin to delete, check, suspend or resume a nested stack."""
        if action == "DELETE":
            self.delete(stack_id)
        else:
            self.act(stack_id, action)

    async def outputs(self, stack_id: str) -> Mapping[str, Any]:
        """Outputs of a stack by name."""
        stack = self.tables.stacks.peek(stack_id)
        shown = await self.views.outputs(stack) if stack else []
        return {one["output_key"]: one.get("output_value") for one in shown}

    async def attribute_of(self, stack_id: str, resource: str, name: str, path: tuple[str, ...] = ()) -> Any:
        """An attribute of a resource; None when that is not there."""
        return await self.views.attribute_of(stack_id, resource, name, path)

    def reference_of(self, stack_id: str, resource: str) -> Any:
        """What `get_resource` of a resource is; None when that is not there."""
        return self.views.reference_of(stack_id, resource)

    def _begin_new(self, stack: Stack, action: str, run: Callable[[Deadline], Awaitable[None]]) -> Stack:
        self.tables.stacks.add(stack)
        stack = self._journal.stack(stack.id, action, State.IN_PROGRESS, f"Stack {action} started")
        self._spawn(stack.id, run)
        return stack

    def _spawn(self, stack_id: str, run: Callable[[Deadline], Awaitable[None]]) -> None:
        earlier = self._deadlines.get(stack_id)
        deadline = Deadline.after(self.tables.stacks.get(stack_id).timeout_mins)
        name = f"{stack_id}/{next(self._number)}"
        self._deadlines[stack_id] = (name, deadline)

        async def operate() -> None:
            if earlier:
                await self._background.wait(earlier[0])
            try:
                await run(deadline)
            finally:
                if self._deadlines.get(stack_id) == (name, deadline):
                    del self._deadlines[stack_id]

        self._background.spawn(name, operate())

    def _deployment(self, stack_id: str, deadline: Deadline) -> Deployment:
        return Deployment(self.tables, self.views, self._journal, self.tables.stacks.get(stack_id), deadline)

    async def _create(self, stack_id: str, blueprint: Blueprint, deadline: Deadline) -> None:
        try:
            await self._deployment(stack_id, deadline).deploy(blueprint)
        except Failed as failure:
            stack = self._ended(stack_id, "CREATE", failure)
            if stack and not stack.disable_rollback:
                await self._roll_back(stack_id, None, failure)
        else:
            self._ended(stack_id, "CREATE", None)

    async def _update(self, stack_id: str, blueprint: Blueprint, deadline: Deadline) -> None:
        deployment = self._deployment(stack_id, deadline)
        try:
            await deployment.deploy(blueprint)
            await deployment.clean(blueprint)
        except Failed as failure:
            stack = self._ended(stack_id, "UPDATE", failure)
            if stack and not stack.disable_rollback and stack.previous:
                await self._roll_back(stack_id, stack.previous, failure)
        else:
            self._ended(stack_id, "UPDATE", None)
        if stack_id in self.tables.stacks:
            self.tables.stacks.change(stack_id, previous=None)

    async def _roll_back(self, stack_id: str, previous: Definition | None, failure: Failed) -> None:
        """Go back to what was before; to nothing for None."""
        changes = {"definition": previous} if previous else {}
        reason = f"Stack ROLLBACK started: {failure.message}"
        stack = self._journal.stack(stack_id, "ROLLBACK", State.IN_PROGRESS, reason, **changes)
        deadline = Deadline.after(stack.timeout_mins)
        self._deadlines[stack_id] = (self._deadlines[stack_id][0], deadline)
        try:
            blueprint = self.views.blueprint(stack) if previous else None
            if blueprint:
                await self._deployment(stack_id, deadline).deploy(blueprint)
            await self._deployment(stack_id, deadline).clean(blueprint)
        except SonataError as error:
            self._ended(stack_id, "ROLLBACK", error)
        else:
            self._ended(stack_id, "ROLLBACK", None)

    async def _delete(self, stack_id: str, deadline: Deadline) -> None:
        try:
            await self._deployment(stack_id, deadline).clean(None)
        except Failed as failure:
            self._ended(stack_id, "DELETE", failure)
        else:
            self._ended(stack_id, "DELETE", None)
            self._forget(stack_id)

    async def _visit(self, stack_id: str, action: str, deadline: Deadline) -> None:
        order = in_order(self.views.rows(stack_id))
        if action == "SUSPEND":
            order = dict(dependants(order))
        try:
            await self._deployment(stack_id, deadline).visit(action, order)
        except Failed as failure:
            self._ended(stack_id, action, failure)
        else:
            self._ended(stack_id, action, None)

    async def _adopt(self, stack_id: str, blueprint: Blueprint, adopted: Mapping[str, StackResource]) -> None:
        """Take over objects by their ids; a resource without one fails."""
        missing = [name for name in blueprint.resources if name not in adopted]
        for name, row in adopted.items():
            if name in blueprint.resources:
                stack = self.tables.stacks.get(stack_id)
                definition = blueprint.resources[name]
                mine = replace(
                    row,
                    stack_id=stack_id,
                    project_id=stack.project_id,
                    type=definition.type,
                    kind=blueprint.kind_of(definition),
                    needs=tuple(sorted(blueprint.graph[name])),
                )
                self.tables.stack_resources.add(mine)
                self._journal.resource(mine.id, "ADOPT", State.COMPLETE)
        why = Failed(f"Resource ADOPT failed: resource data were not provided for {', '.join(missing)}")
        self._ended(stack_id, "ADOPT", why if missing else None)

    def _idle(self, stack_id: str, action: str) -> Stack:
        stack = self.tables.stacks.get(stack_id)
        if stack.status == State.IN_PROGRESS:
            raise ActionInProgress(f"Stack {stack.name} already has an action ({stack.action}) in progress.")
        return stack

    def _ended(self, stack_id: str, action: str, failure: SonataError | None) -> Stack | None:
        """Write the end of an operation; not where another action has begun meanwhile."""
        stack = self.tables.stacks.peek(stack_id)
        if stack is None or stack.action != action:
            return None
        if failure:
            logger.warning(
                "stack operation failed", extra={"stack": stack.name, "action": action, "cause": str(failure)}
            )
            return self._journal.stack(stack_id, action, State.FAILED, failure.message)
        return self._journal.stack(stack_id, action, State.COMPLETE, f"Stack {action} completed successfully")

    def _forget(self, stack_id: str) -> None:
        for row in self.tables.stack_resources:
            if row.stack_id == stack_id:
                self.tables.stack_resources.remove(row.id)
        self._journal.forget(stack_id)
        self.tables.stacks.remove(stack_id)

    def _crashed(self, name: str, error: BaseException) -> None:
        stack_id = name.partition("/")[0]
        if stack := self.tables.stacks.peek(stack_id):
            reason = f"Unexpected exception: {type(error).__name__}: {error}"
            self._journal.stack(stack_id, stack.action, State.FAILED, reason)


def _adopted(data: Mapping[str, Any]) -> dict[str, StackResource]:
    """The resources in what `abandon` and `export` tell.

    Raises:
        InvalidInput: it is not of that form.
    """
    resources = data.get("resources")
    if not isinstance(resources, Mapping):
        raise InvalidInput("Invalid adopt data: there are no resources in it")
    return {
        name: StackResource(
            stack_id="",
            name=name,
            type=str(one.get("type", "")),
            physical_id=str(one.get("resource_id") or ""),
            properties=one.get("properties") or {},
            metadata=one.get("metadata") or {},
            data=one.get("resource_data") or {},
        )
        for name, one in resources.items()
        if isinstance(one, Mapping)
    }
