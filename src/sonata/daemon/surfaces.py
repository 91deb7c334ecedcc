"""The HTTP surfaces of an emulation on one socket."""

from __future__ import annotations

import time

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from sonata._lib.descriptors import Reserve, limit
from sonata.api.emulator.errors import PROBLEM, document_of
from sonata.api.emulator.json import JsonResponse
from sonata.api.openstack.faults import fault
from sonata.emulator.observing.requests import RequestTimes
from sonata.errors import TransientError

OWN = "/emulator/v1"
METRICS = "/metrics"
_SERVICES = frozenset(
    {"identity", "compute", "network", "image", "orchestration", "load-balancer", "volume", "placement"}
)


def surfaces(own: ASGIApp, openstack: ASGIApp, times: RequestTimes, reserve: Reserve) -> ASGIApp:
    """The emulator's own API and the PoPs' OpenStacks; no PoP is named `emulator` or `metrics`.

    Metrics have a second address, at which scrapers look for them. While hardly a file can be opened any more, what
    would need some is refused; what is asked, and what gives files back, is done.
    """
    mounted = Starlette(routes=[Mount(OWN, own)])

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        path = str(scope["path"])
        if _needs_files(scope, path) and not reserve.look():
            await _refusal(path)(scope, receive, send)
        elif path == METRICS:
            await mounted({**scope, "path": OWN + METRICS}, receive, send)
        elif path.startswith(f"{OWN}/"):
            await mounted(scope, receive, send)
        else:
            begun = time.perf_counter()
            await openstack(scope, receive, send)
            times.note(_service(path), time.perf_counter() - begun)

    return serve


def _needs_files(scope: Scope, path: str) -> bool:
    """Whether a request may make something; who signs on, deletes or looks makes nothing."""
    return scope.get("method") in ("POST", "PUT", "PATCH") and _service(path) != "identity"


def _refusal(path: str) -> Response:
    """The answer where no more files can be opened, in the form of who is asked."""
    error = TransientError(
        f"the emulation has nearly all of the {limit()} files open that it may",
        hint="delete something, or raise the limit: see prlimit(1), `prlimit --nofile=N --pid PID`",
        retry_after_s=1.0,
    )
    if path.startswith(f"{OWN}/"):
        return JsonResponse(document_of(error, path), 503, headers={"retry-after": "1"}, media_type=PROBLEM)
    reply = fault(_service(path), error)
    return Response(reply.body, reply.status, {"content-type": "application/json", **reply.headers})


def _service(path: str) -> str:
    """Which service a path is for; there are as many as there are, whatever strangers ask for."""
    found = (*path.lstrip("/").split("/", 2), "")[1]
    return found if found in _SERVICES else "other"
