"""Port chains of a VIM (networking-sfc)."""

from __future__ import annotations

from typing import Any

from sonata.adapters.vim_openstack.calls import Calls
from sonata.adapters.vim_openstack.networks import ensure_marked
from sonata.ports.vim import ChainRequest


def ensure_chain(calls: Calls, request: ChainRequest) -> str:
    """Find or create port pairs, a group for each, a flow classifier, and the symmetric chain over them."""
    groups = [_ensure_hop(calls, request, index, pair) for index, pair in enumerate(request.pairs)]
    classifier = _ensure(calls, "flow_classifier", f"{request.tag}/classifier", _classifier(request))
    chain = {
        "name": request.name,
        "port_pair_groups": groups,
        "flow_classifiers": [classifier],
        "chain_parameters": {"symmetric": True},
    }
    return _ensure(calls, "port_chain", request.tag, chain)


def _ensure_hop(calls: Calls, request: ChainRequest, index: int, pair: tuple[str, str]) -> str:
    """A group of one port pair; returns the group's id."""
    name = f"{request.name}-{index}"
    body = {"name": name, "ingress": pair[0], "egress": pair[1]}
    pair_id = _ensure(calls, "port_pair", f"{request.tag}/pair/{index}", body)
    group = {"name": name, "port_pairs": [pair_id]}
    return _ensure(calls, "port_pair_group", f"{request.tag}/group/{index}", group)


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
