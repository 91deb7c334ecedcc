"""What measurements say about links: right within tolerance, off beyond it and the margin, unsure between."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.emulator.conftest import World

from sonata.adapters.fabric_linux import link_probe
from sonata.emulator.emulation import Emulation
from sonata.emulator.link_check import PLAN_FOR_DOWN, judged, plan_for
from sonata.errors import InvalidInput, NotFound
from sonata.model.topology import CLEAN, Impairment
from sonata.ports.probing import Heard, Probed, ProbePlan

impairments = st.builds(
    lambda delay, jitter, loss, rate, twice, ahead: Impairment(
        delay, delay * jitter, loss, rate, twice, ahead if delay else 0
    ),
    st.sampled_from([0.0, 0.001, 0.02, 1.0, 10.0]),
    st.floats(0, 1),
    st.floats(0, 1),
    st.none() | st.floats(8e3, 1e11),
    st.floats(0, 1),
    st.floats(0, 1),
)


@given(impairments, impairments, st.floats(0.1, 300))
def test_a_plan_ends_and_leaves_queues_empty(there: Impairment, back: Impairment, seconds: float) -> None:
    plan = plan_for((there, back), seconds)
    for step in plan.steps:
        assert step.count >= 10
        for rate in (there.rate_bps, back.rate_bps):
            assert rate is None or 60 * 8 / step.gap_s <= rate * 0.51
    assert sum(step.count * step.gap_s for step in plan.steps) <= 2 * seconds + 1.2 + 20 * plan.steps[0].gap_s
    for offer, declared in zip(plan.rates, (there, back), strict=True):
        assert (offer is None) == (declared.rate_bps is None)
        assert offer is None or 60 <= offer.frame_bytes <= 1514


def heard(declared: Impairment, count: int, seed: int) -> Heard:
    """What an ideal link lets arrive."""
    chance = random.Random(seed)
    arrived = [chance.random() >= declared.loss for _ in range(count)].count(True)
    doubled = [chance.random() < declared.duplicate for _ in range(arrived)].count(True)
    early = [chance.random() < declared.reorder for _ in range(arrived)].count(True)
    step = link_probe.Heard(0.0)
    for number in range(arrived - early):
        step.note(number, declared.delay_s + chance.gauss(0, declared.jitter_s))
    times = {name: step.summary(count)[name] for name in ("delay_s", "spread_s", "late_s")}
    return Heard(count, arrived, doubled, early, **times)


@pytest.mark.parametrize(
    "declared",
    [
        CLEAN,
        Impairment(delay_s=0.02, jitter_s=0.004),
        Impairment(loss=0.1, duplicate=0.05),
        Impairment(delay_s=0.1, reorder=0.25, rate_bps=1e7),
    ],
)
def test_a_link_that_does_what_was_declared_is_never_off(declared: Impairment) -> None:
    for seed in range(20):
        steps = [heard(declared, step.count, seed) for step in plan_for((declared, declared), 2.0).steps]
        verdicts = [one.verdict for one in judged(declared, *steps, declared.rate_bps)]
        assert "off" not in verdicts


@pytest.mark.parametrize(
    ("declared", "real", "rate_bps", "off"),
    [
        (CLEAN, Impairment(delay_s=0.001), None, {"delay_s"}),
        (Impairment(delay_s=0.1), Impairment(delay_s=0.103), None, {"delay_s"}),
        (Impairment(delay_s=0.1, jitter_s=0.001), Impairment(delay_s=0.1, jitter_s=0.004), None, {"jitter_s"}),
        (CLEAN, Impairment(loss=0.02), None, {"loss"}),
        (Impairment(loss=0.05), CLEAN, None, {"loss"}),
        (Impairment(duplicate=0.05), CLEAN, None, {"duplicate"}),
        (Impairment(delay_s=0.1, reorder=0.2), Impairment(delay_s=0.1), None, {"reorder"}),
        (Impairment(rate_bps=1e6), CLEAN, 0.95e6, {"rate_bps"}),
        (Impairment(rate_bps=1e6, loss=0.5), Impairment(loss=0.5), 0.4e6, {"rate_bps"}),
    ],
)
def test_what_differs_is_off(declared: Impairment, real: Impairment, rate_bps: float | None, off: set[str]) -> None:
    steps = [heard(real, step.count, 1) for step in plan_for((declared, declared), 2.0).steps]
    assert {one.name for one in judged(declared, *steps, rate_bps) if one.verdict == "off"} == off


def test_a_machine_that_stalls_now_and_then_is_not_held_against_the_link() -> None:
    declared, chance = Impairment(delay_s=0.01, jitter_s=0.002), random.Random(1)
    step = link_probe.Heard(0.0)
    for number in range(1000):
        stalled_s = 0.02 if number % 20 == 0 else 0.0
        step.note(number, 0.01 + chance.gauss(0, 0.002) + stalled_s)
    told = step.summary(1000)
    few = Heard(1000, 1000, delay_s=told["delay_s"], spread_s=told["spread_s"], late_s=told["late_s"])
    assert {one.verdict for one in judged(declared, few, few, None)} == {"ok"}
    assert told["late_s"] > 0.025


def test_too_few_packets_make_it_unsure() -> None:
    few = Heard(20, 18, delay_s=0.0, spread_s=0.0)
    loss = next(one for one in judged(Impairment(loss=0.05), few, few, None) if one.name == "loss")
    assert (loss.verdict, loss.measured) == ("unsure", pytest.approx(0.1))
    nothing = Heard(100, 0)
    verdicts = {one.name: one.verdict for one in judged(Impairment(loss=1.0), nothing, nothing, None)}
    assert verdicts == {"delay_s": "unsure", "jitter_s": "unsure", "loss": "ok", "duplicate": "unsure"}


class FakeProbe:
    """Answers every plan with what was heard."""

    def __init__(self, arrived: float) -> None:
        self.arrived = arrived
        self.plans: list[ProbePlan] = []
        self.closed = False

    def measure(self, plan: ProbePlan) -> Probed:
        self.plans.append(plan)
        steps = [Heard(step.count, int(step.count * self.arrived), delay_s=0.01, spread_s=0.0) for step in plan.steps]
        return Probed(tuple((one, one) for one in steps), (None, 100e6))

    def close(self) -> None:
        self.closed = True


@pytest.mark.anyio
async def test_a_link_is_measured_as_it_is_now(triangle: Emulation, world: World) -> None:
    probe = FakeProbe(1.0)
    world.underlay.probe = lambda _link: probe  # type: ignore[attr-defined]
    checked = await triangle.link_checker.check("ab", 1.0)
    assert (checked.ok, checked.up, probe.closed) == (True, True, True)
    assert [(one.source, one.target) for one in checked.directions] == [("a", "b"), ("b", "a")]
    await triangle.links.set("ab", {"delay_s": 0.05})
    assert not (await triangle.link_checker.check("ab", 1.0)).ok
    await triangle.links.set("ab", {}, up=False)
    checked = await triangle.link_checker.check("ab", 1.0)
    assert (checked.ok, checked.up, probe.plans[-1]) == (False, False, PLAN_FOR_DOWN)
    probe.arrived = 0.0
    assert (await triangle.link_checker.check("ab", 1.0)).ok
    with pytest.raises(NotFound):
        await triangle.link_checker.check("xy", 1.0)
    for seconds in (0.0, -1.0, 1e9, float("nan")):
        with pytest.raises(InvalidInput):
            await triangle.link_checker.check("ab", seconds)
