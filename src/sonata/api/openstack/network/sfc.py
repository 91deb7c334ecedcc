"""Service function chaining resources, declared field by field.

Source: Networking API v2.0 reference, service function chaining (networking-sfc).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sonata.api.openstack.call import Call
from sonata.api.openstack.fields import (
    CIDR,
    FLAG,
    OBJECT,
    TEXT,
    TEXTS,
    Field,
    Kind,
    computed,
    constant,
    integer,
    or_none,
)
from sonata.api.openstack.resource import Resource, Values
from sonata.api.openstack.schemas import ID, NOTHING, SWITCH, choice, maybe, record
from sonata.api.openstack.topic import Truth
from sonata.emulator.cloud.causes import NoSuch
from sonata.emulator.cloud.entities.chaining import (
    MPLS,
    NSH,
    FlowClassifier,
    PortChain,
    PortPair,
    PortPairGroup,
    ServiceGraph,
)
from sonata.emulator.cloud.network.sharing import HASHED, HEAVIEST, KNOWN, pool_of

PORT_NUMBER = or_none(integer(0, 65535))
NO_MAPPING = {"type": "object", "additionalProperties": record({})}


def _read_protocol(value: Any) -> str | None:
    if value in (None, "any"):
        return None
    known = {"tcp": "tcp", "6": "tcp", "udp": "udp", "17": "udp", "icmp": "icmp", "1": "icmp"}
    if str(value).lower() not in known:
        raise ValueError(f"protocol '{value}' is not supported: use one of tcp, udp, icmp, or none.")
    return known[str(value).lower()]


def _read_ethertype(value: Any) -> int:
    for name, version in (("IPv4", 4), ("IPv6", 6), (None, 4)):
        if value == name:
            return version
    raise ValueError(f"'{value}' is not in ['IPv4', 'IPv6'].")


def _read_no_tap(value: Any) -> bool:
    if value not in (False, None):
        raise ValueError("tap groups are not available here: a function is in the way of the packets.")
    return False


def _read_l7(value: Any) -> dict[str, Any]:
    if value:
        raise ValueError("layer 7 parameters cannot be matched here.")
    return {}


def _read_no_destination(value: Any) -> None:
    if value:
        raise ValueError("logical_destination_port cannot be matched here: use destination_ip_prefix.")


def _read_chain_parameters(value: Any) -> dict[str, Any]:
    """`chain_parameters`, whether the chain is symmetric and what its packets are marked with."""
    parameters = OBJECT.read(value)
    _refuse_unknown(parameters, "symmetric", "correlation")
    correlation = parameters.get("correlation", MPLS)
    if correlation not in (MPLS, NSH):
        raise ValueError(f"correlation '{correlation}' is not in {[MPLS, NSH]}.")
    return {"symmetric": FLAG.read(parameters.get("symmetric", False)), "correlation": correlation}


def _read_function_parameters(value: Any) -> dict[str, Any]:
    """`service_function_parameters`: what a function is like."""
    parameters = OBJECT.read(value)
    _refuse_unknown(parameters, "correlation", "weight")
    if parameters.get("correlation") not in (None, NSH):
        raise ValueError(
            f"correlation '{parameters['correlation']}' is not in [None, '{NSH}']: functions get no MPLS labels here."
        )
    return dict(parameters)


def _show_function_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {"correlation": None, "weight": 1, **parameters}


def _read_group_parameters(value: Any) -> dict[str, Any]:
    """`port_pair_group_parameters`: how flows are shared out."""
    parameters = OBJECT.read(value)
    _refuse_unknown(parameters, *KNOWN, "ppg_n_tuple_mapping")
    mapping = OBJECT.read(parameters.get("ppg_n_tuple_mapping"))
    if any(mapping.values()):
        raise ValueError("ppg_n_tuple_mapping cannot be followed here: classifiers match the same at each function.")
    return {name: found for name, found in parameters.items() if name != "ppg_n_tuple_mapping"}


def _show_group_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    mapping: dict[str, Any] = {"ingress_n_tuple": {}, "egress_n_tuple": {}}
    return {"lb_fields": [], "ppg_n_tuple_mapping": mapping, **parameters}


def _refuse_unknown(parameters: Mapping[str, Any], *known: str) -> None:
    if unknown := sorted(set(parameters) - set(known)):
        raise ValueError(f"unknown parameter '{unknown[0]}': known are {', '.join(known)}.")


# port pairs


async def _create_pair(call: Call, values: Values) -> PortPair:
    return await call.cloud.chaining.create_pair(PortPair(**values))


async def _update_pair(call: Call, pair: PortPair, values: Values) -> PortPair:
    return await call.cloud.chaining.update_pair(pair.id, **values)


async def _delete_pair(call: Call, pair: PortPair) -> None:
    await call.cloud.chaining.delete_pair(pair.id)


FUNCTION_PARAMETERS = Kind(
    _read_function_parameters,
    _show_function_parameters,
    maybe(
        record({"correlation": maybe(choice(NSH)), "weight": {"type": "integer", "minimum": 1, "maximum": HEAVIEST}})
    ),
)
PORT_PAIRS = Resource[PortPair](
    member="port_pair",
    collection="port_pairs",
    path="/sfc/port_pairs",
    table=lambda tables: tables.port_pairs,
    fields=(
        Field("ingress", TEXT, access="c", required=True),
        Field("egress", TEXT, access="c", required=True),
        Field("service_function_parameters", FUNCTION_PARAMETERS, attr="parameters", access="c"),
    ),
    create=_create_pair,
    update=_update_pair,
    delete=_delete_pair,
    truth=Truth(
        real=(
            "a function between two ports of one server, or the same port twice",
            "functions whose `correlation` is `nsh` get packets with a network service header (RFC 8300), and give "
            "them back with its index counted down; their networks need an MTU of 1538 (501 for others)",
            "a port that belongs to no server, with the MAC address of an endpoint's further interface that a layer 2 "
            "gateway joins to its network, stands for that physical box",
        ),
        simplified=("functions without a `correlation` get plain packets",),
        refused=(
            "deleting a pair that a group uses (409)",
            "the `correlation` `mpls`: no labels are pushed here (400)",
        ),
    ),
)


# port pair groups


async def _create_group(call: Call, values: Values) -> PortPairGroup:
    values.pop("tap_enabled", None)
    pool = call.cloud.tables.pools.peek(pool_of(values.get("parameters", {})))
    if pool and not call.sees(pool):
        raise NoSuch("Pool", pool.id)
    return await call.cloud.chaining.create_group(PortPairGroup(**values))


async def _update_group(call: Call, group: PortPairGroup, values: Values) -> PortPairGroup:
    return await call.cloud.chaining.update_group(group.id, **values)


async def _delete_group(call: Call, group: PortPairGroup) -> None:
    await call.cloud.chaining.delete_group(group.id)


def _group_number(tables: Any, group: PortPairGroup) -> int:
    return next(number for number, other in enumerate(tables, start=1) if other.id == group.id)


GROUP_PARAMETERS = Kind(
    _read_group_parameters,
    _show_group_parameters,
    maybe(
        record(
            {
                "lb_fields": {"type": "array", "items": choice(*HASHED)},
                "sticky": SWITCH,
                "lb_pool_id": ID,
                "ppg_n_tuple_mapping": NO_MAPPING,
            }
        )
    ),
)
PORT_PAIR_GROUPS = Resource[PortPairGroup](
    member="port_pair_group",
    collection="port_pair_groups",
    path="/sfc/port_pair_groups",
    table=lambda tables: tables.port_pair_groups,
    fields=(
        Field("port_pairs", TEXTS, access="cu"),
        Field("port_pair_group_parameters", GROUP_PARAMETERS, attr="parameters", access="c"),
        computed("group_id", lambda cloud, group: _group_number(cloud.tables.port_pair_groups, group)),
        constant("is_tap_enabled", False),
        Field("tap_enabled", Kind(_read_no_tap, schema=SWITCH), access="c", computed=lambda *_: False),
    ),
    create=_create_group,
    update=_update_group,
    delete=_delete_group,
    truth=Truth(
        real=(
            "flows are shared out over the pairs that run, by `weight` and `lb_fields`; both directions of each "
            "meet the same function",
            "`sticky` keeps flows where they are when pairs come and go; `lb_pool_id` has the members of a pool of "
            "Octavia tell which functions serve",
        ),
        refused=(
            "pairs of several correlations in one group (400 InconsistentCorrelations)",
            "tap groups, `ppg_n_tuple_mapping`, shares by MAC addresses (400)",
        ),
    ),
)


# flow classifiers


async def _create_classifier(call: Call, values: Values) -> FlowClassifier:
    for checked_only in ("l7_parameters", "logical_destination_port"):
        values.pop(checked_only, None)
    return await call.cloud.chaining.create_classifier(FlowClassifier(**values))


async def _update_classifier(call: Call, classifier: FlowClassifier, values: Values) -> FlowClassifier:
    return await call.cloud.chaining.update_classifier(classifier.id, **values)


async def _delete_classifier(call: Call, classifier: FlowClassifier) -> None:
    await call.cloud.chaining.delete_classifier(classifier.id)


ETHERTYPE = Kind(_read_ethertype, "IPv{}".format, choice("IPv4", "IPv6"))
NO_DESTINATION = Kind(_read_no_destination, schema=NOTHING)
FLOW_CLASSIFIERS = Resource[FlowClassifier](
    member="flow_classifier",
    collection="flow_classifiers",
    path="/sfc/flow_classifiers",
    table=lambda tables: tables.flow_classifiers,
    fields=(
        Field("ethertype", ETHERTYPE, attr="ip_version", access="c"),
        Field("protocol", Kind(_read_protocol, schema=maybe(choice("tcp", "udp", "icmp"))), access="c"),
        Field("source_ip_prefix", or_none(CIDR), attr="source", access="c"),
        Field("destination_ip_prefix", or_none(CIDR), attr="destination", access="c"),
        Field("source_port_range_min", PORT_NUMBER, attr="source_port_min", access="c"),
        Field("source_port_range_max", PORT_NUMBER, attr="source_port_max", access="c"),
        Field("destination_port_range_min", PORT_NUMBER, attr="destination_port_min", access="c"),
        Field("destination_port_range_max", PORT_NUMBER, attr="destination_port_max", access="c"),
        Field("logical_source_port", or_none(TEXT), access="c"),
        Field("logical_destination_port", NO_DESTINATION, access="c", computed=lambda *_: None),
        Field("l7_parameters", Kind(_read_l7, schema=record({})), access="c", computed=lambda *_: {}),
    ),
    create=_create_classifier,
    update=_update_classifier,
    delete=_delete_classifier,
    truth=Truth(
        real=("tcp, udp, icmp; IPv4 and IPv6 prefixes, ranges of ports, the source port",),
        refused=("`logical_destination_port`, layer 7 parameters (400)",),
    ),
)


# port chains


async def _create_chain(call: Call, values: Values) -> PortChain:
    parameters = values.pop("chain_parameters", {})
    return await call.cloud.chaining.create_chain(PortChain(**values, **parameters))


async def _update_chain(call: Call, chain: PortChain, values: Values) -> PortChain:
    return await call.cloud.chaining.update_chain(chain.id, **values)


async def _delete_chain(call: Call, chain: PortChain) -> None:
    await call.cloud.chaining.delete_chain(chain.id)


PORT_CHAINS = Resource[PortChain](
    member="port_chain",
    collection="port_chains",
    path="/sfc/port_chains",
    table=lambda tables: tables.port_chains,
    fields=(
        Field("port_pair_groups", TEXTS, attr="groups", access="cu", required=True),
        Field("flow_classifiers", TEXTS, attr="classifiers", access="cu"),
        Field(
            "chain_parameters",
            Kind(_read_chain_parameters, schema=record({"symmetric": SWITCH, "correlation": choice(MPLS, NSH)})),
            access="c",
            computed=lambda _cloud, chain: {"correlation": chain.correlation, "symmetric": chain.symmetric},
        ),
        Field("chain_id", integer(0, 65535), access="c"),
    ),
    create=_create_chain,
    update=_update_chain,
    delete=_delete_chain,
    truth=Truth(
        real=(
            "matching packets visit the functions in order, and back where it is `symmetric`; removing it "
            "restores the ordinary way",
            "with the `correlation` `nsh`, packets have a network service header between functions, over VXLAN-GPE "
            "between PoPs, whatever the topology's chain renderer is; functions that know none get plain packets",
            "functions in several zones of a site, where neighbours in different zones share a network",
            "security groups of who receives in the end, and groups, bandwidth limits and addresses of a "
            "`logical_source_port` that sends",
        ),
        simplified=(
            "what is steered passes by the security groups of functions",
            "the `correlation` that stock clients send unless told, `mpls`, is how the switches of networking-sfc mark "
            "packets between themselves; here it means the chain renderer of the topology, whichever that is",
            "the renderers `routed` and `srv6` take IPv4 alone (501 for chains with IPv6 classifiers)",
        ),
        refused=(
            "the `correlation` `nsh` where no chain renderer makes it: Open vSwitch is not installed (501)",
            "functions whose `correlation` is not the chain's (400 PortChainInconsistentCorrelations)",
            "over zones: groups that keep their flows, service graphs, symmetric chains that do not end in the site's "
            "own PoP (409 ChainAcrossZones)",
            "changes of groups and classifiers, and deletion, while a service graph has the chain (409)",
        ),
    ),
)


# service graphs


def _read_branches(value: Any) -> dict[str, tuple[str, ...]]:
    branches = OBJECT.read(value)
    if empty := next((source for source, destinations in branches.items() if not destinations), None):
        raise ValueError(f"chain '{empty}' leads to no other chain.")
    return {TEXT.read(source): TEXTS.read(destinations) for source, destinations in branches.items()}


def _show_branches(branches: Mapping[str, tuple[str, ...]]) -> dict[str, list[str]]:
    return {source: list(destinations) for source, destinations in branches.items()}


async def _create_graph(call: Call, values: Values) -> ServiceGraph:
    return await call.cloud.service_graphs.create(ServiceGraph(**values))


async def _update_graph(call: Call, graph: ServiceGraph, values: Values) -> ServiceGraph:
    return await call.cloud.service_graphs.update(graph.id, **values)


async def _delete_graph(call: Call, graph: ServiceGraph) -> None:
    await call.cloud.service_graphs.delete(graph.id)


BRANCHES = Kind(_read_branches, _show_branches, {"type": "object", "additionalProperties": TEXTS.schema})
SERVICE_GRAPHS = Resource[ServiceGraph](
    member="service_graph",
    collection="service_graphs",
    path="/sfc/service_graphs",
    table=lambda tables: tables.service_graphs,
    truth=Truth(
        real=("packets that leave the last function of a chain and match a classifier of another one enter that",),
        simplified=(
            "functions need no correlation: packets are looked at again where they branch; the logical_source_port "
            "of a destination chain's classifiers means nothing there",
        ),
        refused=(
            "branching after a function that belongs to no server (400 PortPairEgressNoHost)",
            "ways back into a group that keeps its flows (`sticky`, `lb_pool_id`), since each chain remembers its own "
            "(501); put a group without them behind it",
            "destination chains of one branching point whose classifiers differ in their logical ports alone "
            "(400 ServiceGraphFlowClassifierInConflict)",
        ),
    ),
    fields=(Field("port_chains", BRANCHES, access="c", required=True),),
    create=_create_graph,
    update=_update_graph,
    delete=_delete_graph,
)
