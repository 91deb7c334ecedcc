"""A week of an emulation, compressed: 10,000 happenings, after which it takes no more than before.

An emulation of four PoPs in a home of its own: machines with programs and idle ones, endpoints in cells, a zone. What
happens in it is chosen by chance with a seed: links, PoPs, programs and processors fail and recover; servers, volumes,
networks, chains, load balancers, stacks, users and connections come and go; files are edited, metrics scraped, events
followed, requests refused (`benchmarks/week/happenings.py`). The keeper's clock is put on, so that a week goes by for
it. After each round of happenings all that was made is unmade, and the emulation is counted: what it takes of memory
(`Pss_Anon` of the keeper and its helpers in KiB), descriptors, namespaces, interfaces, packet filters, cgroups,
processes and files.

Before the week the histories are filled that are bounded, and its first third is for warming up. Over the rest a
straight line is laid through the readings of memory, which is flat when it gains no more than three standard errors of
its slope, or one per cent; what is counted must be the same number each time. `python -m benchmarks week` prints JSON.
Needs root. `HAPPENINGS` and `SEED` in the environment change how many there are,
and which.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.memory import home_in
from benchmarks.week.census import Census, differences
from benchmarks.week.clock import Clock
from benchmarks.week.flatness import trend
from benchmarks.week.happenings import happen
from benchmarks.week.life import Life, topology
from sonata._lib.paths import data_home
from sonata.sdk import emulations
from sonata.sdk.emulation_records import EmulationRecord

HAPPENINGS, SEED = int(os.environ.get("HAPPENINGS", "10000")), int(os.environ.get("SEED", "1"))
ROUNDS = 40
WEEK_S = 7 * 86_400.0
SETTLE_S = 0.5
ANY_PORT = ("127.0.0.1", 0)
WARM_UP = 1 / 3


@dataclass
class Week:
    """What came of a week.

    Args:
        counts: one after each round.
        done: how often each happening was done, and `refused` with the last reason.
        seconds: that each took in all.
    """

    counts: list[Census] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def note(self, what: str, why: str, took_s: float) -> None:
        """Take down what has happened."""
        self.done[what] += 1
        self.seconds[what] += took_s
        if why:
            self.refused[what] += 1
            self.reasons[what] = why

    @property
    def judged(self) -> list[Census]:
        """The counts after the warm-up."""
        return self.counts[int(len(self.counts) * WARM_UP) :]

    def trends(self) -> dict[str, Any]:
        """The lines through the readings of memory, by process, and through what is told besides."""
        judged = self.judged
        names = dict.fromkeys(name for one in judged for name in one.memory)
        found = {name: trend([one.memory.get(name, 0.0) for one in judged]) for name in names}
        found["pss"] = trend([one.pss for one in judged])
        return found | {name: trend([one.told[name] for one in judged]) for name in judged[0].told}

    def changes(self) -> list[str]:
        """What is more or less in the last count than in the first after the warm-up, or differs meanwhile."""
        return differences(self.judged[0], self.judged[-1])


def run() -> dict[str, Any]:
    """Live through a week, and return what was found."""
    if os.geteuid():
        return {"skipped": "needs root"}
    begun = time.monotonic()
    with one_emulation() as (record, clock):
        week = live(record, clock, happenings=HAPPENINGS, seed=SEED, tell=lambda text: print(text, file=sys.stderr))
    return {"happenings": HAPPENINGS, "seed": SEED, "took_s": round(time.monotonic() - begun), **told(week)}


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
    *,
    happenings: int,
    seed: int,
    rounds: int = ROUNDS,
    tell: Callable[[str], None] = lambda text: None,
) -> Week:
    """Let it all happen, and count after each round."""
    life, week = Life(record, random.Random(seed)), Week()
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
            week.counts.append(Census.of(record))
            tell(f"{(number + 1) * each}: keeper {week.counts[-1].memory['keeper'] / 1024:.1f} MiB")
    finally:
        life.close()
    return week


def told(week: Week) -> dict[str, Any]:
    """A week as JSON values."""
    return {
        "trends": {name: line.told() for name, line in week.trends().items()},
        "counts": dict(week.counts[-1].counts),
        "changes": week.changes(),
        "done": dict(week.done),
        "refused": {name: [count, week.reasons[name]] for name, count in week.refused.items()},
        "milliseconds_each": {name: round(1000 * took / week.done[name], 1) for name, took in week.seconds.items()},
    }
