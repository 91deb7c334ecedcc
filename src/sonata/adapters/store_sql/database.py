"""The SQLite database: one writer thread that groups commits, and a small pool of readers."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from sonata.adapters.store_sql.engine import open_engine
from sonata.adapters.store_sql.schema import bring_up_to_date
from sonata.errors import PermanentError

T = TypeVar("T")
Work = Callable[[sa.Connection], T]
_Job = tuple[Callable[[sa.Connection], Any], "Future[Any]"]

MAX_GROUP = 256
_READERS = 2


class Database:
    """Reads in a small pool, writes in one thread.

    Writes that wait while a commit runs are committed together; each is durable when its call returns. A write that
    fails is undone alone (by a savepoint) and does not harm its neighbours.
    """

    def __init__(self, path: Path) -> None:
        self._engine = open_engine(path)
        bring_up_to_date(self._engine, path)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="store-reader")
        self._writer = threading.Thread(target=self._write_forever, name="store-writer", daemon=True)
        self._writer.start()

    async def read(self, work: Work[T]) -> T:
        """Run a query."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work)

    def _read(self, work: Work[T]) -> T:
        with self._engine.connect() as connection:
            return work(connection)

    async def write(self, work: Work[T]) -> T:
        """Run changes; they are on disk at return.

        Raises:
            PermanentError: the database refused.
        """
        done: Future[T] = Future()
        self._jobs.put((work, done))
        try:
            return await asyncio.shield(asyncio.wrap_future(done))
        except SQLAlchemyError as error:
            raise PermanentError(f"the database cannot be written: {error}", call="COMMIT") from error

    def _write_forever(self) -> None:
        while (first := self._jobs.get()) is not None:
            group, is_last = self._group(first)
            self._commit(group)
            if is_last:
                return

    def _group(self, first: _Job) -> tuple[list[_Job], bool]:
        group = [first]
        while len(group) < MAX_GROUP:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                return group, True
            group.append(job)
        return group, False

    def _commit(self, group: list[_Job]) -> None:
        results: list[tuple[Future[Any], Any]] = []
        try:
            with self._engine.begin() as connection:
                if len(group) == 1:
                    self._apply_alone(connection, *group[0], results)
                else:
                    for work, done in group:
                        self._apply(connection, work, done, results)
        except SQLAlchemyError as error:
            for done, _ in results:
                done.set_exception(error)
            return
        for done, result in results:
            done.set_result(result)

    @staticmethod
    def _apply_alone(connection: sa.Connection, work: Work[Any], done: Future[Any], results: list[Any]) -> None:
        """The only write of a transaction needs no savepoint: when it fails, all is undone."""
        results.append((done, None))
        results[0] = (done, work(connection))

    @staticmethod
    def _apply(connection: sa.Connection, work: Work[Any], done: Future[Any], results: list[Any]) -> None:
        try:
            with connection.begin_nested():
                results.append((done, work(connection)))
        except SQLAlchemyError as error:
            done.set_exception(error)

    async def close(self) -> None:
        """Commit what waits and release the file."""
        self._jobs.put(None)
        await asyncio.get_running_loop().run_in_executor(self._readers, self._writer.join)
        self._readers.shutdown()
        self._engine.dispose()
