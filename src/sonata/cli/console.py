"""This terminal joined with one in a machine, until that one ends or Ctrl-] is typed.

Where standard input is no terminal, all of it is typed, and then Ctrl-D until the shell there has ended.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator

from sonata.sdk.remote_terminal import RemoteTerminal

__all__ = ["RemoteTerminal", "join", "window"]

ESCAPE = b"\x1d"
END_OF_INPUT = b"\x04"
_CHUNK = 4096
_VT100 = (24, 80)
_ASK_AGAIN_S = 0.2


def window() -> tuple[int, int]:
    """Rows and columns of this terminal; those of a VT100 where there is none."""
    try:
        columns, rows = os.get_terminal_size(sys.stdin.fileno())
    except OSError:
        return _VT100
    return (rows, columns) if rows and columns else _VT100


def join(terminal: RemoteTerminal) -> bool:
    """Type there what is typed here and print here what is printed there.

    Returns:
        Whether it was left by Ctrl-], and not ended.
    """
    ended, ringing = os.pipe()
    printing = threading.Thread(target=_print, args=(terminal, lambda: os.close(ringing)), daemon=True)
    printing.start()
    try:
        if sys.stdin.isatty():
            with _raw(), _window_changes() as resized:
                return _type(terminal, ended, resized)
        _pour(terminal, ended)
        return False
    finally:
        terminal.close()
        printing.join()
        os.close(ended)


def _print(terminal: RemoteTerminal, tell: Callable[[], None]) -> None:
    try:
        while printed := terminal.read():
            sys.stdout.buffer.write(printed)
            sys.stdout.buffer.flush()
    finally:
        tell()


def _type(terminal: RemoteTerminal, ended: int, resized: int) -> bool:
    """Send key strokes; whether the last one was Ctrl-]."""
    keyboard = sys.stdin.fileno()
    while True:
        ready, _, _ = select.select([keyboard, ended, resized], [], [])
        if ended in ready:
            return False
        if resized in ready:
            os.read(resized, _CHUNK)
            terminal.resize(*window())
            continue
        typed = os.read(keyboard, _CHUNK)
        before, escape, _ = typed.partition(ESCAPE)
        if not typed or not terminal.write(before):
            return False
        if escape:
            return True


def _pour(terminal: RemoteTerminal, ended: int) -> None:
    source = sys.stdin.fileno()
    while ended not in select.select([source, ended], [], [])[0]:
        if not (typed := os.read(source, _CHUNK)):
            break
        terminal.write(typed)
    # One is not enough: a program that reads may take it before the shell does.
    while not select.select([ended], [], [], _ASK_AGAIN_S)[0]:
        terminal.write(END_OF_INPUT)


@contextlib.contextmanager
def _raw() -> Iterator[None]:
    """Keys come one by one and nothing is echoed; afterwards all is as before."""
    before = termios.tcgetattr(sys.stdin)
    tty.setraw(sys.stdin, termios.TCSADRAIN)  # what was typed meanwhile is for the machine, too
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _window_changes() -> Iterator[int]:
    """A descriptor from which something can be read whenever this terminal has changed its size."""
    changes, tell = os.pipe()
    before = signal.signal(signal.SIGWINCH, lambda *_: os.write(tell, b"!"))
    try:
        yield changes
    finally:
        signal.signal(signal.SIGWINCH, before)
        os.close(changes)
        os.close(tell)
