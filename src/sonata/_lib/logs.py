"""Log lines that say all that their callers gave."""

from __future__ import annotations

import logging

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class WholeLines(logging.Formatter):
    """Adds what was given as `extra` to a line, as `name=value`."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line without its traceback."""
        given = [f"{name}={value}" for name, value in vars(record).items() if name not in _OWN]
        return " ".join((super().formatMessage(record), *given))


def log_to_stderr(level: int, line: str) -> None:
    """Send what this process logs to standard error, each entry as such a line."""
    handler = logging.StreamHandler()
    handler.setFormatter(WholeLines(line))
    logging.basicConfig(level=level, handlers=[handler])
