"""What goes on with stacks in the background: one after another for each stack, unless it does not wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from itertools import count

from sonata.emulator.cloud.background import Background, Crashed
from sonata.emulator.cloud.entities.orchestration import Stack
from sonata.emulator.cloud.orchestration.work import Deadline
from sonata.emulator.cloud.tables import Tables

Run = Callable[[Deadline], Awaitable[None]]


class Running:
    """What goes on with the stacks of one cloud.

    Args:
        on_crash: called with the id of a stack, something after a slash, and the exception with which its work ended.
    """

    def __init__(self, tables: Tables, on_crash: Crashed) -> None:
        self._tables = tables
        self._background = Background(on_crash)
        self._running: dict[str, dict[str, Deadline]] = {}
        """By stack: the last is the one that counts, the others end with what they have begun."""
        self._number = count(1)

    async def close(self) -> None:
        """End all of them; what they have made goes with the cloud."""
        await self._background.close()

    def in_background(self, name: str, work: Coroutine[None, None, None]) -> None:
        """Let something go on for which no operation waits, until all are closed."""
        self._background.spawn(f"apart/{name}/{next(self._number)}", work)

    def stop(self, stack_id: str) -> None:
        """Ask what goes on with a stack to end soon; idempotent."""
        for deadline in self._running.get(stack_id, {}).values():
            deadline.stopped = True

    async def settled(self, stack_id: str) -> Stack | None:
        """Wait until nothing goes on with a stack; None when it is gone."""
        while names := tuple(self._running.get(stack_id, ())):
            await self._background.wait(names[-1])
        return self._tables.stacks.peek(stack_id)

    def settle(self, stack_id: str) -> None:
        """Let all that goes on with a stack have its outcome: nothing more of it begins."""
        for deadline in self._running.get(stack_id, {}).values():
            deadline.over = True

    def spawn(self, stack_id: str, run: Run, *, at_once: bool = False) -> None:
        """Let something go on with a stack, after what goes on with it or at once."""
        running = self._running.setdefault(stack_id, {})
        earlier = () if at_once else tuple(running)
        deadline = Deadline.after(self._tables.stacks.get(stack_id).timeout_mins)
        name = f"{stack_id}/{next(self._number)}"
        running[name] = deadline

        async def operate() -> None:
            for one in earlier:
                await self._background.wait(one)
            try:
                await run(deadline)
            finally:
                del running[name]
                if not running and self._running.get(stack_id) is running:
                    del self._running[stack_id]

        self._background.spawn(name, operate())
