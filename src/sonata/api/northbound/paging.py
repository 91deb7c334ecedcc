"""Pages of lists, as SONATA has them: `limit`, `offset`, and the total in the header `Record-Count`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Depends, Query, Response


class Page:
    """The part of a list that the caller asked for."""

    def __init__(
        self,
        response: Response,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0)] = 0,
    ) -> None:
        self._response, self._limit, self._offset = response, limit, offset

    def of(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Cut the page out of all rows."""
        self._response.headers["Record-Count"] = str(len(rows))
        return list(rows[self._offset : self._offset + self._limit])


PageOf = Annotated[Page, Depends()]
