"""What a resource type sees of the engine while it works on one resource."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol

from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.orchestration import Definition, Stack, StackResource
from sonata.emulator.cloud.orchestration.calls import CallRefused, OpenStackCalls, told
from sonata.emulator.cloud.tables import Tables
from sonata.errors import SonataError, StepTimeout

FIRST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 0.5
LONGEST_OPERATION_MINS = 60


class ResourceFailed(SonataError):
    """A resource did not become what it should."""


class NotWell(ResourceFailed):
    """A check found that an object is not as it should be."""


class NoId(ResourceFailed):
    """A resource is to be adopted, and nobody says which object that is."""


class NestedFailed(ResourceFailed):
    """The stack for which a resource stands has failed; the message is that stack's reason."""

    def told(self, action: str, where: str) -> str:
        """The reason as a resource tells it: the innermost error, and the path to it from the resource's stack."""
        parts = [part.strip() for part in self.message.split(":")]
        if f"Resource {action} failed: " not in self.message or len(parts) < 4:
            return f"{where}: {self.message}"
        _, error, path, *message = parts
        steps = (f"[{step}]" if step.isdigit() else f".{step}" for step in path.split("."))
        return f"{error}: {where}{''.join(steps)}: {': '.join(message)}"


class ToldToFail(ResourceFailed):
    """A resource for tests fails, as it was told to."""


class Stopped(SonataError):
    """The operation was cancelled, or another resource failed."""


class Nesting(Protocol):
    """What types that hold stacks of their own need of the engine."""

    tables: Tables

    async def create_nested(self, parent: Stack, resource: StackResource, definition: Definition) -> str:
        """Begin to create a nested stack; returns its id."""

    async def adopt_nested(self, parent: Stack, resource: StackResource, exported: Mapping[str, Any]) -> str:
        """Begin to adopt a nested stack from what was exported of it; returns its id."""

    async def update_nested(self, stack_id: str, definition: Definition) -> None:
        """Begin to update a nested stack."""

    async def act_nested(self, stack_id: str, action: str) -> None:
        """Begin `DELETE`, `CHECK`, `SUSPEND` or `RESUME` of a nested stack."""

    def stop(self, stack_id: str) -> None:
        """Ask an operation to end soon; idempotent."""

    async def outputs(self, stack_id: str) -> Mapping[str, Any]:
        """Outputs of a stack by name."""

    async def attribute_of(self, stack_id: str, resource: str, name: str, path: tuple[Any, ...] = ()) -> Any:
        """An attribute of a resource in a stack; None when that is not there."""

    def in_background(self, name: str, work: Coroutine[None, None, None]) -> None:
        """Let something go on for which no operation waits."""

    async def run_in_server(self, server_id: str, argv: Sequence[str], stdin: bytes) -> tuple[int, bytes, bytes]:
        """Run a command in a server that is on; status, output, errors."""

    def reference_of(self, stack_id: str, resource: str) -> Any:
        """What `get_resource` of a resource in a stack is; None when that is not there."""


@dataclass(slots=True)
class Deadline:
    """How long an operation may take, and whether it shall end.

    Args:
        ends_at: on the monotonic clock.
        stopped: whether what it has begun ends as soon as it can.
        over: whether its outcome is settled: what it has begun goes on to its end, nothing more begins.
    """

    ends_at: float
    stopped: bool = False
    over: bool = False

    @classmethod
    def after(cls, minutes: int | None) -> Deadline:
        """A deadline some minutes from now."""
        return cls(time.monotonic() + 60.0 * (minutes or LONGEST_OPERATION_MINS))

    @property
    def left_s(self) -> float:
        """Seconds until it."""
        return max(0.0, self.ends_at - time.monotonic())

    def check(self) -> None:
        """Raise when the operation must not go on.

        Raises:
            Stopped: it was cancelled.
            StepTimeout: its time is over.
        """
        if self.stopped:
            raise Stopped("aborted (user triggered cancel)")
        if time.monotonic() > self.ends_at:
            raise StepTimeout("timed out")


@dataclass(slots=True)
class Work:
    """One resource at work.

    Args:
        resource_id: id of its row.
        properties: resolved and checked.
    """

    engine: Nesting
    stack: Stack
    resource_id: str
    properties: Mapping[str, Any]
    calls: OpenStackCalls
    deadline: Deadline

    @property
    def row(self) -> StackResource:
        """The resource's row as it is now."""
        return self.engine.tables.stack_resources.get(self.resource_id)

    @property
    def physical_id(self) -> str:
        """The id of what stands for it in the site; empty before that is made."""
        return self.row.physical_id

    @property
    def physical_name(self) -> str:
        """A name for what the template gives none, in Heat's form: stack, resource, and a part of the id."""
        return f"{self.stack.name}-{self.row.name}-{self.resource_id.replace('-', '')[:12]}"

    def made(self, physical_id: str) -> None:
        """Note the id of what was made, so that it is deleted whatever follows."""
        self.engine.tables.stack_resources.change(self.resource_id, physical_id=physical_id)

    def remember(self, **data: Any) -> None:
        """Keep data with the resource."""
        self.engine.tables.stack_resources.change(self.resource_id, data={**self.row.data, **data})

    async def call(self, service: str, method: str, path: str, body: Any = None) -> Any:
        """The answer's document of a request to a service.

        Raises:
            CallRefused: the service refused.
        """
        status, document = await self.calls.call(service, method, path, body)
        if status >= 400:
            message = told(document) or f"HTTP status {status}"
            raise CallRefused(status, message, f"{method} {service}{path}")
        return document

    async def sleep(self, seconds: float) -> None:
        """Let time pass.

        Raises:
            Stopped, StepTimeout: the operation ends before.
        """
        until = time.monotonic() + seconds
        await self.until(lambda: time.monotonic() >= until)

    async def gone(self, service: str, path: str) -> bool:
        """Whether a GET answers 404."""
        try:
            await self.call(service, "GET", path)
        except CallRefused as error:
            if error.status == 404:
                return True
            raise
        return False

    async def until(self, is_done: Callable[[], Any]) -> None:
        """Wait, looking again and again, until a condition holds; it may be a coroutine function.

        Raises:
            Stopped, StepTimeout: the operation ends before.
        """
        pause = FIRST_PAUSE_S
        while True:
            found = is_done()
            if await found if asyncio.iscoroutine(found) else found:
                return
            self.deadline.check()
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE_S, pause * 1.5)
