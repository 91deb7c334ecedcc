"""What differs between two topologies, as an ordered plan of small changes. Pure values.

The order never leaves a reference dangling: machines go first, then comes what is new, and what that replaces goes
after it, so that packets find the new way before they lose the old one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from enum import StrEnum
from typing import Any

from sonata._lib.values import dataclass
from sonata.model.topology import Endpoint, Link, Pop, ServerSeed, Topology

Part = Pop | Link | Endpoint | ServerSeed


class Action(StrEnum):
    """What happens to a part."""

    ADD = "add"
    REMOVE = "remove"
    CHANGE = "change"


class Kind(StrEnum):
    """What sort of part it happens to."""

    POP = "pop"
    LINK = "link"
    ENDPOINT = "endpoint"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class Change:
    """One part that comes, goes or is changed while it stands.

    Args:
        before: None for one that comes.
        after: None for one that goes.
    """

    action: Action
    kind: Kind
    before: Part | None = None
    after: Part | None = None

    @property
    def name(self) -> str:
        """Name of the part."""
        part = self.after or self.before
        return part.name if part else ""

    @property
    def differing(self) -> tuple[str, ...]:
        """The attributes that are changed."""
        return _differing(self.before, self.after) if self.before and self.after else ()


ORDER: tuple[tuple[Action, Kind], ...] = (
    (Action.REMOVE, Kind.SERVER),
    (Action.REMOVE, Kind.ENDPOINT),
    (Action.CHANGE, Kind.POP),
    (Action.ADD, Kind.POP),
    (Action.ADD, Kind.LINK),
    (Action.CHANGE, Kind.LINK),
    (Action.REMOVE, Kind.LINK),
    (Action.REMOVE, Kind.POP),
    (Action.CHANGE, Kind.ENDPOINT),
    (Action.ADD, Kind.ENDPOINT),
    (Action.ADD, Kind.SERVER),
)
"""The order of a plan. A link of the same name with other ends is the exception: it goes before it comes again."""

_FIXED: Mapping[Kind, frozenset[str]] = {
    Kind.POP: frozenset(),
    Kind.LINK: frozenset(("a", "b")),
    Kind.ENDPOINT: frozenset(("attach", "image", "command", "interfaces")),
    Kind.SERVER: frozenset(("pop", "image", "flavor", "command")),
}
"""Attributes that no part can change while it stands: it is replaced. Of a PoP see `impossible`."""


def diff(running: Topology, wanted: Topology) -> tuple[Change, ...]:
    """The changes that make one topology into another, in the order in which they can be made."""
    changes = [
        *_of_kind(Kind.POP, running.pops, wanted.pops),
        *_of_kind(Kind.LINK, _by_name(running.links), _by_name(wanted.links)),
        *_of_kind(Kind.ENDPOINT, running.endpoints, wanted.endpoints),
        *_of_kind(Kind.SERVER, running.servers, wanted.servers),
    ]
    replaced = {change.name for change in changes if change.action is Action.ADD} & _by_name(running.links).keys()
    return tuple(sorted(changes, key=lambda change: _rank(change, replaced)))


def applied(topology: Topology, change: Change) -> Topology:
    """The topology after a change."""
    if change.kind is Kind.LINK:
        links = _changed(_by_name(topology.links), change)
        return replace(topology, links=tuple(links.values()))
    if change.kind is Kind.POP:
        return replace(topology, pops=_changed(topology.pops, change))
    if change.kind is Kind.ENDPOINT:
        return replace(topology, endpoints=_changed(topology.endpoints, change))
    return replace(topology, servers=_changed(topology.servers, change))


def impossible(running: Topology, wanted: Topology) -> Iterator[str]:
    """What cannot be done to a running emulation, as far as the topologies tell; each reason with what to do."""
    if running.name != wanted.name:
        yield f"the running emulation has topology `{running.name}`, not `{wanted.name}`: use another --name, or `down`"
    if running.chain_renderer != wanted.chain_renderer:
        told = f"`{running.chain_renderer}`, not `{wanted.chain_renderer}`"
        yield f"chains of the running emulation are steered by {told}: `down` first, or leave `chain_renderer` as it is"
    for name in running.pops.keys() & wanted.pops.keys():
        before, after = running.pops[name].managed_by, wanted.pops[name].managed_by
        if before != after:
            was, will = (f"is managed by `{one}`" if one else "has an OpenStack of its own" for one in (before, after))
            yield f"PoP `{name}` {was} and cannot become one that {will}: remove it in one step, add it in the next"
    yield from _moving_hosts(running, wanted)


def _moving_hosts(running: Topology, wanted: Topology) -> Iterator[str]:
    """Hosts that would leave one PoP of a site and come to another one of it at the same time."""
    before, after = _pops_of_hosts(running), _pops_of_hosts(wanted)
    for (site, host), pop in sorted(after.items()):
        if before.get((site, host), pop) != pop:
            yield (
                f"host `{host}` of site `{site}` cannot move from PoP `{before[site, host]}` to `{pop}`: "
                "remove it in one step, add it in the next"
            )


def _pops_of_hosts(topology: Topology) -> dict[tuple[str, str], str]:
    return {
        (pop.managed_by or pop.name, host.name): pop.name for pop in topology.pops.values() for host in pop.hypervisors
    }


def _of_kind(kind: Kind, running: Mapping[str, Part], wanted: Mapping[str, Part]) -> Iterator[Change]:
    for name, before in running.items():
        if name not in wanted:
            yield Change(Action.REMOVE, kind, before)
    for name, after in wanted.items():
        standing = running.get(name)
        if standing is None:
            yield Change(Action.ADD, kind, None, after)
        elif differing := _differing(standing, after):
            yield from _in_place_or_anew(kind, standing, after, differing)


def _in_place_or_anew(kind: Kind, before: Part, after: Part, differing: Iterable[str]) -> Iterator[Change]:
    if _FIXED[kind].intersection(differing):
        yield Change(Action.REMOVE, kind, before)
        yield Change(Action.ADD, kind, None, after)
    else:
        yield Change(Action.CHANGE, kind, before, after)


def _rank(change: Change, replaced: Iterable[str]) -> tuple[int, int]:
    """Place in the order; managers come before those that they manage, and go after them."""
    if (change.action, change.kind) == (Action.REMOVE, Kind.LINK) and change.name in replaced:
        return ORDER.index((Action.ADD, Kind.POP)), 2
    part, level = change.after or change.before, 0
    if isinstance(part, Pop):
        level = int(bool(part.managed_by) is not (change.action is Action.REMOVE))
    return ORDER.index((change.action, change.kind)), level


def _differing(before: Part, after: Part) -> tuple[str, ...]:
    """Names of the attributes that differ; a way back that is said to be as the way there is as one not said."""
    names = [field.name for field in fields(before) if getattr(before, field.name) != getattr(after, field.name)]
    if isinstance(before, Link | Endpoint) and isinstance(after, Link | Endpoint):
        there, back = (one != other for one, other in zip(before.directions, after.directions, strict=True))
        names = [name for name in names if name not in ("impairment", "reverse")]
        names += ["impairment"] * there + ["reverse"] * (back and (not there or _asymmetric(before, after)))
    return tuple(names)


def _asymmetric(*parts: Link | Endpoint) -> bool:
    return any(len(set(part.directions)) > 1 for part in parts)


def _changed(parts: Mapping[str, Any], change: Change) -> dict[str, Any]:
    kept = dict(parts)
    if change.after is None:
        kept.pop(change.name, None)
    else:
        kept[change.name] = change.after
    return kept


def _by_name(links: Iterable[Link]) -> dict[str, Link]:
    return {link.name: link for link in links}
