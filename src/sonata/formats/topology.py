"""Reader and writer of topology files.

Structure is checked by `topology_document` (codes TOPO-0001 to -0004, see `diagnostics`), meaning by `topology_rules`.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from sonata._lib.quantities import format_duration, format_rate, format_share, format_size
from sonata.errors import Diagnostic
from sonata.formats.diagnostics import from_validation_error
from sonata.formats.findings import raise_errors
from sonata.formats.topology_document import (
    EndpointDocument,
    HostDocument,
    ImpairedDocument,
    LinkDocument,
    PopDocument,
    ServerDocument,
    TopologyDocument,
)
from sonata.formats.topology_rules import check_topology, ensure_valid, findings_in
from sonata.formats.yaml_nodes import YamlDocument, parse_yaml, read_yaml
from sonata.model.figures import Cost, Energy, Noise
from sonata.model.topology import Endpoint, Host, Impairment, Link, Pop, ServerSeed, Topology

__all__ = ["check_topology", "check_topology_file", "dump_topology", "ensure_valid", "parse_topology", "read_topology"]

logger = logging.getLogger(__name__)

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


def dump_topology(topology: Topology) -> str:
    """Text of a topology file that reads back as the same topology; defaults are left out."""
    body: dict[str, Any] = {"apiVersion": "sonata/v1", "kind": "Topology", "name": topology.name}
    body["pops"] = {name: _dump_pop(pop) for name, pop in topology.pops.items()}
    if topology.chain_renderer != Topology("", {}).chain_renderer:
        body["chain_renderer"] = topology.chain_renderer
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
    return topology, [finding.locate(document) for finding in findings_in(topology)]


def _accept(topology: Topology | None, findings: list[Diagnostic]) -> Topology:
    file = findings[0].file if findings else ""
    raise_errors(f"topology `{file}`", findings)
    for finding in findings:
        logger.warning("topology has a flaw", extra={"finding": str(finding)})
    if topology is None:
        raise TypeError("a topology without findings has a value")
    return topology


def _to_model(parsed: TopologyDocument) -> Topology:
    return Topology(
        name=parsed.name,
        pops={name: _to_pop(name, pop) for name, pop in parsed.pops.items()},
        links=tuple(_to_link(link) for link in parsed.links),
        endpoints={name: _to_endpoint(name, endpoint) for name, endpoint in parsed.endpoints.items()},
        servers={name: _to_server(name, server) for name, server in parsed.servers.items()},
        chain_renderer=parsed.chain_renderer,
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
        cost=Cost(parsed.cost.cpu_hour, parsed.cost.memory_gib_hour),
        energy=Energy(parsed.energy.idle_watts, parsed.energy.watts_per_cpu),
        noise=Noise(parsed.noise.cpus, parsed.noise.memory),
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
    return Link(parsed.name or f"{a}-{b}", a, b, *_to_impairments(parsed), parsed.up, parsed.price)


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
    return Endpoint(name, parsed.attach, parsed.image, tuple(parsed.command), impairment, reverse, further, parsed.up)


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
        "cost": _said(asdict(pop.cost)),
        "energy": _said(asdict(pop.energy)),
        "noise": _dump_noise(pop.noise),
    }
    return {key: value for key, value in values.items() if value}


def _dump_noise(noise: Noise) -> dict[str, Any]:
    memory = {"memory": format_size(noise.memory_bytes)} if noise.memory_bytes else {}
    return _said({"cpus": noise.cpus}) | memory


def _said(values: dict[str, Any]) -> dict[str, Any]:
    """What is not nothing."""
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
    there: dict[str, Any] = _dump_impairment(what.impairment)
    state = {} if what.up else {"up": False}
    if what.reverse is None:
        return there | state
    back = _dump_impairment(what.reverse)
    cleared = {key: _NOTHING[key] for key in there if key not in back}
    differs = cleared | {key: value for key, value in back.items() if there.get(key) != value}
    return {**there, "reverse": differs, **state}


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
