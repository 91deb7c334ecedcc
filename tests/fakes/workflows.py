"""Workflows in memory: nothing survives a restart, everything else is as the port says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from sonata.errors import StepTimeout, WorkflowError
from sonata.ports.workflow import Payload, WorkflowFunction


class _Context:
    def __init__(self, engine: MemoryWorkflows, workflow_id: str) -> None:
        self.engine, self.workflow_id = engine, workflow_id

    async def step(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        self.engine.steps.append(name)
        return await call()

    async def branches(self, workflow: str, payloads: Sequence[tuple[str, Payload]]) -> Sequence[Any]:
        tasks = [self.engine.begin(workflow, f"{self.workflow_id}/{name}", payload) for name, payload in payloads]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return results


class MemoryWorkflows:
    """Implements `ports.workflow.Workflows`."""

    def __init__(self) -> None:
        self.functions: dict[str, WorkflowFunction] = {}
        self.tasks: dict[str, asyncio.Task[Any]] = {}
        self.steps: list[str] = []

    def register(self, name: str, function: WorkflowFunction) -> None:
        self.functions[name] = function

    async def launch(self) -> None:
        return

    def begin(self, name: str, workflow_id: str, payload: Payload) -> asyncio.Task[Any]:
        if name not in self.functions:
            raise WorkflowError(f"workflow `{name}` is not registered")
        if workflow_id not in self.tasks:
            work = self.functions[name](_Context(self, workflow_id), payload)
            self.tasks[workflow_id] = asyncio.ensure_future(work)
        return self.tasks[workflow_id]

    async def start(self, name: str, workflow_id: str, payload: Payload) -> None:
        self.begin(name, workflow_id, payload)

    async def result(self, workflow_id: str, *, timeout_s: float) -> Any:
        if workflow_id not in self.tasks:
            raise WorkflowError(f"no workflow `{workflow_id}`")
        try:
            return await asyncio.wait_for(asyncio.shield(self.tasks[workflow_id]), timeout_s)
        except TimeoutError as error:
            raise StepTimeout(f"workflow `{workflow_id}` still runs") from error

    async def close(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
