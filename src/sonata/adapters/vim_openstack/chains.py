"""Port chains of a VIM (networking-sfc)."""

from __future__ import annotations

from typing import Any

from sonata.adapters.vim_openstack.calls import Calls
from sonata.adapters.vim_openstack.networks import ensure_all_marked, ensure_marked
from sonata.ports.vim import ChainRequest


def ensure_chain(calls: Calls, request: ChainRequest) -> str:
    """Find or create port pairs, a group for each, a flow classifier, and the symmetric chain over them."""
    groups = _ensure_hops(calls, request)
    classifier = _ensure(calls, "flow_classifier", f"{request.tag}/classifier", _classifier(request))
    chain = {
        "name": request.name,
        "port_pair_groups": groups,
        "flow_classifiers": [classifier],
        "chain_parameters": {"symmetric": True},
    }
    return _ensure(calls, "port_chain", request.tag, chain)


def _ensure_hops(calls: Calls, request: ChainRequest) -> list[str]:
    """A group of one port pair per hop; returns the groups' ids."""
    names = [f"{request.name}-{index}" for index in range(len(request.pairs))]
    ends = zip(names, request.pairs, strict=True)
    bodies = [{"name": name, "ingress": ingress, "egress": egress} for name, (ingress, egress) in ends]
    pairs = _ensure_each(calls, "port_pair", f"{request.tag}/pair", bodies)
    groups = [{"name": name, "port_pairs": [pair]} for name, pair in zip(names, pairs, strict=True)]
    return _ensure_each(calls, "port_pair_group", f"{request.tag}/group", groups)


def _ensure_each(calls: Calls, kind: str, tag: str, bodies: list[dict[str, Any]]) -> list[str]:
    """Objects of one kind, numbered in their tags; networking-sfc creates one at a time."""
    wanted = {f"{tag}/{index}": body for index, body in enumerate(bodies)}
    found = ensure_all_marked(calls, f"/sfc/{kind}s", kind, wanted, in_bulk=False)
    return [found[tag]["id"] for tag in wanted]


def _ensure(calls: Calls, kind: str, tag: str, body: dict[str, Any]) -> str:
    created: str = ensure_marked(calls, f"/sfc/{kind}s", kind, tag, body)["id"]
    return created


def _classifier(request: ChainRequest) -> dict[str, Any]:
    classifier: dict[str, Any] = {"name": request.name, "ethertype": "IPv4"}
    if request.source_prefix:
        classifier["source_ip_prefix"] = request.source_prefix
    if request.destination_prefix:
        classifier["destination_ip_prefix"] = request.destination_prefix
    if request.protocol:
        classifier["protocol"] = request.protocol
    if request.destination_port is not None:
        classifier["destination_port_range_min"] = request.destination_port
        classifier["destination_port_range_max"] = request.destination_port
    return classifier
