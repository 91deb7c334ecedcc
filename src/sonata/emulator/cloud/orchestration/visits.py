"""Checking, suspending, resuming and keeping what a stack has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping

from sonata.emulator.cloud.entities.orchestration import StackResource, State
from sonata.emulator.cloud.orchestration.traversal import Failed, Traversal, place
from sonata.emulator.cloud.orchestration.work import NoId, Work


class Visit(Traversal):
    """One action on all resources that makes and deletes nothing."""

    async def visit(self, action: str, order: Mapping[str, frozenset[str]]) -> None:
        """Check, suspend, resume or snapshot each resource.

        Raises:
            Failed: the first that could not; of checks, all that could not.
        """
        if action == "CHECK":
            await self._check_all(order)
        else:
            await self._each(order, lambda name: self._act(name, action))

    async def _check_all(self, order: Mapping[str, frozenset[str]]) -> None:
        """Check the resources; those that need one that is not well are left out."""
        told: dict[str, str] = {}
        left_out: set[str] = set()

        async def check(name: str) -> None:
            if order[name] & left_out:
                left_out.add(name)
                return
            try:
                await self._check(name)
            except Failed as failure:
                told[name] = failure.message
                left_out.add(name)

        await self._each(order, check)
        if told:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in told.items())
            raise self._fail(Failed(f"Resource CHECK failed: {reasons}"))

    async def _act(self, name: str, action: str) -> None:
        row = self._views.row(self._stack.id, name)
        if row is None or (action == "SNAPSHOT" and not row.physical_id):
            return
        if not _may(row, action):
            state = f"('{row.action}', '{row.status}')"
            raise Failed(f"Resource {action} failed: Error: {place(name)}: State {state} invalid for {action.lower()}")
        kind = self._views.kind(self._stack, row)
        verbs = {"SUSPEND": kind.suspend, "RESUME": kind.resume, "SNAPSHOT": kind.snapshot}
        await self._do(row, action, verbs[action])

    async def _check(self, name: str) -> None:
        row = self._views.row(self._stack.id, name)
        if row is None:
            return
        kind = self._views.kind(self._stack, row)
        is_made = (row.action, row.status) != ("INIT", State.COMPLETE)
        if kind.schema.checked and is_made:
            await self._do(row, "CHECK", kind.check if row.physical_id else _without_object)
        elif kind.schema.checked:
            reason = f"Can not check {name}, resource not created yet."
            self._journal.resource(row.id, "CHECK", State.FAILED, reason)
            why = f"Resource {name} not created yet."
            raise Failed(f"Resource CHECK failed: Exception: {place(name)}: {why}")
        elif is_made:
            self._journal.resource(row.id, "CHECK", State.COMPLETE, f"CHECK not supported for {row.type}")

    async def _do(self, row: StackResource, action: str, do: Callable[[Work], Awaitable[None]]) -> None:
        """One action on a resource; where nothing stands for it there is nothing to suspend."""
        self._journal.resource(row.id, action, State.IN_PROGRESS)
        if row.physical_id or action == "CHECK":
            await self._attempt(row, action, lambda: do(self._work(row, row.properties)))
        self._journal.resource(row.id, action, State.COMPLETE)


async def _without_object(_work: Work) -> None:
    raise NoId("Resource not created")


def _may(row: StackResource, action: str) -> bool:
    """Whether a resource is in a state in which it may be suspended or resumed."""
    state = (row.action, row.status)
    if action == "SUSPEND":
        return row.action == "SUSPEND" or (row.action != "DELETE" and row.status == State.COMPLETE)
    resumable = (("SUSPEND", State.COMPLETE), ("RESUME", State.FAILED), ("RESUME", State.COMPLETE))
    return action != "RESUME" or state in resumable


def in_order(rows: Iterable[StackResource]) -> dict[str, frozenset[str]]:
    """What each resource needs of the others that are there."""
    there = {row.name: row for row in rows}
    return {name: frozenset(row.needs) & there.keys() for name, row in there.items()}
