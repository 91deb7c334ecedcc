"""The topology of the running emulation over HTTP: as declared, as it is now, and changed into another one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from sonata._lib.plain import from_plain
from sonata.api.emulator.guarding import Guard
from sonata.api.emulator.json import JsonResponse, body_of
from sonata.emulator.definition import definition
from sonata.emulator.emulation import Emulation
from sonata.emulator.reconciler import Reconciler
from sonata.errors import InvalidInput
from sonata.formats.topology_rules import ensure_valid
from sonata.model.topology import Topology
from sonata.model.topology_changes import Change


class TopologyApi:
    """Handlers over one emulation."""

    def __init__(self, emulation: Emulation, reconciler: Reconciler) -> None:
        self._emulation = emulation
        self._reconciler = reconciler

    def routes(self, guard: Guard) -> list[BaseRoute]:
        """Routes, each behind the guard."""
        return [
            Route("/topology", guard(self.show)),
            Route("/topology", guard(self.change), methods=["PUT"]),
            Route("/definition", guard(self.define)),
        ]

    async def show(self, request: Request) -> Response:
        """The topology as it was declared."""
        return JsonResponse(self._emulation.topology)

    async def change(self, request: Request) -> Response:
        """Make the emulation another topology, or tell what would be done."""
        is_dry = _flag(request, "dry_run")
        wanted = _topology(await body_of(request, dict))
        plan = self._reconciler.plan(wanted) if is_dry else await self._reconciler.apply(wanted)
        return JsonResponse({"name": wanted.name, "applied": not is_dry, "changes": list(rows_of(plan))})

    async def define(self, request: Request) -> Response:
        """The topology as it is now, links and servers included, and what it cannot say."""
        return JsonResponse(definition(self._emulation, with_servers=_flag(request, "servers")))


def rows_of(plan: Iterable[Change]) -> Iterable[dict[str, Any]]:
    """A plan as rows: action, kind, name, attributes that differ, and the part before and after."""
    for change in plan:
        row = {"action": change.action, "kind": change.kind, "name": change.name, "differing": change.differing}
        yield {**row, "before": change.before, "after": change.after}


def _topology(document: Any) -> Topology:
    try:
        topology = from_plain(document, Topology)
    except ValueError as error:
        raise InvalidInput(f"request body: {error}", hint="send what `GET /topology` answers, changed") from error
    try:
        return ensure_valid(topology)
    except InvalidInput as error:  # a problem document has one text
        findings = "; ".join(str(finding) for finding in error.diagnostics if finding.severity == "error")
        raise InvalidInput(f"{error.message}: {findings}", hint=error.hint) from error


def _flag(request: Request, name: str) -> bool:
    text = request.query_params.get(name, "false")
    if text not in ("true", "false"):
        raise InvalidInput(f"`{name}` must be `true` or `false`, not `{text}`")
    return text == "true"
