"""The HTTP surfaces of an emulation on one socket."""

from __future__ import annotations

import time

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from sonata.emulator.observing.requests import RequestTimes

OWN = "/emulator/v1"
METRICS = "/metrics"
_SERVICES = frozenset(
    {"identity", "compute", "network", "image", "orchestration", "load-balancer", "volume", "placement"}
)


def surfaces(own: ASGIApp, openstack: ASGIApp, times: RequestTimes) -> ASGIApp:
    """The emulator's own API and the PoPs' OpenStacks; no PoP is named `emulator` or `metrics`.

    Metrics have a second address, at which scrapers look for them.
    """
    mounted = Starlette(routes=[Mount(OWN, own)])

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        path = str(scope["path"])
        if path == METRICS:
            await mounted({**scope, "path": OWN + METRICS}, receive, send)
        elif path.startswith(f"{OWN}/"):
            await mounted(scope, receive, send)
        else:
            begun = time.perf_counter()
            await openstack(scope, receive, send)
            times.note(_service(path), time.perf_counter() - begun)

    return serve


def _service(path: str) -> str:
    """Which service a path is for; there are as many as there are, whatever strangers ask for."""
    found = (*path.lstrip("/").split("/", 2), "")[1]
    return found if found in _SERVICES else "other"
