"""Changes whose parts belong together: taken back when what should follow failed, or brought to their end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any


@contextmanager
def undone_on_failure(undo: Callable[[], object]) -> Iterator[None]:
    """Call `undo` when the block is left by any exception, cancellation included."""
    with ExitStack() as pending:
        pending.callback(undo)
        yield
        pending.pop_all()


async def to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Await work that must not stop midway: who is cancelled meanwhile learns of it when the work is done."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
