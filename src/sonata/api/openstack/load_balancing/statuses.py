"""The status tree of a load balancer.

Source: Load Balancer API v2 reference, load balancer status.
"""

from __future__ import annotations

from typing import Any

from sonata.emulator.cloud.entities.load_balancing import L7Policy, Listener, Part, Pool
from sonata.emulator.cloud.load_balancing.tree import Tree

Document = dict[str, Any]


def status_tree(tree: Tree) -> Document:
    """`statuses` of the load balancer."""
    pools = {pool.id: _pool(tree, pool) for pool in tree.pools()}
    listeners = [_listener(tree, listener, pools) for listener in tree.listeners()]
    return {"loadbalancer": {**_named(tree.balancer), "listeners": listeners, "pools": list(pools.values())}}


def _listener(tree: Tree, listener: Listener, pools: dict[str, Document]) -> Document:
    policies = tree.policies(listener.id)
    wanted = [listener.default_pool_id, *(policy.redirect_pool_id for policy in policies)]
    return {
        **_named(listener),
        "pools": [pools[pool_id] for pool_id in dict.fromkeys(wanted) if pool_id in pools],
        "l7policies": [_policy(tree, policy) for policy in policies],
    }


def _policy(tree: Tree, policy: L7Policy) -> Document:
    rules = [{**_states(rule), "id": rule.id, "type": rule.type} for rule in tree.rules(policy.id)]
    return {**_named(policy), "action": policy.action, "rules": rules}


def _pool(tree: Tree, pool: Pool) -> Document:
    monitor = tree.monitor(pool.id)
    members = [
        {**_named(member), "address": str(member.address), "protocol_port": member.protocol_port}
        for member in tree.members(pool.id)
    ]
    return {
        **_named(pool),
        "health_monitor": {**_named(monitor), "type": monitor.type} if monitor else {},
        "members": members,
    }


def _named(part: Part) -> Document:
    return {"id": part.id, "name": part.name, **_states(part)}


def _states(part: Part) -> Document:
    return {"provisioning_status": part.provisioning_status, "operating_status": part.operating_status}
