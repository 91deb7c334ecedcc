"""Durable workflows: what was started ends, also after kill -9.

A workflow is an async function `run(context, payload)` registered under a stable name before `launch`. Whatever it
does to the world it does in `context.step`; steps run at least once, so they are idempotent. Parallel branches are
`context.branches`: each branch is a workflow of its own with a fixed id, started in the given order.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

Payload = Mapping[str, Any]


class WorkflowContext(Protocol):
    """What a running workflow may use."""

    @property
    def workflow_id(self) -> str:
        """The fixed id it was started with."""

    async def step(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        """Run a step once its turn has come; after a recovery a finished step returns its recorded JSON result."""

    async def branches(self, workflow: str, payloads: Sequence[tuple[str, Payload]]) -> Sequence[Any]:
        """Run child workflows in parallel, given as (branch name, payload); results in the same order.

        All branches run to their end; then the first failure, in the given order, is raised.
        """


WorkflowFunction = Callable[[WorkflowContext, Payload], Awaitable[Any]]


class Workflows(Protocol):
    """The engine."""

    def register(self, name: str, function: WorkflowFunction) -> None:
        """Make a workflow known; before `launch` only."""

    async def launch(self) -> None:
        """Open the journal and go on with what was running when the process died."""

    async def start(self, name: str, workflow_id: str, payload: Payload) -> None:
        """Start a workflow durably; a second start with the same id does nothing."""

    async def result(self, workflow_id: str, *, timeout_s: float) -> Any:
        """Wait for a workflow and return its result, or raise what it raised."""

    async def close(self) -> None:
        """Stop; unfinished workflows go on at the next launch."""
