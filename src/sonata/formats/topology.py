"""Reader and writer of topology files.

Structure is checked by `topology_document`, meaning by the rules below, which also serve topologies that scripts build.

Codes: TOPO-0001 to -0004 structure (see `diagnostics`), -0010 unknown PoP, -0011 link to itself, -0012 two links
between the same PoPs, -0013 link name taken, -0014 reserved name, -0015 jitter exceeds delay, -0016 value out of range,
-0017 name taken, -0018 not connected (warning), -0019 managed by what manages nothing, -0020 manager out of reach,
-0021 two hosts of one name in a site, -0022 cells of a managed PoP.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from sonata._lib.quantities import format_duration, format_rate, format_share, format_size
from sonata.errors import Diagnostic
from sonata.formats.diagnostics import Finding, from_validation_error, one_of, path_text, raise_errors
from sonata.formats.suggestions import suggestion
from sonata.formats.topology_document import (
    EndpointDocument,
    HostDocument,
    ImpairedDocument,
    LinkDocument,
    PopDocument,
    ServerDocument,
    TopologyDocument,
)
from sonata.formats.yaml_nodes import MAX_FINDINGS, DocumentPath, YamlDocument, parse_yaml, read_yaml
from sonata.model.topology import Endpoint, Host, Impairment, Link, Pop, ServerSeed, Topology

logger = logging.getLogger(__name__)

RESERVED_POPS = frozenset({"emulator", "metrics", "docs"})
"""First parts of the emulator's URLs that are not PoPs."""
RESERVED_ZONES = frozenset({"nova", "internal"})
"""Availability zones that a site has of its own."""

MAX_DELAY_S = 10.0
MIN_RATE_BPS = 8000.0
FIELDS = {
    "delay": "delay_s",
    "jitter": "jitter_s",
    "loss": "loss",
    "rate": "rate_bps",
    "duplicate": "duplicate",
    "reorder": "reorder",
}
"""Attributes of an impairment by their names in the file."""
_NOTHING = {key: None if key == "rate" else 0 for key in FIELDS}

Rule = Callable[[Topology], Iterator[Finding]]


def read_topology(path: Path) -> Topology:
    """Read a topology file; warnings are logged.

    Raises:
        NotFound: there is no such file.
        InvalidInput: with all findings.
    """
    return _accept(*_inspect(read_yaml(path)))


def parse_topology(text: str | bytes, file: str = "topology.yaml") -> Topology:
    """Read a topology from text; `file` is the name for diagnostics.

    Raises:
        InvalidInput: with all findings.
    """
    return _accept(*_inspect(parse_yaml(text, file)))


def check_topology_file(path: Path) -> list[Diagnostic]:
    """All findings in a topology file, warnings too.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it is not YAML.
    """
    return _inspect(read_yaml(path))[1]


def check_topology(topology: Topology) -> list[Diagnostic]:
    """All findings in a topology that a script built; places are named by path, not by line."""
    return [
        Diagnostic(
            "warning" if finding.is_warning else "error",
            finding.code,
            f"`{path_text(finding.path)}`: {finding.summary}" if finding.path else finding.summary,
            hint=finding.hint,
        )
        for finding in _findings(topology)
    ]


def ensure_valid(topology: Topology) -> Topology:
    """The topology itself.

    Raises:
        InvalidInput: something is wrong with it; with all findings.
    """
    raise_errors(f"topology `{topology.name}`", check_topology(topology))
    return topology


def dump_topology(topology: Topology) -> str:
    """Text of a topology file that reads back as the same topology; defaults are left out."""
    body: dict[str, Any] = {"apiVersion": "sonata/v1", "kind": "Topology", "name": topology.name}
    body["pops"] = {name: _dump_pop(pop) for name, pop in topology.pops.items()}
    if topology.links:
        body["links"] = [_dump_link(link) for link in topology.links]
    if topology.endpoints:
        body["endpoints"] = {name: _dump_endpoint(endpoint) for name, endpoint in topology.endpoints.items()}
    if topology.servers:
        body["servers"] = {name: _dump_server(server) for name, server in topology.servers.items()}
    return _dump(body)


def _inspect(document: YamlDocument) -> tuple[Topology | None, list[Diagnostic]]:
    try:
        parsed = TopologyDocument.model_validate(document.data)
    except ValidationError as error:
        return None, from_validation_error(error, document, TopologyDocument, "TOPO")
    topology = _to_model(parsed)
    return topology, [finding.locate(document) for finding in _findings(topology)]


