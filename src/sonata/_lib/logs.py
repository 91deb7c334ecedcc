"""Log lines that say all that their callers gave."""

from __future__ import annotations

import logging
import os
import stat
import sys
from typing import TextIO

MOST_BYTES = 4 * 1024**2
"""How long a log file becomes at most; its older half goes then."""
_LOOK_EVERY = 256
_CUT = b"... earlier lines were cut off\n"

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class WholeLines(logging.Formatter):
    """Adds what was given as `extra` to a line, as `name=value`."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line without its traceback."""
        given = [f"{name}={value}" for name, value in vars(record).items() if name not in _OWN]
        return " ".join((super().formatMessage(record), *given))


class ShortFile(logging.StreamHandler[TextIO]):
    """Writes to a stream and, where that is a file, sees to it that it does not grow for ever.

    Others may write to the same open file meanwhile, as processes that inherit it do: their place in it is ours.
    """

    def __init__(self, stream: TextIO, most_bytes: int = MOST_BYTES) -> None:
        super().__init__(stream)
        self._most = most_bytes
        self._lines = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, and look at times how long the file has become."""
        super().emit(record)
        self._lines += 1
        if self._lines % _LOOK_EVERY == 0:
            self._shorten(self.stream.fileno())

    def _shorten(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size <= self._most:
            return
        with open(f"/proc/self/fd/{descriptor}", "rb") as written:
            written.seek(-self._most // 2, os.SEEK_END)
            written.readline()
            kept = written.read()
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, _CUT + kept)


def log_to_stderr(level: int, line: str) -> None:
    """Send what this process logs to standard error, each entry as such a line; a file there stays short."""
    handler = ShortFile(sys.stderr)
    handler.setFormatter(WholeLines(line))
    logging.basicConfig(level=level, handlers=[handler])
