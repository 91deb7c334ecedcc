"""Quotas: how many objects of a kind a project may have, and how many it has.

What is used is counted in the tables at the moment of asking, so that it cannot drift. Whoever creates calls `require`
and adds to its table without an `await` in between: then no two requests can both take the last place.

Sources: Compute API (os-quota-sets), Networking API (quotas), Block Storage API (quota sets), Load Balancer API
(quotas). Limits start higher than OpenStack's own where those would stop an ordinary experiment; -1 is unlimited:
servers, cores and memory are bounded by the capacity of the PoP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from sonata._lib.values import dataclass
from sonata.emulator.cloud.causes import OverQuota
from sonata.emulator.cloud.entities.identity import QuotaLimits
from sonata.emulator.cloud.tables import Tables

UNLIMITED = -1
DEFAULT_CLASS = "default"
"""Id of the limits of all projects that have none of their own."""

Service = Literal["compute", "network", "volume", "load-balancer", "orchestration"]
Counter = Callable[[Tables, str], int]


@dataclass(frozen=True, slots=True)
class Quota:
    """One kind of object that is limited.

    Args:
        service: whose API sets and shows it.
        default: the limit of a project that nobody has given another one.
        count: what a project has of it; None where the limit is for something smaller than a project, a server say.
    """

    service: Service
    default: int
    count: Counter | None = None


def _rows(*tables: str) -> Counter:
    """Counts a project's rows in tables; a table that this cloud has not got is empty."""
    return lambda state, project_id: sum(1 for _row in _owned(state, project_id, tables))


def _total(table: str, what: Callable[[Any], int]) -> Counter:
    """Adds something up over a project's rows of a table."""
    return lambda state, project_id: sum(what(row) for row in _owned(state, project_id, (table,)))


def _owned(state: Tables, project_id: str, tables: tuple[str, ...]) -> Iterator[Any]:
    return (row for table in tables for row in getattr(state, table, ()) if row.project_id == project_id)


QUOTAS: dict[str, Quota] = {
    "instances": Quota("compute", UNLIMITED, _rows("servers")),
    "cores": Quota("compute", UNLIMITED, _total("servers", lambda server: server.flavor.vcpus)),
    "ram": Quota("compute", UNLIMITED, _total("servers", lambda server: server.flavor.ram_mib)),
    "metadata_items": Quota("compute", 128),
    "key_pairs": Quota("compute", 100, _rows("keypairs")),
    "server_groups": Quota("compute", 100, _rows("server_groups")),
    "server_group_members": Quota("compute", 100),
    "injected_files": Quota("compute", 5),
    "injected_file_content_bytes": Quota("compute", 10 * 1024),
    "injected_file_path_bytes": Quota("compute", 255),
    "network": Quota("network", 5000, _rows("networks")),
    "subnet": Quota("network", 5000, _rows("subnets")),
    "subnetpool": Quota("network", UNLIMITED, _rows("subnet_pools")),
    "port": Quota("network", 20000, _rows("ports")),
    "router": Quota("network", 1000, _rows("routers")),
    "floatingip": Quota("network", 1000, _rows("floating_ips")),
    "security_group": Quota("network", 1000, _rows("security_groups")),
    "security_group_rule": Quota("network", 10000, _rows("security_group_rules")),
    "rbac_policy": Quota("network", 1000, _rows("rbac_policies")),
    "trunk": Quota("network", 1000, _rows("trunks")),
    "port_pair": Quota("network", UNLIMITED, _rows("port_pairs")),
    "port_pair_group": Quota("network", UNLIMITED, _rows("port_pair_groups")),
    "flow_classifier": Quota("network", UNLIMITED, _rows("flow_classifiers")),
    "port_chain": Quota("network", UNLIMITED, _rows("port_chains")),
    "service_graph": Quota("network", UNLIMITED, _rows("service_graphs")),
    "volumes": Quota("volume", 1000, _rows("volumes")),
    "snapshots": Quota("volume", 1000, _rows("snapshots")),
    "gigabytes": Quota("volume", 10000, _total("volumes", lambda volume: int(volume.size_gib))),
    "per_volume_gigabytes": Quota("volume", UNLIMITED),
    "backups": Quota("volume", 100, _rows("backups")),
    "backup_gigabytes": Quota("volume", 1000),
    "groups": Quota("volume", 10),
    "load_balancer": Quota("load-balancer", 1000, _rows("load_balancers")),
    "listener": Quota("load-balancer", 1000, _rows("listeners")),
    "pool": Quota("load-balancer", 1000, _rows("pools")),
    "member": Quota("load-balancer", 5000, _rows("members")),
    "healthmonitor": Quota("load-balancer", 1000, _rows("health_monitors")),
    "l7policy": Quota("load-balancer", 1000, _rows("l7policies")),
    "l7rule": Quota("load-balancer", 1000, _rows("l7rules")),
    "stacks": Quota("orchestration", 1000, _rows("stacks")),
}
"""By the names of the quota APIs. A service whose objects are counted in another way puts its own `Quota` here."""


