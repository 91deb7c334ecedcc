"""From tables to the plan that a driver carries out."""

from __future__ import annotations

from collections.abc import Mapping

from sonata.emulator.cloud.entities.load_balancing import HealthMonitor, L7Policy, Listener, Member, Pool
from sonata.emulator.cloud.load_balancing.tree import Tree
from sonata.ports.load_balancing import Backend, Check, Frontend, Persistence, Plan, Policy, Rule, Target


def plan_of(tree: Tree, port_ids: tuple[str, ...], flavor: Mapping[str, object]) -> Plan:
    """The wish for one load balancer; what is administratively down is left out."""
    return Plan(
        id=tree.balancer.id,
        vip=tree.balancer.vip_address,
        port_ids=port_ids,
        frontends=tuple(_frontend(tree, one) for one in tree.listeners() if one.admin_state_up),
        backends=tuple(_backend(tree, one) for one in tree.pools() if one.admin_state_up),
        enabled=tree.balancer.admin_state_up,
        flavor=flavor,
    )


def _frontend(tree: Tree, listener: Listener) -> Frontend:
    up = {pool.id for pool in tree.pools() if pool.admin_state_up}
    policies = (_policy(tree, policy) for policy in tree.policies(listener.id) if policy.admin_state_up)
    return Frontend(
        id=listener.id,
        protocol=listener.protocol,
        port=listener.protocol_port,
        backend=listener.default_pool_id if listener.default_pool_id in up else "",
        connection_limit=max(listener.connection_limit, 0),
        allowed=listener.allowed_cidrs or (),
        headers=listener.insert_headers,
        client_timeout_ms=listener.timeout_client_data,
        connect_timeout_ms=listener.timeout_member_connect,
        member_timeout_ms=listener.timeout_member_data,
        inspect_ms=listener.timeout_tcp_inspect,
        policies=tuple(one for one in policies if one.action != "REDIRECT_TO_POOL" or one.target in up),
    )


def _policy(tree: Tree, policy: L7Policy) -> Policy:
    rules = tuple(
        Rule(rule.type, rule.compare_type, rule.value, rule.key or "", rule.invert)
        for rule in tree.rules(policy.id)
        if rule.admin_state_up
    )
    target = policy.redirect_pool_id or policy.redirect_url or policy.redirect_prefix or ""
    return Policy(policy.id, policy.action, rules, target, policy.redirect_http_code or 302)


def _backend(tree: Tree, pool: Pool) -> Backend:
    monitor = tree.monitor(pool.id)
    return Backend(
        id=pool.id,
        protocol=pool.protocol,
        algorithm=pool.lb_algorithm,
        targets=tuple(_target(member) for member in tree.members(pool.id)),
        check=_check(monitor) if monitor and monitor.admin_state_up else None,
        persistence=_persistence(pool.session_persistence),
    )


def _target(member: Member) -> Target:
    return Target(
        id=member.id,
        address=member.address,
        port=member.protocol_port,
        weight=member.weight,
        backup=member.backup,
        enabled=member.admin_state_up,
        monitor_address=member.monitor_address,
        monitor_port=member.monitor_port,
    )


def _check(monitor: HealthMonitor) -> Check:
    return Check(
        type=monitor.type,
        delay_s=monitor.delay,
        timeout_s=monitor.timeout,
        rise=monitor.max_retries,
        fall=monitor.max_retries_down,
        method=monitor.http_method or "GET",
        path=monitor.url_path or "/",
        codes=monitor.expected_codes or "200",
        version=str(monitor.http_version or 1.0),
        domain=monitor.domain_name or "",
    )


def _persistence(asked: Mapping[str, str] | None) -> Persistence | None:
    if not asked:
        return None
    timeout = int(asked.get("persistence_timeout") or 0)
    return Persistence(asked["type"], asked.get("cookie_name") or "", timeout)
