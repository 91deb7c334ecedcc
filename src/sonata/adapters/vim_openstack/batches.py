"""Requests of one kind that are made at the same time become one call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from sonata.errors import SonataError

R = TypeVar("R")
A = TypeVar("A")


class Batch(Generic[R, A]):
    """Collects the requests of one turn of the event loop.

    When a call for several fails, each is made alone, so that every caller gets an answer of its own; requests are
    therefore idempotent.

    Args:
        call: answers several requests, in their order.
    """

    def __init__(self, call: Callable[[Sequence[R]], Awaitable[Sequence[A]]]) -> None:
        self._call = call
        self._waiting: list[tuple[R, asyncio.Future[A]]] = []
        self._running: set[asyncio.Task[None]] = set()

    async def add(self, request: R) -> A:
        """Answer a request, together with what others ask for now."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[A] = loop.create_future()
        self._waiting.append((request, answer))
        if len(self._waiting) == 1:
            loop.call_soon(self._flush)
        return await answer

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        task = asyncio.get_running_loop().create_task(self._run(waiting))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run(self, waiting: Sequence[tuple[R, asyncio.Future[A]]]) -> None:
        if len(waiting) > 1:
            try:
                answers = await self._call([request for request, _ in waiting])
            except SonataError:
                await asyncio.gather(*(self._run([each]) for each in waiting))
                return
            for (_, future), found in zip(waiting, answers, strict=True):
                _settle(future, found)
            return
        request, answer = waiting[0]
        (result,) = await asyncio.gather(self._call([request]), return_exceptions=True)
        _settle(answer, result if isinstance(result, BaseException) else result[0])


def _settle(answer: asyncio.Future[A], result: A | BaseException) -> None:
    """Answer, unless who asked has gone."""
    if answer.done():
        return
    if isinstance(result, BaseException):
        answer.set_exception(result)
    else:
        answer.set_result(result)
