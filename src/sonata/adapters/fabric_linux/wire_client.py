"""The fabric's side of the wire process: starts it when the first link asks for it, and gives it orders."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import sonata.adapters.fabric_linux.wire as wire
from sonata.adapters.fabric_linux.helper_process import HelperGone, HelperProcess
from sonata.errors import PermanentError
from sonata.model.topology import Impairment

logger = logging.getLogger(__name__)


class WireLink(NamedTuple):
    """A link for the wire to carry, with the descriptors of its two TAPs, which stay the caller's."""

    name: str
    directions: tuple[Impairment, Impairment]
    a: int
    b: int


class WireStatistics(NamedTuple):
    """Frames of both directions: passed, lost on purpose, lost since a queue was full."""

    forwarded: int
    dropped: int
    overruns: int


class WireClient:
    """One wire process. It ends with `close`, and with the thread that started it.

    When it ends by itself, the next call starts another one with the same links. Their interfaces outlive it, with
    routes, filters and all, since we hold descriptors of the TAPs, too.
    """

    def __init__(self) -> None:
        self._process = HelperProcess(wire.__file__)
        self._links: dict[str, WireLink] = {}

    @property
    def pid(self) -> int | None:
        """Process id, None while no link needed it."""
        return self._process.pid

    def add(self, links: Sequence[WireLink]) -> None:
        """Carry frames between the links' TAPs from now on."""
        for some in _slices(links, wire.MAX_LINKS_PER_MESSAGE):
            kept = _kept(some)
            try:
                self._ask(*_addition(some))
            except PermanentError:
                _let_go(kept)
                raise
            self._links.update({link.name: link for link in kept})

    def set(self, name: str, directions: tuple[Impairment, Impairment]) -> None:
        """Change a link while frames are under way."""
        self._ask({"do": "set", **_values(name, directions)})
        self._links[name] = self._links[name]._replace(directions=directions)

    def remove(self, names: Sequence[str]) -> None:
        """Forget links and close their TAPs; unknown ones are no mistake."""
        self._forget(names)
        try:
            for some in _slices(names, wire.MAX_LINKS_PER_MESSAGE):
                self._ask({"do": "remove", "ids": list(some)})
        except PermanentError as error:
            logger.warning("the wire process keeps what it should forget, and is replaced: %s", error.answer)
            try:
                self._start_again()
            except HelperGone as further:
                raise _gone(str(further)) from further

    def statistics(self, names: Sequence[str]) -> Mapping[str, WireStatistics]:
        """What became of the frames since the process was started, by link."""
        found: dict[str, WireStatistics] = {}
        for some in _slices(names, wire.MAX_LINKS_PER_MESSAGE):
            answer = self._ask({"do": "statistics", "ids": list(some)})["statistics"]
            found.update({name: WireStatistics(*values) for name, values in answer.items()})
        return found

    def mend(self) -> list[str]:
        """Start the process again, with its links, if it has ended by itself; what happened, nothing if it is well.

        Raises:
            PermanentError: it cannot be started, or does not take its links; the next call tries again.
        """
        if self._is_well():
            return []
        ended = self._process.end or "could not be started"
        try:
            self._start_again()
        except HelperGone as error:
            raise _gone(f"it {ended}, and its successor cannot work: {error}") from error
        told = f"the wire process {ended}; another one carries its {len(self._links)} links now"
        logger.warning(told)
        return [told]

    def close(self) -> None:
        """End the process."""
        self._forget(list(self._links))
        self._process.close()

    def _ask(self, order: Mapping[str, Any], descriptors: Sequence[int] = ()) -> dict[str, Any]:
        """Give an order; a process that has ended is started again first, or once if it ends over the order."""
        self.mend()
        try:
            return self._exchange(order, descriptors)
        except HelperGone as first:
            logger.warning("the wire process does not answer and is started again: %s", first)
        try:
            self._start_again()
            return self._exchange(order, descriptors)
        except HelperGone as error:
            raise _gone(str(error)) from error

    def _exchange(self, order: Mapping[str, Any], descriptors: Sequence[int] = ()) -> dict[str, Any]:
        answer = self._process.ask(order, descriptors)
        if not answer["ok"]:
            raise PermanentError(
                f"the wire process refused to `{order['do']}`", call=str(order["do"]), answer=str(answer["error"])
            )
        return answer

    def _start_again(self) -> None:
        """Make an end of a process that has ended or hangs, and let another one carry its links."""
        self._process.close(wait_s=0)
        try:
            for some in _slices(list(self._links.values()), wire.MAX_LINKS_PER_MESSAGE):
                self._exchange(*_addition(some))
        except PermanentError as error:
            self._process.close(wait_s=0)  # rather none than one without some of its links
            raise HelperGone(f"{error.message}: {error.answer}") from error

    def _is_well(self) -> bool:
        return not self._links if self.pid is None else self._process.end is None

    def _forget(self, names: Sequence[str]) -> None:
        _let_go([self._links.pop(name) for name in names if name in self._links])


def _kept(links: Sequence[WireLink]) -> list[WireLink]:
    """Links with descriptors of our own, all of them or none."""
    copies: list[int] = []
    try:
        for link in links:
            copies += [os.dup(link.a)]
            copies += [os.dup(link.b)]
    except OSError as error:
        for copy in copies:
            os.close(copy)
        raise PermanentError(
            f"{len(links)} links with delay, jitter or loss cannot be carried: {error.strerror}",
            hint="each takes two open files: raise the hard limit `nofile`, see limits.conf(5)",
        ) from error
    return [link._replace(a=a, b=b) for link, a, b in zip(links, copies[::2], copies[1::2], strict=True)]


def _let_go(links: Sequence[WireLink]) -> None:
    for link in links:
        os.close(link.a)
        os.close(link.b)


def _addition(links: Sequence[WireLink]) -> tuple[dict[str, Any], list[int]]:
    """The order to carry links, and the descriptors that go with it."""
    order = {"do": "add", "links": [_values(link.name, link.directions) for link in links]}
    return order, [end for link in links for end in (link.a, link.b)]


def _gone(why: str) -> PermanentError:
    return PermanentError(
        f"the wire process does not answer: {why}",
        hint="links with delay, jitter or loss carry nothing now; if it does not come back, restart the emulation",
    )


def _values(name: str, directions: Sequence[Impairment]) -> dict[str, Any]:
    return {"id": name, "directions": [{key: getattr(one, key) for key in wire.VALUES} for one in directions]}


def _slices(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
