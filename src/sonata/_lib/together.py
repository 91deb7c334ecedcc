"""Awaiting several things at once, or one beside others, without losing any."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


async def together(calls: Iterable[Awaitable[T]]) -> list[T]:
    """Await all; all run to their end, then the first failure, in the given order, is raised."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Await work that must not stop midway: who is cancelled meanwhile learns of it when the work is done."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """Let work go on beside a block, which may await it; it is over when the block is left.

    Its failure is the block's, unless the block has failed itself. Who is cancelled in the block cancels it.
    """
    task = asyncio.ensure_future(work)
    try:
        yield task
        await task
    except asyncio.CancelledError:
        task.cancel()
        raise
    finally:
        await asyncio.gather(task, return_exceptions=True)
