"""Runs workflows: order, retry, time-outs, compensation, journal and timeline are its business alone.

Each attempt of a step is one durable step of `ports.workflow`: after a crash, finished attempts are not repeated, and
the one that was under way is. The row of an attempt is written before its effect and again after it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import fields, replace
from functools import cache
from typing import Any, Generic, TypeVar, get_type_hints

from sonata._lib.plain import from_plain, to_plain
from sonata._lib.values import dataclass
from sonata.engine.definition import Done, FanOut, Retry, Step, Workflow
from sonata.engine.failure import Failure, failure_from_plain, failure_of, failure_to_plain
from sonata.engine.timeline import Timeline
from sonata.errors import StepTimeout, WorkflowError
from sonata.model.records import LcmOperationOccurrence, OperationState, StepRecord, StepState
from sonata.ports.workflow import Payload, WorkflowContext, Workflows

logger = logging.getLogger(__name__)

S = TypeVar("S")
_AGAIN = "again after a restart of the platform"
_UNDO_TIMEOUT_S = 60.0
_LOOK_UP_S = 0.2


class Runner:
    """Registers workflows with the durable engine and starts operations."""

    def __init__(self, workflows: Workflows, timeline: Timeline) -> None:
        self._workflows = workflows
        self._timeline = timeline

    def register(self, workflow: Workflow[Any]) -> None:
        """Make a workflow and the branches in it known; before `Workflows.launch` only."""
        self._workflows.register(workflow.name, self._function(workflow, is_branch=False))
        for step in workflow.steps:
            if isinstance(step, FanOut):
                self._workflows.register(step.branch.name, self._function(step.branch, is_branch=True))

    async def start(self, workflow: Workflow[S], operation: LcmOperationOccurrence, state: S) -> None:
        """Keep the operation, then start its workflow durably. Idempotent by the operation's id and attempt."""
        await self._timeline.put_operation(operation)
        payload = {"operation_id": operation.id, "prefix": "", "state": to_plain(state)}
        await self._workflows.start(workflow.name, f"{operation.id}/{operation.attempt}", payload)

    async def last_operation(self, ns_instance_id: str) -> LcmOperationOccurrence | None:
        """The youngest operation of an instance."""
        return await self._timeline.last_operation(ns_instance_id)

    async def was_lost(self, operation: LcmOperationOccurrence) -> bool:
        """Whether an operation was recorded, but its workflow never started (the process died in between)."""
        if operation.state is not OperationState.STARTING:
            return False
        try:
            await self._workflows.result(f"{operation.id}/{operation.attempt}", timeout_s=_LOOK_UP_S)
        except StepTimeout:
            return False
        except WorkflowError:
            return True
        return False

    async def give_up(self, operation: LcmOperationOccurrence, error: str) -> None:
        """End an operation whose workflow never started."""
        await self._timeline.set_state(operation.id, OperationState.FAILED, error)

    def _function(self, workflow: Workflow[Any], *, is_branch: bool) -> Callable[..., Awaitable[Any]]:
        async def function(context: WorkflowContext, payload: Payload) -> Any:
            state = from_plain(payload["state"], workflow.state)
            rows = await self._timeline.steps(payload["operation_id"])
            interrupted = frozenset((row.step, row.attempt) for row in rows if row.state is StepState.RUNNING)
            run = Run(workflow, context, self._timeline, payload["operation_id"], payload["prefix"], interrupted)
            return await (run.branch(state) if is_branch else run.operation(state))

        return function


