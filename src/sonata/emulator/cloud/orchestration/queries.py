"""YAQL expressions that a resolver meets: it stops at one, the answer is found, and it begins again."""

from __future__ import annotations

import json
from typing import Any

from sonata.emulator.cloud.orchestration.judge import Judge


class QueryWanted(Exception):
    """An expression whose answer is not known yet."""

    def __init__(self, expression: str, data: Any) -> None:
        self.expression = expression
        self.data = data


class Queries:
    """The answers of one evaluation."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._known: dict[tuple[str, str], Any] = {}

    def answer(self, expression: str, data: Any) -> Any:
        """What an expression finds in data.

        Raises:
            QueryWanted: it is to be found first.
            ValueError: the expression fails.
        """
        key = _key(expression, data)
        if key not in self._known:
            raise QueryWanted(expression, data)
        found = self._known[key]
        if isinstance(found, ValueError):
            raise found
        return found

    async def find(self, wanted: QueryWanted) -> None:
        """Find what is wanted."""
        found: Any
        try:
            found = await self._judge.query(wanted.expression, wanted.data)
        except ValueError as error:
            found = error
        self._known[_key(wanted.expression, wanted.data)] = found


def _key(expression: str, data: Any) -> tuple[str, str]:
    return expression, json.dumps(data, sort_keys=True, default=str)
