"""Scenarios over HTTP: begun, looked at, cancelled. What they do is told by events of kind `scenario.`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from sonata.api.emulator.guarding import Guard
from sonata.api.emulator.json import JsonResponse, body_of
from sonata.emulator.events import EventLog
from sonata.emulator.scenarios import Run, Scenarios
from sonata.errors import NotFound
from sonata.model.scenario import Scenario


class ScenarioApi:
    """Handlers over the scenarios of an emulation."""

    def __init__(self, scenarios: Scenarios, events: EventLog) -> None:
        self._scenarios = scenarios
        self._events = events

    def routes(self, guard: Guard) -> Sequence[BaseRoute]:
        """Routes, each behind the guard."""
        return [
            Route("/scenarios", guard(self.list)),
            Route("/scenarios", guard(self.start), methods=["POST"]),
            Route("/scenarios/{run}", guard(self.show)),
            Route("/scenarios/{run}", guard(self.cancel), methods=["DELETE"]),
        ]

    async def list(self, request: Request) -> Response:
        """All runs, oldest first."""
        return JsonResponse([_shown(run) for run in self._scenarios])

    async def start(self, request: Request) -> Response:
        """Begin a scenario, all chance in it resolved; `after` is the number of the last event before it."""
        scenario = await body_of(request, Scenario)
        after = self._events.last
        return JsonResponse({**_shown(self._scenarios.start(scenario)), "after": after}, status_code=201)

    async def show(self, request: Request) -> Response:
        """One run."""
        return JsonResponse(_shown(self._scenarios.get(_number(request))))

    async def cancel(self, request: Request) -> Response:
        """End a run, and undo what was to be undone."""
        return JsonResponse(_shown(await self._scenarios.cancel(_number(request))))


def _number(request: Request) -> int:
    text = str(request.path_params["run"])
    if not (text.isascii() and text.isdigit()):
        raise NotFound(f"no run `{text[:20]}` of a scenario", hint="runs have numbers")
    return int(text[:18])


def _shown(run: Run) -> dict[str, Any]:
    return {
        "run": run.number,
        "scenario": run.scenario.name,
        "seed": run.scenario.seed,
        "state": run.state,
        "steps": len(run.scenario.steps),
        "done": run.done,
        "failed": run.failed,
    }
