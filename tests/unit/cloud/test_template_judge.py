"""What users write and what may run for years is evaluated elsewhere, and for a moment only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sonata.emulator.cloud.entities.orchestration import Definition, Owner, Stack
from sonata.emulator.cloud.orchestration.blueprint import Blueprint, compiled
from sonata.emulator.cloud.orchestration.judge import Judge
from sonata.formats.hot.errors import StackValidationFailed

CATASTROPHE = "(a+)+$"
VICTIM = "a" * 60 + "b"
pytestmark = pytest.mark.anyio


@pytest.fixture
async def judge() -> AsyncIterator[Judge]:
    made = Judge()
    yield made
    await made.close()


async def build(judge: Judge, document: dict[str, Any], **parameters: Any) -> Blueprint:
    """A compiled template."""
    definition = Definition({"heat_template_version": "2021-04-16", **document}, {"parameters": parameters})
    stack = Stack(name="s", owner=Owner("u", "u", "p", ()), definition=definition)
    return await compiled(definition, stack, judge)


def patterned(pattern: str, **more: Any) -> dict[str, Any]:
    """A template with a parameter that must match a pattern."""
    return {"parameters": {"p": {"type": "string", "constraints": [{"allowed_pattern": pattern}], **more}}}


async def test_a_catastrophic_pattern_is_refused_and_nobody_waits(judge: Judge) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    meanwhile = asyncio.create_task(others())
    with pytest.raises(StackValidationFailed, match="takes longer"):
        await build(judge, patterned(CATASTROPHE), p=VICTIM)
    meanwhile.cancel()
    assert turns > 10
    assert (await build(judge, patterned("a+b"), p=VICTIM)).parameters["p"] == VICTIM


async def test_patterns_hold_for_values_and_defaults(judge: Judge) -> None:
    for wrong in ("ab", "1", "", "a\n"):
        with pytest.raises(StackValidationFailed, match="does not match pattern"):
            await build(judge, patterned("[a-z]"), p=wrong)
    with pytest.raises(StackValidationFailed, match="Invalid default"):
        await build(judge, patterned("[a-z]", default="5"), p="a")


async def test_yaql_is_evaluated_in_conditions_and_bounded(judge: Judge) -> None:
    def conditional(expression: str) -> dict[str, Any]:
        return {"conditions": {"c": {"yaql": {"expression": expression, "data": {"a": [1, 2]}}}}}

    assert (await build(judge, conditional("$.data.a.sum() = 3"))).conditions == {"c": True}
    hostile = "range(190).select(range(190).select(range(190).select(range(190).sum()).sum()).sum()).sum() = 1"
    for refused in (hostile, f"regex('{CATASTROPHE}').matches('{VICTIM}')", "((", "range(1000).sum() = 1"):
        with pytest.raises(StackValidationFailed):
            await build(judge, conditional(refused))
    assert await judge.query("$.data.select($ + 1)", [1, 2]) == [2, 3]


async def test_an_evaluator_that_has_ended_is_started_again(judge: Judge) -> None:
    assert await judge.query("1 + 1", {}) == 2
    process = judge._process
    assert process is not None
    process.kill()
    await process.wait()
    assert await judge.query("1 + 2", {}) == 3