@dataclass(frozen=True, slots=True)
class Run(Generic[S]):
    """One execution of one workflow (or of one branch of it)."""

    workflow: Workflow[S]
    context: WorkflowContext
    timeline: Timeline
    operation_id: str
    prefix: str
    interrupted: frozenset[tuple[str, int]]

    async def operation(self, state: S) -> dict[str, Any]:
        """Run all steps of an operation to a final state; never raises for a failing step."""
        await self._move("begin", OperationState.PROCESSING)
        state, failure, begun = await self._forward(state)
        if failure is None:
            await self._move("end", OperationState.COMPLETED)
            return {"failure": None}
        logger.warning("operation failed", extra={"operation_id": self.operation_id, "step": failure.step})
        await self._fail(state, failure, begun)
        return {"failure": failure_to_plain(failure)}

    async def branch(self, state: S) -> dict[str, Any]:
        """Run all steps of a branch; its failure is the parent's to handle."""
        state, failure, _ = await self._forward(state)
        return {"state": to_plain(state), "failure": failure and failure_to_plain(failure)}

    async def _forward(self, state: S) -> tuple[S, Failure | None, list[Step[S] | FanOut[S]]]:
        begun: list[Step[S] | FanOut[S]] = []
        for step in self.workflow.steps:
            begun.append(step)
            run = self._fan_out if isinstance(step, FanOut) else self._step
            state, failure = await run(step, state)  # type: ignore[arg-type]  # chosen by the same condition
            if failure is not None:
                return state, failure, begun
        return state, None, begun

    async def _step(self, step: Step[S], state: S) -> tuple[S, Failure | None]:
        name = f"{self.prefix}/{step.name}".strip("/")
        if step.skip is not None and (reason := step.skip(state)):
            await self.context.step(f"{name}#0", lambda: self._skipped(name, reason))
            return state, None

        async def call() -> tuple[dict[str, Any], str]:
            done = await step.call(state)
            return changes(state, done.state), done.detail

        result, failure = await self._attempts(name, call, step.retry, step.timeout_s, StepState.DONE)
        return apply(state, result), failure

    async def _skipped(self, name: str, reason: str) -> None:
        now = time.time()
        await self.timeline.put_step(StepRecord(self.operation_id, name, 1, StepState.SKIPPED, now, now, reason))

    async def _fan_out(self, step: FanOut[S], state: S) -> tuple[S, Failure | None]:
        branches = [(f"{step.name}-{name}", self._branch_payload(step, name, each)) for name, each in step.split(state)]
        results = await self.context.branches(step.branch.name, branches)
        failures = [failure_from_plain(result["failure"]) for result in results if result["failure"]]
        if failures:
            return state, failures[0]
        done: Done[S] = step.join(state, [from_plain(result["state"], step.branch.state) for result in results])
        return done.state, None

    def _branch_payload(self, step: FanOut[S], name: str, state: Any) -> dict[str, Any]:
        return {"operation_id": self.operation_id, "prefix": f"{step.name}/{name}", "state": to_plain(state)}

    async def _attempts(
        self, name: str, call: Callable[[], Awaitable[tuple[dict[str, Any], str]]], retry: Retry, timeout_s: float,
        success: StepState,
    ) -> tuple[dict[str, Any], Failure | None]:  # fmt: skip
        failure: Failure | None = None
        for attempt in range(1, retry.attempts + 1):
            wait_s = max(retry.delay_before(attempt), failure.retry_after_s if failure else 0.0)
            record = StepRecord(self.operation_id, name, attempt, success, 0.0)

            async def body(record: StepRecord = record, wait_s: float = wait_s) -> dict[str, Any]:
                await asyncio.sleep(wait_s)
                return await self._attempt(record, call, timeout_s)

            result = await self.context.step(f"{name}#{attempt}", body)
            if result["failure"] is None:
                return result["changes"], None
            failure = failure_from_plain(result["failure"])
            if not failure.is_transient:
                break
        return {}, failure

    async def _attempt(
        self, goal: StepRecord, call: Callable[[], Awaitable[tuple[dict[str, Any], str]]], timeout_s: float
    ) -> dict[str, Any]:
        again = _AGAIN if (goal.step, goal.attempt) in self.interrupted else ""
        record = replace(goal, state=StepState.RUNNING, started_at=time.time(), detail=again)
        await self.timeline.put_step(record)
        try:
            async with asyncio.timeout(timeout_s):
                result, detail = await call()
        except TimeoutError:
            late = StepTimeout(f"step `{goal.step}` did not end within {timeout_s:g} s")
            return await self._failed(record, failure_of(late, goal.step))
        except Exception as error:
            failure = failure_of(error, goal.step)
            logger.warning(
                "step failed", extra={"step": goal.step, "error": failure.message}, exc_info=_is_bug(failure)
            )
            return await self._failed(record, failure)
        text = "; ".join(filter(None, (detail, again)))
        await self.timeline.put_step(replace(record, state=goal.state, ended_at=time.time(), detail=text))
        return {"changes": result, "failure": None}

    async def _failed(self, record: StepRecord, failure: Failure) -> dict[str, Any]:
        ended = replace(
            record,
            state=StepState.FAILED,
            ended_at=time.time(),
            error=failure.message,
            call=failure.call,
            answer=failure.answer,
            hint=failure.hint,
        )
        await self.timeline.put_step(ended)
        return {"changes": {}, "failure": failure_to_plain(failure)}

    async def _fail(self, state: S, failure: Failure, begun: Sequence[Step[S] | FanOut[S]]) -> None:
        final, error = OperationState.FAILED_TEMP, f"step `{failure.step}` failed: {failure.message}"
        if self.workflow.rolls_back:
            await self._move("roll-back", OperationState.ROLLING_BACK, error, failure.hint)
            undone = await self._compensate(state, begun)
            final = OperationState.FAILED if undone else OperationState.ROLLED_BACK
            error += f"; rollback is incomplete: {undone.message}" if undone else ""
        if self.workflow.on_failure is not None:
            told = replace(failure, message=error)
            await self.context.step("tell", lambda: self._tell(state, told))
        await self._move("end", final, error, failure.hint)

    async def _tell(self, state: S, failure: Failure) -> None:
        if self.workflow.on_failure is not None:
            await self.workflow.on_failure(state, failure)

    async def _compensate(self, state: S, begun: Sequence[Step[S] | FanOut[S]]) -> Failure | None:
        first: Failure | None = None
        for step in reversed(begun):
            if step.compensate is None or _was_skipped(step, state):
                continue

            async def call(undo: Callable[[S], Awaitable[str]] = step.compensate) -> tuple[dict[str, Any], str]:
                return {}, await undo(state)

            _, failure = await self._attempts(
                f"undo/{step.name}", call, Retry(), _UNDO_TIMEOUT_S, StepState.COMPENSATED
            )
            first = first or failure
        return first

    async def _move(self, name: str, state: OperationState, error: str = "", hint: str = "") -> None:
        await self.context.step(name, lambda: self.timeline.set_state(self.operation_id, state, error, hint))


def _was_skipped(step: Step[S] | FanOut[S], state: S) -> bool:
    return isinstance(step, Step) and step.skip is not None and bool(step.skip(state))


def _is_bug(failure: Failure) -> bool:
    return failure.message.startswith("this is a bug")


def changes(before: S, after: S) -> dict[str, Any]:
    """JSON form of the fields in which a state differs from an earlier one."""
    names = [field.name for field in fields(after)]  # type: ignore[arg-type]  # states are dataclasses
    return {name: to_plain(getattr(after, name)) for name in names if getattr(after, name) != getattr(before, name)}


def apply(state: S, plain: dict[str, Any]) -> S:
    """A state with journalled changes."""
    hints = _hints(type(state))  # type: ignore[arg-type]  # classes are hashable
    values = {name: from_plain(value, hints[name]) for name, value in plain.items()}
    return replace(state, **values)  # type: ignore[type-var]  # states are dataclasses


@cache
def _hints(kind: type) -> dict[str, Any]:
    """Types of a state's fields; resolving them takes milliseconds."""
    return get_type_hints(kind)