class Quotas:
    """The limits of one cloud's projects, over its tables."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def require(self, project_id: str, name: str, adding: int = 1, *, used: int | None = None) -> None:
        """Refuse more than a project may have.

        `used` is what there is already, where it is not the project's count (key pairs are counted by user).

        Raises:
            OverQuota: `adding` more would exceed the limit.
        """
        self.require_all(project_id, {name: adding}, used=used)

    def require_all(self, project_id: str, adding: Mapping[str, int], *, used: int | None = None) -> None:
        """Refuse more than a project may have of any of several kinds. Objects of no project are not limited.

        Raises:
            OverQuota: naming all that would be exceeded.
        """
        if not project_id:
            return
        over = {
            name: (more, self.used(project_id, name) if used is None else used, limit)
            for name, more in adding.items()
            if (limit := self.limit(project_id, name)) != UNLIMITED
        }
        over = {name: (more, have, limit) for name, (more, have, limit) in over.items() if have + more > limit}
        if over:
            raise OverQuota(over)

    def room(self, project_id: str, name: str) -> int | None:
        """How many more a project may have; None when unlimited."""
        limit = self.limit(project_id, name)
        return None if limit == UNLIMITED else max(0, limit - self.used(project_id, name))

    def limit(self, project_id: str, name: str) -> int:
        """The most that a project may have; -1 is unlimited."""
        own = self._tables.quota_limits.peek(project_id)
        return self.default(name) if own is None else own.limits.get(name, self.default(name))

    def default(self, name: str) -> int:
        """The limit of projects that have none of their own."""
        common = self._tables.quota_limits.peek(DEFAULT_CLASS)
        return QUOTAS[name].default if common is None else common.limits.get(name, QUOTAS[name].default)

    def used(self, project_id: str, name: str) -> int:
        """What a project has."""
        count = QUOTAS[name].count
        return count(self._tables, project_id) if count else 0

    def set(self, project_id: str, limits: Mapping[str, int]) -> None:
        """Give a project limits of its own, besides those that it has; `default` stands for all that have none."""
        rows = self._tables.quota_limits
        known = rows.peek(project_id)
        if known is None:
            rows.add(QuotaLimits(id=project_id, project_id=project_id, limits=dict(limits)))
        else:
            rows.change(project_id, limits={**known.limits, **limits})

    def reset(self, project_id: str, service: Service | None = None) -> None:
        """Give a project the default limits again, of one service or of all; idempotent."""
        known = self._tables.quota_limits.peek(project_id)
        if known is None:
            return
        kept = {name: limit for name, limit in known.limits.items() if service and QUOTAS[name].service != service}
        if kept:
            self._tables.quota_limits.change(project_id, limits=kept)
        else:
            self._tables.quota_limits.remove(project_id)

    def projects_with_limits(self, service: Service) -> tuple[str, ...]:
        """The projects that have limits of their own for a service."""
        return tuple(
            row.id
            for row in self._tables.quota_limits
            if row.id != DEFAULT_CLASS and any(QUOTAS[name].service == service for name in row.limits)
        )


def names_of(service: Service) -> tuple[str, ...]:
    """The quotas of a service."""
    return tuple(name for name, quota in QUOTAS.items() if quota.service == service)
