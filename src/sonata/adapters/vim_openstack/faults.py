"""What an OpenStack answers when it fails, as Sonata's errors. The only place that knows status codes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from keystoneauth1 import exceptions as keystone

from sonata.errors import NotFound, PermanentError, QuotaExceeded, SonataError, TransientError

MAX_ANSWER = 500
RETRY_AFTER_S = 1.0
_EXHAUSTED = re.compile(r"quota|no valid host|no more ip|exceed|not enough|insufficient", re.IGNORECASE)


class VimNotFound(NotFound):
    """The VIM knows no such object; tells the call and the VIM's answer."""

    def __init__(self, message: str, *, hint: str = "", call: str = "", answer: str = "") -> None:
        super().__init__(message, hint=hint)
        self.call = call
        self.answer = answer


class VimQuotaExceeded(QuotaExceeded):
    """The VIM has no room left; tells the call and the VIM's answer."""

    def __init__(self, message: str, *, hint: str = "", call: str = "", answer: str = "") -> None:
        super().__init__(message, hint=hint)
        self.call = call
        self.answer = answer


class VimConflict(PermanentError):
    """The object exists already or is in use (409); a sweep waits for it to change, nobody else does."""


class VimForbidden(PermanentError):
    """The user may not do this (403)."""


def answer_of(text: str) -> str:
    """The message in an error body, which each OpenStack service nests in its own way; at most 500 characters."""
    try:
        document = json.loads(text)
    except ValueError:
        return text.strip()[:MAX_ANSWER]
    return (_nested_message(document) or text.strip())[:MAX_ANSWER]


def _nested_message(document: Any) -> str:
    if not isinstance(document, Mapping):
        return ""
    message = document.get("message")
    if isinstance(message, str):
        return message
    return next((found for value in document.values() if (found := _nested_message(value))), "")


def is_exhausted(answer: str) -> bool:
    """Whether an answer says that a quota, hosts or addresses are used up."""
    return bool(_EXHAUSTED.search(answer))


def error_of_answer(vim: str, call: str, status: int, headers: Mapping[str, str], text: str) -> SonataError:
    """The error that an HTTP answer stands for."""
    answer = answer_of(text)
    message = f"VIM `{vim}` answered {status} to `{call}`: {answer or 'nothing'}"
    if status == 404:
        return VimNotFound(message, call=call, answer=answer)
    if status in (403, 409, 413) and is_exhausted(answer):
        hint = "free resources in this PoP or raise the quota"
        return VimQuotaExceeded(message, hint=hint, call=call, answer=answer)
    if status >= 500 or status in (408, 425, 429):
        wait_s = _seconds(headers.get("Retry-After", ""))
        return TransientError(message, call=call, answer=answer, retry_after_s=wait_s)
    kind = {403: VimForbidden, 409: VimConflict}.get(status, PermanentError)
    return kind(message, call=call, answer=answer)


def error_of_session(vim: str, call: str, error: Exception) -> SonataError:
    """The error that a failed connection, login or discovery stands for; never with a credential in it."""
    answer = str(error)[:MAX_ANSWER]
    if isinstance(error, keystone.Unauthorized):
        hint = "check user, password and project of this VIM"
        return PermanentError(f"VIM `{vim}` refused the login", hint=hint, call="POST /auth/tokens", answer=answer)
    if _is_unreachable(error):
        hint = "is it running, and is its address right?"
        message = f"VIM `{vim}` cannot be reached for `{call}`"
        return TransientError(message, hint=hint, call=call, answer=answer, retry_after_s=RETRY_AFTER_S)
    return PermanentError(f"VIM `{vim}` cannot be used for `{call}`: {answer}", call=call, answer=answer)


def _is_unreachable(error: BaseException | None) -> bool:
    """Whether a connection failed or a server was in trouble, however often the SDK has wrapped that."""
    while error is not None:
        status = getattr(error, "http_status", None)
        if isinstance(error, keystone.ConnectionError) or (isinstance(status, int) and status >= 500):
            return True
        error = error.__cause__ or error.__context__
    return False


def _seconds(text: str) -> float:
    return float(text) if text.replace(".", "", 1).isdigit() else RETRY_AFTER_S
