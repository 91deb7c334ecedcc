"""Snapshots of stacks: what a stack was made of, and what its servers and volumes held, kept as images."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from sonata.emulator.cloud.entities.orchestration import Definition, Stack, StackSnapshot, State
from sonata.emulator.cloud.orchestration.blueprint import Blueprint, compiled
from sonata.emulator.cloud.orchestration.calls import CallRefused, told
from sonata.emulator.cloud.orchestration.catalogue import kind_named
from sonata.emulator.cloud.orchestration.exports import exported_resource
from sonata.emulator.cloud.orchestration.journal import Journal
from sonata.emulator.cloud.orchestration.operations import Operations, idle
from sonata.emulator.cloud.orchestration.refusals import NotSupported
from sonata.emulator.cloud.orchestration.views import Views
from sonata.emulator.cloud.orchestration.work import Deadline
from sonata.emulator.cloud.tables import Tables
from sonata.errors import InvalidInput, NotFound, SonataError

MOST_SNAPSHOTS = 32
"""Of one stack, as Heat's `max_snapshots_per_stack`; administrators may make more."""
IMAGE = "snapshot_image_id"


Replan = Callable[[Stack, Definition], Awaitable[Blueprint]]
"""Finds out what a stack would become with another definition."""


class SnapshotNotFound(NotFound):
    """A stack has no such snapshot."""


class Snapshots:
    """The snapshots of one cloud's stacks.

    Args:
        replan: compiles and checks what a stack is to become.
    """

    def __init__(self, tables: Tables, views: Views, journal: Journal, operations: Operations, replan: Replan) -> None:
        self._tables = tables
        self._views = views
        self._journal = journal
        self._operations = operations
        self._replan = replan

    def of(self, stack_id: str) -> list[StackSnapshot]:
        """The snapshots of a stack, the oldest first."""
        return [one for one in self._tables.stack_snapshots if one.stack_id == stack_id]

    def find(self, stack: Stack, snapshot_id: str) -> StackSnapshot:
        """A snapshot of a stack.

        Raises:
            SnapshotNotFound: there is none of this id.
        """
        snapshot = self._tables.stack_snapshots.peek(snapshot_id)
        if snapshot is None or snapshot.stack_id != stack.id:
            raise SnapshotNotFound(f"The Snapshot ({snapshot_id}) for Stack ({stack.name}) could not be found.")
        return snapshot

    def create(self, stack: Stack, name: str, *, is_limited: bool) -> StackSnapshot:
        """Begin to make a snapshot of a stack.

        Raises:
            ActionInProgress: something is going on with the stack.
            InvalidInput: it has as many as it may have.
        """
        idle(self._tables, stack.id)
        if is_limited and len(self.of(stack.id)) >= MOST_SNAPSHOTS:
            raise InvalidInput(
                f"You have reached the maximum snapshots per stack, {MOST_SNAPSHOTS}. Please delete some snapshots."
            )
        state = (stack.action, stack.status)
        snapshot = self._tables.stack_snapshots.add(
            StackSnapshot(
                name=name,
                project_id=stack.project_id,
                stack_id=stack.id,
                definition=stack.definition,
                stack_state=state,
            )
        )
        for row in self._views.rows(stack.id):
            kept = {key: value for key, value in row.data.items() if key != IMAGE}
            self._tables.stack_resources.change(row.id, data=kept)

        def note(failure: SonataError | None) -> None:
            self._note(snapshot.id, failure)

        self._operations.begin(
            stack.id, "SNAPSHOT", lambda end: self._operations.visit(stack.id, "SNAPSHOT", end, note)
        )
        return snapshot

    def delete(self, snapshot: StackSnapshot) -> None:
        """Begin to delete a snapshot with what it keeps.

        Raises:
            NotSupported: it is being made.
        """
        if (snapshot.action, snapshot.status) == ("CREATE", State.IN_PROGRESS):
            raise NotSupported("Deleting in-progress snapshot")
        changes = {"action": "DELETE", "status": State.IN_PROGRESS, "status_reason": "Snapshot delete started"}
        self._tables.stack_snapshots.change(snapshot.id, **changes)
        self._operations.spawn(snapshot.stack_id, lambda end: self.drop(snapshot))

    async def drop(self, snapshot: StackSnapshot) -> None:
        """Delete what a snapshot keeps, and then itself; where that is refused it says so."""
        calls = self._views.calls(self._tables.stacks.get(snapshot.stack_id))
        for image_id in images_of(snapshot).values():
            status, document = await calls.call("image", "DELETE", f"/v2/images/{image_id}")
            if status >= 400 and status != 404:
                reason = f"the image {image_id} could not be deleted: {told(document) or status}"
                self._tables.stack_snapshots.change(snapshot.id, status=State.FAILED, status_reason=reason)
                return
        self._tables.stack_snapshots.remove(snapshot.id)

    async def drop_all(self, stack_id: str) -> None:
        """Delete all snapshots of a stack.

        Raises:
            CallRefused: what one keeps could not be deleted.
        """
        for snapshot in self.of(stack_id):
            await self.drop(snapshot)
        for left in self.of(stack_id):
            raise CallRefused(409, left.status_reason, "DELETE image")

    async def _restored_definition(self, stack: Stack, snapshot: StackSnapshot) -> Definition:
        """What a stack is made of when it is as in a snapshot again: servers are of the images that were kept.

        Raises:
            NotSupported: the snapshot is not complete.
        """
        if snapshot.status != State.COMPLETE:
            raise NotSupported("Restoring incomplete snapshot")
        blueprint = await compiled(snapshot.definition, stack, self._views.judge, self._views.facade(stack))
        template = dict(snapshot.definition.template)
        resources = dict(template.get("resources") or {})
        for name, image_id in images_of(snapshot).items():
            kind = kind_named(blueprint.kind_of(blueprint.resources[name]), blueprint.files)
            if kind.contents and isinstance(resources[name].get("properties", {}), Mapping):
                given = resources[name].get("properties") or {}
                resources[name] = {**resources[name], "properties": {**given, kind.contents: image_id}}
        template["resources"] = resources
        return Definition(template, snapshot.definition.environment, snapshot.definition.files)

    async def restore(self, stack: Stack, snapshot: StackSnapshot) -> None:
        """Begin to bring a stack back to a snapshot.

        Raises:
            NotSupported: the snapshot is not complete.
        """
        definition = await self._restored_definition(stack, snapshot)
        blueprint = await self._replan(stack, definition)
        images = images_of(snapshot)

        async def run(end: Deadline) -> None:
            await self._operations.update(stack.id, blueprint, end, images)

        changes = {"definition": definition, "previous": self._tables.stacks.get(stack.id).definition}
        self._operations.begin(stack.id, "RESTORE", run, **changes)

    def _note(self, snapshot_id: str, failure: SonataError | None) -> None:
        """Write down what has become of a snapshot, and what is kept in any case."""
        snapshot = self._tables.stack_snapshots.get(snapshot_id)
        self._tables.stack_snapshots.change(
            snapshot_id,
            status=State.FAILED if failure else State.COMPLETE,
            status_reason=failure.message if failure else "Stack SNAPSHOT completed successfully",
            resources={row.name: exported_resource(row) for row in self._views.rows(snapshot.stack_id)},
        )


def images_of(snapshot: StackSnapshot) -> dict[str, str]:
    """The images that a snapshot keeps, by the names of the resources."""
    data: Mapping[str, Mapping[str, Any]] = {
        name: one.get("resource_data") or {} for name, one in snapshot.resources.items()
    }
    return {name: str(one[IMAGE]) for name, one in data.items() if one.get(IMAGE)}
