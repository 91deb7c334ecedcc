"""The tables of a cloud as plain JSON values, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args, get_type_hints

from sonata._lib.plain import from_plain
from sonata.emulator.cloud.causes import NoSuch
from sonata.emulator.cloud.entities.base import Entity
from sonata.emulator.cloud.identity import ADMIN
from sonata.emulator.cloud.tables import Table, Tables
from sonata.errors import Conflict

VERSION = 1

Rows = Mapping[str, tuple[Entity, ...]]

_KINDS: Mapping[str, type[Entity]] = {name: get_args(hint)[0] for name, hint in get_type_hints(Tables).items()}


def rows_of(tables: Tables) -> Rows:
    """What the tables hold at this moment; cheap, since entities never change in place."""
    return {name: tuple(table) for name, table in tables}


def to_document(rows: Rows) -> dict[str, Any]:
    """What `from_document` reads once it has been written as JSON."""
    return {"version": VERSION, "tables": rows}


def from_document(document: Any) -> Tables:
    """The tables of a document; a table that an older document does not know is empty.

    Raises:
        ValueError: it is of another version, is not of the right form, or an object in it needs one that is not there.
    """
    if not isinstance(document, dict) or document.get("version") != VERSION:
        raise ValueError(f"not a document of version {VERSION}")
    saved = document.get("tables")
    if not isinstance(saved, dict) or not saved or not saved.keys() <= _KINDS.keys():
        raise ValueError(f"the tables are not of {', '.join(_KINDS)}")
    tables = Tables()
    for name, table in tables:
        _fill(table, saved.get(name, []), _KINDS[name])
    try:
        _check(tables)
    except (NoSuch, Conflict) as error:
        raise ValueError(f"a reference leads nowhere: {error.message}") from error
    return tables


def _fill(table: Table[Any], plain: Any, kind: type[Entity]) -> None:
    if not isinstance(plain, list):
        raise ValueError(f"the table of {table.kind} is no list")
    for row in (from_plain(one, kind) for one in plain):
        if row.id in table:
            raise ValueError(f"{table.kind} {row.id} is there twice")
        table.add(row)


def _check(tables: Tables) -> None:
    """Refuse references that the data plane could not follow."""
    tables.projects.find(ADMIN)
    tables.users.find(ADMIN)
    _require(tables.networks, (subnet.network_id for subnet in tables.subnets))
    _require(tables.networks, (port.network_id for port in tables.ports))
    _require(tables.subnets, (fixed.subnet_id for port in tables.ports for fixed in port.fixed_ips))
    for router in tables.routers:
        legs = (*router.interfaces, *((router.gateway.port_id,) if router.gateway else ()))
        _require(tables.ports, legs)
        if any(not tables.ports.get(port_id).fixed_ips for port_id in legs):
            raise ValueError(f"router {router.id} has a leg without an address")
    _require(tables.ports, (floating.gateway_port_id for floating in tables.floating_ips))
    _require(tables.routers, (floating.router_id for floating in tables.floating_ips if floating.router_id))
    _require(tables.security_groups, (rule.security_group_id for rule in tables.security_group_rules))
    _require(tables.port_pairs, (pair for group in tables.port_pair_groups for pair in group.port_pairs))
    _require(tables.port_pair_groups, (group for chain in tables.port_chains for group in chain.groups))
    _require(tables.flow_classifiers, (one for chain in tables.port_chains for one in chain.classifiers))
    _require(tables.port_chains, (one for graph in tables.service_graphs for one in graph.chains))
    _require(tables.l2_gateways, (one.l2_gateway_id for one in tables.l2_gateway_connections))
    _require(tables.networks, (one.network_id for one in tables.l2_gateway_connections))
    _require(tables.ports, (nic.port_id for server in tables.servers for nic in server.nics))
    _check_load_balancing(tables)


def _check_load_balancing(tables: Tables) -> None:
    _require(tables.ports, (balancer.vip_port_id for balancer in tables.load_balancers))
    _require(tables.load_balancers, (listener.load_balancer_id for listener in tables.listeners))
    _require(tables.pools, (one.default_pool_id for one in tables.listeners if one.default_pool_id))
    _require(tables.load_balancers, (pool.load_balancer_id for pool in tables.pools))
    _require(tables.pools, (part.pool_id for part in (*tables.members, *tables.health_monitors)))
    _require(tables.listeners, (policy.listener_id for policy in tables.l7policies))
    _require(tables.l7policies, (rule.l7policy_id for rule in tables.l7rules))


def _require(table: Table[Any], wanted: Iterable[str]) -> None:
    for entity_id in wanted:
        table.get(entity_id)
