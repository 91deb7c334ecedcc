"""Exit codes of every verb, and which error leads to which."""

from __future__ import annotations

from sonata import errors

OK = 0
FAILED = 1
INVALID = 2
HAS_CHANGES = 3
UNAUTHORISED = 4
NOT_FOUND = 5
CONFLICT = 6
VIOLATED = 7
PENDING = 8
BUG = 70
INTERRUPTED = 130

_BY_ERROR: tuple[tuple[type[errors.SonataError], int], ...] = (
    (errors.InvalidInput, INVALID),
    (errors.Unauthorised, UNAUTHORISED),
    (errors.NotFound, NOT_FOUND),
    (errors.Conflict, CONFLICT),
    (errors.StepTimeout, PENDING),
    (errors.SonataError, FAILED),
)


def exit_code_of(error: errors.SonataError) -> int:
    """The exit code that belongs to an error."""
    return next(code for kind, code in _BY_ERROR if isinstance(error, kind))
