"""What a workflow is: an order of named steps over a frozen state.

A state is a frozen dataclass whose fields have a JSON form. A step takes the state and returns `Done` with the new
one; only what it changed is journalled. Steps run at least once, so they are idempotent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

from sonata._lib.values import dataclass
from sonata.engine.failure import Failure

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how fast a step is tried again after a transient error.

    Args:
        attempts: in all, at least 1.
        first_delay_s: wait before the second attempt; each further wait is twice as long.
        max_delay_s: longest wait.
    """

    attempts: int = 5
    first_delay_s: float = 0.05
    max_delay_s: float = 1.0

    def delay_before(self, attempt: int) -> float:
        """Seconds to wait before an attempt (1-based); none before the first."""
        if attempt <= 1:
            return 0.0
        # The exponent is bounded so that no number of attempts overflows.
        return min(self.first_delay_s * 2.0 ** min(attempt - 2, 64), self.max_delay_s)


ONCE = Retry(attempts=1)


@dataclass(frozen=True, slots=True)
class Done(Generic[S]):
    """A step's result: the new state, and what happened in a few words for people."""

    state: S
    detail: str = ""


Compensation = Callable[[S], Awaitable[str]]
"""Undoes a step, given the state as far as it is known; returns what was undone. Idempotent."""


@dataclass(frozen=True, slots=True)
class Step(Generic[S]):
    """One named step.

    Args:
        name: unique in its workflow; a user sees it.
        timeout_s: limit of one attempt.
        compensate: undoes it when a later step (or it itself) failed, None when it leaves no trace.
        skip: returns why the step has nothing to do, or an empty text; None means never.
    """

    name: str
    call: Callable[[S], Awaitable[Done[S]]]
    timeout_s: float = 30.0
    retry: Retry = Retry()
    compensate: Compensation[S] | None = None
    skip: Callable[[S], str] | None = None


@dataclass(frozen=True, slots=True)
class FanOut(Generic[S]):
    """Parallel branches, each a workflow of its own; its steps appear as `<name>/<branch>[/<step>]`.

    Args:
        branch: name of the registered branch workflow.
        split: branch names and states, in a fixed order that depends on the state alone.
        join: the new state from the branches' final states, in the order of `split`.
    """

    name: str
    branch: Workflow[Any]
    split: Callable[[S], Sequence[tuple[str, Any]]]
    join: Callable[[S, Sequence[Any]], Done[S]]
    compensate: Compensation[S] | None = None


@dataclass(frozen=True, slots=True)
class Workflow(Generic[S]):
    """An ordered list of steps.

    Args:
        name: stable; running occurrences find their workflow by it after a restart.
        state: class of the state.
        rolls_back: whether a failure undoes what was done; else the operation ends in FAILED_TEMP and may be
            requested again.
        on_failure: tells the failure to whom it concerns (e.g. the record), after compensation. Idempotent.
    """

    name: str
    state: type[S]
    steps: tuple[Step[S] | FanOut[S], ...]
    rolls_back: bool = True
    on_failure: Callable[[S, Failure], Awaitable[None]] | None = None
