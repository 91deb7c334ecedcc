"""Which of its PoPs a site is in contact with over links, and since when it is not."""

from __future__ import annotations

import time

from sonata.emulator.links import Links


class Contact:
    """The contact of one site with other PoPs."""

    def __init__(self, links: Links, site: str) -> None:
        self._links = links
        self._site = site
        self._lost: dict[str, float] = {}

    def reaches(self, pop: str) -> bool:
        """Whether a PoP is in reach."""
        return self._links.reaches(self._site, pop)

    def heard_of(self, pop: str) -> float:
        """When a PoP was last in reach, in Unix time; now, unless it is cut off."""
        if self.reaches(pop):
            self._lost.pop(pop, None)
            return time.time()
        # A clock that was set back since has not heard of it in the future.
        return min(time.time(), self._lost.setdefault(pop, self._links.rerouted_at))