def _accept(topology: Topology | None, findings: list[Diagnostic]) -> Topology:
    file = findings[0].file if findings else ""
    raise_errors(f"topology `{file}`", findings)
    for finding in findings:
        logger.warning("topology has a flaw", extra={"finding": str(finding)})
    if topology is None:
        raise TypeError("a topology without findings has a value")
    return topology


def _findings(topology: Topology) -> Iterator[Finding]:
    return islice(chain.from_iterable(rule(topology) for rule in RULES), MAX_FINDINGS)


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
        if value.reorder and not value.delay_s:
            summary = "reordered packets go without the delay, and there is none"
            yield Finding("TOPO-0015", (*path, "reorder"), summary, "declare a delay")
        if value.jitter_s > value.delay_s:
            summary = f"jitter {format_duration(value.jitter_s)} exceeds delay {format_duration(value.delay_s)}"
            yield Finding("TOPO-0015", (*path, "jitter"), summary, "packets cannot arrive before they are sent")
        if not 0 <= value.delay_s <= MAX_DELAY_S:
            yield Finding("TOPO-0016", (*path, "delay"), f"delay of {value.delay_s} s is not within 0..10 s")
        for key in ("loss", "duplicate", "reorder"):
            if not 0 <= (share := getattr(value, key)) <= 1:
                yield Finding("TOPO-0016", (*path, key), f"{key} of {share} is not within 0..1")
        if value.rate_bps is not None and value.rate_bps < MIN_RATE_BPS:
            yield Finding("TOPO-0016", (*path, "rate"), f"rate of {value.rate_bps:g} bit/s is below 8kbit")


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
    for name, pop in topology.pops.items():
        for key, value in (("cpus", pop.cpus), ("memory", pop.memory_bytes), ("disk", pop.disk_bytes)):
            if value <= 0:
                yield Finding(
                    "TOPO-0016", ("pops", name, key), f"PoP `{name}` offers no {key}: {value} is not positive"
                )


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
    _known_pops,
    _two_ends,
    _one_link_per_pair,
    _link_names_unique,
    _no_reserved_names,
    _names_tell_apart,
    _impairments_possible,
    _capacities_positive,
    _locations_on_earth,
    _managers_manage,
    _managers_in_reach,
    _hosts_tell_apart,
    _no_managed_cells,
    _connected,
)


def _to_model(parsed: TopologyDocument) -> Topology:
    return Topology(
        name=parsed.name,
        pops={name: _to_pop(name, pop) for name, pop in parsed.pops.items()},
        links=tuple(_to_link(link) for link in parsed.links),
        endpoints={name: _to_endpoint(name, endpoint) for name, endpoint in parsed.endpoints.items()},
        servers={name: _to_server(name, server) for name, server in parsed.servers.items()},
    )


def _to_pop(name: str, parsed: PopDocument) -> Pop:
    return Pop(
        name=name,
        location=(parsed.location[0], parsed.location[1]) if parsed.location else None,
        cpus=parsed.cpus,
        memory_bytes=parsed.memory,
        disk_bytes=parsed.disk,
        cpu_oversubscription=parsed.oversubscription.cpu,
        memory_oversubscription=parsed.oversubscription.memory,
        labels=dict(parsed.labels),
        cells=tuple(parsed.cells),
        hosts=_to_hosts(name, parsed),
        managed_by=parsed.managed_by or "",
    )


def _to_hosts(pop: str, parsed: PopDocument) -> tuple[Host, ...]:
    """Hosts with their shares; one that a number stands for is the PoP itself."""
    if parsed.hosts == 1 or not parsed.hosts:
        return ()
    listed = parsed.hosts if isinstance(parsed.hosts, list) else _numbered_hosts(pop, parsed.hosts)
    count = len(listed)
    return tuple(
        Host(
            one.name,
            parsed.cpus / count if one.cpus is None else one.cpus,
            parsed.memory // count if one.memory is None else one.memory,
            parsed.disk // count if one.disk is None else one.disk,
        )
        for one in listed
    )


def _numbered_hosts(pop: str, count: int) -> list[HostDocument]:
    return [HostDocument(name=f"{pop}-{number}") for number in range(1, count + 1)]


def _to_link(parsed: LinkDocument) -> Link:
    a, b = parsed.between
    return Link(parsed.name or f"{a}-{b}", a, b, *_to_impairments(parsed), price=parsed.price)


