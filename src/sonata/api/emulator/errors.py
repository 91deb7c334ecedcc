"""Errors of the emulator's own API as problem details (RFC 9457)."""

from __future__ import annotations

from typing import Any

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from sonata import errors
from sonata.api.emulator.json import JsonResponse

PROBLEM = "application/problem+json"

_STATUS: tuple[tuple[type[errors.SonataError], int], ...] = (
    (errors.InvalidInput, 400),
    (errors.Unauthorised, 401),
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.QuotaExceeded, 409),
    (errors.Unsupported, 501),
    (errors.TransientError, 503),
    (errors.SonataError, 500),
)


async def unknown_path(request: Request, error: Exception) -> Response:
    """The answer to a request for a path or method that does not exist."""
    status = getattr(error, "status_code", 404)
    document = {"type": "about:blank", "title": "Not found", "status": status, "detail": f"no such resource: {error}"}
    return JsonResponse(
        document | {"code": errors.NotFound.code, "hint": "see the reference of the emulator's API"},
        status,
        media_type=PROBLEM,
    )


async def problem(request: HTTPConnection, error: Exception) -> Response:
    """The answer to a request that failed with one of our errors."""
    if not isinstance(error, errors.SonataError):
        raise error
    document = document_of(error, request.url.path)
    headers = {"WWW-Authenticate": "Bearer"} if document["status"] == 401 else None
    return JsonResponse(document, document["status"], headers=headers, media_type=PROBLEM)


def document_of(error: errors.SonataError, path: str) -> dict[str, Any]:
    """What is told of an error that a request to this path met."""
    return {
        "type": f"urn:sonata:error:{error.code}",
        "title": type(error).__name__,
        "status": next(status for kind, status in _STATUS if isinstance(error, kind)),
        "detail": error.message,
        "code": error.code,
        "hint": error.hint,
        "instance": path,
    }
