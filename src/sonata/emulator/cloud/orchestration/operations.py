"""Operations on stacks in the background.

As Heat's convergence engine does it: a stack takes another action at any time. What the one before has begun goes on to
its end, nothing more of it begins, and how it ends is told of the resources only; then the next one works. A resource
that fails has its operation failed at once, while those beside it go on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from sonata.emulator.cloud.entities.orchestration import Stack, State
from sonata.emulator.cloud.orchestration.blueprint import Blueprint
from sonata.emulator.cloud.orchestration.deployment import Deployment
from sonata.emulator.cloud.orchestration.journal import Journal
from sonata.emulator.cloud.orchestration.kinds.nested import StackKind
from sonata.emulator.cloud.orchestration.refusals import ActionInProgress
from sonata.emulator.cloud.orchestration.running import Run, Running
from sonata.emulator.cloud.orchestration.traversal import Failed, Way
from sonata.emulator.cloud.orchestration.views import Views
from sonata.emulator.cloud.orchestration.visits import Visit, in_order
from sonata.emulator.cloud.orchestration.work import Deadline
from sonata.emulator.cloud.tables import Tables
from sonata.errors import SonataError
from sonata.formats.hot.graph import dependants

logger = logging.getLogger(__name__)
Ended = Callable[[SonataError | None], None]
GOES_BACK = frozenset(("CREATE", "ADOPT", "UPDATE"))
"""Actions after whose failure a stack goes back, where its user wants that."""


def idle(tables: Tables, stack_id: str) -> Stack:
    """A stack with which nothing goes on.

    Raises:
        ActionInProgress: something does.
    """
    stack = tables.stacks.get(stack_id)
    if stack.status == State.IN_PROGRESS:
        raise ActionInProgress(f"Stack {stack.name} already has an action ({stack.action}) in progress.")
    return stack


def _nobody(_failure: SonataError | None) -> None:
    """Nobody waits for the end."""


class Operations(Running):
    """The actions on the stacks of one cloud."""

    def __init__(self, tables: Tables, views: Views, journal: Journal) -> None:
        super().__init__(tables, self._crashed)
        self._views = views
        self._journal = journal

    def begin_new(self, stack: Stack, action: str, run: Run) -> Stack:
        """Add a stack and begin to make it."""
        return self.begin(self._tables.stacks.add(stack).id, action, run)

    def begin(self, stack_id: str, action: str, run: Run, **changes: Any) -> Stack:
        """Begin an action in the place of what goes on with a stack.

        A suspension or resumption does not wait for that: resources that are busy cannot be suspended.
        """
        self._supersede(stack_id)
        if action != "CREATE":
            changes["changed_at"] = time.time()
        stack = self._journal.stack(stack_id, action, State.IN_PROGRESS, f"Stack {action} started", **changes)
        self.spawn(stack_id, run, at_once=action in ("SUSPEND", "RESUME"))
        return stack

    def cancel(self, stack_id: str) -> None:
        """Let what goes on with a stack, and with those nested in it, have failed; what it has begun goes on."""
        stack = self._tables.stacks.get(stack_id)
        if stack.status == State.IN_PROGRESS:
            self.settle(stack_id)
            reason = f"Stack {stack.action} cancelled"
            self._journal.stack(stack_id, stack.action, State.FAILED, reason, previous=None)
        for nested in self._tables.stacks:
            if nested.parent_id == stack_id:
                self.cancel(nested.id)

    def _supersede(self, stack_id: str) -> None:
        """Leave the word to another action; stacks nested in this one that it waits for are cancelled."""
        if self._tables.stacks.get(stack_id).status == State.IN_PROGRESS:
            self.settle(stack_id)
            for row in self._views.rows(stack_id):
                if row.status == State.IN_PROGRESS and row.physical_id in self._tables.stacks:
                    self.cancel(row.physical_id)

    async def create(self, stack_id: str, blueprint: Blueprint, deadline: Deadline) -> None:
        """Make the resources; take them down again where that is wanted and one fails."""
        await self._run(stack_id, deadline, lambda way: Deployment(way).deploy(blueprint))

    async def update(
        self, stack_id: str, blueprint: Blueprint, deadline: Deadline, images: Mapping[str, str] | None = None
    ) -> None:
        """Bring a stack to another blueprint; back to the one before where that is wanted and a resource fails.

        With images, which are the contents of resources by their names, it is a restoration; that does not go back.
        """

        async def change(way: Way) -> None:
            deployment = Deployment(way)
            await deployment.deploy(blueprint, images)
            await deployment.clean(blueprint)

        await self._run(stack_id, deadline, change)

    async def delete(self, stack_id: str, deadline: Deadline) -> None:
        """Take all resources down."""
        if await self._run(stack_id, deadline, lambda way: Deployment(way).clean(None)):
            self.forget(stack_id)

    async def visit(self, stack_id: str, action: str, deadline: Deadline, on_end: Ended = _nobody) -> None:
        """Check, suspend, resume or snapshot the resources."""
        order = in_order(self._views.rows(stack_id))
        if action == "SUSPEND":
            order = dict(dependants(order))
        await self._run(stack_id, deadline, lambda way: Visit(way).visit(action, order), on_end)

    async def adopt(self, stack_id: str, blueprint: Blueprint, exported: Mapping[str, Any], deadline: Deadline) -> None:
        """Take over objects by their ids; a resource without one fails."""
        await self._run(stack_id, deadline, lambda way: Deployment(way).adopt(blueprint, exported))

    def roll_back(self, stack_id: str) -> None:
        """Begin to go back to what was before: to the definition before an update, else to nothing."""
        stack = self._tables.stacks.get(stack_id)
        previous, adopts = stack.previous, stack.action == "ADOPT"

        async def go_back(deadline: Deadline) -> None:
            blueprint = await self._views.blueprint(self._tables.stacks.get(stack_id)) if previous else None

            async def change(way: Way) -> None:
                deployment = Deployment(way)
                if blueprint:
                    await deployment.deploy(blueprint)
                if adopts:
                    deployment.let_go()
                await deployment.clean(blueprint)

            await self._run(stack_id, deadline, change)

        self.begin(stack_id, "ROLLBACK", go_back, **({"definition": previous} if previous else {}))

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

    async def _run(
        self,
        stack_id: str,
        deadline: Deadline,
        do: Callable[[Way], Awaitable[None]],
        on_end: Ended = _nobody,
    ) -> bool:
        """Work on the resources of a stack; whether that came to its end and counts.

        Args:
            stack_id: of the stack.
            deadline: of this operation.
            do: the work.
            on_end: told how it ended, before the stack is; a failure as soon as it is known. Failures after the
                outcome is settled are events, no more.
        """

        def failed(failure: SonataError) -> None:
            if deadline.over:
                self._journal.remark(stack_id, stack.action, failure.message)
            else:
                on_end(failure)
                self._fail(stack_id, deadline, failure)

        if deadline.over:
            on_end(Failed("another action has begun"))
            return False
        stack = self._tables.stacks.get(stack_id)
        try:
            await do(Way(self._tables, self._views, self._journal, stack, deadline, failed))
        except Failed:
            return False  # told already
        except SonataError as error:
            failed(error)
            return False
        if deadline.over:
            on_end(Failed("another action has begun"))
            return False
        on_end(None)
        deadline.over = True
        reason = self._told(stack, f"Stack {stack.action} completed successfully")
        self._journal.stack(stack_id, stack.action, State.COMPLETE, reason, previous=None)
        return True

    def _fail(self, stack_id: str, deadline: Deadline, failure: SonataError) -> None:
        """Write that an operation failed, and go back where that is wanted; what it has begun goes on."""
        deadline.over = True
        stack = self._tables.stacks.get(stack_id)
        logger.warning(
            "stack operation failed", extra={"stack": stack.name, "action": stack.action, "cause": str(failure)}
        )
        self._journal.stack(stack_id, stack.action, State.FAILED, self._told(stack, failure.message))
        if stack.action in GOES_BACK and not stack.disable_rollback:
            self.roll_back(stack_id)
        else:
            self._tables.stacks.change(stack_id, previous=None)

    def _told(self, stack: Stack, reason: str) -> str:
        """A reason with what is to be known of checks."""
        if stack.action == "CHECK" and not self._is_all_checked(stack.id):
            return f"{reason}. 'CHECK' not fully supported (see resources)"
        return reason

    def _is_all_checked(self, stack_id: str) -> bool:
        return all(
            self._is_all_checked(row.physical_id)
            if isinstance(kind, StackKind) and row.physical_id in self._tables.stacks
            else kind.schema.checked
            for row in self._views.rows(stack_id)
            for kind in (self._views.kind(self._tables.stacks.get(stack_id), row),)
        )

    def _crashed(self, name: str, error: BaseException) -> None:
        stack_id = name.partition("/")[0]
        if stack := self._tables.stacks.peek(stack_id):
            reason = f"Unexpected exception: {type(error).__name__}: {error}"
            self._journal.stack(stack_id, stack.action, State.FAILED, reason)
