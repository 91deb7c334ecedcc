"""What every workflow engine promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sonata.adapters.workflow_dbos import DbosWorkflows
from sonata.errors import QuotaExceeded, StepTimeout, TransientError, WorkflowError
from sonata.ports.workflow import Payload, WorkflowContext

pytestmark = pytest.mark.anyio


@pytest.fixture
async def workflows(tmp_path: Path) -> AsyncIterator[DbosWorkflows]:
    engine = DbosWorkflows(tmp_path / "engine.db")
    yield engine
    await engine.close()


async def test_a_workflow_runs_its_steps_in_order_and_returns_their_results(workflows: DbosWorkflows) -> None:
    async def sums(context: WorkflowContext, payload: Payload) -> Any:
        total = 0
        for number in payload["numbers"]:

            async def add(number: int = number, total: int = total) -> int:
                return total + number

            total = await context.step(f"add-{number}", add)
        return {"total": total, "id": context.workflow_id}

    workflows.register("sums", sums)
    await workflows.launch()
    await workflows.start("sums", "op-1/1", {"numbers": [1, 2, 3]})
    assert await workflows.result("op-1/1", timeout_s=10) == {"total": 6, "id": "op-1/1"}


async def test_a_second_start_with_the_same_id_does_nothing(workflows: DbosWorkflows) -> None:
    runs = []

    async def once(context: WorkflowContext, payload: Payload) -> Any:
        async def run() -> str:
            runs.append(payload["who"])
            return str(payload["who"])

        return await context.step("run", run)

    workflows.register("once", once)
    await workflows.launch()
    await workflows.start("once", "op-2", {"who": "first"})
    await workflows.start("once", "op-2", {"who": "second"})
    assert await workflows.result("op-2", timeout_s=10) == "first"
    assert runs == ["first"]


async def test_branches_run_at_the_same_time_and_answer_in_the_given_order(workflows: DbosWorkflows) -> None:
    both_run = asyncio.Barrier(2)

    async def branch(context: WorkflowContext, payload: Payload) -> Any:
        async def meet() -> str:
            await asyncio.wait_for(both_run.wait(), 10)
            return f"{context.workflow_id}:{payload['n']}"

        return await context.step("meet", meet)

    async def parent(context: WorkflowContext, payload: Payload) -> Any:
        return list(await context.branches("branch", [("b", {"n": 2}), ("a", {"n": 1})]))

    workflows.register("branch", branch)
    workflows.register("parent", parent)
    await workflows.launch()
    await workflows.start("parent", "op-3", {})
    assert await workflows.result("op-3", timeout_s=10) == ["op-3/b:2", "op-3/a:1"]


async def test_all_branches_end_before_the_first_failure_is_raised(workflows: DbosWorkflows) -> None:
    ended = []

    async def branch(context: WorkflowContext, payload: Payload) -> Any:
        async def work() -> None:
            await asyncio.sleep(payload["after"])
            ended.append(payload["name"])
            if payload["fails"]:
                raise QuotaExceeded(f"no room for {payload['name']}")

        await context.step("work", work)

    async def parent(context: WorkflowContext, payload: Payload) -> Any:
        names = [("x", 0.0, True), ("y", 0.1, True), ("z", 0.2, False)]
        return await context.branches("branch", [(n, {"name": n, "after": a, "fails": f}) for n, a, f in names])

    workflows.register("branch", branch)
    workflows.register("parent", parent)
    await workflows.launch()
    await workflows.start("parent", "op-4", {})
    with pytest.raises(QuotaExceeded, match="no room for x"):
        await workflows.result("op-4", timeout_s=10)
    assert sorted(ended) == ["x", "y", "z"]


async def test_errors_keep_their_class_call_answer_and_hint(workflows: DbosWorkflows) -> None:
    async def fails(context: WorkflowContext, payload: Payload) -> Any:
        raise TransientError("no answer", hint="start it", call="GET /", answer="refused")

    workflows.register("fails", fails)
    await workflows.launch()
    await workflows.start("fails", "op-5", {})
    with pytest.raises(TransientError) as caught:
        await workflows.result("op-5", timeout_s=10)
    assert (caught.value.hint, caught.value.call, caught.value.answer) == ("start it", "GET /", "refused")


async def test_waiting_for_a_result_ends_in_time(workflows: DbosWorkflows) -> None:
    release = asyncio.Event()

    async def waits(context: WorkflowContext, payload: Payload) -> Any:
        await release.wait()

    workflows.register("waits", waits)
    await workflows.launch()
    await workflows.start("waits", "op-6", {})
    with pytest.raises(StepTimeout, match="op-6"):
        await workflows.result("op-6", timeout_s=0.1)
    release.set()
    await workflows.result("op-6", timeout_s=10)


async def test_unknown_workflows_are_refused(workflows: DbosWorkflows) -> None:
    await workflows.launch()
    with pytest.raises(WorkflowError, match="nonsense"):
        await workflows.start("nonsense", "op-7", {})


async def test_what_was_running_at_close_goes_on_at_the_next_launch(tmp_path: Path) -> None:
    runs: list[str] = []
    blocked = asyncio.Event()

    def make(block: bool) -> DbosWorkflows:
        async def two(context: WorkflowContext, payload: Payload) -> Any:
            async def first() -> str:
                runs.append("first")
                return "kept"

            async def second() -> str:
                runs.append("second")
                if block:
                    blocked.set()
                    await asyncio.sleep(60)
                return "done"

            return [await context.step("first", first), await context.step("second", second)]

        engine = DbosWorkflows(tmp_path / "engine.db")
        engine.register("two", two)
        return engine

    engine = make(block=True)
    await engine.launch()
    await engine.start("two", "op-8", {})
    await asyncio.wait_for(blocked.wait(), 10)
    await engine.close()
    engine = make(block=False)
    await engine.launch()
    try:
        assert await engine.result("op-8", timeout_s=20) == ["kept", "done"]
    finally:
        await engine.close()
    assert runs == ["first", "second", "second"]
