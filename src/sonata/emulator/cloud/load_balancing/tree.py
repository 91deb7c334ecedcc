"""What belongs to a load balancer, found in the tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sonata.emulator.cloud.entities.load_balancing import (
    HealthMonitor,
    L7Policy,
    L7Rule,
    Listener,
    LoadBalancer,
    Member,
    Part,
    Pool,
    Provisioning,
)
from sonata.emulator.cloud.tables import Table, Tables


class Tree:
    """A load balancer's parts; those that are being deleted are left out unless `whole`."""

    def __init__(self, tables: Tables, balancer_id: str, *, whole: bool = False) -> None:
        self._tables = tables
        self._whole = whole
        self.balancer: LoadBalancer = tables.load_balancers.get(balancer_id)

    def listeners(self) -> list[Listener]:
        """Its listeners."""
        mine = (one for one in self._tables.listeners if one.load_balancer_id == self.balancer.id)
        return [one for one in mine if self._counts(one)]

    def pools(self) -> list[Pool]:
        """Its pools."""
        mine = (one for one in self._tables.pools if one.load_balancer_id == self.balancer.id)
        return [one for one in mine if self._counts(one)]

    def members(self, pool_id: str) -> list[Member]:
        """The members of a pool."""
        return [one for one in self._tables.members if one.pool_id == pool_id and self._counts(one)]

    def monitor(self, pool_id: str) -> HealthMonitor | None:
        """The health monitor of a pool."""
        mine = (one for one in self._tables.health_monitors if one.pool_id == pool_id and self._counts(one))
        return next(mine, None)

    def policies(self, listener_id: str) -> list[L7Policy]:
        """The policies of a listener by position."""
        mine = (one for one in self._tables.l7policies if one.listener_id == listener_id and self._counts(one))
        return sorted(mine, key=lambda policy: policy.position)

    def rules(self, policy_id: str) -> list[L7Rule]:
        """The rules of a policy."""
        return [one for one in self._tables.l7rules if one.l7policy_id == policy_id and self._counts(one)]

    def parts(self) -> Iterator[tuple[Table[Any], Part]]:
        """All parts with their tables, children before parents, the load balancer last."""
        tables = self._tables
        for listener in self.listeners():
            for policy in self.policies(listener.id):
                yield from ((tables.l7rules, rule) for rule in self.rules(policy.id))
                yield tables.l7policies, policy
        for pool in self.pools():
            if monitor := self.monitor(pool.id):
                yield tables.health_monitors, monitor
            yield from ((tables.members, member) for member in self.members(pool.id))
        yield from ((tables.listeners, listener) for listener in self.listeners())
        yield from ((tables.pools, pool) for pool in self.pools())
        yield tables.load_balancers, self.balancer

    def _counts(self, part: Part) -> bool:
        return self._whole or part.provisioning_status != Provisioning.PENDING_DELETE


def balancing_tables(tables: Tables) -> tuple[Table[Any], ...]:
    """The tables in which a load balancer's parts are."""
    return (
        tables.load_balancers,
        tables.listeners,
        tables.pools,
        tables.members,
        tables.health_monitors,
        tables.l7policies,
        tables.l7rules,
    )
