"""Whether links do what was declared: plans of measurements, and what they say about each quantity."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from typing import Literal

from sonata._lib.values import dataclass
from sonata.emulator.data_plane import DataPlane
from sonata.emulator.links import Links, LinkState
from sonata.errors import InvalidInput
from sonata.model.topology import Impairment
from sonata.ports.probing import Heard, Probed, ProbePlan, ProbeStep, RateOffer

Verdict = Literal["ok", "off", "unsure"]

DELAY_WITHIN_S, DELAY_WITHIN = 0.5e-3, 0.02
"""A delay is right within the larger of a time and a share of what was declared; so is jitter."""
JITTER_WITHIN = 0.1
SHARE_WITHIN = 0.003
RATE_WITHIN = 0.03
_SIGMAS = 3.0
"""Standard deviations of a measurement that are its margin."""
_MEDIAN_ERROR = 1.253
"""Of a median beside a mean's, for normal distributions; the spread's is 1."""
_LEAST_GAP_S = 1 / 8000
_SPARSE_GAP_S, _SPARSE_COUNT, _LEAST_SPARSE = 5e-3, 100, 10
_LEAST_COUNT = 2000
_PROBE_BITS = 8 * 60
_LOAD = 0.5
"""Share of a link's rate that the probe's small packets may take."""
_FRAMES, _SMALLEST_FRAME, _LARGEST_FRAME = 120, 60, 1514
_SETTLE_S = 0.3

MAX_SECONDS = 300.0

Directions = tuple[Impairment, Impairment]


@dataclass(frozen=True, slots=True)
class Quantity:
    """One property of a direction of a link, declared and measured, in the same unit.

    Args:
        name: field of `Impairment`, or `passes` for a link that is down: the share of packets that come through.
        measured: None when nothing arrived that could tell.
        margin: within this the measurement itself is sure (three standard deviations).
        tolerance: by how much it may differ from what was declared.
        verdict: `unsure` where what was measured is out of the tolerance by less than the margin.
    """

    name: str
    declared: float
    measured: float | None
    margin: float
    tolerance: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class CheckedDirection:
    """What was measured in one direction of a link.

    Args:
        late_s: 99th percentile of the one-way delay, with what a machine that stalls adds; None when nothing arrived.
    """

    source: str
    target: str
    quantities: tuple[Quantity, ...]
    late_s: float | None = None


@dataclass(frozen=True, slots=True)
class CheckedLink:
    """What was measured on a link.

    Args:
        ok: whether nothing is off; what is not sure is not off.
    """

    name: str
    up: bool
    ok: bool
    directions: tuple[CheckedDirection, CheckedDirection]


class LinkChecker:
    """Measures links of an emulation, one at a time, so that no measurement is in the way of another one."""

    def __init__(self, links: Links, plane: DataPlane) -> None:
        self._links = links
        self._plane = plane
        self._turn = asyncio.Lock()

    async def check(self, name: str, seconds: float) -> CheckedLink:
        """Measure a link, or the access link of an endpoint, and compare it with what was declared.

        Args:
            name: of the link, or of the port of an endpoint.
            seconds: for each of the measurements: delays, shares, and the rate of each direction.

        Raises:
            NotFound: there is no such link.
            InvalidInput: it would take too long.
            AdapterError: it could not be measured.
        """
        if not 0 < seconds <= MAX_SECONDS:
            raise InvalidInput(f"a measurement takes more than 0 and at most {MAX_SECONDS:g} s")
        async with self._turn:
            state = self._links.find(name)
            plan = plan_for(state.link.directions, seconds) if state.up else PLAN_FOR_DOWN
            probe = await self._plane.run(lambda fabric: fabric.underlay.probe(name))
            try:
                probed = await asyncio.to_thread(probe.measure, plan)
            finally:
                probe.close()
        return _checked(state, probed)


def _checked(state: LinkState, probed: Probed) -> CheckedLink:
    link, quantities = state.link, []
    late_there, late_back = (one.late_s for one in probed.steps[0])
    for back, declared in enumerate(link.directions):
        first, last = (probed.steps[step][back] for step in (0, -1))
        quantities.append(tuple(judged(declared, first, last, probed.rates[back]) if state.up else judged_down(first)))
    there = CheckedDirection(link.a, link.b, quantities[0], late_there)
    back_again = CheckedDirection(link.b, link.a, quantities[1], late_back)
    ok = all(one.verdict != "off" for several in quantities for one in several)
    return CheckedLink(link.name, state.up, ok, (there, back_again))


def plan_for(directions: Directions, seconds: float) -> ProbePlan:
    """What to measure on a link that is up.

    Args:
        directions: what is declared, there and back.
        seconds: for each step; more makes margins smaller.
    """
    return ProbePlan(
        steps=(_sparse(directions, seconds), _dense(directions, seconds)),
        rates=(_offer(directions[0], seconds), _offer(directions[1], seconds)),
        settle_s=_SETTLE_S + max(one.delay_s + 6 * one.jitter_s for one in directions),
    )


PLAN_FOR_DOWN = ProbePlan((ProbeStep(_SPARSE_COUNT, _SPARSE_GAP_S),), (None, None), _SETTLE_S)


def judged(declared: Impairment, sparse: Heard, dense: Heard, rate_bps: float | None) -> Iterator[Quantity]:
    """What a measurement by `plan_for` says about one direction."""
    yield from _times(declared, sparse)
    yield from _shares(declared, dense)
    if declared.rate_bps is not None:
        # Buckets hold the rate before packets are lost or doubled behind them.
        passed = (1 - declared.loss) * (1 + declared.duplicate)
        measured = rate_bps / passed if rate_bps is not None and passed else None
        chance = declared.loss * (1 - declared.loss) + declared.duplicate * (1 - declared.duplicate)
        margin = _SIGMAS * math.sqrt(chance / _FRAMES) * declared.rate_bps
        yield _quantity("rate_bps", declared.rate_bps, measured, margin, RATE_WITHIN * declared.rate_bps)


def judged_down(heard: Heard) -> Iterator[Quantity]:
    """Whether really nothing passes one direction of a link that is down."""
    yield _quantity("passes", 0.0, heard.received / heard.sent, 0.0, 0.0)


def _sparse(directions: Directions, seconds: float) -> ProbeStep:
    """Packets so far apart that jitter changes no order: only then their delays are independent."""
    jitter_s = max(one.jitter_s for one in directions)
    gap_s = max(4 * jitter_s, _SPARSE_GAP_S, _gap_s(directions))
    count = int(seconds / gap_s) if jitter_s else min(_SPARSE_COUNT, int(seconds / gap_s))
    return ProbeStep(max(_LEAST_SPARSE, count), gap_s, _early(directions))


def _dense(directions: Directions, seconds: float) -> ProbeStep:
    """As many packets as make the margin of shares smaller than their tolerance, in the time that there is."""
    shares = [share for one in directions for share in (one.loss, one.duplicate, one.reorder)]
    needed = max((_SIGMAS / SHARE_WITHIN) ** 2 * share * (1 - share) for share in shares)
    gap_s = _gap_s(directions)
    count = min(max(_LEAST_COUNT, math.ceil(needed)), int(seconds / gap_s))
    return ProbeStep(max(10, count), gap_s, _early(directions))


def _gap_s(directions: Directions) -> float:
    """The least distance of packets that keeps queues empty."""
    rates = [one.rate_bps for one in directions if one.rate_bps]
    return max(_LEAST_GAP_S, *(_PROBE_BITS / (_LOAD * rate) for rate in rates)) if rates else _LEAST_GAP_S


def _early(directions: Directions) -> tuple[float, float]:
    there, back = (max(one.delay_s - 2 * one.jitter_s, one.delay_s / 4) / 2 if one.reorder else 0 for one in directions)
    return there, back


def _offer(declared: Impairment, seconds: float) -> RateOffer | None:
    """Frames small enough that there are many of them also on a slow link."""
    rate = declared.rate_bps
    if rate is None:
        return None
    frame = min(_LARGEST_FRAME, max(_SMALLEST_FRAME, int(rate * seconds / 8 / _FRAMES)))
    return RateOffer(rate, max(seconds, _FRAMES * frame * 8 / rate), frame)


def _times(declared: Impairment, heard: Heard) -> Iterator[Quantity]:
    counted = heard.received - heard.early
    spread = heard.spread_s or 0.0
    margin = _SIGMAS * spread / math.sqrt(max(1, counted))
    yield _quantity(
        "delay_s",
        declared.delay_s,
        heard.delay_s,
        _MEDIAN_ERROR * margin,
        max(DELAY_WITHIN_S, DELAY_WITHIN * declared.delay_s),
    )
    yield _quantity(
        "jitter_s",
        declared.jitter_s,
        heard.spread_s,
        margin,
        max(DELAY_WITHIN_S, JITTER_WITHIN * declared.jitter_s),
    )


def _shares(declared: Impairment, heard: Heard) -> Iterator[Quantity]:
    yield _share("loss", declared.loss, heard.sent - heard.received, heard.sent)
    yield _share("duplicate", declared.duplicate, heard.doubled, heard.received)
    if declared.reorder:
        yield _share("reorder", declared.reorder, heard.early, heard.received)


def _share(name: str, declared: float, count: int, of: int) -> Quantity:
    if not of:
        return _quantity(name, declared, None, 0.0, SHARE_WITHIN)
    margin = _SIGMAS * math.sqrt(declared * (1 - declared) / of)
    return _quantity(name, declared, count / of, margin, SHARE_WITHIN)


def _quantity(name: str, declared: float, measured: float | None, margin: float, tolerance: float) -> Quantity:
    return Quantity(name, declared, measured, margin, tolerance, _verdict(declared, measured, margin, tolerance))


def _verdict(declared: float, measured: float | None, margin: float, tolerance: float) -> Verdict:
    if measured is None:
        return "unsure"
    deviation = abs(measured - declared)
    if deviation <= tolerance:
        return "ok"
    return "off" if deviation > tolerance + margin else "unsure"
