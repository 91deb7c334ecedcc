"""Leaving what a command has started running behind it."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from typing import Protocol


class Started(Protocol):
    """What ends with this process, unless it is let go of."""

    def let_go(self) -> None:
        """Let it outlive this process."""

    def stop(self) -> None:
        """End it."""


def leave_running(started: Started) -> None:
    """Let go of what has started, or end it at a Ctrl-C before that.

    A later Ctrl-C comes too late: it is ignored to the end of this process, whose exit status would else deny what
    runs.
    """
    with ExitStack() as undo:
        undo.callback(started.stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        started.let_go()
        undo.pop_all()
