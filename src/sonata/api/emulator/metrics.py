"""Metrics over HTTP: all of them for Prometheus, queries over their history, rules."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from sonata.api.emulator.guarding import Guard
from sonata.api.emulator.json import JsonResponse, body_of
from sonata.emulator.observing.observation import Observation
from sonata.emulator.observing.promql import Value
from sonata.errors import InvalidInput
from sonata.formats.exposition import OPENMETRICS, PROMETHEUS, exposition
from sonata.model.metrics import Family, Point

MAX_RULES_BYTES = 1024**2


class WatchChange(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `PUT /watch`: seconds between two packets of a link, or null."""

    every_s: float | None


class MetricsApi:
    """Shows what is seen of an emulation."""

    def __init__(self, observation: Observation) -> None:
        self._observation = observation

    def routes(self, guard: Guard) -> Sequence[BaseRoute]:
        """Routes, each behind the guard."""
        return [
            Route("/metrics", guard(self.scrape)),
            Route("/query", guard(self.query)),
            Route("/rules", guard(self.rules)),
            Route("/rules", guard(self.replace_rules), methods=["PUT"]),
            Route("/watch", guard(self.watch)),
            Route("/watch", guard(self.change_watch), methods=["PUT"]),
        ]

    async def scrape(self, request: Request) -> Response:
        """All metrics as they are now, in the format that is asked for: Prometheus', OpenMetrics, or JSON."""
        wanted, readings = request.headers.get("Accept", ""), await self._observation.read()
        if wanted == "application/json":
            return JsonResponse([_family(family, points) for family, points in readings.items() if points])
        openmetrics = "application/openmetrics-text" in wanted
        # Beside the event loop: with thousands of series it takes a while.
        text = await asyncio.to_thread(exposition, readings, openmetrics=openmetrics)
        return Response(text, headers={"Content-Type": OPENMETRICS if openmetrics else PROMETHEUS})

    async def query(self, request: Request) -> Response:
        """What an expression comes to, now or at `time`."""
        text = request.query_params.get("query", "")
        if not text:
            raise InvalidInput("`query` is missing", hint="e.g. sum by (pop) (rate(sonata_vnf_cpu_seconds_total[1m]))")
        await self._observation.begin()
        answer = self._observation.query(text, _moment(request.query_params.get("time")))
        return JsonResponse({"at": answer.at, **_shown(answer.value)})

    async def rules(self, request: Request) -> Response:
        """The rules as text, or with what went wrong with each when JSON is asked for."""
        rules = self._observation.rules
        if "application/json" not in request.headers.get("Accept", ""):
            return PlainTextResponse(rules.text, media_type="application/yaml")
        rows = [
            {
                "group": rule.group,
                "record": rule.record,
                "expr": rule.expr,
                "labels": rule.labels,
                "error": rules.failures.get(rule.record, ""),
            }
            for rule in rules.rules
        ]
        return JsonResponse(rows)

    async def replace_rules(self, request: Request) -> Response:
        """Make the body the rules: the text of a file that Prometheus would load."""
        body = await request.body()
        if len(body) > MAX_RULES_BYTES:
            raise InvalidInput(f"rules of {len(body)} bytes; at most {MAX_RULES_BYTES} are read")
        try:
            self._observation.rules.replace(body.decode())
        except UnicodeDecodeError as error:
            raise InvalidInput(f"rules are no UTF-8: {error}") from error
        return Response(status_code=204)

    async def watch(self, request: Request) -> Response:
        """How often links are measured in the background."""
        return JsonResponse({"every_s": self._observation.watcher.every_s})

    async def change_watch(self, request: Request) -> Response:
        """Measure links in the background from now on, or no more."""
        wanted = await body_of(request, WatchChange)
        await self._observation.watcher.set(wanted.every_s)
        return Response(status_code=204)


def _moment(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError as error:
        raise InvalidInput(f"`time` must be a Unix time in seconds, not `{text}`") from error


def _family(family: Family, points: Sequence[Point]) -> dict[str, Any]:
    series = [
        {"name": family.name + point.suffix, "labels": dict(point.labels), "value": repr(float(point.value))}
        for point in points
    ]
    return {"name": family.name, "kind": family.kind, "help": family.help, "series": series}


def _shown(value: Value) -> dict[str, Any]:
    """A value as JSON, which has no infinity: numbers are text there, as in Prometheus' own API."""
    if isinstance(value, float):
        return {"type": "scalar", "result": repr(value)}
    rows = [{"name": one.name, "labels": dict(one.labels), "value": repr(float(one.value))} for one in value]
    return {"type": "vector", "result": rows}
