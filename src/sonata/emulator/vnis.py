"""Numbers of VXLAN networks, unique in an emulation.

Connections of the wide area count theirs from 1 up, and keep them when the emulation comes back; networks that a site
has in several PoPs get theirs from the other end, anew in each life.
"""

from __future__ import annotations

from itertools import count

LAST = 2**24 - 1


class Vnis:
    """The numbers that networks over several PoPs have now."""

    def __init__(self) -> None:
        self._taken: set[int] = set()

    def take(self) -> int:
        """A number that nobody has."""
        vni = next(vni for vni in count(LAST, -1) if vni not in self._taken)
        self._taken.add(vni)
        return vni

    def release(self, vni: int) -> None:
        """Give a number back."""
        self._taken.discard(vni)
