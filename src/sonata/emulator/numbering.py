"""Numbers of PoPs, links and endpoints, which decide about their addresses.

In a fresh emulation they follow the order of the topology. What stays keeps its number for as long as it stays, also
over the death of the emulation; what comes gets the lowest that nobody has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from itertools import count

from sonata._lib.values import dataclass
from sonata.model.topology import Topology


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers of an emulation, by name; those of endpoints count within their PoP."""

    pops: Mapping[str, int] = field(default_factory=dict)
    links: Mapping[str, int] = field(default_factory=dict)
    endpoints: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for known in (self.pops, self.links, *self.endpoints.values()):
            if len(set(known.values())) < len(known) or any(number < 0 for number in known.values()):
                raise ValueError(f"not numbers that tell apart: {dict(known)}")


def numbered(names: Iterable[str], before: Mapping[str, int]) -> dict[str, int]:
    """A number for each name: its own of before, else the lowest that none has or had."""
    taken = set(before.values())
    free = (number for number in count() if number not in taken)
    return {name: before[name] if name in before else next(free) for name in names}


def all_numbered(topology: Topology, before: Numbers) -> Numbers:
    """The numbers of a whole topology."""
    attached: dict[str, list[str]] = {}
    for endpoint in topology.endpoints.values():
        attached.setdefault(endpoint.attach, []).append(endpoint.name)
    return Numbers(
        numbered(topology.pops, before.pops),
        numbered((link.name for link in topology.links), before.links),
        {pop: numbered(names, before.endpoints.get(pop, {})) for pop, names in attached.items()},
    )
