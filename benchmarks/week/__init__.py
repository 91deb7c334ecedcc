"""A week of an emulation, compressed: 10,000 happenings, after which it takes no more than before.

An emulation of four PoPs in a home of its own: machines with programs and idle ones, endpoints in cells, a zone. What
happens in it is chosen by chance with a seed: links, PoPs, programs and processors fail and recover; servers, volumes,
networks, chains, load balancers, stacks, users and connections come and go; files are edited, metrics scraped, events
followed, requests refused (`benchmarks/week/happenings.py`). The keeper's clock is put on, so that a week goes by for
it. After each round of happenings all that was made is unmade, and the emulation is counted: what it takes of memory
(`Pss_Anon` of the keeper and its helpers in KiB), descriptors, namespaces, interfaces, packet filters, cgroups,
processes and files.

**Flat** is what the second half of the week shows, judged over its readings, one after each round:

* What is counted is at its end what it was at its beginning: descriptors, sockets, processes, namespaces, interfaces,
  lines of packet filters, mounts, cgroups, files, threads.
* A straight line through the readings gains no more than three standard errors of its slope, or one per cent: for each
  process's memory, for the keeper's blocks of memory, and for its objects of each type (and they gain no more than 50).
  The histories are bounded and filled before the week begins, so nothing is left to explain a slope.

`flat` says whether all of that holds, `grows` what does not. The kernel's slab is the whole machine's, and is told
without being judged. `python -m benchmarks week` prints JSON, also when it is ended early, and tells each round on
stderr. Needs root. `HAPPENINGS` and `SEED` in the environment change how many there are, and which.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.surroundings import home_in
from benchmarks.week.census import BLOCKS, KIB, Census, differences
from benchmarks.week.clock import Clock
from benchmarks.week.flatness import Trend, trend
from benchmarks.week.happenings import happen
from benchmarks.week.life import Life, topology
from sonata._lib.paths import data_home
from sonata.sdk import emulations
from sonata.sdk.emulation_records import EmulationRecord

HAPPENINGS, SEED = int(os.environ.get("HAPPENINGS", "10000")), int(os.environ.get("SEED", "1"))
ROUNDS = 40
WEEK_S = 7 * 86_400.0
SETTLE_S = 0.5
UNJUDGED = ("pss", "slab KiB")
"""Trends of what is shared with the whole machine."""
ANY_PORT = ("127.0.0.1", 0)
WARM_UP = 1 / 2
FEWEST = 3
"""Readings that make a trend."""
FEW_OBJECTS = 50
"""By which a type's may be more at the end: what has happened last is still remembered in many small places."""


@dataclass
class Week:
    """What came of a week.

    Args:
        counts: one after each round.
        done: how often each happening was done, and `refused` with the last reason.
        seconds: that each took in all.
        longest: seconds that the slowest one of each took.
    """

    counts: list[Census] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    longest: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def note(self, what: str, why: str, took_s: float) -> None:
        """Take down what has happened."""
        self.done[what] += 1
        self.seconds[what] += took_s
        self.longest[what] = max(self.longest[what], took_s)
        if why:
            self.refused[what] += 1
            self.reasons[what] = why

    @property
    def judged(self) -> list[Census]:
        """The counts after the warm-up."""
        return self.counts[int(len(self.counts) * WARM_UP) :]

    def trends(self) -> dict[str, Trend]:
        """The lines through the readings of memory, by process, and through what is told besides."""
        memory, told = _lines([one.memory for one in self.judged]), _lines([one.told for one in self.judged])
        return memory | told | _lines([{"pss": one.pss} for one in self.judged])

    def objects(self) -> dict[str, Trend]:
        """The lines through the numbers of objects, of the types that grow."""
        lines = _lines([one.objects for one in self.judged])
        return {name: line for name, line in lines.items() if not line.is_flat and line.grown > FEW_OBJECTS}

    def changes(self) -> list[str]:
        """What is more or less in the last count than in the first after the warm-up, or differs meanwhile."""
        return differences(self.judged[0], self.judged[-1])

    def grows(self) -> list[str]:
        """What is not flat, in words."""
        lines = {name: line for name, line in self.trends().items() if name not in UNJUDGED} | self.objects()
        grown = [f"{name}: {line.grown:+.0f} of {line.mean:.0f}" for name, line in lines.items() if not line.is_flat]
        return grown + self.changes()


def _lines(readings: Sequence[Mapping[str, float]]) -> dict[str, Trend]:
    """The line through the readings of each name; where one is missing, it is 0."""
    names = dict.fromkeys(name for one in readings for name in one)
    return {name: trend([one.get(name, 0.0) for one in readings]) for name in names}


def run() -> dict[str, Any]:
    """Live through a week, and return what was found, also when it is interrupted."""
    if os.geteuid():
        return {"skipped": "needs root"}
    begun, week = time.monotonic(), Week()
    interrupted = False
    try:
        with one_emulation() as (record, clock):
            live(record, clock, week, happenings=HAPPENINGS, seed=SEED, tell=lambda text: print(text, file=sys.stderr))
    except KeyboardInterrupt:
        interrupted = True
    took = {"took_s": round(time.monotonic() - begun), "interrupted": interrupted}
    return {"happenings": HAPPENINGS, "seed": SEED, **took, **told(week)}


@contextmanager
def one_emulation() -> Iterator[tuple[EmulationRecord, Clock]]:
    """An emulation in a home of its own, whose keeper follows a clock that can be put on."""
    images = data_home() / "images"
    with tempfile.TemporaryDirectory(prefix="sonata-bench-") as scratch, home_in(Path(scratch)):
        clock, name = Clock(Path(scratch)), f"week-{os.getpid()}"
        with clock.applied():
            emulation = emulations.start(topology(name), name=name, listen=ANY_PORT, images=images)
        with emulation:
            yield emulation.record, clock


def live(
    record: EmulationRecord,
    clock: Clock,
    week: Week,
    *,
    happenings: int,
    seed: int,
    rounds: int = ROUNDS,
    tell: Callable[[str], None] = lambda text: None,
) -> None:
    """Let it all happen, count after each round, and take it down."""
    life = Life(record, random.Random(seed))
    each = happenings // rounds
    try:
        life.grow_old()
        for number in range(rounds):
            for _ in range(each):
                week.note(*happen(life))
                clock.put_on(WEEK_S / happenings)
                life.go_on()
            life.rest()
            time.sleep(SETTLE_S)
            week.counts.append(Census.of(record, clock.objects(record.process.pid)))
            tell(f"{(number + 1) * each}: {week.counts[-1]}")
    finally:
        life.close()


def told(week: Week) -> dict[str, Any]:
    """A week as JSON values."""
    found: dict[str, Any] = {}
    if len(week.judged) >= FEWEST:
        grows = week.grows()
        found = {"flat": not grows, "grows": grows, "trends": _rows(week.trends()), "objects": _rows(week.objects())}
    return found | {
        "keeper_mib": [round(one.memory["keeper"] / KIB, 1) for one in week.counts],
        "blocks": [one.objects[BLOCKS] for one in week.counts],
        "counts": dict(week.counts[-1].counts) if week.counts else {},
        "done": dict(week.done),
        "refused": {name: [count, week.reasons[name]] for name, count in week.refused.items()},
        "milliseconds_each": {name: round(1000 * took / week.done[name], 1) for name, took in week.seconds.items()},
        "milliseconds_at_most": {name: round(1000 * took) for name, took in week.longest.items()},
    }


def _rows(lines: dict[str, Trend]) -> dict[str, Any]:
    return {name: line.told() for name, line in lines.items()}
