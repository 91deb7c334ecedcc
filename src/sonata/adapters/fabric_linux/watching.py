"""The fabric's side of the watch over links: one process for all of them, started when the first one is watched."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sonata.adapters.fabric_linux.link_watch as link_watch
from sonata.adapters.fabric_linux.helper_process import HelperGone, HelperProcess
from sonata.adapters.fabric_linux.probing import Foot, connected
from sonata.errors import AdapterError, PermanentError
from sonata.ports.metering import Watched, Window

logger = logging.getLogger(__name__)


class LinkWatch:
    """One watching process. It ends with `close`, and with the thread that started it."""

    def __init__(self) -> None:
        self._process = HelperProcess(link_watch.__file__)
        self._known: dict[str, tuple[Foot, Foot]] = {}
        self._every_s = 0.0

    @property
    def pid(self) -> int | None:
        """Process id, None while nothing is watched."""
        return self._process.pid

    def follow(self, links: Mapping[str, tuple[Foot, Foot]], every_s: float) -> None:
        """Watch these links, by their two feet, and no others; none ends the process.

        Raises:
            AdapterError: the process cannot be started or does not answer; the next call tries again.
        """
        if not links:
            self.close()
            return
        if every_s != self._every_s or self._process.end:
            self.close()  # rings are made for a pace
        gone = [name for name in self._known if self._known[name] != links.get(name)]
        new = [name for name in links if name not in self._known or name in gone]
        try:
            self._start(every_s)
            for some in _slices(gone):
                self._ask({"do": "remove", "links": some})
            self._known = {name: feet for name, feet in self._known.items() if name not in gone}
            for some in _slices(new):
                self._add({name: links[name] for name in some})
        except AdapterError:
            self.close()
            raise

    def read(self, late_s: Mapping[str, tuple[float, float]]) -> Mapping[str, tuple[Watched, Watched]]:
        """What became of the packets of links, in both directions; links that are not watched are left out.

        Raises:
            AdapterError: the process does not answer.
        """
        found: dict[str, tuple[Watched, Watched]] = {}
        for some in _slices([name for name in late_s if name in self._known]):
            late = {name: [min(one, link_watch.LATEST_S) for one in late_s[name]] for name in some}
            for name, (there, back) in self._ask({"do": "read", "links": late})["links"].items():
                found[name] = (_watched(there), _watched(back))
        return found

    def close(self) -> None:
        """End the process. Idempotent."""
        self._process.close()
        self._known, self._every_s = {}, 0.0

    def _add(self, links: Mapping[str, tuple[Foot, Foot]]) -> None:
        ends: list[socket.socket] = []
        try:
            for a, b in links.values():
                ends += connected(a, b)
            self._ask({"do": "add", "links": list(links)}, [end.fileno() for end in ends])
        finally:
            for end in ends:
                end.close()
        self._known.update(links)

    def _ask(self, order: Mapping[str, Any], descriptors: Sequence[int] = ()) -> dict[str, Any]:
        try:
            return self._process.ask(order, descriptors)
        except HelperGone as error:
            raise PermanentError(
                f"the process that watches links does not answer: {error}", call=str(order["do"]), answer=str(error)
            ) from error

    def _start(self, every_s: float) -> None:
        if self.pid is not None:
            return
        self._ask({"do": "pace", "every_s": every_s})
        self._every_s = every_s
        logger.info("links are watched", extra={"pid": self.pid, "every_s": every_s})


def _watched(told: Sequence[Any]) -> Watched:
    sent, windows = told
    spans = zip(link_watch.WINDOWS_S, windows, strict=True)
    return Watched(sent, tuple(Window(span_s, *one) for span_s, one in spans))


def _slices(names: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(names), link_watch.MAX_LINKS):
        yield list(names[start : start + link_watch.MAX_LINKS])
