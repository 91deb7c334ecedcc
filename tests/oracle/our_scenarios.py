"""Plays the scenarios of `actions.yaml` with this project's stacks; the record is of the form of Heat's."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from sonata.emulator.cloud.entities.orchestration import Definition, Owner, Stack, State
from sonata.emulator.cloud.orchestration.exports import exported
from sonata.emulator.cloud.orchestration.stacks import StackRequest, Stacks
from sonata.emulator.cloud.tables import Tables
from sonata.errors import SonataError
from sonata.formats.hot.environment import read_environment

OWNER = Owner("u", "u", "p", ())
LONGEST_S = 20.0
Step = dict[str, Any]


class NoServices:
    """The scenarios need no services."""

    def calls_for(self, _owner: Owner) -> NoServices:
        """Calls that nobody makes."""
        return self

    async def call(self, service: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Nothing is there."""
        raise AssertionError(f"{method} {service}{path}")


class Player:
    """Plays one scenario; the stack of all steps is called `s`."""

    def __init__(self) -> None:
        self._tables = Tables()
        self._stacks = Stacks(self._tables)
        self._stacks.attach(NoServices())
        self._id = ""
        self._template: Any = None
        self._exported: Any = None
        self._refused: list[str] = []

    async def play(self, steps: list[Step]) -> dict[str, Any]:
        """The record of the steps."""
        for step in steps:
            ((verb, argument),) = step.items()
            try:
                await getattr(self, f"_{verb}")(argument)
                self._refused.append("")
            except SonataError as error:
                self._refused.append(f"{type(error).__name__}: {error.message}")
        stack = self._stack
        await self._stacks.close()
        state = f"{stack.action}_{stack.status}: {stack.status_reason}" if stack else "GONE"
        return {"refused": self._refused, "state": state, "events": self._events() if stack else {}}

    @property
    def _stack(self) -> Stack | None:
        return self._tables.stacks.peek(self._id)

    async def _create(self, wish: Step) -> None:
        self._template = wish["template"]
        request = StackRequest(
            name="s",
            owner=OWNER,
            definition=self._definition(wish),
            disable_rollback=not wish.get("rollback"),
            adopted=self._exported if wish.get("adopt") else None,
        )
        self._id = (await self._stacks.create(request)).id

    async def _update(self, wish: Step) -> None:
        more = {"disable_rollback": not wish["rollback"]} if "rollback" in wish else {}
        await self._stacks.update(self._id, self._definition(wish), **more)

    def _definition(self, wish: Step) -> Definition:
        given = {"parameters": wish.get("parameters") or {}}
        return Definition(self._template, read_environment(given, {}).document())

    async def _act(self, action: str) -> None:
        if action.startswith("cancel"):
            self._stacks.cancel(self._id, rollback=action == "cancel_update")
        else:
            self._stacks.act(self._id, action.upper())

    async def _delete(self, _nothing: None) -> None:
        self._stacks.delete(self._id)

    async def _export(self, _nothing: None) -> None:
        self._exported = json.loads(json.dumps(exported(self._stacks.views, self._tables.stacks.get(self._id))))

    async def _abandon(self, _nothing: None) -> None:
        await self._export(None)
        self._stacks.abandon(self._id)

    async def _spoil(self, name: str) -> None:
        del self._exported["resources"][name]

    async def _settle(self, _nothing: None) -> None:
        await self._wait(lambda: not self._is_busy())

    async def _when(self, event: list[str]) -> None:
        name, wanted = event
        await self._wait(lambda: self._events().get(name, [""])[-1].startswith(wanted))

    def _is_busy(self) -> bool:
        stacks = [one.status for one in self._tables.stacks]
        return State.IN_PROGRESS in (*stacks, *(row.status for row in self._tables.stack_resources))

    def _events(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for one in self._tables.stack_events:
            if one.stack_id == self._id:
                found.setdefault(one.resource_name, []).append(f"{one.action}_{one.status}: {one.reason}")
        return found

    async def _wait(self, holds: Callable[[], bool]) -> None:
        until = time.monotonic() + LONGEST_S
        while not holds():
            assert time.monotonic() < until, self._events()
            await asyncio.sleep(0.01)
