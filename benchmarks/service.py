"""The CDN service of three VNFs from request to READY, beside what the idle platform and emulator take in memory.

A platform and an emulation of two PoPs of their own, in a home of their own; each service is terminated before the
next one is asked for. The first service of a fresh platform is told apart. With the images of the example built
(`sonata image build`), its programs run; without them machines with the host's files stand in. `python -m benchmarks
service` prints JSON; times in seconds, memory in MiB. Needs root.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.memory import SETTLE_S, memory_of
from benchmarks.surroundings import home_in
from sonata._lib.paths import data_home
from sonata.formats.topology import read_topology
from sonata.sdk import emulations, platforms
from sonata.sdk.cdn_demo.demo import EXAMPLE
from sonata.sdk.demonstration import example_folder
from sonata.sdk.packages import build_package
from sonata.sdk.platform_client import PlatformClient

ROUNDS = int(os.environ.get("ROUNDS", "7"))
IMAGES = ("vcache", "vtc", "vtu", "web-origin")
PLACEMENTS = ("ssm", "generic")
TIMEOUT_S = 60.0


def run() -> dict[str, Any]:
    """Measure both placements and the memory, and return what was found."""
    if os.geteuid():
        return {"skipped": "needs root"}
    images = data_home() / "images"
    real = all((images / "images" / f"{name}.json").exists() for name in IMAGES)
    with tempfile.TemporaryDirectory(prefix="sonata-bench-") as scratch, home_in(Path(scratch)):
        example = example_folder(EXAMPLE)
        project = example if real else _with_host_images(example, Path(scratch) / "cdn")
        found = _measure(project, Path(scratch), images)
    return {"images": "built" if real else "host files stand in", "load": os.getloadavg(), **found}


def _with_host_images(project: Path, copy: Path) -> Path:
    shutil.copytree(project, copy)
    for path in (copy / "topology.yaml", *(copy / "descriptors").glob("*.yml")):
        text = path.read_text()
        for name in IMAGES:
            text = text.replace(f"image: {name}", "image: host")
        path.write_text(text)
    return copy


def _measure(project: Path, scratch: Path, images: Path) -> dict[str, Any]:
    topology, address = read_topology(project / "topology.yaml"), ("127.0.0.1", 0)
    package = build_package(project, scratch / "cdn.tgo").read_bytes()
    begun = time.monotonic()
    with emulations.start(topology, name=f"bench-{os.getpid()}", listen=address, images=images) as emulation:
        emulator_up = time.monotonic() - begun
        begun = time.monotonic()
        with platforms.start(scratch / "data", listen=address) as platform:
            platform_up = time.monotonic() - begun
            with PlatformClient(platform.record.url, platform.record.token) as client:
                client.attach_emulation(emulation.record)
                client.onboard(package)
                time.sleep(SETTLE_S)
                memory = memory_of(platform=platform.record.process.pid, emulator=emulation.record.process.pid)
                services = {placement: _rounds(client, placement) for placement in PLACEMENTS}
            begun = time.monotonic()
        platform_down = time.monotonic() - begun
        begun = time.monotonic()
    emulator_down = time.monotonic() - begun
    taken = {"emulator_up": emulator_up, "platform_up": platform_up}
    taken |= {"platform_down": platform_down, "emulator_down": emulator_down}
    return {"processes": {key: round(value, 3) for key, value in taken.items()}, "idle": memory, "services": services}


def _rounds(client: PlatformClient, placement: str) -> dict[str, Any]:
    ready, gone, steps = [], [], defaultdict(list)
    for number in range(ROUNDS + 1):
        begun = time.monotonic()
        request = client.instantiate(
            "cdn", name=f"cdn-{placement}-{number}", ingress="users", egress="origin", placement=placement
        )
        operation = _finished(client, request)
        ready.append(time.monotonic() - begun)
        begun = time.monotonic()
        ended = _finished(client, client.terminate(request["instance_uuid"]))
        gone.append(time.monotonic() - begun)
        if number:
            for prefix, each in (("", operation), ("terminate/", ended)):
                for step in each["steps"]:
                    steps[prefix + step["step"]].append(step["duration_s"] or 0.0)
        else:
            first_steps = {step["step"]: round(step["duration_s"] or 0.0, 3) for step in operation["steps"]}
    return {
        "first_ready_s": round(ready[0], 3),
        "first_steps_s": first_steps,
        "rounds": ROUNDS,
        "ready_s": _summary(ready[1:]),
        "terminate_s": _summary(gone[1:]),
        "step_medians_s": {name: round(statistics.median(taken), 4) for name, taken in steps.items()},
    }


def _finished(client: PlatformClient, request: Mapping[str, Any]) -> Mapping[str, Any]:
    operation = client.wait(request["id"], TIMEOUT_S)
    if operation["state"] != "COMPLETED":
        raise RuntimeError(f"{operation['operation']} ended as {operation['state']}: {operation['error']}")
    return operation


def _summary(seconds: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(seconds), 3),
        "min": round(min(seconds), 3),
        "max": round(max(seconds), 3),
    }


if __name__ == "__main__":
    json.dump(run(), sys.stdout, indent=2)
    print()
