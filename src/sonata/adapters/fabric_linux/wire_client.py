"""The fabric's side of the wire process: starts it when the first link asks for it, and gives it orders."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import sonata.adapters.fabric_linux.wire as wire
from sonata.errors import PermanentError
from sonata.model.topology import Impairment

logger = logging.getLogger(__name__)

_ANSWER_S = 10.0


class WireLink(NamedTuple):
    """A link for the wire to carry, with the descriptors of its two TAPs, which stay the caller's."""

    name: str
    impairment: Impairment
    a: int
    b: int


class WireStatistics(NamedTuple):
    """Frames of both directions: passed, lost on purpose, lost since a queue was full."""

    forwarded: int
    dropped: int
    overruns: int


class WireClient:
    """One wire process. It ends with `close`, and with the thread that started it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        """Process id, None while no link needed it."""
        return self._process.pid if self._process else None

    def add(self, links: Sequence[WireLink]) -> None:
        """Carry frames between the links' TAPs from now on."""
        for some in _slices(links, wire.MAX_LINKS_PER_MESSAGE):
            order = {"do": "add", "links": [_values(link.name, link.impairment) for link in some]}
            self._ask(order, [end for link in some for end in (link.a, link.b)])

    def set(self, name: str, impairment: Impairment) -> None:
        """Change a link while frames are under way."""
        self._ask({"do": "set", **_values(name, impairment)})

    def remove(self, names: Sequence[str]) -> None:
        """Forget links and close their TAPs; unknown ones are no mistake."""
        for some in _slices(names, wire.MAX_LINKS_PER_MESSAGE):
            self._ask({"do": "remove", "ids": list(some)})

    def statistics(self, names: Sequence[str]) -> Mapping[str, WireStatistics]:
        """What became of the frames, by link."""
        found: dict[str, WireStatistics] = {}
        for some in _slices(names, wire.MAX_LINKS_PER_MESSAGE):
            answer = self._ask({"do": "statistics", "ids": list(some)})["statistics"]
            found.update({name: WireStatistics(*values) for name, values in answer.items()})
        return found

    def close(self) -> None:
        """End the process."""
        if self._control:
            self._control.close()
            self._control = None
        if self._process:
            try:
                self._process.wait(_ANSWER_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _ask(self, order: Mapping[str, Any], descriptors: Sequence[int] = ()) -> dict[str, Any]:
        control = self._control or self._start()
        try:
            socket.send_fds(control, [json.dumps(order).encode()], list(descriptors))
            reply = control.recv(wire.MAX_MESSAGE_BYTES)
        except OSError as error:
            raise self._gone(order, str(error)) from error
        if not reply:
            raise self._gone(order, "it has ended")
        answer: dict[str, Any] = json.loads(reply)
        if not answer["ok"]:
            raise PermanentError(
                f"the wire process refused to `{order['do']}`", call=str(order["do"]), answer=str(answer["error"])
            )
        return answer

    def _gone(self, order: Mapping[str, Any], why: str) -> PermanentError:
        return PermanentError(
            f"the wire process does not answer to `{order['do']}`: {why}",
            hint="links with delay, jitter or loss carry nothing now; restart the emulation",
            call=str(order["do"]),
        )

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(_ANSWER_S)
        program = Path(wire.__file__)
        with theirs:
            # Isolated and without site: it needs the standard library alone, and starts in a third of the time.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(program), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={"PATH": os.defpath},
                cwd="/",
            )
        self._control = ours
        logger.info("wire process started", extra={"pid": self._process.pid})
        return ours


def _values(name: str, impairment: Impairment) -> dict[str, Any]:
    return {
        "id": name,
        "delay_s": impairment.delay_s,
        "jitter_s": impairment.jitter_s,
        "loss": impairment.loss,
    }


def _slices(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
