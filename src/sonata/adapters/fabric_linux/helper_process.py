"""Processes of the fabric that take orders over a socket: how they are started, asked and ended."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

_ANSWER_S = 10.0
_MAX_MESSAGE_BYTES = 160_000


class HelperGone(Exception):
    """The process does not answer any more; says why."""


class HelperProcess:
    """One process that runs a program of the standard library alone, from its first order on.

    Its one argument is the descriptor of its end of a SOCK_SEQPACKET socket; it gets orders as JSON, with descriptors
    beside, and answers each with a JSON document. It ends with `close`, and with the thread that started it.

    Args:
        program: of the process.
        answer_s: how long an answer may take.
    """

    def __init__(self, program: str, answer_s: float = _ANSWER_S) -> None:
        self._program = Path(program)
        self._answer_s = answer_s
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        """Process id, None while it does not run."""
        return self._process.pid if self._process else None

    @property
    def end(self) -> str | None:
        """How it has ended by itself; None while it runs, and where it was never needed."""
        status = self._process.poll() if self._process else None
        if status is None:
            return None
        return f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"

    def begin(self) -> None:
        """Start it, unless that is done, so that it is ready when it is asked.

        Raises:
            HelperGone: it cannot be started.
        """
        try:
            if self._control is None:
                self._start()
        except OSError as error:
            raise HelperGone(str(error)) from error

    def ask(self, order: Mapping[str, Any], descriptors: Sequence[int] = ()) -> dict[str, Any]:
        """Give an order, whose key `do` names it, and wait for the answer.

        Raises:
            HelperGone: it cannot be started, has ended, or has not answered in time.
        """
        try:
            control = self._control or self._start()
            socket.send_fds(control, [json.dumps(order).encode()], list(descriptors))
            reply = control.recv(_MAX_MESSAGE_BYTES)
        except OSError as error:
            raise HelperGone(f"`{order['do']}`: {error}") from error
        if not reply:
            raise HelperGone(f"`{order['do']}`: it has closed its end")
        answer: dict[str, Any] = json.loads(reply)
        return answer

    def close(self, wait_s: float = _ANSWER_S) -> None:
        """End the process, by force where it does not end in time. Idempotent."""
        if self._control:
            self._control.close()
            self._control = None
        if self._process:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(wait_s)
            self._process.kill()
            self._process.wait()
            self._process = None

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(self._answer_s)
        with theirs:
            # Isolated and without site: it starts in a third of the time.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(self._program), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={"PATH": os.defpath},
                cwd="/",
            )
        self._control = ours
        return ours
