"""Whole emulations, with their OpenStacks and APIs, beside what Mininet needs for its switches and hosts alone.

A line of 128 PoPs with two machines each, endpoints or servers, without and with a process in each; a ring of 64. Up
means that `start` has returned, usable that a packet has crossed to the far side, and in the ring that one still does
when a link is down. The first emulation of a script waits for imports, which Mininet's figures are without; it is told
by itself.

Run as `python -m benchmarks emulations`; seconds. Needs root. `data_plane` in `pop_start` is the line without APIs.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from sonata.embedding import Emulator, RunningEmulation, ServerSeed, Topology, shapes

REPETITIONS = 3
SETTLE_S = 8.0  # the kernel reclaims namespaces in the background; the next run must not wait for it
LINE, RING, MACHINES = 128, 64, 2
TIMES = ("up_s", "usable_s", "down_s")
STAY = ("sleep", "infinity")
FAR = 60  # packets live for 64 hops, which a line must not exceed


def line_of_endpoints() -> Topology:
    """Idle hosts outside of the PoPs."""
    return shapes.line(LINE, kit=shapes.Kit(endpoints_per_pop=MACHINES))


def line_of_servers() -> Topology:
    """Idle servers; each PoP has a network with a router and its services for them."""
    return shapes.line(LINE, kit=shapes.Kit(servers_per_pop=MACHINES))


def line_of_busy_endpoints() -> Topology:
    """Hosts outside of the PoPs that run a program each, confined."""
    line = line_of_endpoints()
    return replace(line, endpoints={name: replace(one, command=STAY) for name, one in line.endpoints.items()})


def line_of_busy_servers() -> Topology:
    """Servers that run a program, confined."""
    line = shapes.line(LINE)
    names = [(pop, f"{pop}-s{number}") for pop, number in product(line.pops, range(MACHINES))]
    return replace(line, servers={name: ServerSeed(name, pop, "host", command=STAY) for pop, name in names})


def ring() -> Topology:
    """PoPs in a circle, with a host each."""
    return shapes.ring(RING, kit=shapes.Kit(endpoints_per_pop=1))


def crosses(emulation: RunningEmulation, pop: int) -> bool:
    """Whether a packet of the first PoP reaches another: its host, or else its router."""
    hosts = {machine["name"]: machine["addresses"] for machine in emulation.machines()}
    first, target = "p1-e1", hosts.get(f"p{pop}-e1")
    if not target:
        return True
    return emulation.exec(first, ["ping", "-c1", "-W3", "-i0.2", target[0]]).status == 0


def survives(emulation: RunningEmulation) -> bool:
    """Whether the ring is one: a packet goes the other way round when a link is down."""
    emulation.link("p1", "p2").down()
    return crosses(emulation, RING // 4)


def measure(topology: Topology, far: int, proof: Callable[[RunningEmulation], bool] | None = None) -> dict[str, Any]:
    """One emulation, from the call to its end."""
    begun = time.monotonic()
    emulator = Emulator(topology, name=f"bench-{os.getpid()}")
    running = emulator.start()
    try:
        up = time.monotonic()
        holds = crosses(running, far)
        usable = time.monotonic()
        holds = holds and (proof is None or proof(running))
        machines = len(running.machines())
    finally:
        closing = time.monotonic()
        emulator.stop()
    times = {"up_s": up - begun, "usable_s": usable - begun, "down_s": time.monotonic() - closing}
    return {**times, "machines": machines, "holds": holds}


def mininet(shape: str, size: int) -> dict[str, Any]:
    """The same switches and hosts in Mininet, once, since it is slow."""
    if not shutil.which("mn"):
        return {"absent": "mininet is not installed"}
    script = Path(__file__).with_name("mininet_line.py")
    command = ["unshare", "--net", "--mount", "/usr/bin/python3", str(script), str(size), shape]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    time.sleep(SETTLE_S)
    return dict(json.loads(done.stdout)) if done.returncode == 0 else {"failed": done.stderr.strip()[-300:]}


def run() -> dict[str, Any]:
    """Measure all; medians, and the peer beside them."""
    if os.geteuid():
        return {"skipped": "needs root"}
    first = measure(shapes.line(2), 2)
    found: dict[str, Any] = {"first_of_a_script": {"up_s": round(first["up_s"], 3), "pops": 2}}
    for name, topology, far, proof in (
        ("line_endpoints", line_of_endpoints(), FAR, None),
        ("line_servers", line_of_servers(), FAR, None),
        ("line_busy_endpoints", line_of_busy_endpoints(), FAR, None),
        ("line_busy_servers", line_of_busy_servers(), FAR, None),
        ("ring", ring(), RING // 2, survives),
    ):
        samples = []
        for _ in range(REPETITIONS):
            samples.append(measure(topology, far, proof))
            time.sleep(SETTLE_S)
        times = {
            key: round(statistics.median(one[key] for one in samples), 3) for key in ("up_s", "usable_s", "down_s")
        }
        found[name] = {**times, "machines": samples[0]["machines"], "holds": all(one["holds"] for one in samples)}
    found["line_mininet"], found["ring_mininet"] = mininet("line", LINE), mininet("ring", RING)
    return {"benchmark": "emulations", "pops": {"line": LINE, "ring": RING}, **found}
