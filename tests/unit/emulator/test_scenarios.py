"""Scenarios: each step at its time, undone at its time, and what fails is told and stops nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.emulator.conftest import FakeDisturber, World

from sonata.emulator.cloud.entities.network import Network
from sonata.emulator.disruptions import Disruptions
from sonata.emulator.emulation import Emulation
from sonata.emulator.scenarios import Run, Scenarios
from sonata.errors import Conflict, InvalidInput, NotFound
from sonata.model.scenario import Scenario, Step
from sonata.ports.wim import ConnectionRequest

pytestmark = pytest.mark.anyio


@pytest.fixture
def disturber() -> FakeDisturber:
    return FakeDisturber()


@pytest.fixture
def scenarios(triangle: Emulation, disturber: FakeDisturber) -> Scenarios:
    return Scenarios(Disruptions(triangle, disturber), triangle.events)


async def ended(scenarios: Scenarios, *steps: Step) -> Run:
    run = scenarios.start(Scenario("s", steps))
    async with asyncio.timeout(10):
        while run.state == "running":
            await asyncio.sleep(0.002)
    return run


def told(triangle: Emulation) -> list[tuple[str, Any]]:
    """Kinds and targets of what the scenarios told."""
    events = [event for event in triangle.events.after(0) if event.kind.startswith("scenario.")]
    return [
        (event.kind.removeprefix("scenario."), event.detail["step"].target)
        for event in events
        if "step" in event.detail
    ]


async def test_steps_come_in_the_order_of_their_times_and_are_undone(triangle: Emulation, scenarios: Scenarios) -> None:
    steps = (
        Step(0.02, "link", "bc", for_s=0.06, changes={"loss": 0.5}),
        Step(0.0, "link", "a|b", for_s=0.04, up=False),
        Step(0.06, "move", "users", for_s=0.04, to="b"),
    )
    run = await ended(scenarios, *steps)
    assert (run.state, run.done, run.failed) == ("ended", 3, 0)
    assert told(triangle) == [
        ("done", "ab"),
        ("done", "bc"),
        ("undone", "ab"),
        ("done", "users"),
        ("undone", "bc"),
        ("undone", "users"),
    ]
    assert [triangle.links.get(name).up for name in ("ab", "bc")] == [True, True]
    assert triangle.links.get("bc").link.impairment.loss == 0.0
    users = triangle.endpoints.find("users")
    assert users
    assert users.endpoint.attach == "a"


async def test_connections_feel_links_that_scenarios_break_and_mend(triangle: Emulation, scenarios: Scenarios) -> None:
    members = {pop: (await triangle.clouds[pop].networks.create(Network(name="n"))).id for pop in "bc"}
    made = await triangle.wan.connect(ConnectionRequest("gold", members, rate_bps=60e6))
    steps = (
        Step(0.0, "link", "ab", for_s=0.06, up=False),
        Step(0.01, "link", "bc", for_s=0.04, up=False),
        Step(0.08, "link", "bc", for_s=0.02, changes={"rate_bps": 40e6}),
    )
    assert (await ended(scenarios, *steps)).failed == 0
    states = [event.detail["state"] for event in triangle.events.after(0) if event.kind == "connection.state"]
    assert states == ["down", "active", "degraded", "active"]
    assert triangle.wan.get(made.id).links == ("bc",)


async def test_what_fails_is_told_and_the_rest_goes_on(triangle: Emulation, scenarios: Scenarios) -> None:
    run = await ended(scenarios, Step(0.0, "crash", "a/nobody"), Step(0.01, "link", "ab", changes={"delay_s": 0.2}))
    assert (run.done, run.failed) == (2, 1)
    assert told(triangle) == [("failed", "a/nobody"), ("done", "ab")]
    failure = next(event for event in triangle.events.after(0) if event.kind == "scenario.failed")
    assert "nobody" in failure.detail["error"]


async def test_runs_that_were_over_first_are_forgotten(scenarios: Scenarios, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sonata.emulator.scenarios.KEPT", 2)
    for number in range(1, 6):
        assert (await ended(scenarios, Step(0.0, "link", "ab", changes={"loss": 0.1}))).number == number
    assert [run.number for run in scenarios] == [3, 4, 5]
    with pytest.raises(NotFound):
        scenarios.get(1)


async def test_names_that_are_not_there_are_refused_before_anything_happens(scenarios: Scenarios) -> None:
    steps = (
        Step(0.0, "link", "xy", up=False),
        Step(0.0, "link", "a|z", up=False),
        Step(0.0, "pop", "z", up=False),
        Step(0.0, "move", "users", to="c9"),
        Step(0.0, "crash", "nobody"),
    )
    with pytest.raises(InvalidInput) as refused:
        scenarios.start(Scenario("s", steps))
    for name in ("`xy`", "`z`", "`c9`", "`nobody`"):
        assert name in refused.value.message
    assert list(scenarios) == []


async def test_a_cancelled_run_undoes_what_was_to_be_undone(triangle: Emulation, scenarios: Scenarios) -> None:
    steps = (Step(0.0, "link", "ab", for_s=60.0, up=False), Step(0.0, "link", "bc", up=False))
    run = scenarios.start(Scenario("s", (*steps, Step(50.0, "link", "ac", up=False))))
    with pytest.raises(Conflict):
        scenarios.start(Scenario("s", steps))
    while run.done < 2:
        await asyncio.sleep(0.002)
    assert (await scenarios.cancel(run.number)).state == "cancelled"
    assert [triangle.links.get(name).up for name in ("ab", "bc", "ac")] == [True, False, True]
    assert (await scenarios.cancel(run.number)).state == "cancelled"
    with pytest.raises(NotFound):
        await scenarios.cancel(99)


async def test_a_pop_without_power_is_alone(triangle: Emulation, scenarios: Scenarios) -> None:
    run = scenarios.start(Scenario("s", (Step(0.0, "pop", "a", for_s=0.1, up=False),)))
    while run.done < 1:
        await asyncio.sleep(0.002)
    assert {state.name for state in triangle.links.all() if not state.up} == {"ab", "ac", "access-users"}
    while run.state == "running":
        await asyncio.sleep(0.002)
    assert all(state.up for state in triangle.links.all())


async def test_crashes_and_hogs_meet_the_first_process(
    triangle: Emulation, scenarios: Scenarios, disturber: FakeDisturber, world: World
) -> None:
    pid = world.runtime.pid_of("endpoint-origin")
    hog = Step(0.0, "hog", "origin", for_s=0.1, cpus=1.5, memory_bytes=1 << 20)
    run = scenarios.start(Scenario("s", (hog, Step(0.02, "crash", "origin"), Step(0.03, "crash", "users"))))
    while run.done < 3:
        await asyncio.sleep(0.002)
    assert [burden.of for burden in disturber.burdens] == [(pid, 1.5, 1 << 20)]
    assert disturber.killed == [pid]
    assert run.failed == 1  # the users' machine is idle: there is nothing to kill
    while run.state == "running":
        await asyncio.sleep(0.002)
    assert disturber.burdens == []


async def test_an_idle_machine_starts_to_be_burdened(
    scenarios: Scenarios, disturber: FakeDisturber, world: World
) -> None:
    run = scenarios.start(Scenario("s", (Step(0.0, "hog", "users", for_s=0.05, cpus=1.0),)))
    while run.done < 1:
        await asyncio.sleep(0.002)
    assert run.failed == 0
    assert [burden.of for burden in disturber.burdens] == [(world.runtime.pid_of("endpoint-users"), 1.0, 0)]
    while run.state == "running":
        await asyncio.sleep(0.002)
    assert disturber.burdens == []
