"""Failures as values: what is kept in journals and shown to people, and back to exceptions."""

from __future__ import annotations

from typing import Any

from sonata import errors
from sonata._lib.plain import from_plain, to_plain
from sonata._lib.values import dataclass


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something failed.

    Args:
        code: stable code of the error class.
        call: failing call in the foreign system's terms.
        answer: the foreign system's own answer.
        hint: what to do about it.
        step: name of the step that failed, empty when none did.
        retry_after_s: least wait before a retry that the foreign system asked for.
    """

    code: str
    message: str
    hint: str = ""
    call: str = ""
    answer: str = ""
    step: str = ""
    retry_after_s: float = 0.0

    @property
    def is_transient(self) -> bool:
        """Whether a retry may help."""
        return self.code == errors.TransientError.code


def failure_of(error: Exception, step: str = "") -> Failure:
    """The failure that an exception stands for; what is not a `SonataError` is our bug and says so."""
    if isinstance(error, errors.SonataError):
        call, answer = getattr(error, "call", ""), getattr(error, "answer", "")
        wait_s = getattr(error, "retry_after_s", None) or 0.0
        return Failure(error.code, error.message, error.hint, call, answer, step, wait_s)
    message = f"this is a bug in sonata: {type(error).__name__}: {error}"
    return Failure(errors.SonataError.code, message, "please report it with the log", step=step)


def error_of(failure: Failure) -> errors.SonataError:
    """The exception that a failure stands for."""
    kind = errors.error_class(failure.code)
    if issubclass(kind, errors.AdapterError):
        return kind(failure.message, hint=failure.hint, call=failure.call, answer=failure.answer)
    return kind(failure.message, hint=failure.hint)


def failure_to_plain(failure: Failure) -> dict[str, Any]:
    """JSON form."""
    plain: dict[str, Any] = to_plain(failure)
    return plain


def failure_from_plain(plain: object) -> Failure:
    """The failure of this JSON form."""
    return from_plain(plain, Failure)
