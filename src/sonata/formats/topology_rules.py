"""What a topology means, checked: rules for topologies from files as well as for those that scripts build or send.

Codes: TOPO-0003 a name that cannot be one, -0010 unknown PoP, -0011 link to itself, -0012 two links between the same
PoPs, -0013 link name taken, -0014 reserved name, -0015 jitter exceeds delay, -0016 value out of range, -0017 name
taken, -0018 not connected (warning), -0019 managed by what manages nothing, -0020 manager out of reach, -0021 two hosts
of one name in a site, -0022 cells of a managed PoP, -0023 noise that leaves nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from itertools import chain, islice

from sonata.errors import Diagnostic
from sonata.formats.findings import Finding, one_of, path_text, raise_errors
from sonata.formats.suggestions import suggestion
from sonata.formats.yaml_nodes import MAX_FINDINGS, DocumentPath
from sonata.model.topology import Endpoint, Impairment, Link, Topology

RESERVED_POPS = frozenset({"emulator", "metrics", "docs"})
"""First parts of the emulator's URLs that are not PoPs."""
RESERVED_ZONES = frozenset({"nova", "internal"})
"""Availability zones that a site has of its own."""


_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_LINK = r"[A-Za-z0-9]([A-Za-z0-9-]{0,125}[A-Za-z0-9])?"
_IMAGE = r"\S{1,255}"
_INTERFACE = r"eth[1-9][0-9]{0,2}"

Rule = Callable[[Topology], Iterator[Finding]]


def check_topology(topology: Topology) -> list[Diagnostic]:
    """All findings in a topology that a script built; places are named by path, not by line."""
    return [
        Diagnostic(
            "warning" if finding.is_warning else "error",
            finding.code,
            f"`{path_text(finding.path)}`: {finding.summary}" if finding.path else finding.summary,
            hint=finding.hint,
        )
        for finding in findings_in(topology)
    ]


def ensure_valid(topology: Topology) -> Topology:
    """The topology itself.

    Raises:
        InvalidInput: something is wrong with it; with all findings.
    """
    raise_errors(f"topology `{topology.name}`", check_topology(topology))
    return topology


def findings_in(topology: Topology) -> Iterator[Finding]:
    """What is wrong with a topology, and what is doubtful; the first ones when there are many."""
    return islice(chain.from_iterable(rule(topology) for rule in RULES), MAX_FINDINGS)


def _names_possible(topology: Topology) -> Iterator[Finding]:
    """Names become parts of URLs, of host names and of paths: what a file cannot say, a script must not, either."""
    for path, name, pattern in _names(topology):
        if not re.fullmatch(pattern, name):
            yield Finding(
                "TOPO-0003", path, f"`{name[:80]}` cannot be a name here", "use letters, digits and inner `-`"
            )
    for kind, known in (("pops", topology.pops), ("endpoints", topology.endpoints), ("servers", topology.servers)):
        for key, value in known.items():
            if value.name != key:
                yield Finding("TOPO-0003", (kind, key), f"`{key}` has `{value.name}` as its own name", "use one name")


def _names(topology: Topology) -> Iterator[tuple[DocumentPath, str, str]]:
    yield ("name",), topology.name, _LABEL
    for name, pop in topology.pops.items():
        yield ("pops", name), name, _LABEL
        yield from ((("pops", name, "cells"), cell, _LABEL) for cell in pop.cells)
        yield from ((("pops", name, "hosts"), host.name, _LABEL) for host in pop.hosts)
    for index, link in enumerate(topology.links):
        yield ("links", index, "name"), link.name, _LINK
    for name, endpoint in topology.endpoints.items():
        yield ("endpoints", name), name, _LABEL
        yield ("endpoints", name, "image"), endpoint.image, _IMAGE
        yield from ((("endpoints", name, "interfaces"), one, _INTERFACE) for one in endpoint.interfaces)
    for name, server in topology.servers.items():
        yield ("servers", name), name, _LABEL
        yield ("servers", name, "image"), server.image, _IMAGE
        yield ("servers", name, "flavor"), server.flavor, _IMAGE


def _known_pops(topology: Topology) -> Iterator[Finding]:
    for path, pop in _pop_references(topology):
        if pop not in topology.pops:
            hint = suggestion(pop, topology.pops) or f"there are {one_of(topology.pops)}"
            yield Finding("TOPO-0010", path, f"there is no PoP `{pop}`", hint)


def _pop_references(topology: Topology) -> Iterator[tuple[DocumentPath, str]]:
    for name, pop in topology.pops.items():
        if pop.managed_by:
            yield ("pops", name, "managed_by"), pop.managed_by
    for index, link in enumerate(topology.links):
        yield ("links", index, "between", 0), link.a
        yield ("links", index, "between", 1), link.b
    for name, endpoint in topology.endpoints.items():
        yield ("endpoints", name, "attach"), endpoint.attach
    for name, server in topology.servers.items():
        yield ("servers", name, "pop"), server.pop


