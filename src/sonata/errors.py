"""The one exception tree of Sonata.

SonataError
├── InvalidInput            the caller's input is wrong; carries every diagnostic at once
├── NotFound                a named object does not exist
├── Conflict                the object exists already, is busy, or is in the wrong state
├── QuotaExceeded           a capacity, quota or address pool is exhausted
├── Unauthorised            missing or wrong credentials, or a role that does not suffice
├── Unsupported             this machine or this build cannot do it; says what would be needed
├── AdapterError            a foreign system (VIM, WIM, runtime, kernel) failed
│   ├── TransientError      worth a retry; may carry `retry_after_s`
│   └── PermanentError      a retry is useless
├── ManagerError            an SSM or FSM crashed, lied, stalled or answered nonsense
└── WorkflowError           a workflow could not be run as defined
    └── StepTimeout         a step took longer than its limit

Only the distinction transient/permanent decides about retries. Each class has a stable `code`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding of a validator, in the form of Terraform's diagnostics plus a hint.

    Args:
        severity: `error` stops the operation, `warning` does not.
        code: stable identifier such as `TOPO-0003`; `sonata explain CODE` tells more.
        summary: what is wrong, lower-case start, no final stop.
        file: file name as the user gave it, or empty when the input was no file.
        line: 1-based line, 0 when unknown.
        column: 1-based column, 0 when unknown.
        hint: what to do about it, or empty.
    """

    severity: Literal["error", "warning"]
    code: str
    summary: str
    file: str = ""
    line: int = 0
    column: int = 0
    hint: str = ""

    def __str__(self) -> str:
        where = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        text = f"{where}: " if where else ""
        text += f"{self.severity}[{self.code}]: {self.summary}"
        return f"{text} (hint: {self.hint})" if self.hint else text


class SonataError(Exception):
    """Root of all errors that Sonata raises on purpose.

    Args:
        message: what failed, on which object, and why; lower-case start, values in backticks.
        hint: what the reader can do about it, or empty.
    """

    code: ClassVar[str] = "SONATA-0001"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; hint: {self.hint}" if self.hint else self.message


class InvalidInput(SonataError):
    """The caller's input is wrong; `diagnostics` lists all findings, not the first alone."""

    code: ClassVar[str] = "SONATA-0002"

    def __init__(self, message: str, *, diagnostics: Sequence[Diagnostic] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.diagnostics = tuple(diagnostics)


class NotFound(SonataError):
    """A named object does not exist."""

    code: ClassVar[str] = "SONATA-0003"


class Conflict(SonataError):
    """The object exists already, is busy, or is not in a state that permits the request."""

    code: ClassVar[str] = "SONATA-0004"


class QuotaExceeded(SonataError):
    """A capacity, a quota or an address pool is exhausted."""

    code: ClassVar[str] = "SONATA-0005"


class Unauthorised(SonataError):
    """Credentials are missing or wrong, or the role does not suffice."""

    code: ClassVar[str] = "SONATA-0006"


class Unsupported(SonataError):
    """This machine cannot do it; the hint says what would be needed."""

    code: ClassVar[str] = "SONATA-0007"


class AdapterError(SonataError):
    """A foreign system (VIM, WIM, runtime, kernel) failed.

    Args:
        call: the failing call in the foreign system's own terms, e.g. `POST /servers`.
        answer: the foreign system's own answer, shortened by the caller if long.
    """

    code: ClassVar[str] = "SONATA-0010"

    def __init__(self, message: str, *, hint: str = "", call: str = "", answer: str = "") -> None:
        super().__init__(message, hint=hint)
        self.call = call
        self.answer = answer


class TransientError(AdapterError):
    """A retry may help; `retry_after_s` is the least wait in seconds, None when unknown."""

    code: ClassVar[str] = "SONATA-0011"

    def __init__(
        self, message: str, *, hint: str = "", call: str = "", answer: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, hint=hint, call=call, answer=answer)
        self.retry_after_s = retry_after_s


class PermanentError(AdapterError):
    """A retry is useless until somebody changes something."""

    code: ClassVar[str] = "SONATA-0012"


class ManagerError(SonataError):
    """A service or function specific manager crashed, lied, stalled or answered nonsense."""

    code: ClassVar[str] = "SONATA-0020"


class WorkflowError(SonataError):
    """A workflow could not be run as defined."""

    code: ClassVar[str] = "SONATA-0030"


class StepTimeout(WorkflowError):
    """A step took longer than its limit."""

    code: ClassVar[str] = "SONATA-0031"


_KINDS = [kind for kind in list(globals().values()) if isinstance(kind, type) and issubclass(kind, SonataError)]
_BY_CODE = {kind.code: kind for kind in _KINDS}


def error_class(code: str) -> type[SonataError]:
    """The class of this tree with this code; the root for unknown codes. Adapters' own sub-classes share codes."""
    return _BY_CODE.get(code, SonataError)
