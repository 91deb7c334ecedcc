"""Runs a platform on a folder: instantiates a service, terminates it, and dies by SIGKILL where it is told to.

Started again on the same folder it goes on where it died, and prints what came out as one JSON line.
Arguments: FOLDER, and the number of the moment to die at (0 for never). Moments are: before and after each write of a
step's row, and before each call to a VIM or WIM.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from sonata.mano.lifecycle import InstantiateRequest
from sonata.model.records import NsState, StepRecord
from tests.fakes.platform import TestPlatform
from tests.fakes.services import PLACER, package, two_sites


class Fate:
    """Counts moments and ends the process at the chosen one."""

    def __init__(self, moment: int) -> None:
        self.moment, self.passed = moment, 0

    def pass_by(self) -> None:
        self.passed += 1
        if self.passed == self.moment:
            os.kill(os.getpid(), signal.SIGKILL)


def attach(fate: Fate, platform: TestPlatform) -> None:
    put_step = platform.store.put_step

    async def put(step: StepRecord) -> None:
        fate.pass_by()
        await put_step(step)
        fate.pass_by()

    async def before_call(name: str) -> None:
        fate.pass_by()

    platform.store.put_step = put  # type: ignore[method-assign]
    platform.cloud.before_call = before_call


async def run(folder: Path, moment: int) -> dict[str, Any]:
    cloud = two_sites(path=folder / "cloud.json")
    split = {"managers/place.py": lambda state: {"mapping": {"va": "access", "vb": "access", "vc": "core"}}}
    platform = TestPlatform(folder, cloud, split)
    fate = Fate(moment)
    attach(fate, platform)
    async with platform:
        if not await platform.mano.instances.list():
            await platform.mano.catalogue.onboard(package(managers=(PLACER,)))
            await platform.mano.lifecycle.instantiate(InstantiateRequest("chain", "web", "users", "origin"))
        for operation in await platform.store.list_operations():
            await platform.end(operation)
        instance = await platform.mano.instances.find("web")
        if instance.record.state is NsState.READY:
            await platform.end(await platform.mano.lifecycle.terminate("web"))
        instance = await platform.mano.instances.find("web")
        return {
            "operations": [f"{o.operation} {o.state}" for o in await platform.store.list_operations()],
            "errors": [o.error for o in await platform.store.list_operations() if o.error],
            "state": instance.record.state,
            "left": cloud.objects,
            "made_twice": sorted({tag for tag in cloud.creates if cloud.creates.count(tag) > 1}),
            "moments": fate.passed,
        }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2])))) + "\n")
