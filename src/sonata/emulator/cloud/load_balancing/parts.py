"""Listeners, pools, members, health monitors, policies and rules: who may be with whom.

Source: Load Balancer API v2 reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from sonata.emulator.cloud.entities.load_balancing import (
    HealthMonitor,
    L7Policy,
    L7Rule,
    Listener,
    Member,
    Part,
    Pool,
    Provisioning,
)
from sonata.emulator.cloud.load_balancing.causes import Duplicate, InUse, Invalid
from sonata.emulator.cloud.load_balancing.changes import Changes
from sonata.emulator.cloud.load_balancing.tree import Tree
from sonata.emulator.cloud.site import Site
from sonata.emulator.cloud.tables import Table

P = TypeVar("P", bound=Part)
Wish = Mapping[str, Any]
CHANGED = Provisioning.PENDING_UPDATE
GOING = Provisioning.PENDING_DELETE

# Load Balancer API v2 reference, protocol combinations of listeners and pools.
POOLS_FOR: Mapping[str, frozenset[str]] = {
    "HTTP": frozenset(("HTTP", "PROXY", "PROXYV2")),
    "TERMINATED_HTTPS": frozenset(("HTTP", "PROXY", "PROXYV2")),
    "HTTPS": frozenset(("HTTPS", "PROXY", "PROXYV2", "TCP")),
    "TCP": frozenset(("HTTP", "HTTPS", "PROXY", "PROXYV2", "TCP")),
    "UDP": frozenset(("UDP",)),
    "SCTP": frozenset(("SCTP",)),
}
DATAGRAMS = frozenset(("UDP", "SCTP"))


class Parts:
    """What all rooms of this module share: the tables and the way to change them."""

    def __init__(self, site: Site, changes: Changes) -> None:
        self._tables = site.tables
        self._quotas = site.quotas
        self._changes = changes

    def _add(self, table: Table[P], balancer_id: str, part: P) -> P:
        return self._changes.change(balancer_id, lambda: table.add(part))

    def _update(self, table: Table[P], balancer_id: str, part_id: str, values: Wish) -> P:
        return self._changes.change(
            balancer_id, lambda: table.change(part_id, **{**values, "provisioning_status": CHANGED})
        )

    def _remove(self, table: Table[P], balancer_id: str, part_id: str) -> None:
        self._changes.change(balancer_id, lambda: table.change(part_id, provisioning_status=GOING))


class Listeners(Parts):
    """Ports of VIPs."""

    def create(self, listener: Listener) -> Listener:
        """Make a listener.

        Raises:
            Duplicate: another listener of the load balancer has the port.
        """
        tree = Tree(self._tables, listener.load_balancer_id)
        self._changes.require_mutable(listener.load_balancer_id)
        datagrams = listener.protocol in DATAGRAMS
        for other in tree.listeners():
            if other.protocol_port == listener.protocol_port and (other.protocol in DATAGRAMS) == datagrams:
                raise Duplicate(
                    f"Another Listener on this Load Balancer is already using protocol {listener.protocol} and "
                    f"protocol_port {listener.protocol_port}"
                )
        self._check_pool(listener, listener.default_pool_id)
        self._quotas.require(listener.project_id, "listener")
        return self._add(self._tables.listeners, listener.load_balancer_id, listener)

    def update(self, listener_id: str, values: Wish) -> Listener:
        """Change a listener."""
        listener = self._tables.listeners.get(listener_id)
        self._check_pool(listener, values.get("default_pool_id"))
        return self._update(self._tables.listeners, listener.load_balancer_id, listener_id, values)

    def delete(self, listener_id: str) -> None:
        """Delete a listener with its policies."""
        listener = self._tables.listeners.get(listener_id)

        def going() -> None:
            tree = Tree(self._tables, listener.load_balancer_id)
            for policy in tree.policies(listener_id):
                for rule in tree.rules(policy.id):
                    self._tables.l7rules.change(rule.id, provisioning_status=GOING)
                self._tables.l7policies.change(policy.id, provisioning_status=GOING)
            self._tables.listeners.change(listener_id, provisioning_status=GOING)

        self._changes.change(listener.load_balancer_id, going)

    def _check_pool(self, listener: Listener, pool_id: str | None) -> None:
        if not pool_id:
            return
        pool = self._tables.pools.get(pool_id)
        if pool.load_balancer_id != listener.load_balancer_id:
            raise Invalid(f"Pool {pool_id} belongs to another load balancer.")
        check_together(listener.protocol, pool.protocol)


class Pools(Parts):
    """Groups of members."""

    def create(self, pool: Pool, listener_id: str = "") -> Pool:
        """Make a pool, as the default of a listener where one is named.

        Raises:
            Duplicate: the listener has a default pool.
        """
        self._changes.require_mutable(pool.load_balancer_id)

        def make() -> Pool:
            self._quotas.require(pool.project_id, "pool")
            self._tables.pools.add(pool)
            if listener_id:
                self._tables.listeners.change(listener_id, default_pool_id=pool.id, provisioning_status=CHANGED)
            return pool

        if listener_id:
            listener = self._tables.listeners.get(listener_id)
            check_together(listener.protocol, pool.protocol)
            if listener.default_pool_id:
                raise Duplicate(f"Listener {listener_id} already has a default pool {listener.default_pool_id}.")
        _check_persistence(pool.protocol, pool.session_persistence)
        return self._changes.change(pool.load_balancer_id, make)

    def update(self, pool_id: str, values: Wish) -> Pool:
        """Change a pool."""
        pool = self._tables.pools.get(pool_id)
        _check_persistence(pool.protocol, values.get("session_persistence"))
        return self._update(self._tables.pools, pool.load_balancer_id, pool_id, values)

    def delete(self, pool_id: str) -> None:
        """Delete a pool with its members and monitor; its listeners go on without it.

        Raises:
            InUse: a policy leads to it.
        """
        pool = self._tables.pools.get(pool_id)
        for policy in self._tables.l7policies:
            if policy.redirect_pool_id == pool_id and policy.provisioning_status != GOING:
                raise InUse(f"Pool {pool_id} is in use by L7 policy {policy.id}")

        def going() -> None:
            tree = Tree(self._tables, pool.load_balancer_id)
            for listener in tree.listeners():
                if listener.default_pool_id == pool_id:
                    self._tables.listeners.change(listener.id, default_pool_id=None, provisioning_status=CHANGED)
            for member in tree.members(pool_id):
                self._tables.members.change(member.id, provisioning_status=GOING)
            if monitor := tree.monitor(pool_id):
                self._tables.health_monitors.change(monitor.id, provisioning_status=GOING)
            self._tables.pools.change(pool_id, provisioning_status=GOING)

        self._changes.change(pool.load_balancer_id, going)


class Members(Parts):
    """Servers of pools."""

    def create(self, member: Member) -> Member:
        """Add a member.

        Raises:
            Duplicate: the pool has a member at this address and port.
            Invalid: there is no such subnet.
        """
        balancer_id = self._balancer(member.pool_id)
        self._changes.require_mutable(balancer_id)
        self._check_new(member)
        self._quotas.require(member.project_id, "member")
        return self._add(self._tables.members, balancer_id, member)

    def update(self, member_id: str, values: Wish) -> Member:
        """Change a member."""
        balancer_id = self._balancer(self._tables.members.get(member_id).pool_id)
        return self._update(self._tables.members, balancer_id, member_id, values)

    def delete(self, member_id: str) -> None:
        """Take a member away."""
        balancer_id = self._balancer(self._tables.members.get(member_id).pool_id)
        self._remove(self._tables.members, balancer_id, member_id)

    def replace_all(self, pool_id: str, wanted: Sequence[tuple[Member, Wish]], *, additive: bool) -> None:
        """Bring the members of a pool to a list, in one step.

        Args:
            pool_id: which pool.
            wanted: new members, and the values that were given for each; one with the address and port of a member
                that is there changes it.
            additive: members that are not in the list stay.
        """
        balancer_id = self._balancer(pool_id)
        self._changes.require_mutable(balancer_id)

        def bring() -> None:
            have = {_place(member): member for member in Tree(self._tables, balancer_id).members(pool_id)}
            for member, values in wanted:
                if known := have.pop(_place(member), None):
                    self._tables.members.change(known.id, **{**values, "provisioning_status": CHANGED})
                else:
                    self._check_new(member)
                    self._quotas.require(member.project_id, "member")
                    self._tables.members.add(member)
            for left in () if additive else have.values():
                self._tables.members.change(left.id, provisioning_status=GOING)

        self._changes.change(balancer_id, bring)

    def _check_new(self, member: Member) -> None:
        for other in Tree(self._tables, self._balancer(member.pool_id)).members(member.pool_id):
            if _place(other) == _place(member):
                raise Duplicate(
                    f"Another member on this pool is already using ip {member.address} on protocol_port "
                    f"{member.protocol_port}"
                )
        if member.subnet_id and member.subnet_id not in self._tables.subnets:
            raise Invalid(f"Subnet {member.subnet_id} not found.")

    def _balancer(self, pool_id: str) -> str:
        return self._tables.pools.get(pool_id).load_balancer_id


class HealthMonitors(Parts):
    """Probes of members."""

    def create(self, monitor: HealthMonitor) -> HealthMonitor:
        """Make a health monitor.

        Raises:
            Duplicate: the pool has one.
        """
        balancer_id = self._balancer(monitor.pool_id)
        self._changes.require_mutable(balancer_id)
        if Tree(self._tables, balancer_id).monitor(monitor.pool_id):
            raise Duplicate("This pool already has a health monitor")
        pool = self._tables.pools.get(monitor.pool_id)
        if (monitor.type == "UDP-CONNECT") and pool.protocol not in DATAGRAMS:
            raise Invalid(
                f"The associated pool protocol is {pool.protocol}, so only a {'/'.join(FOR_STREAMS)} monitor fits."
            )
        _check_times(monitor.delay, monitor.timeout)
        self._quotas.require(monitor.project_id, "healthmonitor")
        return self._add(self._tables.health_monitors, balancer_id, monitor)

    def update(self, monitor_id: str, values: Wish) -> HealthMonitor:
        """Change a health monitor."""
        monitor = self._tables.health_monitors.get(monitor_id)
        _check_times(values.get("delay", monitor.delay), values.get("timeout", monitor.timeout))
        return self._update(self._tables.health_monitors, self._balancer(monitor.pool_id), monitor_id, values)

    def delete(self, monitor_id: str) -> None:
        """Take a health monitor away; its members have no monitor then."""
        balancer_id = self._balancer(self._tables.health_monitors.get(monitor_id).pool_id)
        self._remove(self._tables.health_monitors, balancer_id, monitor_id)

    def _balancer(self, pool_id: str) -> str:
        return self._tables.pools.get(pool_id).load_balancer_id


class L7Policies(Parts):
    """What listeners do with certain requests."""

    def create(self, policy: L7Policy) -> L7Policy:
        """Add a policy at its position; those from there on move back."""
        balancer_id = self._balancer(policy.listener_id)
        self._changes.require_mutable(balancer_id)
        self._check(policy.listener_id, policy.redirect_pool_id)

        def add() -> L7Policy:
            self._quotas.require(policy.project_id, "l7policy")
            self._tables.l7policies.add(policy)
            return self._put_in_place(policy)

        return self._changes.change(balancer_id, add)

    def update(self, policy_id: str, values: Wish) -> L7Policy:
        """Change a policy."""
        policy = self._tables.l7policies.get(policy_id)
        self._check(policy.listener_id, values.get("redirect_pool_id"))

        def apply() -> L7Policy:
            changed = self._tables.l7policies.change(policy_id, **{**values, "provisioning_status": CHANGED})
            return self._put_in_place(changed) if "position" in values else changed

        return self._changes.change(self._balancer(policy.listener_id), apply)

    def delete(self, policy_id: str) -> None:
        """Delete a policy with its rules."""
        policy = self._tables.l7policies.get(policy_id)
        balancer_id = self._balancer(policy.listener_id)

        def going() -> None:
            for rule in Tree(self._tables, balancer_id).rules(policy_id):
                self._tables.l7rules.change(rule.id, provisioning_status=GOING)
            self._tables.l7policies.change(policy_id, provisioning_status=GOING)
            self._number(Tree(self._tables, balancer_id).policies(policy.listener_id))

        self._changes.change(balancer_id, going)

    def create_rule(self, rule: L7Rule) -> L7Rule:
        """Add a rule to a policy."""
        self._quotas.require(rule.project_id, "l7rule")
        return self._add(self._tables.l7rules, self._balancer_of(rule.l7policy_id), rule)

    def update_rule(self, rule_id: str, values: Wish) -> L7Rule:
        """Change a rule."""
        balancer_id = self._balancer_of(self._tables.l7rules.get(rule_id).l7policy_id)
        return self._update(self._tables.l7rules, balancer_id, rule_id, values)

    def delete_rule(self, rule_id: str) -> None:
        """Take a rule away."""
        balancer_id = self._balancer_of(self._tables.l7rules.get(rule_id).l7policy_id)
        self._remove(self._tables.l7rules, balancer_id, rule_id)

    def _put_in_place(self, policy: L7Policy) -> L7Policy:
        tree = Tree(self._tables, self._balancer(policy.listener_id))
        others = [one for one in tree.policies(policy.listener_id) if one.id != policy.id]
        others.insert(policy.position - 1, policy)
        self._number(others)
        return self._tables.l7policies.get(policy.id)

    def _number(self, policies: Sequence[L7Policy]) -> None:
        for position, policy in enumerate(policies, start=1):
            if self._tables.l7policies.get(policy.id).position != position:
                self._tables.l7policies.change(policy.id, position=position)

    def _check(self, listener_id: str, pool_id: str | None) -> None:
        listener = self._tables.listeners.get(listener_id)
        if listener.protocol not in ("HTTP", "TERMINATED_HTTPS"):
            raise Invalid(f"L7 policies need a listener of protocol HTTP or TERMINATED_HTTPS, not {listener.protocol}.")
        if pool_id:
            pool = self._tables.pools.get(pool_id)
            if pool.load_balancer_id != listener.load_balancer_id:
                raise Invalid(f"Pool {pool_id} belongs to another load balancer.")
            check_together(listener.protocol, pool.protocol)

    def _balancer(self, listener_id: str) -> str:
        return self._tables.listeners.get(listener_id).load_balancer_id

    def _balancer_of(self, policy_id: str) -> str:
        return self._balancer(self._tables.l7policies.get(policy_id).listener_id)


FOR_STREAMS = ("HTTP", "HTTPS", "PING", "TCP", "TLS-HELLO")


def check_together(listener_protocol: str, pool_protocol: str) -> None:
    """Refuse a pool whose protocol a listener cannot speak.

    Raises:
        Invalid: it cannot.
    """
    if pool_protocol not in POOLS_FOR[listener_protocol]:
        raise Invalid(
            f"The listener protocol '{listener_protocol}' is invalid while the pool protocol is '{pool_protocol}'."
        )


def _check_persistence(pool_protocol: str, persistence: Wish | None) -> None:
    if persistence and persistence["type"] != "SOURCE_IP" and pool_protocol not in ("HTTP", "PROXY", "PROXYV2"):
        raise Invalid(f"session_persistence {persistence['type']} is not valid for {pool_protocol} pools.")


def _check_times(delay: int, timeout: int) -> None:
    if timeout > delay:
        raise Invalid(f"The health monitor's timeout of {timeout} s must not be longer than its delay of {delay} s.")


def _place(member: Member) -> tuple[str, int]:
    return str(member.address), member.protocol_port
