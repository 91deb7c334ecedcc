"""The PoPs that stand, and their numbers, which decide about their addresses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Network

from sonata.emulator.addressing import external_network, router_address
from sonata.emulator.data_plane import DataPlane
from sonata.errors import NotFound
from sonata.ports.fabric import PopSpec


class Pops:
    """The PoPs of one emulation, by name in the order of their numbers."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._numbers: dict[str, int] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._numbers, key=self._numbers.__getitem__))

    @property
    def numbers(self) -> Mapping[str, int]:
        """Their numbers."""
        return dict(self._numbers)

    def number_of(self, pop: str) -> int:
        """Number of a PoP.

        Raises:
            NotFound: no PoP of this name; the hint lists some that exist.
        """
        if pop not in self._numbers:
            raise NotFound(f"no PoP `{pop}`", hint=f"there are {some(self)}")
        return self._numbers[pop]

    def external_of(self, pop: str) -> IPv4Network:
        """External network of a PoP."""
        return external_network(self.number_of(pop))

    def at(self, number: int) -> str | None:
        """Name of the PoP with a number, None when there is none."""
        return next((name for name, known in self._numbers.items() if known == number), None)

    async def add(self, numbers: Mapping[str, int]) -> None:
        """Create PoPs, given by name with their numbers; no link and no route leads to them so far."""
        specs = [PopSpec(name, router_address(external_network(number))) for name, number in numbers.items()]
        await self._plane.run(lambda fabric: fabric.underlay.add_pops(specs))
        self._numbers.update(numbers)

    async def remove(self, names: Sequence[str]) -> None:
        """Drop PoPs, to which no link leads any more."""
        await self._plane.run(lambda fabric: fabric.underlay.remove_pops(names))
        for name in names:
            del self._numbers[name]


def some(names: Iterable[str], limit: int = 10) -> str:
    """The first of some names, for a hint."""
    listed = list(names)
    shown = ", ".join(f"`{name}`" for name in listed[:limit]) or "none"
    return shown if len(listed) <= limit else f"{shown} and {len(listed) - limit} more"
