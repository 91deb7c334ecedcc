"""Which host a server goes to: filters leave the possible ones, weighers take the best (Nova scheduler guide)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sonata._lib.huge_pages import free_huge_pages
from sonata._lib.values import dataclass
from sonata.emulator.cloud.compute.hosts import Hosts
from sonata.emulator.cloud.compute.operations import NoValidHost
from sonata.emulator.cloud.compute.pages import huge_pages_for, wants_huge
from sonata.emulator.cloud.entities.compute import Flavor, Server
from sonata.emulator.cloud.entities.hosts import ServerGroup
from sonata.emulator.cloud.tables import Tables
from sonata.model.topology import Host

AFFINITY, ANTI_AFFINITY = "affinity", "anti-affinity"
SOFT_AFFINITY, SOFT_ANTI_AFFINITY = "soft-affinity", "soft-anti-affinity"
SCOPE = "aggregate_instance_extra_specs:"
DEDICATED = "dedicated"


@dataclass(frozen=True, slots=True)
class Request:
    """What a server needs of its host.

    Args:
        flavor: its size.
        server: which it is.
        zone: where it must be, empty for anywhere.
        host: where it must be, whatever filters say except for capacity; empty for anywhere.
        not_on: hosts that are out of the question.
    """

    flavor: Flavor
    server: Server
    zone: str = ""
    host: str = ""
    not_on: tuple[str, ...] = ()


class Scheduler:
    """Finds hosts in one cloud.

    Args:
        processors: numbers of the machine's processors that servers may have for themselves.
    """

    def __init__(self, tables: Tables, hosts: Hosts, processors: Sequence[int]) -> None:
        self._tables = tables
        self._hosts = hosts
        self._processors = tuple(processors)

    def pick(self, request: Request) -> str:
        """The best host.

        Raises:
            NoValidHost: naming the filter that left none.
        """
        left = list(self._hosts.all)
        for name, passes in self._filters(request):
            left = [host for host in left if passes(request, host)]
            if not left:
                raise NoValidHost(
                    f"No valid host was found. There are not enough hosts available. Filter {name} returned 0 hosts"
                )
        return max(left, key=lambda host: self._weight(request, host)).name

    def free_processors(self) -> tuple[int, ...]:
        """Processors that no server has for itself."""
        taken = {core for server in self._tables.servers for core in server.cores}
        return tuple(core for core in self._processors if core not in taken)

    def cores_for(self, server: Server, flavor: Flavor) -> tuple[int, ...]:
        """Processors that a server of a flavor is to have for itself, none unless the flavor asks for it.

        Raises:
            NoValidHost: there are not enough.
        """
        if flavor.extra_specs.get("hw:cpu_policy") != DEDICATED:
            return ()
        free = (*server.cores, *self.free_processors())
        if len(free) < flavor.vcpus:
            raise NoValidHost(
                "No valid host was found. There are not enough hosts available. Filter NUMATopologyFilter returned 0 "
                f"hosts: {flavor.vcpus} dedicated CPUs are asked for, {len(free)} are free"
            )
        return free[: flavor.vcpus]

    def zone_of(self, host: str) -> str:
        """The availability zone of a host."""
        return self._hosts.zone(host)

    def group_of(self, server_id: str) -> ServerGroup | None:
        """The group that a server is in."""
        return next((group for group in self._tables.server_groups if server_id in group.members), None)

    def _filters(self, request: Request) -> list[tuple[str, Callable[[Request, Host], bool]]]:
        """Filters in their order; a forced host is bound by its capacity alone."""
        forced = [("ForcedHost", _is_forced)] if request.host else []
        rules: list[tuple[str, Callable[[Request, Host], bool]]] = [
            ("ComputeFilter", self._is_enabled),
            ("AvailabilityZoneFilter", self._is_in_zone),
            ("AggregateInstanceExtraSpecsFilter", self._has_specs),
            ("MemoryPagesFilter", self._has_pages),
            ("SameHostFilter", self._is_same),
            ("DifferentHostFilter", self._is_different),
            ("ServerGroupAntiAffinityFilter", self._is_apart),
            ("ServerGroupAffinityFilter", self._is_together),
        ]
        return [*forced, *([] if request.host else rules), ("RetryFilter", _is_wanted), ("ResourceFilter", self._fits)]

    def _is_enabled(self, _request: Request, host: Host) -> bool:
        service = self._hosts.service(host.name)
        return service.enabled and not service.forced_down

    def _is_in_zone(self, request: Request, host: Host) -> bool:
        return not request.zone or self._hosts.zone(host.name) == request.zone

    def _has_specs(self, request: Request, host: Host) -> bool:
        wanted = {
            key.removeprefix(SCOPE): value for key, value in request.flavor.extra_specs.items() if key.startswith(SCOPE)
        }
        metadata = [one.metadata for one in self._hosts.aggregates_of(host.name)]
        return all(any(value == one.get(key) for one in metadata) for key, value in wanted.items())

    def _has_pages(self, request: Request, _host: Host) -> bool:
        return not wants_huge(request.flavor) or huge_pages_for(request.flavor, free_huge_pages()) is not None

    def _is_same(self, request: Request, host: Host) -> bool:
        return self._holds_any(request, "same_host", host, otherwise=True)

    def _is_different(self, request: Request, host: Host) -> bool:
        return not self._holds_any(request, "different_host", host, otherwise=False)

    def _holds_any(self, request: Request, hint: str, host: Host, *, otherwise: bool) -> bool:
        wanted = request.server.hints.get(hint, ())
        if not wanted:
            return otherwise
        return any(server.id in wanted for server in self._hosts.servers(host.name))

    def _is_apart(self, request: Request, host: Host) -> bool:
        group = self.group_of(request.server.id)
        if group is None or group.policy != ANTI_AFFINITY:
            return True
        return self._members_on(group, request, host) < group.most_per_host

    def _is_together(self, request: Request, host: Host) -> bool:
        group = self.group_of(request.server.id)
        if group is None or group.policy != AFFINITY:
            return True
        homes = {server.host for server in self._members(group, request)}
        return not homes or host.name in homes

    def _members(self, group: ServerGroup, request: Request) -> list[Server]:
        others = (self._tables.servers.peek(member) for member in group.members if member != request.server.id)
        return [server for server in others if server and server.host]

    def _members_on(self, group: ServerGroup, request: Request, host: Host) -> int:
        return sum(server.host == host.name for server in self._members(group, request))

    def _fits(self, request: Request, host: Host) -> bool:
        return self._hosts.usage(host).fits(request.flavor)

    def _weight(self, request: Request, host: Host) -> tuple[int, bool, float]:
        """Soft group rules first, then nearness to the site's routers, unless a zone was named, then the most memory
        left; of equal hosts the first one is taken.
        """
        usage = self._hosts.usage(host)
        group = self.group_of(request.server.id)
        near = self._members_on(group, request, host) if group else 0
        soft = {SOFT_AFFINITY: near, SOFT_ANTI_AFFINITY: -near}.get(group.policy if group else "", 0)
        near_routers = not request.zone and self._hosts.site.is_near(host.name)
        return soft, near_routers, float(usage.memory_mib - usage.memory_mib_used)


def _is_forced(request: Request, host: Host) -> bool:
    return host.name == request.host


def _is_wanted(request: Request, host: Host) -> bool:
    return host.name not in request.not_on
