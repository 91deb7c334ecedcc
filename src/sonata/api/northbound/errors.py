"""The one mapping from errors to answers: RFC 9457 problem documents."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from sonata import errors

logger = logging.getLogger(__name__)

_STATUS: tuple[tuple[type[errors.SonataError], int], ...] = (
    (errors.InvalidInput, 400),
    (errors.Unauthorised, 401),
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.QuotaExceeded, 409),
    (errors.Unsupported, 501),
    (errors.TransientError, 503),
    (errors.AdapterError, 502),
    (errors.ManagerError, 502),
    (errors.StepTimeout, 504),
    (errors.SonataError, 500),
)
_BY_HTTP = {401: errors.Unauthorised, 403: errors.Unauthorised, 404: errors.NotFound, 409: errors.Conflict}


def status_of(error: errors.SonataError) -> int:
    """The HTTP status that belongs to an error."""
    return next(status for kind, status in _STATUS if isinstance(error, kind))


def problem(error: errors.SonataError, status: int | None = None) -> JSONResponse:
    """The problem document of an error."""
    status = status or status_of(error)
    kind = type(error).__name__
    body: dict[str, Any] = {
        "type": f"urn:sonata:error:{error.code}",
        "title": kind,
        "status": status,
        "detail": error.message,
        "code": error.code,
        "hint": error.hint,
    }
    if isinstance(error, errors.InvalidInput) and error.diagnostics:
        body["diagnostics"] = [asdict(diagnostic) for diagnostic in error.diagnostics]
    if isinstance(error, errors.AdapterError) and error.call:
        body |= {"call": error.call, "answer": error.answer}
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Make the app answer every error by a problem document."""
    app.add_exception_handler(errors.SonataError, _sonata_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    app.middleware("http")(_last_resort)


async def _last_resort(request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
    try:
        return await proceed(request)
    except Exception:
        logger.exception("request failed by a bug", extra={"path": request.url.path})
        return problem(errors.SonataError("this is a bug in sonata", hint="the log of the platform tells more"), 500)


async def _sonata_error(_request: Request, error: Exception) -> Response:
    return problem(error if isinstance(error, errors.SonataError) else errors.SonataError(str(error)))


async def _invalid_request(_request: Request, error: Exception) -> Response:
    findings = error.errors() if isinstance(error, RequestValidationError) else []
    diagnostics = [
        errors.Diagnostic("error", "API-0001", f"{'.'.join(map(str, finding['loc'][1:])) or 'body'}: {finding['msg']}")
        for finding in findings
    ]
    told = "; ".join(diagnostic.summary for diagnostic in diagnostics)
    return problem(errors.InvalidInput(f"the request is not valid: {told}", diagnostics=diagnostics))


async def _http_error(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = str(error.detail) if isinstance(error, HTTPException) else str(error)
    kind = _BY_HTTP.get(status, errors.InvalidInput if status < 500 else errors.SonataError)
    return problem(kind(detail), status)
