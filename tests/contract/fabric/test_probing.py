"""Links do what was declared, as the product itself measures it; and the measurement tells when they do not."""

from __future__ import annotations

import re

import pytest
from tests.translated import needs_processor

from sonata.emulator.link_check import PLAN_FOR_DOWN, Quantity, judged, plan_for
from sonata.errors import NotFound
from sonata.model.topology import CLEAN, Impairment

from .conftest import World

pytestmark = pytest.mark.serial
SECONDS = 1.5
MS, MBIT = 1e-3, 1e6
TIMES = ("delay_s", "jitter_s")


def measured(world: World, name: str, there: Impairment, back: Impairment) -> list[Quantity]:
    probe = world.fabric.underlay.probe(name)
    try:
        probed = probe.measure(plan_for((there, back), SECONDS))
    finally:
        probe.close()
    found = []
    for way, declared in enumerate((there, back)):
        sparse, dense = (pair[way] for pair in probed.steps)
        found += judged(declared, sparse, dense, probed.rates[way])
    return found


def quietly_measured(world: World, name: str, there: Impairment, back: Impairment) -> list[Quantity]:
    """Measured once more where something else had the processors meanwhile; what is wrong stays wrong."""
    for _ in range(4):
        quantities = measured(world, name, there, back)
        if not off(quantities):
            break
    return quantities


def off(quantities: list[Quantity]) -> set[str]:
    return {one.name for one in quantities if one.verdict == "off"}


@needs_processor
@pytest.mark.parametrize(
    ("there", "back"),
    [
        (CLEAN, CLEAN),
        pytest.param(Impairment(delay_s=10 * MS), Impairment(delay_s=30 * MS), marks=pytest.mark.slow),
        (Impairment(delay_s=20 * MS, jitter_s=2 * MS), Impairment(loss=0.01)),
        pytest.param(Impairment(rate_bps=10 * MBIT), Impairment(rate_bps=100 * MBIT), marks=pytest.mark.slow),
        (Impairment(delay_s=5 * MS, rate_bps=20 * MBIT), Impairment(loss=0.03, rate_bps=1 * MBIT)),
        (Impairment(duplicate=0.02), Impairment(delay_s=50 * MS, reorder=0.05)),
    ],
)
def test_a_link_does_what_was_declared(world: World, there: Impairment, back: Impairment) -> None:
    world.line(2)
    world.fabric.underlay.set_link("l0", there, back)
    quantities = quietly_measured(world, "l0", there, back)
    assert off(quantities) == set(), quantities
    assert {one.name for one in quantities} >= {"delay_s", "jitter_s", "loss", "duplicate"}


@needs_processor
def test_an_access_link_is_measured_from_its_pop_to_its_machine(world: World) -> None:
    world.pops(1)
    world.host("user", 0, impairment=Impairment(delay_s=10 * MS))
    assert off(quietly_measured(world, "user-eth0", Impairment(delay_s=10 * MS), Impairment(delay_s=10 * MS))) == set()
    assert "delay_s" in off(measured(world, "user-eth0", Impairment(delay_s=20 * MS), Impairment(delay_s=10 * MS)))
    with pytest.raises(NotFound):
        world.fabric.underlay.probe("nobody")


@needs_processor
def test_what_is_not_as_declared_is_found(world: World) -> None:
    world.line(2, Impairment(rate_bps=2e7))
    found = re.search(r"^\d+: (l\d+)@", world.run_in_pop("p0", "ip", "-o", "link"), re.MULTILINE)
    assert found
    ifname = found[1]
    bucket = ("rate", "10mbit", "burst", "16kb", "latency", "50ms")
    world.run_in_pop("p0", "tc", "qdisc", "replace", "dev", ifname, "root", "tbf", *bucket)
    declared = Impairment(rate_bps=2e7)
    wrong = [one for one in measured(world, "l0", declared, declared) if one.verdict == "off"]
    assert [(one.name, round((one.measured or 0) / 1e6)) for one in wrong] == [("rate_bps", 10)]


def test_nothing_passes_a_link_that_is_down(world: World) -> None:
    world.line(2)
    world.fabric.underlay.set_link("l0", CLEAN, up=False)
    probe = world.fabric.underlay.probe("l0")
    ((there, back),) = probe.measure(PLAN_FOR_DOWN).steps
    assert (there.received, back.received) == (0, 0)