def _to_impairments(parsed: ImpairedDocument) -> tuple[Impairment, Impairment | None]:
    """There, and back where that differs."""
    there = Impairment(parsed.delay, parsed.jitter, parsed.loss, parsed.rate, parsed.duplicate, parsed.reorder)
    if parsed.reverse is None:
        return there, None
    given = parsed.reverse.model_dump(exclude_unset=True)
    back = replace(there, **{FIELDS[key]: value for key, value in given.items()})
    return there, None if back == there else back


def _to_endpoint(name: str, parsed: EndpointDocument) -> Endpoint:
    further = dict(parsed.interfaces)
    impairment, reverse = _to_impairments(parsed)
    return Endpoint(name, parsed.attach, parsed.image, tuple(parsed.command), impairment, reverse, further)


def _to_server(name: str, parsed: ServerDocument) -> ServerSeed:
    return ServerSeed(name, parsed.pop, parsed.image, parsed.flavor, tuple(parsed.command))


def _dump(body: Any, *, readable: bool = True) -> str:
    text = yaml.safe_dump(body, sort_keys=False, default_flow_style=None, allow_unicode=readable, width=120)
    # PyYAML writes these as they are and then reads them as line breaks or not at all.
    return _dump(body, readable=False) if readable and set(text) & set("\x85\u2028\u2029\ufeff") else text


def _dump_pop(pop: Pop) -> dict[str, Any]:
    default = Pop(pop.name)
    shares = {"cpu": pop.cpu_oversubscription, "memory": pop.memory_oversubscription}
    values = {
        "location": list(pop.location) if pop.location else None,
        "cpus": pop.cpus if pop.cpus != default.cpus else None,
        "memory": format_size(pop.memory_bytes) if pop.memory_bytes != default.memory_bytes else None,
        "disk": format_size(pop.disk_bytes) if pop.disk_bytes != default.disk_bytes else None,
        "oversubscription": {key: value for key, value in shares.items() if value != 1.0},
        "labels": dict(pop.labels),
        "cells": list(pop.cells),
        "hosts": [_dump_host(host) for host in pop.hosts],
        "managed_by": pop.managed_by,
    }
    return {key: value for key, value in values.items() if value}


def _dump_host(host: Host) -> dict[str, Any]:
    sizes = {"memory": format_size(host.memory_bytes), "disk": format_size(host.disk_bytes)}
    return {"name": host.name, "cpus": host.cpus, **sizes}


def _dump_link(link: Link) -> dict[str, Any]:
    price = {"price": link.price} if link.price else {}
    return {"name": link.name, "between": [link.a, link.b], **_dump_impairments(link), **price}


def _dump_endpoint(endpoint: Endpoint) -> dict[str, Any]:
    body: dict[str, Any] = {"attach": endpoint.attach, "image": endpoint.image}
    if endpoint.command:
        body["command"] = list(endpoint.command)
    if endpoint.interfaces:
        body["interfaces"] = {name: str(value) if value else None for name, value in endpoint.interfaces.items()}
    return {**body, **_dump_impairments(endpoint)}


def _dump_server(server: ServerSeed) -> dict[str, Any]:
    command = {"command": list(server.command)} if server.command else {}
    return {"pop": server.pop, "image": server.image, "flavor": server.flavor, **command}


def _dump_impairments(what: Link | Endpoint) -> dict[str, Any]:
    there = _dump_impairment(what.impairment)
    if what.reverse is None:
        return there
    back = _dump_impairment(what.reverse)
    cleared: dict[str, Any] = {key: _NOTHING[key] for key in there if key not in back}
    return {**there, "reverse": cleared | {key: value for key, value in back.items() if there.get(key) != value}}


def _dump_impairment(impairment: Impairment) -> dict[str, str]:
    values = {
        "delay": format_duration(impairment.delay_s) if impairment.delay_s else "",
        "jitter": format_duration(impairment.jitter_s) if impairment.jitter_s else "",
        "loss": format_share(impairment.loss) if impairment.loss else "",
        "rate": format_rate(impairment.rate_bps) if impairment.rate_bps else "",
        "duplicate": format_share(impairment.duplicate) if impairment.duplicate else "",
        "reorder": format_share(impairment.reorder) if impairment.reorder else "",
    }
    return {key: value for key, value in values.items() if value}
