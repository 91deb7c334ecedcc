"""From the call to the running program: a confined machine, beside a bare `unshare` and what engines are installed.

`python -m benchmarks vnf_start` prints JSON; times in milliseconds. Needs root.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sonata.adapters.runtime_oci import OciRuntime, hide_hybrid_cgroup
from sonata.ports.runtime import Limits, MachineSpec, RootFs

STARTS = 60


def summary(milliseconds: list[float]) -> dict[str, float]:
    """Median, 99th percentile and best of a series."""
    ordered = sorted(milliseconds)
    return {
        "p50_ms": round(statistics.median(ordered), 2),
        "p99_ms": round(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 2),
        "min_ms": round(ordered[0], 2),
        "starts": len(ordered),
    }


async def machines(engine: str, folder: Path) -> dict[str, Any]:
    """Start, exec and stop of confined machines with CPU, memory and process limits."""
    runtime = OciRuntime(folder / engine, f"sonata-bench-{os.getpid()}", engines=(engine,))
    starts: list[float] = []
    execs: list[float] = []
    stops: list[float] = []
    limits = Limits(cpus=0.5, memory_bytes=256 * 1024**2)
    try:
        for number in range(STARTS):
            spec = MachineSpec(f"m{number}", "box", RootFs(), ("sleep", "1000"), folder / "console", limits=limits)
            begun = time.perf_counter()
            await runtime.start(spec)
            starts.append((time.perf_counter() - begun) * 1e3)
        for number in range(STARTS):
            begun = time.perf_counter()
            await runtime.exec(f"m{number}", ["true"])
            execs.append((time.perf_counter() - begun) * 1e3)
        for number in range(STARTS):
            begun = time.perf_counter()
            await runtime.stop(f"m{number}")
            stops.append((time.perf_counter() - begun) * 1e3)
    finally:
        await runtime.close()
    return {"engine": runtime.name, "start": summary(starts), "exec": summary(execs), "stop": summary(stops)}


def timed(call: Callable[[], object], times: int) -> dict[str, float]:
    """A series of calls."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        taken.append((time.perf_counter() - begun) * 1e3)
    return summary(taken)


def bare_unshare() -> dict[str, float]:
    """The least that the kernel asks for: namespaces and a program, without root file system, limits or confinement."""
    argv = ["unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "true"]
    return timed(lambda: subprocess.run(argv, check=True), STARTS)


def peer(program: str) -> dict[str, Any]:
    """`PROGRAM run -d` of an image that is there already; says why where it cannot be measured."""
    if not shutil.which(program):
        return {"absent": f"{program} is not installed"}
    images = subprocess.run([program, "images", "-q"], capture_output=True, text=True, check=False)
    if images.returncode or not images.stdout.split():
        return {"absent": (images.stderr.strip().splitlines() or [f"{program} has no image to start"])[-1]}
    image, started = images.stdout.split()[0], []

    def start() -> None:
        argv = [program, "run", "-d", "--network=none", "--memory=256m", "--cpus=0.5", image, "sleep", "1000"]
        started.append(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip())

    try:
        return {"start": timed(start, 20)}
    except subprocess.CalledProcessError as error:
        return {"absent": error.stderr.strip()[:200]}
    finally:
        for container in started:
            subprocess.run([program, "rm", "-f", container], capture_output=True, check=False)


def run() -> dict[str, Any]:
    """Measure all in a process with a mount namespace of its own, and return what was found."""
    if os.geteuid():
        return {"skipped": "needs root"}
    argv = ["unshare", "--mount", sys.executable, "-m", "benchmarks.vnf_start"]
    found: dict[str, Any] = json.loads(subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout)
    return found


def measure() -> dict[str, Any]:
    """Measure all here."""
    hide_hybrid_cgroup()
    found: dict[str, Any] = {"load": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as folder:
        for engine in ("crun", "runc"):
            installed = shutil.which(engine)
            found[engine] = asyncio.run(machines(engine, Path(folder))) if installed else {"absent": "not installed"}
    return {**found, "bare_unshare": bare_unshare(), "docker": peer("docker"), "podman": peer("podman")}


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
