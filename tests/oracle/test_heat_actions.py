"""Actions on stacks do what they do in Heat's own engine: states, reasons, events, refusals.

Heat's own package is installed into an environment of its own (`heat_oracle.py`); without one the tests are skipped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.oracle.heat_oracle import ENGINE, Heat, Unavailable, python
from tests.oracle.our_scenarios import Player, Step

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
MORE_PLAYS = 2
"""Heat's workers race: now and then one finds its resource done by another, and the events tell of both."""
SCENARIOS: dict[str, list[Step]] = yaml.safe_load(Path(__file__).with_name("actions.yaml").read_text())["scenarios"]


@pytest.fixture(scope="module")
def engine() -> Iterator[Heat]:
    try:
        found = Heat(python(), ENGINE)
    except Unavailable as error:
        pytest.skip(f"Heat cannot be installed here: {error}")
    yield found
    found.close()


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_stack_goes_the_way_it_goes_in_heat(engine: Heat, name: str) -> None:
    steps = SCENARIOS[name]

    async def play() -> dict[str, object]:
        return await Player().play(steps)

    ours, theirs = asyncio.run(play()), engine.answer(steps)
    for _ in range(MORE_PLAYS):
        if ours != theirs:
            theirs = engine.answer(steps)
    assert ours == theirs
