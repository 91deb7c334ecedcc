"""How the stack engine reaches the services of its site."""

from __future__ import annotations

from typing import Any, Protocol

from sonata.emulator.cloud.entities.orchestration import Owner
from sonata.errors import PermanentError


class OpenStackCalls(Protocol):
    """Requests to the services of one site with a stack owner's authority; everything is checked as from outside."""

    async def call(self, service: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Send a request.

        Args:
            service: path segment of the service: `compute`, `network`, ...
            path: below the service, with its query.
            body: JSON document, None for no body.

        Returns:
            HTTP status and the decoded body, None when there is none. Errors of the service are statuses too.
        """


class Authority(Protocol):
    """Gives stacks the means to act for their owners."""

    def calls_for(self, owner: Owner) -> OpenStackCalls:
        """Calls in the name of an owner."""


class CallRefused(PermanentError):
    """A service answered with an error; `status` is the HTTP status."""

    def __init__(self, status: int, message: str, call: str) -> None:
        super().__init__(message, call=call)
        self.status = status


_TITLES = {
    400: "BadRequest",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    413: "OverLimit",
    501: "NotImplemented",
}


def title(status: int) -> str:
    """The name under which Heat reports a refused call."""
    return _TITLES.get(status, "ServerError" if status >= 500 else "ClientError")


def told(document: Any) -> str:
    """The message in an error body, whatever the service."""
    if isinstance(document, dict):
        if isinstance(message := document.get("message") or document.get("faultstring"), str):
            return message
        for value in document.values():
            if message := told(value):
                return message
    return document if isinstance(document, str) else ""
