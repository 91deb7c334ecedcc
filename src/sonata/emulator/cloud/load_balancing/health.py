"""Operating statuses of a whole load balancer out of what its driver reports: a pure function.

Source: Load Balancer API v2 reference, operating status codes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sonata.emulator.cloud.entities.load_balancing import Operating, Pool
from sonata.emulator.cloud.load_balancing.tree import Tree
from sonata.ports.load_balancing import Report

UNWELL = frozenset((Operating.ERROR,))
"""A member that has not been probed yet, or is administratively down, makes nothing worse."""


def operating_statuses(tree: Tree, report: Report | None) -> Mapping[str, str]:
    """Status by id of the load balancer and all of its parts; without a report it does not answer."""
    found: dict[str, str] = {}
    alive = report is not None and tree.balancer.admin_state_up
    targets = report.targets if report else {}
    for pool in tree.pools():
        members = {member.id: member for member in tree.members(pool.id)}
        now = {one: targets.get((pool.id, one), Operating.OFFLINE) for one in members}
        found.update({one: now[one] if members[one].admin_state_up else Operating.OFFLINE for one in members})
        found[pool.id] = _pool_status(pool, [found[one] for one, member in members.items() if member.admin_state_up])
        if monitor := tree.monitor(pool.id):
            found[monitor.id] = _up(monitor.admin_state_up)
    for listener in tree.listeners():
        found[listener.id] = _up(alive and listener.admin_state_up)
        for policy in tree.policies(listener.id):
            found[policy.id] = _up(policy.admin_state_up)
            found.update({rule.id: _up(rule.admin_state_up) for rule in tree.rules(policy.id)})
    found[tree.balancer.id] = _balancer_status(tree, report, found)
    return found


def _balancer_status(tree: Tree, report: Report | None, found: Mapping[str, str]) -> str:
    if not tree.balancer.admin_state_up:
        return Operating.OFFLINE
    if report is None:
        return Operating.ERROR
    return _worst(found[pool.id] for pool in tree.pools() if pool.admin_state_up)


def _pool_status(pool: Pool, members: list[str]) -> str:
    if not pool.admin_state_up:
        return Operating.OFFLINE
    if members and all(status in UNWELL for status in members):
        return Operating.ERROR
    return Operating.DEGRADED if any(status in UNWELL for status in members) else Operating.ONLINE


def _worst(statuses: Iterable[str]) -> str:
    have = set(statuses)
    return next((bad for bad in (Operating.ERROR, Operating.DEGRADED) if bad in have), Operating.ONLINE)


def _up(up: bool) -> str:
    return Operating.ONLINE if up else Operating.OFFLINE
