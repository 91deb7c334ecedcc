"""Order, retry, time-outs, compensation and timeline of workflows."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

import pytest
from tests.fakes.store import MemoryStore
from tests.fakes.workflows import MemoryWorkflows

from sonata.engine.definition import ONCE, Done, FanOut, Retry, Step, Workflow
from sonata.engine.failure import Failure, error_of, failure_of
from sonata.engine.runner import Runner, apply, changes
from sonata.engine.timeline import Timeline
from sonata.errors import NotFound, PermanentError, TransientError
from sonata.model.records import LcmOperationOccurrence, OperationState, StepRecord, StepState

pytestmark = pytest.mark.anyio
QUICK = Retry(attempts=3, first_delay_s=0.001)


@dataclass(frozen=True)
class State:
    trail: tuple[str, ...] = ()
    label: str | None = None


def leave(name: str) -> Step[State]:
    async def call(state: State) -> Done[State]:
        return Done(replace(state, trail=(*state.trail, name)), f"did {name}")

    return Step(name, call)


def fail(name: str, *errors: Exception, retry: Retry = QUICK) -> Step[State]:
    left = list(errors)

    async def call(state: State) -> Done[State]:
        if left:
            raise left.pop(0)
        return Done(state, "at last")

    return Step(name, call, retry=retry)


class Bench:
    """Runs one workflow to its end."""

    def __init__(self) -> None:
        self.store, self.workflows = MemoryStore(), MemoryWorkflows()
        self.timeline = Timeline(self.store)
        self.undone: list[str] = []

    def undo(self, name: str, error: Exception | None = None) -> object:
        async def call(state: State) -> str:
            self.undone.append(name)
            if error is not None:
                raise error
            return f"undid {name}"

        return call

    async def run(self, workflow: Workflow[State], state: State = State()) -> LcmOperationOccurrence:
        runner = Runner(self.workflows, self.timeline)
        runner.register(workflow)
        operation = LcmOperationOccurrence("op", "ns", "TEST", OperationState.STARTING, 1.0, 1.0)
        await runner.start(workflow, operation, state)
        await self.workflows.result("op/1", timeout_s=10)
        return self.store.operations["op"]

    def rows(self) -> list[tuple[str, int, StepState]]:
        return [(row.step, row.attempt, row.state) for row in self.store.steps.values()]


async def test_steps_run_in_order_and_the_state_goes_through_them() -> None:
    bench, seen = Bench(), []

    async def look(state: State) -> Done[State]:
        seen.append(state.trail)
        return Done(state)

    steps = (leave("a"), leave("b"), Step("look", look))
    ended = await bench.run(Workflow("w", State, steps))
    assert ended.state is OperationState.COMPLETED
    assert seen == [("a", "b")]
    assert [row.detail for row in bench.store.steps.values()] == ["did a", "did b", ""]


async def test_a_row_is_written_before_the_effect_and_after_it() -> None:
    bench = Bench()

    async def call(state: State) -> Done[State]:
        assert [row.state for row in bench.store.written] == [StepState.RUNNING]
        return Done(state)

    await bench.run(Workflow("w", State, (Step("s", call),)))
    assert [row.state for row in bench.store.written] == [StepState.RUNNING, StepState.DONE]


async def test_transient_errors_are_tried_again_and_permanent_ones_are_not() -> None:
    bench = Bench()
    steps = (fail("flaky", TransientError("1"), TransientError("2")), fail("broken", PermanentError("no")))
    ended = await bench.run(Workflow("w", State, steps))
    assert bench.rows() == [
        ("flaky", 1, StepState.FAILED),
        ("flaky", 2, StepState.FAILED),
        ("flaky", 3, StepState.DONE),
        ("broken", 1, StepState.FAILED),
    ]
    assert ended.state is OperationState.ROLLED_BACK
    assert ended.error == "step `broken` failed: no"


async def test_retries_end() -> None:
    bench = Bench()
    ended = await bench.run(Workflow("w", State, (fail("s", *[TransientError("still")] * 9),)))
    assert len(bench.rows()) == 3
    assert ended.error == "step `s` failed: still"


async def test_compensation_runs_backwards_from_the_step_that_failed() -> None:
    bench = Bench()
    steps = (
        replace(leave("a"), compensate=bench.undo("a")),
        leave("b"),
        replace(fail("c", PermanentError("no", hint="do x")), compensate=bench.undo("c")),
        replace(leave("never"), compensate=bench.undo("never")),
    )
    ended = await bench.run(Workflow("w", State, steps))
    assert bench.undone == ["c", "a"]
    assert (ended.state, ended.hint) == (OperationState.ROLLED_BACK, "do x")
    assert ("undo/a", 1, StepState.COMPENSATED) in bench.rows()


async def test_what_was_skipped_is_not_undone() -> None:
    bench = Bench()
    skipped = replace(leave("a"), compensate=bench.undo("a"), skip=lambda state: "nothing to do")
    await bench.run(Workflow("w", State, (skipped, fail("b", PermanentError("no")))))
    assert bench.undone == []


async def test_a_compensation_that_fails_does_not_stop_the_others_and_is_told() -> None:
    bench = Bench()
    steps = (
        replace(leave("a"), compensate=bench.undo("a")),
        replace(leave("b"), compensate=bench.undo("b", PermanentError("stuck"))),
        fail("c", PermanentError("no")),
    )
    ended = await bench.run(Workflow("w", State, steps))
    assert bench.undone == ["b", "a"]
    assert ended.state is OperationState.FAILED
    assert ended.error == "step `c` failed: no; rollback is incomplete: stuck"


async def test_without_rollback_a_failure_may_be_requested_again() -> None:
    bench, told = Bench(), []

    async def tell(state: State, failure: Failure) -> None:
        told.append((state.trail, failure.message))

    steps = (replace(leave("a"), compensate=bench.undo("a")), fail("b", PermanentError("no")))
    ended = await bench.run(Workflow("w", State, steps, rolls_back=False, on_failure=tell))
    assert ended.state is OperationState.FAILED_TEMP
    assert bench.undone == []
    assert told == [(("a",), "step `b` failed: no")]


async def test_a_step_that_takes_too_long_fails() -> None:
    bench = Bench()

    async def sleep(state: State) -> Done[State]:
        await asyncio.sleep(60)
        return Done(state)

    ended = await bench.run(Workflow("w", State, (Step("slow", sleep, timeout_s=0.01),)))
    assert "did not end within 0.01 s" in ended.error


async def test_a_bug_in_a_step_ends_the_operation_and_says_that_it_is_one() -> None:
    bench = Bench()
    ended = await bench.run(Workflow("w", State, (fail("s", ZeroDivisionError("oops")),)))
    assert ended.state is OperationState.ROLLED_BACK
    assert "bug in sonata: ZeroDivisionError: oops" in ended.error
    assert len(bench.rows()) == 1


async def test_the_failing_call_and_the_answer_are_kept() -> None:
    bench = Bench()
    error = PermanentError("refused", call="POST /servers", answer="403", hint="ask")
    await bench.run(Workflow("w", State, (fail("s", error),)))
    (row,) = bench.store.steps.values()
    assert (row.error, row.call, row.answer, row.hint) == ("refused", "POST /servers", "403", "ask")


async def test_a_skipped_step_tells_why() -> None:
    bench = Bench()
    await bench.run(Workflow("w", State, (replace(leave("a"), skip=lambda state: "not today"), leave("b"))))
    assert bench.rows()[0] == ("a", 1, StepState.SKIPPED)
    assert bench.store.steps[("op", "a", 1)].detail == "not today"


def fan_out(*steps: Step[State]) -> Workflow[State]:
    def split(state: State) -> list[tuple[str, State]]:
        return [(name, State((name,))) for name in ("x", "y")]

    def join(state: State, ends: object) -> Done[State]:
        return Done(replace(state, trail=tuple("+".join(end.trail) for end in ends)))  # type: ignore[attr-defined]

    return Workflow("w", State, (FanOut("deploy", Workflow("branch", State, steps), split, join), leave("after")))


async def test_branches_have_rows_of_their_own_and_are_joined() -> None:
    bench = Bench()
    ended = await bench.run(fan_out(replace(leave("made"), name=""), leave("on")))
    assert ended.state is OperationState.COMPLETED
    assert {name for name, _, _ in bench.rows()} == {"deploy/x", "deploy/x/on", "deploy/y", "deploy/y/on", "after"}


async def test_a_failing_branch_fails_the_operation_after_the_others_ended() -> None:
    bench, ended_late = Bench(), []

    async def call(state: State) -> Done[State]:
        if state.trail == ("x",):
            raise PermanentError("x broke")
        await asyncio.sleep(0.02)
        ended_late.append("y")
        return Done(state)

    ended = await bench.run(fan_out(Step("", call)))
    assert ended.error == "step `deploy/x` failed: x broke"
    assert ended_late == ["y"]


async def test_watching_tells_what_was_and_what_comes_and_ends() -> None:
    bench, go = Bench(), asyncio.Event()

    async def wait(state: State) -> Done[State]:
        await go.wait()
        return Done(state)

    watched: list[object] = []

    async def watch() -> None:
        while "op" not in bench.store.operations:
            await asyncio.sleep(0.001)
        async for change in bench.timeline.watch("op"):
            watched.append((change.step, change.state) if isinstance(change, StepRecord) else change.state)
            if watched[-1] == ("wait", StepState.RUNNING):
                go.set()

    await asyncio.gather(bench.run(Workflow("w", State, (leave("a"), Step("wait", wait)))), watch())
    assert watched[-1] is OperationState.COMPLETED
    assert ("wait", StepState.DONE) in watched
    with pytest.raises(NotFound):
        await anext(bench.timeline.watch("nonsense"))


def test_back_off_doubles_up_to_a_limit() -> None:
    retry = Retry(attempts=6, first_delay_s=0.1, max_delay_s=0.5)
    assert [retry.delay_before(attempt) for attempt in range(1, 7)] == [0, 0.1, 0.2, 0.4, 0.5, 0.5]
    assert ONCE.attempts == 1


def test_only_what_changed_is_journalled_and_comes_back() -> None:
    before = State(("a",))
    after = State(("a",), "x")
    assert changes(before, after) == {"label": "x"}
    assert apply(before, changes(before, after)) == after


@pytest.mark.parametrize(
    "error",
    [
        PermanentError("m", hint="h", call="c", answer="a"),
        TransientError("m", retry_after_s=2.0),
        NotFound("m", hint="h"),
    ],
)
def test_an_error_survives_being_a_value(error: PermanentError) -> None:
    back = error_of(failure_of(error))
    assert type(back) is type(error)
    assert (back.message, back.hint) == (error.message, error.hint)
    assert failure_of(back).call == failure_of(error).call
