"""From `sonata.errors` to the error bodies of each OpenStack service: one table for all of them."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping

import msgspec
from starlette.requests import ClientDisconnect

from sonata.api.openstack.reply import Reply
from sonata.emulator.cloud.causes import Deactivated, NoSuch, OverQuota, StorageFull
from sonata.emulator.cloud.identity.directory import Immutable
from sonata.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    QuotaExceeded,
    SonataError,
    TransientError,
    Unauthorised,
    Unsupported,
)

logger = logging.getLogger(__name__)


class Forbidden(Unauthorised):
    """Who asks is known, but may not do this."""


class MethodNotAllowed(InvalidInput):
    """The path exists, the method does not.

    Args:
        allowed: the methods that it has.
    """

    def __init__(self, method: str, allowed: Iterable[str]) -> None:
        super().__init__(f"The method {method} is not allowed for this resource.")
        self.allowed = tuple(allowed)


class TooLarge(InvalidInput):
    """A request body that is longer than we read."""


class UnsupportedMediaType(InvalidInput):
    """A body of another kind than the path takes."""


class NotAcceptable(InvalidInput):
    """A microversion out of range."""


class PreconditionFailed(Conflict):
    """An object is not in the state that a conditional request needs."""


# The first class that fits decides; the more special ones come first.
STATUS: tuple[tuple[type[SonataError], int], ...] = (
    (MethodNotAllowed, 405),
    (NotAcceptable, 406),
    (TooLarge, 413),
    (UnsupportedMediaType, 415),
    (InvalidInput, 400),
    (Forbidden, 403),
    (Deactivated, 403),
    (Immutable, 403),
    (Unauthorised, 401),
    (NotFound, 404),
    (PreconditionFailed, 412),
    (Conflict, 409),
    (QuotaExceeded, 409),
    (Unsupported, 501),
    (TransientError, 503),
    (SonataError, 500),
)
OVER_QUOTA: Mapping[str, int] = {"compute": 403, "network": 409, "volume": 413, "image": 413, "load-balancer": 403}
TITLES: Mapping[int, str] = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    409: "Conflict",
    412: "Precondition Failed",
    413: "Request Entity Too Large",
    415: "Unsupported Media Type",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}
NOVA_NAMES: Mapping[int, str] = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    406: "computeFault",
    409: "conflictingRequest",
    412: "preconditionFailed",
    413: "overLimit",
    415: "badMediaType",
    500: "computeFault",
    501: "notImplemented",
    503: "serviceUnavailable",
}
NEUTRON_TYPES: Mapping[int, str] = {
    400: "HTTPBadRequest",
    401: "HTTPUnauthorized",
    403: "PolicyNotAuthorized",
    404: "HTTPNotFound",
    405: "HTTPMethodNotAllowed",
    409: "Conflict",
    412: "RevisionNumberConstraintFailed",
    501: "NotImplementedError",
}


HEAT_TYPES: Mapping[int, str] = {
    400: "HTTPBadRequest",
    401: "HTTPUnauthorized",
    403: "Forbidden",
    404: "EntityNotFound",
    405: "HTTPMethodNotAllowed",
    409: "HTTPConflict",
    501: "NotSupported",
}
HEAT_EXPLANATIONS: Mapping[int, str] = {
    400: "The server could not comply with the request since it is either malformed or otherwise incorrect.",
    403: "Access was denied to this resource.",
    404: "The resource could not be found.",
    409: "There was a conflict when trying to complete your request.",
}


async def supervised(service: str, work: Callable[[], Awaitable[Reply]]) -> Reply:
    """Run a handler; whatever goes wrong becomes an answer in the service's own form."""
    try:
        return await work()
    except SonataError as error:
        return fault(service, error)
    except ClientDisconnect:
        return fault(service, InvalidInput("the request ended before its body was complete"))
    except Exception:
        logger.exception("request failed", extra={"service": service})
        return fault(service, SonataError("Unexpected API Error: this is a defect of Sonata; its log tells more"))


def fault(service: str, error: SonataError) -> Reply:
    """An error as a service tells it."""
    status = _status(service, error)
    message = f"{error.message} ({error.hint})" if error.hint else error.message
    if status >= 500:
        logger.warning("request refused", extra={"service": service, "status": status, "cause": str(error)})
    body = _BODIES.get(service, _keystone)(status, message, error)
    return Reply(msgspec.json.encode(body), status, _headers(status, error))


def _headers(status: int, error: SonataError) -> dict[str, str]:
    """What an error tells besides its body (RFC 9110: Allow, Retry-After)."""
    if isinstance(error, MethodNotAllowed):
        return {"allow": ", ".join(error.allowed)}
    if status == 413 and isinstance(error, OverQuota):
        return {"retry-after": "0"}
    if isinstance(error, TransientError) and error.retry_after_s is not None:
        return {"retry-after": str(math.ceil(error.retry_after_s))}
    return {}


def _status(service: str, error: SonataError) -> int:
    """The status of an error; of an exhausted quota each service has its own."""
    if isinstance(error, OverQuota | StorageFull):
        return OVER_QUOTA.get(service, 403)
    return next(status for kind, status in STATUS if isinstance(error, kind))


def _nova(status: int, message: str, error: SonataError) -> object:
    return {NOVA_NAMES[status]: {"code": status, "message": message}}


def _neutron(status: int, message: str, error: SonataError) -> object:
    if isinstance(error, OverQuota):
        message = f"Quota exceeded for resources: {list(error.over)}."
    return {"NeutronError": {"type": _neutron_type(status, error), "message": message, "detail": ""}}


def _keystone(status: int, message: str, error: SonataError) -> object:
    return {"error": {"code": status, "message": message, "title": TITLES[status]}}


def _octavia(status: int, message: str, error: SonataError) -> object:
    """Octavia's bodies are those of its web framework."""
    if isinstance(error, OverQuota):
        message = f"Quota has been met for resources: {', '.join(error.over)}"
    if isinstance(error, NoSuch):
        message = message.replace(" could not be found.", " not found.")
    return {"faultcode": "Server" if status == 500 else "Client", "faultstring": message, "debuginfo": None}


def _neutron_type(status: int, error: SonataError) -> str:
    """Neutron names the cause; causes of the cloud have Neutron's names."""
    if isinstance(error, NoSuch):
        return f"{error.kind}NotFound"
    if type(error).__module__.endswith(".causes"):
        return type(error).__name__
    return NEUTRON_TYPES.get(status, TITLES[status].replace(" ", ""))


def _heat(status: int, message: str, error: SonataError) -> object:
    """Heat names the cause, too; `explanation` is about the status."""
    known = ("hot.errors", "orchestration.refusals")
    kind = type(error).__name__ if type(error).__module__.endswith(known) else HEAT_TYPES.get(status, "HTTPServerError")
    return {
        "code": status,
        "title": TITLES[status],
        "explanation": HEAT_EXPLANATIONS.get(status, TITLES[status]),
        "error": {"type": kind, "message": message, "traceback": None},
    }


_BODIES: Mapping[str, Callable[[int, str, SonataError], object]] = {
    "compute": _nova,
    "network": _neutron,
    "load-balancer": _octavia,
    "volume": _nova,
    "orchestration": _heat,
}
