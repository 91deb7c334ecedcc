"""Quality of service: policies, and holding their rates at the ports of the data plane.

A port's own policy goes before its network's, which is not for Neutron's own ports (routers, DHCP). Those of floating
IPs and of routers' own outer addresses are held by the routers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

from sonata.emulator.cloud.causes import NoSuch
from sonata.emulator.cloud.entities.network import APPLIANCE_OWNERS, Network, Port
from sonata.emulator.cloud.entities.qos import BandwidthRule, MarkRule, QosPolicy, Rule
from sonata.emulator.cloud.network.causes import (
    QoSPolicyDefaultAlreadyExists,
    QosPolicyInUse,
    QosRuleNotSupported,
    QoSRulesConflict,
)
from sonata.emulator.cloud.site import Site
from sonata.ports.fabric import PortRate, PortShape

_OPEN = PortShape()
_KILO, _BITS = 1000, 8


class Qos:
    """The policies of one cloud; changes take effect on ports at once.

    `on_rules_changed` is awaited with a policy whose rules have changed.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._tables = site.tables
        self._policies = site.tables.qos_policies
        self._told: dict[str, PortShape] = {}
        self._turn = asyncio.Lock()
        self.on_rules_changed: Callable[[str], Awaitable[None]] = _nobody_follows

    def create(self, policy: QosPolicy) -> QosPolicy:
        """Create a policy.

        Raises:
            QoSPolicyDefaultAlreadyExists: it would be the project's second default.
        """
        self._refuse_second_default(policy)
        return self._policies.add(policy)

    def update(self, policy_id: str, **changes: Any) -> QosPolicy:
        """Change what a policy says of itself; `set_rules` changes its rules."""
        self._refuse_second_default(replace(self._policies.get(policy_id), **changes))
        return self._policies.change(policy_id, **changes)

    def delete(self, policy_id: str) -> None:
        """Delete a policy.

        Raises:
            QosPolicyInUse: a port, network, floating IP or router has it.
        """
        for kind, entity_id, used in self._users():
            if used == policy_id:
                raise QosPolicyInUse(f"QoS Policy {policy_id} is used by {kind} {entity_id}.")
        self._policies.remove(policy_id)

    def _users(self) -> Iterator[tuple[str, str, str]]:
        """All that has a policy: its kind, its id, the policy."""
        yield from (("network", one.id, one.qos_policy) for one in self._tables.networks)
        yield from (("port", one.id, one.qos_policy) for one in self._tables.ports)
        yield from (("floating IP", one.id, one.qos_policy) for one in self._tables.floating_ips)
        yield from (("router", one.id, one.gateway.qos_policy) for one in self._tables.routers if one.gateway)

    def rule(self, policy_id: str, rule_id: str) -> Rule:
        """A rule of a policy.

        Raises:
            NoSuch: there is none.
        """
        for rule in self._policies.get(policy_id).all_rules:
            if rule.id == rule_id:
                return rule
        raise NoSuch("QosRule", rule_id)

    async def put_rule(self, policy_id: str, rule: Rule) -> Rule:
        """Add a rule, or change the one of its id; ports follow at once.

        Raises:
            QoSRulesConflict: the policy has another rule of the type for the direction.
        """
        others = tuple(one for one in self._policies.get(policy_id).all_rules if one.id != rule.id)
        for one in others:
            if (type(one), one.direction) == (type(rule), rule.direction):
                raise QoSRulesConflict(
                    f"Rule {type_of(rule)} conflicts with rule {one.id} which already exists in QoS Policy {policy_id}."
                )
        await self._set_rules(policy_id, (*others, rule))
        return rule

    async def remove_rule(self, policy_id: str, rule_id: str) -> None:
        """Take a rule from a policy; ports follow at once."""
        gone = self.rule(policy_id, rule_id)
        known = self._policies.get(policy_id).all_rules
        await self._set_rules(policy_id, tuple(one for one in known if one != gone))

    def default_of(self, project_id: str) -> str:
        """Id of a project's default policy, empty when it has none."""
        own = (one.id for one in self._policies if one.is_default and one.project_id == project_id)
        return next(own, "")

    async def follow(self) -> None:
        """Make the data plane hold what the tables say now; does nothing where nothing has changed."""
        if not len(self._policies) and not self._told:
            return
        async with self._turn:
            plugged = {port.id: self._shape(port) for port in self._tables.ports if port.plugged}
            # What is not plugged in any more has taken its rates along.
            told = {port_id: shape for port_id, shape in self._told.items() if port_id in plugged}
            changed = {key: shape for key, shape in plugged.items() if told.get(key, _OPEN) != shape}
            if changed:
                await self._site.plane.run(lambda fabric: fabric.shaping.set_shapes(changed))
            self._told = {key: shape for key, shape in plugged.items() if shape != _OPEN}

    def check(self, port: Port) -> None:
        """Refuse a port whose policy nothing could enforce.

        Raises:
            QosRuleNotSupported: it is direct, and its policy, or its network's, has rules.
        """
        self._require_enforceable(port, self._policy_of(port))

    def check_network(self, network: Network) -> None:
        """Refuse a network whose policy nothing could enforce at its ports; see `check`."""
        policy = self._policies.peek(network.qos_policy)
        for port in self._tables.ports:
            if port.network_id == network.id and not port.qos_policy:
                self._require_enforceable(port, policy)

    def _require_enforceable(self, port: Port, policy: QosPolicy | None) -> None:
        if port.is_direct and policy and policy.all_rules:
            kind = type_of(policy.all_rules[0])
            raise QosRuleNotSupported(
                f"Rule {kind} is not supported by port {port.id}: its vNIC type is {port.vnic_type}."
            )

    async def _set_rules(self, policy_id: str, rules: tuple[Rule, ...]) -> None:
        limits = tuple(rule for rule in rules if isinstance(rule, BandwidthRule))
        marks = tuple(rule for rule in rules if isinstance(rule, MarkRule))
        changed = replace(self._policies.get(policy_id), rules=limits, marks=marks)
        for port in self._tables.ports:
            if self._policy_id(port) == policy_id:
                self._require_enforceable(port, changed)
        self._policies.change(policy_id, rules=limits, marks=marks)
        await self.follow()
        await self.on_rules_changed(policy_id)

    def _shape(self, port: Port) -> PortShape:
        if port.device_owner.startswith("network:") or port.device_owner in APPLIANCE_OWNERS:
            return _OPEN
        return shape_of(self._policy_of(port))

    def _policy_of(self, port: Port) -> QosPolicy | None:
        return self._policies.peek(self._policy_id(port))

    def _policy_id(self, port: Port) -> str:
        return port.qos_policy or self._tables.networks.get(port.network_id).qos_policy

    def _refuse_second_default(self, policy: QosPolicy) -> None:
        known = self.default_of(policy.project_id)
        if policy.is_default and known not in ("", policy.id):
            raise QoSPolicyDefaultAlreadyExists(
                f"A default QoS policy exists for project {policy.project_id}: {known}."
            )


def shape_of(policy: QosPolicy | None) -> PortShape:
    """What a policy asks for; nothing without one."""
    if policy is None:
        return _OPEN
    rates = {rule.direction: _rate(rule) for rule in policy.rules}
    mark = next((rule.dscp_mark for rule in policy.marks), None)
    return PortShape(egress=rates.get("egress"), ingress=rates.get("ingress"), dscp=mark)


async def _nobody_follows(_policy_id: str) -> None:
    pass


def type_of(rule: Rule) -> str:
    """What Neutron calls a rule's type."""
    return "bandwidth_limit" if isinstance(rule, BandwidthRule) else "dscp_marking"


def _rate(rule: BandwidthRule) -> PortRate:
    return PortRate(rule.max_kbps * _KILO, rule.max_burst_kbps * _KILO // _BITS)
