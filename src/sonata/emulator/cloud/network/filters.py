"""Bringing security groups, address pairs and port security to the ports of the data plane, and keeping them true."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_network
from typing import Literal

from sonata._lib.ip import Prefix
from sonata.emulator.cloud.entities.network import APPLIANCE_OWNERS, Port
from sonata.emulator.cloud.entities.security import EGRESS, VERSIONS, SecurityGroupRule
from sonata.emulator.cloud.network.places import Places
from sonata.emulator.cloud.network.protocols import number_in, ports_in
from sonata.emulator.cloud.site import Site
from sonata.ports.fabric import AllowedSource, FilterRule, PortFilter

Members = Mapping[str, tuple[Prefix, ...]]


class PortFilters:
    """The filters of the ports that are plugged in, or are about to be."""

    def __init__(self, site: Site, places: Places) -> None:
        self._site = site
        self._tables = site.tables
        self._places = places
        self._told: dict[str, dict[str, PortFilter | None]] = {}
        self._members: dict[str, dict[str, tuple[Prefix, ...]]] = {}
        self._turn = asyncio.Lock()

    async def unplugged(self, port_ids: Iterable[str]) -> None:
        """Filter ports no more that are plugged out, or were never plugged in after all."""
        gone = [port_id for port_id in port_ids if port_id not in self._places]
        async with self._turn:
            for pop, told in self._told.items():
                await self._remove(pop, [port_id for port_id in gone if port_id in told])

    async def follow(self) -> None:
        """Make the data plane filter as the tables say now; does nothing where nothing has changed."""
        async with self._turn:
            wanted = self._wanted()
            for pop in dict.fromkeys((*wanted, *self._told)):
                await self._follow(pop, wanted.get(pop, {}))

    async def _follow(self, pop: str, wanted: Mapping[str, PortFilter]) -> None:
        told, known = self._told.setdefault(pop, {}), self._members.setdefault(pop, {})
        members = self._wanted_members(wanted.values())
        changed = [one for port_id, one in wanted.items() if told.get(port_id) != one]
        moved = {name: inside for name, inside in members.items() if known.get(name) != inside}
        if changed or moved:
            await self._set(pop, changed, moved)
        self._members[pop] = dict(members)
        await self._remove(pop, [port_id for port_id in told if port_id not in wanted])

    async def _set(self, pop: str, changed: Sequence[PortFilter], moved: Members) -> None:
        """Filter ports so; who is interrupted leaves a note that something may stand, and what is said again."""
        self._told[pop].update(dict.fromkeys(one.port_id for one in changed))
        for name in moved:
            self._members[pop].pop(name, None)
        await self._site.plane.run(lambda fabric: fabric.filtering.set_filters(pop, changed, moved))
        self._told[pop].update({one.port_id: one for one in changed})

    async def _remove(self, pop: str, port_ids: Sequence[str]) -> None:
        """Filter ports no more; the data plane drops the sets of addresses that no filter needs then."""
        if port_ids:
            await self._site.plane.run(lambda fabric: fabric.filtering.remove_filters(pop, port_ids))
            for port_id in port_ids:
                self._told[pop].pop(port_id, None)
            named = _names_in(filter(None, self._told[pop].values()))
            self._members[pop] = {name: inside for name, inside in self._members[pop].items() if name in named}

    def _wanted(self) -> dict[str, dict[str, PortFilter]]:
        """Filters by PoP and port, from the moment in which a port is about to be plugged in."""
        rules = _rules_by_group(self._tables.security_group_rules)
        found: dict[str, dict[str, PortFilter]] = {}
        for port_id, pops in self._places:
            port = self._tables.ports.peek(port_id)
            if port and is_secured(port):
                for pop in pops:
                    found.setdefault(pop, {})[port_id] = self._filter(port, rules)
        return found

    def _filter(self, port: Port, rules: Mapping[str, list[FilterRule]]) -> PortFilter:
        groups = [group for one in port.security_groups if (group := self._tables.security_groups.peek(one))]
        mine = dict.fromkeys(rule for group in groups for rule in rules.get(group.id, ()))
        stateful = all(group.stateful for group in groups)
        return PortFilter(port.id, tuple(_sources(port)), tuple(mine), stateful=stateful)

    def _wanted_members(self, filters: Iterable[PortFilter]) -> Members:
        named = _names_in(filters)
        found: dict[str, set[Prefix]] = {name: set() for name in named}
        for port in self._tables.ports:
            if port.port_security:
                for group_id in named.intersection(port.security_groups):
                    found[group_id] |= {source.network for source in _sources(port)}
        for group in self._tables.address_groups:
            if group.id in named:
                found[group.id] |= set(group.addresses)
        return {name: tuple(sorted(known, key=str)) for name, known in found.items()}


def _names_in(filters: Iterable[PortFilter]) -> set[str]:
    """The sets of addresses that rules name."""
    return {rule.members for one in filters for rule in one.rules if rule.members}


def is_secured(port: Port) -> bool:
    """Whether what passes a port is filtered: Neutron trusts its own ports, and the site its helper machines; nothing
    is filtered at direct ports.
    """
    trusted = port.device_owner.startswith("network:") or port.device_owner in APPLIANCE_OWNERS
    return port.port_security and not trusted and not port.is_direct


def _sources(port: Port) -> Iterator[AllowedSource]:
    for fixed in port.fixed_ips:
        yield AllowedSource(port.mac, ip_network(fixed.address))
    for pair in port.allowed_address_pairs:
        yield AllowedSource(pair.get("mac_address") or port.mac, ip_network(pair["ip_address"]))


def _rules_by_group(rules: Iterable[SecurityGroupRule]) -> Mapping[str, list[FilterRule]]:
    found: dict[str, list[FilterRule]] = {}
    for rule in rules:
        found.setdefault(rule.security_group_id, []).append(_filter_rule(rule))
    return found


def _filter_rule(rule: SecurityGroupRule) -> FilterRule:
    direction: Literal["egress", "ingress"] = "egress" if rule.direction == EGRESS else "ingress"
    version: Literal[4, 6] = 4 if VERSIONS[rule.ethertype] == 4 else 6
    remote = rule.remote_ip_prefix if rule.remote_ip_prefix and rule.remote_ip_prefix.prefixlen else None
    members = rule.remote_group_id or rule.remote_address_group_id
    return FilterRule(direction, version, number_in(rule), ports_in(rule), remote, members)
