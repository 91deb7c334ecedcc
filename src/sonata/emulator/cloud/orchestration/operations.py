"""Operations on stacks in the background: one task each; the next on a stack begins when the one before has ended."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from itertools import count

from sonata.emulator.cloud.background import Background
from sonata.emulator.cloud.entities.orchestration import Definition, Stack, StackResource, State
from sonata.emulator.cloud.orchestration.blueprint import Blueprint
from sonata.emulator.cloud.orchestration.deployment import Deployment, Failed, in_order
from sonata.emulator.cloud.orchestration.journal import Journal
from sonata.emulator.cloud.orchestration.views import Views
from sonata.emulator.cloud.orchestration.work import Deadline
from sonata.emulator.cloud.tables import Tables
from sonata.errors import Conflict, SonataError
from sonata.formats.hot.graph import dependants

logger = logging.getLogger(__name__)


class ActionInProgress(Conflict):
    """Something is going on with a stack."""


def idle(tables: Tables, stack_id: str) -> Stack:
    """A stack with which nothing goes on.

    Raises:
        ActionInProgress: something does.
    """
    stack = tables.stacks.get(stack_id)
    if stack.status == State.IN_PROGRESS:
        raise ActionInProgress(f"Stack {stack.name} already has an action ({stack.action}) in progress.")
    return stack


class Operations:
    """What goes on with the stacks of one cloud."""

    def __init__(self, tables: Tables, views: Views, journal: Journal) -> None:
        self._tables = tables
        self._views = views
        self._journal = journal
        self._background = Background(self._crashed)
        self._deadlines: dict[str, tuple[str, Deadline]] = {}
        self._number = count(1)

    async def close(self) -> None:
        """End all of them; what they have made goes with the cloud."""
        await self._background.close()

    def in_background(self, name: str, work: Coroutine[None, None, None]) -> None:
        """Let something go on for which no operation waits, until all are closed."""
        self._background.spawn(f"apart/{name}/{next(self._number)}", work)

    def stop(self, stack_id: str) -> None:
        """Ask what goes on with a stack to end soon; idempotent."""
        if stack_id in self._deadlines:
            self._deadlines[stack_id][1].stopped = True

    async def settled(self, stack_id: str) -> Stack | None:
        """Wait until nothing goes on with a stack; None when it is gone."""
        while stack_id in self._deadlines:
            await self._background.wait(self._deadlines[stack_id][0])
        return self._tables.stacks.peek(stack_id)

    def begin_new(self, stack: Stack, action: str, run: Callable[[Deadline], Awaitable[None]]) -> Stack:
        """Add a stack and begin to make it."""
        self._tables.stacks.add(stack)
        stack = self._journal.stack(stack.id, action, State.IN_PROGRESS, f"Stack {action} started")
        self.spawn(stack.id, run)
        return stack

    def spawn(self, stack_id: str, run: Callable[[Deadline], Awaitable[None]]) -> None:
        """Begin an operation; what goes on with the stack ends first."""
        earlier = self._deadlines.get(stack_id)
        deadline = Deadline.after(self._tables.stacks.get(stack_id).timeout_mins)
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

    async def create(self, stack_id: str, blueprint: Blueprint, deadline: Deadline) -> None:
        """Make the resources; take them down again where that is wanted and one fails."""
        try:
            await self._deployment(stack_id, deadline).deploy(blueprint)
        except Failed as failure:
            stack = self._ended(stack_id, "CREATE", failure)
            if stack and not stack.disable_rollback:
                await self._roll_back(stack_id, None, failure)
        else:
            self._ended(stack_id, "CREATE", None)

    async def update(
        self, stack_id: str, blueprint: Blueprint, deadline: Deadline, images: Mapping[str, str] | None = None
    ) -> None:
        """Bring a stack to another blueprint; back to the one before where that is wanted and a resource fails.

        With images, which are the contents of resources by their names, it is a restoration; that does not go back.
        """
        action = "UPDATE" if images is None else "RESTORE"
        deployment = self._deployment(stack_id, deadline)
        try:
            await deployment.deploy(blueprint, images)
            await deployment.clean(blueprint)
        except Failed as failure:
            stack = self._ended(stack_id, action, failure)
            if stack and action == "UPDATE" and not stack.disable_rollback and stack.previous:
                await self._roll_back(stack_id, stack.previous, failure)
        else:
            self._ended(stack_id, action, None)
        if stack_id in self._tables.stacks:
            self._tables.stacks.change(stack_id, previous=None)

    async def delete(self, stack_id: str, deadline: Deadline) -> None:
        """Take all resources down."""
        try:
            await self._deployment(stack_id, deadline).clean(None)
        except Failed as failure:
            self._ended(stack_id, "DELETE", failure)
        else:
            self._ended(stack_id, "DELETE", None)
            self.forget(stack_id)

    async def visit(
        self, stack_id: str, action: str, deadline: Deadline, on_end: Callable[[Failed | None], None] | None = None
    ) -> None:
        """Check, suspend, resume or snapshot the resources."""
        order = in_order(self._views.rows(stack_id))
        if action == "SUSPEND":
            order = dict(dependants(order))
        try:
            await self._deployment(stack_id, deadline).visit(action, order)
        except Failed as error:
            failure: Failed | None = error
        else:
            failure = None
        if on_end:
            on_end(failure)
        self._ended(stack_id, action, failure)

    async def adopt(self, stack_id: str, blueprint: Blueprint, adopted: Mapping[str, StackResource]) -> None:
        """Take over objects by their ids; a resource without one fails."""
        missing = [name for name in blueprint.resources if name not in adopted]
        for name, row in adopted.items():
            if name in blueprint.resources:
                stack = self._tables.stacks.get(stack_id)
                definition = blueprint.resources[name]
                mine = replace(
                    row,
                    stack_id=stack_id,
                    project_id=stack.project_id,
                    type=definition.type,
                    kind=blueprint.kind_of(definition),
                    needs=tuple(sorted(blueprint.graph[name])),
                )
                self._tables.stack_resources.add(mine)
                self._journal.resource(mine.id, "ADOPT", State.COMPLETE)
        why = Failed(f"Resource ADOPT failed: resource data were not provided for {', '.join(missing)}")
        self._ended(stack_id, "ADOPT", why if missing else None)

    def forget(self, stack_id: str) -> None:
        """Drop a stack and all that is known of it."""
        for row in self._tables.stack_resources:
            if row.stack_id == stack_id:
                self._tables.stack_resources.remove(row.id)
        for snapshot in self._tables.stack_snapshots:
            if snapshot.stack_id == stack_id:
                self._tables.stack_snapshots.remove(snapshot.id)
        self._journal.forget(stack_id)
        self._tables.stacks.remove(stack_id)

    async def _roll_back(self, stack_id: str, previous: Definition | None, failure: Failed) -> None:
        """Go back to what was before; to nothing for None."""
        changes = {"definition": previous} if previous else {}
        reason = f"Stack ROLLBACK started: {failure.message}"
        stack = self._journal.stack(stack_id, "ROLLBACK", State.IN_PROGRESS, reason, **changes)
        deadline = Deadline.after(stack.timeout_mins)
        self._deadlines[stack_id] = (self._deadlines[stack_id][0], deadline)
        try:
            blueprint = await self._views.blueprint(stack) if previous else None
            if blueprint:
                await self._deployment(stack_id, deadline).deploy(blueprint)
            await self._deployment(stack_id, deadline).clean(blueprint)
        except SonataError as error:
            self._ended(stack_id, "ROLLBACK", error)
        else:
            self._ended(stack_id, "ROLLBACK", None)

    def _deployment(self, stack_id: str, deadline: Deadline) -> Deployment:
        return Deployment(self._tables, self._views, self._journal, self._tables.stacks.get(stack_id), deadline)

    def _ended(self, stack_id: str, action: str, failure: SonataError | None) -> Stack | None:
        """Write the end of an operation; not where another action has begun meanwhile."""
        stack = self._tables.stacks.peek(stack_id)
        if stack is None or stack.action != action:
            return None
        if failure:
            logger.warning(
                "stack operation failed", extra={"stack": stack.name, "action": action, "cause": str(failure)}
            )
            return self._journal.stack(stack_id, action, State.FAILED, failure.message)
        return self._journal.stack(stack_id, action, State.COMPLETE, f"Stack {action} completed successfully")

    def _crashed(self, name: str, error: BaseException) -> None:
        stack_id = name.partition("/")[0]
        if stack := self._tables.stacks.peek(stack_id):
            reason = f"Unexpected exception: {type(error).__name__}: {error}"
            self._journal.stack(stack_id, stack.action, State.FAILED, reason)