def _two_ends(topology: Topology) -> Iterator[Finding]:
    for index, link in enumerate(topology.links):
        if link.a == link.b:
            path = ("links", index, "between", 1)
            yield Finding("TOPO-0011", path, f"link `{link.name}` joins `{link.a}` with itself")


def _one_link_per_pair(topology: Topology) -> Iterator[Finding]:
    seen: dict[frozenset[str], str] = {}
    for index, link in enumerate(topology.links):
        pair = frozenset((link.a, link.b))
        if pair in seen:
            summary = f"link `{link.name}` joins the same PoPs as link `{seen[pair]}`"
            yield Finding("TOPO-0012", ("links", index, "between"), summary, "give one link the sum of their rates")
        seen.setdefault(pair, link.name)


def _link_names_unique(topology: Topology) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, link in enumerate(topology.links):
        if link.name in seen:
            yield Finding("TOPO-0013", ("links", index, "name"), f"another link is named `{link.name}`")
        seen.add(link.name)


def _no_reserved_names(topology: Topology) -> Iterator[Finding]:
    for name in topology.pops:
        if name in RESERVED_POPS:
            summary = f"`{name}` cannot name a PoP: the emulator serves other things under this path"
            yield Finding("TOPO-0014", ("pops", name), summary, f"reserved: {one_of(sorted(RESERVED_POPS))}")
    for name, pop in topology.pops.items():
        if pop.managed_by and name in RESERVED_ZONES:
            summary = f"`{name}` cannot name a managed PoP: its site has an availability zone of this name"
            yield Finding("TOPO-0014", ("pops", name), summary, f"reserved: {one_of(sorted(RESERVED_ZONES))}")


def _names_tell_apart(topology: Topology) -> Iterator[Finding]:
    for name in topology.endpoints:
        if name in topology.pops:
            yield Finding("TOPO-0017", ("endpoints", name), f"endpoint `{name}` has the name of a PoP")


def _impairments_possible(topology: Topology) -> Iterator[Finding]:
    for path, value in _impairments(topology):
        for flaw in value.flaws():
            code = "TOPO-0015" if flaw.hint else "TOPO-0016"
            yield Finding(code, (*path, flaw.quantity), flaw.why, flaw.hint)


def _impairments(topology: Topology) -> Iterator[tuple[tuple[str | int, ...], Impairment]]:
    for index, link in enumerate(topology.links):
        yield from _both_ways(("links", index), link)
    for name, endpoint in topology.endpoints.items():
        yield from _both_ways(("endpoints", name), endpoint)


def _both_ways(
    path: tuple[str | int, ...], what: Link | Endpoint
) -> Iterator[tuple[tuple[str | int, ...], Impairment]]:
    yield path, what.impairment
    if what.reverse:
        yield (*path, "reverse"), what.reverse


def _capacities_positive(topology: Topology) -> Iterator[Finding]:
    if not topology.pops:
        yield Finding("TOPO-0016", ("pops",), "there is no PoP", "add one")
    for name, pop in topology.pops.items():
        for key, value in (("cpus", pop.cpus), ("memory", pop.memory_bytes), ("disk", pop.disk_bytes)):
            if not (value > 0 and math.isfinite(value)):
                yield Finding(
                    "TOPO-0016", ("pops", name, key), f"PoP `{name}` offers no {key}: {value} is not positive"
                )


def _shares_possible(topology: Topology) -> Iterator[Finding]:
    for name, pop in topology.pops.items():
        for key, value in (("cpu", pop.cpu_oversubscription), ("memory", pop.memory_oversubscription)):
            if not 1 <= value <= 1000:
                path = ("pops", name, "oversubscription", key)
                yield Finding("TOPO-0016", path, f"oversubscription of {value:g} is not within 1..1000")
        for host in pop.hosts:
            if not (host.cpus > 0 and host.memory_bytes > 0 and host.disk_bytes > 0):
                yield Finding("TOPO-0016", ("pops", name, "hosts"), f"host `{host.name}` offers nothing")


def _noise_leaves_room(topology: Topology) -> Iterator[Finding]:
    for name, pop in topology.pops.items():
        taken = (("cpus", pop.noise.cpus, pop.cpus), ("memory", pop.noise.memory_bytes, pop.memory_bytes))
        for key, noise, whole in taken:
            if not 0 <= noise < whole:
                summary = f"noise takes {noise:g} of the {whole:g} {key} of PoP `{name}`: nothing is left"
                yield Finding("TOPO-0023", ("pops", name, "noise", key), summary, "declare less, or a larger PoP")


