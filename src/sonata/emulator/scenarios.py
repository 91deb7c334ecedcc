"""Carries scenarios out: each step at its time, and again undone where that is asked for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import field
from heapq import heappop, heappush
from itertools import count
from typing import Any, Literal

from sonata._lib.values import dataclass
from sonata.emulator.disruptions import Disruptions, Done, Undo, flaws_of
from sonata.emulator.events import EventLog
from sonata.errors import Conflict, InvalidInput, NotFound, SonataError
from sonata.model.scenario import Scenario, Step

logger = logging.getLogger(__name__)

KEPT = 100
"""Runs that are over and can still be asked for; what they did is in the events."""

State = Literal["running", "ended", "cancelled", "failed"]


@dataclass(slots=True)
class Run:
    """A scenario that is carried out, or was.

    Args:
        state: `ended` when all its steps are over, whatever came of them.
        done: steps that are over, and `failed` those of them that could not be done.
    """

    number: int
    scenario: Scenario
    state: State = "running"
    done: int = 0
    failed: int = 0
    undos: list[tuple[float, int, Step, Undo]] = field(default_factory=list)


class Scenarios:
    """The scenarios of one emulation; several may go on at the same time."""

    def __init__(self, disruptions: Disruptions, events: EventLog) -> None:
        self._disruptions = disruptions
        self._events = events
        self._runs: dict[int, Run] = {}
        self._numbers = count(1)
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def __iter__(self) -> Iterator[Run]:
        return iter(tuple(self._runs.values()))

    def get(self, number: int) -> Run:
        """A run.

        Raises:
            NotFound: there is none of this number, or no longer.
        """
        if number not in self._runs:
            raise NotFound(f"no run {number} of a scenario")
        return self._runs[number]

    def start(self, scenario: Scenario) -> Run:
        """Begin to carry a scenario out.

        Raises:
            InvalidInput: it names what is not there; the message tells all of it.
            Conflict: it goes on already.
        """
        if flaws := list(flaws_of(self._disruptions, scenario.steps)):
            raise InvalidInput(f"scenario `{scenario.name}`: {'; '.join(flaws)}")
        if any(run.scenario.name == scenario.name and run.state == "running" for run in self._runs.values()):
            raise Conflict(f"scenario `{scenario.name}` goes on already", hint="wait, or cancel it")
        run = Run(next(self._numbers), scenario)
        self._runs[run.number] = run
        self._forget()
        self._tasks[run.number] = asyncio.create_task(self._carry_out(run), name=f"scenario {scenario.name}")
        return run

    async def cancel(self, number: int) -> Run:
        """End a run, and undo what was to be undone; idempotent."""
        run = self.get(number)
        if task := self._tasks.get(number):
            task.cancel()
            await asyncio.wait({task})
        return run

    async def close(self) -> None:
        """End all runs; nothing is undone, since everything ends."""
        for run in self._runs.values():
            run.undos.clear()
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _forget(self) -> None:
        """Let go of the runs that were over first."""
        over = [number for number, run in self._runs.items() if run.state != "running"]
        for number in over[: max(0, len(over) - KEPT)]:
            del self._runs[number]

    async def _carry_out(self, run: Run) -> None:
        scenario = run.scenario
        self._events.tell("scenario.started", scenario.name, run=run.number, steps=len(scenario.steps))
        try:
            await self._follow(run)
            run.state = "ended"
        except asyncio.CancelledError:
            run.state = "cancelled"
            while run.undos:
                _, _, step, undo = heappop(run.undos)
                await self._attempt(run, step, undo, 0.0)
        finally:
            if run.state == "running":  # a bug of ours; the task's own exception tells which
                run.state = "failed"
            del self._tasks[run.number]
            self._events.tell(f"scenario.{run.state}", scenario.name, run=run.number, done=run.done, failed=run.failed)

    async def _follow(self, run: Run) -> None:
        """Do each step when its time has come, commands beside the others."""
        begun, numbers = loop_time(), count()
        waiting = sorted((step.at_s, next(numbers), step) for step in run.scenario.steps)
        async with asyncio.TaskGroup() as beside:
            while waiting or run.undos:
                is_undo = not waiting or (bool(run.undos) and run.undos[0][0] <= waiting[0][0])
                due = run.undos[0][0] if is_undo else waiting[0][0]
                await asyncio.sleep(max(0.0, begun + due - loop_time()))
                late_s = loop_time() - begun - due
                if is_undo:
                    _, _, step, undo = heappop(run.undos)
                    await self._attempt(run, step, undo, late_s)
                    continue
                step = heappop(waiting)[2]
                if step.action == "run":
                    beside.create_task(self._do(run, step, late_s))
                elif (done := await self._do(run, step, late_s)) and done.undo and step.for_s is not None:
                    heappush(run.undos, (step.at_s + step.for_s, next(numbers), done.step, done.undo))

    async def _do(self, run: Run, step: Step, late_s: float) -> Done | None:
        try:
            done = await self._disruptions.carry_out(step)
        except SonataError as error:
            self._note(run, "scenario.failed", step, late_s, error=error.message)
            return None
        self._note(run, "scenario.done", done.step, late_s, **done.told)
        return done

    async def _attempt(self, run: Run, step: Step, undo: Undo, late_s: float) -> None:
        try:
            await undo()
        except SonataError as error:
            self._note(run, "scenario.failed", step, late_s, error=f"undone: {error.message}")
        else:
            self._note(run, "scenario.undone", step, late_s)

    def _note(self, run: Run, kind: str, step: Step, late_s: float, **told: Any) -> None:
        run.done += kind != "scenario.undone"
        run.failed += kind == "scenario.failed"
        self._events.tell(kind, run.scenario.name, run=run.number, step=step, late_s=round(late_s, 6), **told)


def loop_time() -> float:
    """Time of the event loop in seconds."""
    return asyncio.get_running_loop().time()
