"""What an emulation writes down of itself, so that its clouds come back after its death.

One document for each PoP, one for the wide area and one for numbers, each written soon after it has changed. Snapshots
are taken on the event loop, where they are consistent and cost little; serialising and writing happen in a thread of
their own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from sonata._lib.plain import from_plain
from sonata.emulator.cloud.saved_tables import from_document, rows_of, to_document
from sonata.emulator.cloud.tables import Tables
from sonata.emulator.numbering import Numbers
from sonata.emulator.reservations import Connection
from sonata.errors import AdapterError
from sonata.ports.journal import Journal

logger = logging.getLogger(__name__)

DELAY_S = 0.05
"""How long changes are gathered before they are written."""
RETRY_S = 1.0
"""When documents that could not be written, as on a full disk, are tried again."""
_WAN, _WAN_VERSION = "wan", 1
_NUMBERS = "numbers"
_POP = "pop-"

Taken = Callable[[], Any]
"""Makes the document out of a snapshot; may be called in another thread."""


class Memory:
    """The journal of one emulation, and what in it is out of date."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._snapshots: dict[str, Callable[[], Taken]] = {}
        self._dirty: set[str] = set()
        self._failing: set[str] = set()
        self._writing: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    async def recall(self) -> Recollection:
        """What an earlier life has left, checked; damaged documents are set aside."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, _recollect, self._journal)

    async def forget(self, names: Iterable[str]) -> None:
        """Remove documents that nobody needs any more, and follow their changes no longer."""
        for name in names:
            self._snapshots.pop(name, None)
            self._dirty.discard(name)
            await asyncio.get_running_loop().run_in_executor(self._thread, self._journal.remove, name)

    def keep_tables(self, pop: str, tables: Tables) -> None:
        """Write the tables of a PoP down from now on."""

        def snapshot() -> Taken:
            rows = rows_of(tables)
            return lambda: to_document(rows)

        name = _POP + pop
        self._snapshots[name] = snapshot
        tables.watch(lambda: self._changed(name))
        self._changed(name)

    def keep_connections(self, connections: Callable[[], list[Connection]]) -> Callable[[], None]:
        """Write the connections down from now on; returns what is to be called when they change."""
        return self._keep(_WAN, lambda: {"version": _WAN_VERSION, "connections": connections()})

    def keep_numbers(self, numbers: Callable[[], Numbers]) -> Callable[[], None]:
        """Write the numbers down from now on; returns what is to be called when they change."""
        return self._keep(_NUMBERS, numbers)

    def _keep(self, name: str, taken: Callable[[], Any]) -> Callable[[], None]:
        def snapshot() -> Taken:
            value = taken()
            return lambda: value

        self._snapshots[name] = snapshot
        self._changed(name)
        return lambda: self._changed(name)

    async def close(self) -> None:
        """Write at once what is still to be written; later changes are no longer followed. Idempotent."""
        self._closing.set()
        if self._writing:
            await self._writing
        self._thread.shutdown()

    def _changed(self, name: str) -> None:
        if self._closing.is_set():
            return
        self._dirty.add(name)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._write_soon())

    async def _write_soon(self) -> None:
        while self._dirty:
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_S if self._failing else DELAY_S):
                    await self._closing.wait()
            dirty, self._dirty = self._dirty, set()
            taken = {name: self._snapshots[name]() for name in dirty if name in self._snapshots}
            await asyncio.get_running_loop().run_in_executor(self._thread, self._write, taken)
            if not self._closing.is_set():
                self._dirty |= self._failing

    def _write(self, taken: Mapping[str, Taken]) -> None:
        """Write documents; those that cannot be written are noted, and told once."""
        for name, document in taken.items():
            try:
                self._journal.save(name, document())
            except AdapterError as error:
                if name not in self._failing:
                    logger.warning("what changed would not survive the emulation's death: %s", error.message)
                self._failing.add(name)
            else:
                if name in self._failing:
                    logger.warning("what changed is written down again: `%s`", name)
                self._failing.discard(name)


class Recollection:
    """What an earlier life of an emulation has left."""

    def __init__(self, tables: Mapping[str, Tables], connections: list[Connection], numbers: Numbers) -> None:
        self.tables = tables
        self.connections = connections
        self.numbers = numbers

    def gone(self, pops: Iterable[str]) -> dict[str, Tables]:
        """The tables of PoPs other than these."""
        return {pop: tables for pop, tables in self.tables.items() if pop not in set(pops)}


def document_of(pop: str) -> str:
    """Name of the document of a PoP."""
    return _POP + pop


def _recollect(journal: Journal) -> Recollection:
    tables: dict[str, Tables] = {}
    connections: list[Connection] = []
    numbers = Numbers()
    for name, document in journal.load().items():
        try:
            if name == _WAN:
                connections = _connections_in(document)
            elif name == _NUMBERS:
                numbers = from_plain(document, Numbers)
            else:
                tables[name.removeprefix(_POP)] = from_document(document)
        except ValueError as error:
            logger.warning("saved state `%s` is damaged, and starts empty: %s", name, error)
            journal.set_aside(name)
    return Recollection(tables, connections, numbers)


def _connections_in(document: Any) -> list[Connection]:
    if not isinstance(document, dict) or document.get("version") != _WAN_VERSION:
        raise ValueError(f"not a document of version {_WAN_VERSION}")
    return from_plain(document.get("connections"), list[Connection])