def _figures_possible(topology: Topology) -> Iterator[Finding]:
    for name, pop in topology.pops.items():
        for key, figures in (("cost", pop.cost), ("energy", pop.energy)):
            for field, value in asdict(figures).items():
                if not 0 <= value < math.inf:
                    summary = f"{field} of PoP `{name}` is {value}, and must be 0 or more"
                    yield Finding("TOPO-0016", ("pops", name, key, field), summary)


def _locations_on_earth(topology: Topology) -> Iterator[Finding]:
    for name, pop in topology.pops.items():
        latitude, longitude = pop.location or (0.0, 0.0)
        if not -90 <= latitude <= 90:
            yield Finding("TOPO-0016", ("pops", name, "location", 0), f"latitude {latitude} is not within -90..90")
        if not -180 <= longitude <= 180:
            yield Finding("TOPO-0016", ("pops", name, "location", 1), f"longitude {longitude} is not within -180..180")


def _managers_manage(topology: Topology) -> Iterator[Finding]:
    for name, pop in topology.pops.items():
        manager = topology.pops.get(pop.managed_by)
        if manager is pop:
            summary = f"PoP `{name}` is said to be managed by itself"
            yield Finding("TOPO-0019", ("pops", name, "managed_by"), summary, "leave the key out")
        elif manager and manager.managed_by:
            summary = f"PoP `{name}` cannot be managed by `{manager.name}`, which `{manager.managed_by}` manages"
            yield Finding("TOPO-0019", ("pops", name, "managed_by"), summary, f"name `{manager.managed_by}`")


def _managers_in_reach(topology: Topology) -> Iterator[Finding]:
    neighbours = _neighbours(topology)
    managers = {pop.managed_by for pop in topology.pops.values()} & topology.pops.keys()
    apart = {manager: set(_unreachable(neighbours, manager)) for manager in managers}
    for name, pop in topology.pops.items():
        if name in apart.get(pop.managed_by, ()):
            summary = f"no path leads from PoP `{name}` to `{pop.managed_by}`, which manages it"
            yield Finding("TOPO-0020", ("pops", name, "managed_by"), summary, "add links between them")


def _hosts_tell_apart(topology: Topology) -> Iterator[Finding]:
    seen: dict[tuple[str, str], str] = {}
    for name, pop in topology.pops.items():
        for index, host in enumerate(pop.hypervisors):
            other = seen.setdefault((topology.site_of(name), host.name), name)
            if other != name or any(host.name == before.name for before in pop.hosts[:index]):
                path: DocumentPath = ("pops", name, "hosts", index, "name") if pop.hosts else ("pops", name)
                yield Finding("TOPO-0021", path, f"PoP `{other}` has a host `{host.name}` in the same site already")


def _no_managed_cells(topology: Topology) -> Iterator[Finding]:
    for name, pop in topology.pops.items():
        if pop.managed_by and pop.cells:
            summary = f"PoP `{name}` is managed by `{pop.managed_by}` and cannot have cells of its own"
            yield Finding("TOPO-0022", ("pops", name, "cells"), summary, f"give them to `{pop.managed_by}`")


def _neighbours(topology: Topology) -> Mapping[str, set[str]]:
    neighbours: dict[str, set[str]] = {name: set() for name in topology.pops}
    for link in topology.links:
        if link.a in neighbours and link.b in neighbours:
            neighbours[link.a].add(link.b)
            neighbours[link.b].add(link.a)
    return neighbours


def _connected(topology: Topology) -> Iterator[Finding]:
    neighbours = _neighbours(topology)
    apart = _unreachable(neighbours, *list(neighbours)[:1])
    if apart:
        shown = one_of(apart[:5]) + (f" and {len(apart) - 5} more" if len(apart) > 5 else "")
        summary = f"no path leads from `{next(iter(neighbours))}` to {shown}"
        yield Finding("TOPO-0018", ("links",), summary, "add links between them", is_warning=True)


def _unreachable(neighbours: Mapping[str, set[str]], *start: str) -> list[str]:
    """Nodes that cannot be reached from one, in their given order."""
    pending = list(start)
    reached = set(pending)
    while pending:
        fresh = neighbours[pending.pop()] - reached
        reached |= fresh
        pending.extend(fresh)
    return [name for name in neighbours if name not in reached]


RULES: tuple[Rule, ...] = (
    _names_possible,
    _known_pops,
    _two_ends,
    _one_link_per_pair,
    _link_names_unique,
    _no_reserved_names,
    _names_tell_apart,
    _impairments_possible,
    _capacities_positive,
    _noise_leaves_room,
    _figures_possible,
    _shares_possible,
    _locations_on_earth,
    _managers_manage,
    _managers_in_reach,
    _hosts_tell_apart,
    _no_managed_cells,
    _connected,
)
