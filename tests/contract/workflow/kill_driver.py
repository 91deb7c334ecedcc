"""Runs a workflow of two branches on a journal and leaves marks in a file; dies by SIGKILL where it is told to.

Arguments: FOLDER and the name of the mark at which to die (`-` for never): `before:STEP` is written in the step's body
before it does anything, `after:STEP` when it has done its work but has not returned yet.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from sonata.adapters.workflow_dbos import DbosWorkflows
from sonata.ports.workflow import Payload, WorkflowContext


async def run(folder: Path, death: str) -> Any:
    def mark(text: str) -> None:
        with (folder / "marks").open("a") as stream:
            stream.write(text + "\n")
        if text == death:
            os.kill(os.getpid(), signal.SIGKILL)

    async def work(context: WorkflowContext, name: str) -> str:
        async def body() -> str:
            mark(f"before:{name}")
            await asyncio.sleep(0.02)
            mark(f"after:{name}")
            return name

        return str(await context.step(name, body))

    async def branch(context: WorkflowContext, payload: Payload) -> Any:
        return [await work(context, f"{payload['name']}{number}") for number in (1, 2)]

    async def parent(context: WorkflowContext, payload: Payload) -> Any:
        first = await work(context, "first")
        both = await context.branches("branch", [(name, {"name": name}) for name in ("x", "y")])
        return [first, *both, await work(context, "last")]

    workflows = DbosWorkflows(folder / "engine.db")
    workflows.register("branch", branch)
    workflows.register("parent", parent)
    await workflows.launch()
    await workflows.start("parent", "op/1", {})
    try:
        return await workflows.result("op/1", timeout_s=30)
    finally:
        await workflows.close()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(run(Path(sys.argv[1]), sys.argv[2]))) + "\n")
