"""Resident memory of the idle platform and an emulation of two PoPs, process by process.

A platform and an emulation in a home of their own; the PoPs are registered as VIMs, and the CDN service is on-boarded,
so that a spare sandbox for its manager waits. Nothing runs in the PoPs. RSS counts in each process all that it has in
memory, PSS divides what processes share. `python -m benchmarks memory` prints JSON; memory in MiB. Needs root.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.surroundings import home_in
from sonata._lib.paths import data_home
from sonata.model.topology import Impairment, Link, Pop, Topology
from sonata.sdk import emulations, platforms
from sonata.sdk.cdn_demo.demo import EXAMPLE
from sonata.sdk.demonstration import example_folder
from sonata.sdk.packages import build_package
from sonata.sdk.platform_client import PlatformClient

SETTLE_S = 3.0
ANY_PORT = ("127.0.0.1", 0)


def run() -> dict[str, Any]:
    """Measure, and return what was found."""
    if os.geteuid():
        return {"skipped": "needs root"}
    images = data_home() / "images"
    with tempfile.TemporaryDirectory(prefix="sonata-bench-") as scratch, home_in(Path(scratch)):
        return _measure(Path(scratch), images)


def _measure(scratch: Path, images: Path) -> dict[str, Any]:
    package = build_package(example_folder(EXAMPLE), scratch / "cdn.tgo").read_bytes()
    link = Link("backbone", "access", "core", Impairment(delay_s=0.02))
    topology = Topology("idle", {name: Pop(name) for name in ("access", "core")}, (link,))
    with (
        emulations.start(topology, name=f"bench-{os.getpid()}", listen=ANY_PORT, images=images) as emulation,
        platforms.start(scratch / "data", listen=ANY_PORT) as platform,
        PlatformClient(platform.record.url, platform.record.token) as client,
    ):
        client.attach_emulation(emulation.record)
        client.onboard(package)
        time.sleep(SETTLE_S)
        return memory_of(platform=platform.record.process.pid, emulator=emulation.record.process.pid)


def memory_of(**roots: int) -> dict[str, Any]:
    """Resident memory of processes with all their descendants: PSS shares what is shared, RSS counts it repeatedly."""
    found: dict[str, Any] = {name: _memory_below(pid) for name, pid in roots.items()}
    found["total_pss_mib"] = round(sum(each["pss_mib"] for each in found.values()), 1)
    found["total_rss_mib"] = round(sum(each["rss_mib"] for each in found.values() if isinstance(each, dict)), 1)
    return found


def _memory_below(root: int) -> dict[str, Any]:
    children = defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            children[int(stat.read_text().rpartition(")")[2].split()[1])].append(int(stat.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    waiting, processes, total = [root], [], {"Pss": 0, "Rss": 0}
    while waiting:
        pid = waiting.pop()
        waiting += children[pid]
        sizes = _sizes(pid)
        processes.append({"what": _command(pid), **{f"{k.lower()}_mib": round(v / 1024, 1) for k, v in sizes.items()}})
        for key, size in sizes.items():
            total[key] += size
    return {**{f"{k.lower()}_mib": round(v / 1024, 1) for k, v in total.items()}, "processes": processes}


def _sizes(pid: int) -> dict[str, int]:
    """What a process takes; nothing when it has ended."""
    try:
        told = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return {"Pss": 0, "Rss": 0}
    lines = (line.split() for line in told.splitlines()[1:])
    sizes = {words[0].rstrip(":"): int(words[1]) for words in lines}
    return {"Pss": sizes["Pss"], "Rss": sizes["Rss"]}


def _command(pid: int) -> str:
    return " ".join(Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0"))[:80].strip()


if __name__ == "__main__":
    json.dump(run(), sys.stdout, indent=2)
    print()
