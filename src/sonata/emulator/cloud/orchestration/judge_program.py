"""Answers requests on stdin, one JSON document on each line: `{pattern, text}`, `{expression, data}`, or `{}` for none.

Runs as a program of its own, started by `Judge`, and ends by itself when no request comes for a while.
"""

from __future__ import annotations

import json
import re
import resource
import signal
import sys
from functools import lru_cache
from typing import Any

import yaql
from yaql.language.exceptions import YaqlException

IDLE_S = 60
MEMORY_BYTES = 512 * 1024**2
LONGEST_ANSWER = 1024**2
YAQL_MOST_ITEMS = 200
YAQL_MEMORY_BYTES = 10_000

FAILURES = (
    YaqlException, re.error, ArithmeticError, AttributeError, LookupError, MemoryError, NameError, NotImplementedError,
    RecursionError, StopIteration, TypeError, ValueError,
)  # fmt: skip
"""What a user's expression may raise."""


@lru_cache(maxsize=1)
def _engine() -> tuple[Any, Any]:
    options = {"yaql.limitIterators": YAQL_MOST_ITEMS, "yaql.memoryQuota": YAQL_MEMORY_BYTES}
    return yaql.YaqlFactory().create(options=options), yaql.create_context()


def answered(request: dict[str, Any]) -> Any:
    """The answer to a request."""
    if "pattern" in request:
        match = re.match(request["pattern"], request["text"])
        return bool(match and match.end() == len(request["text"]))
    if "expression" not in request:
        return _engine() is not None
    engine, context = _engine()
    return engine(request["expression"]).evaluate(
        data={"data": request["data"]}, context=context.create_child_context()
    )


def _told(request: dict[str, Any]) -> str:
    try:
        text = json.dumps({"value": answered(request)}, default=list)
    except FAILURES as error:
        return json.dumps({"error": f"{type(error).__name__}: {error}"[:1000]})
    if len(text) > LONGEST_ANSWER:
        return json.dumps({"error": f"it gives more than {LONGEST_ANSWER} characters"})
    return text


def main() -> None:
    """Answer requests from stdin."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    signal.alarm(IDLE_S)
    for line in sys.stdin:
        signal.alarm(IDLE_S)
        sys.stdout.write(_told(json.loads(line)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
