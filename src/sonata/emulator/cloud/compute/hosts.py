"""The hypervisors of one cloud: capacity, services, zones, aggregates, and which servers they hold."""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from sonata.emulator.cloud.compute.capacity import Usage, host_usage
from sonata.emulator.cloud.entities.compute import Server
from sonata.emulator.cloud.entities.hosts import Aggregate, ComputeService
from sonata.emulator.cloud.site import DEFAULT_ZONE, Site
from sonata.emulator.cloud.tables import Tables
from sonata.errors import Conflict, InvalidInput, NotFound
from sonata.model.topology import Host

logger = logging.getLogger(__name__)


class Hosts:
    """The hosts of one cloud."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._tables = site.tables
        self._services = site.tables.compute_services
        self._aggregates = site.tables.aggregates
        self.follow()

    def follow(self) -> None:
        """Have a service for each host that is there now, and none for others."""
        _forget_gone(self, self._tables)
        known = {service.name for service in self._services}
        for host in self.all:
            if host.name not in known:
                number = 1 + max((service.number for service in self._services), default=0)
                self._services.add(ComputeService(name=host.name, number=number))

    @property
    def all(self) -> tuple[Host, ...]:
        """All hosts in the order of the topology, those of the site's own PoP first."""
        return tuple(host for pop in self.site.pops for host in pop.hypervisors)

    def get(self, name: str) -> Host:
        """A host by its name.

        Raises:
            NotFound: there is none.
        """
        for host in self.all:
            if host.name == name:
                return host
        raise NotFound(f"Compute host {name} could not be found.")

    def matching(self, pattern: str) -> list[Host]:
        """The hosts whose name contains a text."""
        return [host for host in self.all if fnmatch.fnmatchcase(host.name, f"*{pattern}*")]

    def usage(self, host: Host) -> Usage:
        """Capacity of a host and what is claimed of it."""
        return host_usage(self.site.pop_of(host.name), host, self._tables)

    def servers(self, name: str) -> list[Server]:
        """The servers on a host."""
        return [server for server in self._tables.servers if server.host == name]

    def service(self, name: str) -> ComputeService:
        """The service of a host.

        Raises:
            NotFound: there is no such host.
        """
        for service in self._services:
            if service.name == name:
                return service
        raise NotFound(f"Could not find compute service on host {name}.")

    def set_service(self, service_id: str, **changes: Any) -> ComputeService:
        """Enable, disable or force down the service of a host."""
        return self._services.change(service_id, **changes)

    def is_up(self, name: str) -> bool:
        """Whether the service of a host lives."""
        return not self.service(name).forced_down

    def zone(self, name: str) -> str:
        """The availability zone of a host: an aggregate's, else its PoP's."""
        default = DEFAULT_ZONE if self.site.is_near(name) else self.site.pop_of(name).name
        return next((one.zone for one in self._aggregates if name in one.hosts and one.zone), default)

    def zones(self) -> dict[str, list[str]]:
        """Hosts by availability zone."""
        found: dict[str, list[str]] = {}
        for host in self.all:
            found.setdefault(self.zone(host.name), []).append(host.name)
        return found

    def aggregates_of(self, name: str) -> list[Aggregate]:
        """The aggregates that a host is in."""
        return [aggregate for aggregate in self._aggregates if name in aggregate.hosts]

    def create_aggregate(self, name: str, zone: str) -> Aggregate:
        """Make an empty aggregate; with a zone it is one.

        Raises:
            Conflict: the name is taken.
        """
        _require_free(self._aggregates, name)
        number = 1 + max((one.number for one in self._aggregates), default=0)
        return self._aggregates.add(
            Aggregate(name=name, number=number, metadata={"availability_zone": zone} if zone else {})
        )

    def rename_aggregate(self, aggregate: Aggregate, name: str) -> Aggregate:
        """Give an aggregate another name.

        Raises:
            Conflict: it is taken.
        """
        if name != aggregate.name:
            _require_free(self._aggregates, name)
        return self._aggregates.change(aggregate.id, name=name)

    def delete_aggregate(self, aggregate: Aggregate) -> None:
        """Remove an aggregate.

        Raises:
            InvalidInput: it has hosts.
        """
        if aggregate.hosts:
            raise InvalidInput(f"Cannot remove aggregate {aggregate.number}. Host aggregate is not empty.")
        self._aggregates.remove(aggregate.id)

    def add_host(self, aggregate: Aggregate, name: str) -> Aggregate:
        """Put a host into an aggregate.

        Raises:
            NotFound: there is no such host.
            Conflict: it is in it, or in another zone, or its servers would change their zone.
        """
        self.get(name)
        if name in aggregate.hosts:
            raise Conflict(f"Cannot add host {name} in aggregate {aggregate.number}: host already exists")
        changed = replace(aggregate, hosts=(*aggregate.hosts, name))
        self._check_zones(name, changed)
        return self._aggregates.change(aggregate.id, hosts=changed.hosts)

    def remove_host(self, aggregate: Aggregate, name: str) -> Aggregate:
        """Take a host out of an aggregate.

        Raises:
            NotFound: it is not in it.
            Conflict: its servers would change their zone.
        """
        if name not in aggregate.hosts:
            raise NotFound(f"Host {name} could not be found in aggregate {aggregate.number}.")
        if aggregate.zone and self.servers(name):
            raise Conflict(f"Cannot remove host {name}: it has instances, which would change their zone")
        return self._aggregates.change(aggregate.id, hosts=tuple(one for one in aggregate.hosts if one != name))

    def set_metadata(self, aggregate: Aggregate, changes: Mapping[str, str | None]) -> Aggregate:
        """Set metadata; None removes.

        Raises:
            Conflict: a host would be in two zones.
        """
        merged = {**aggregate.metadata, **changes}
        metadata = {key: value for key, value in merged.items() if value is not None}
        changed = replace(aggregate, metadata=metadata)
        if changed.zone != aggregate.zone:
            for name in aggregate.hosts:
                self._check_zones(name, changed)
        return self._aggregates.change(aggregate.id, metadata=metadata)

    def _check_zones(self, name: str, changed: Aggregate) -> None:
        """A host is in one zone at most, and does not change it under its servers."""
        if not changed.zone:
            return
        others = {one.zone for one in self.aggregates_of(name) if one.id != changed.id and one.zone}
        if others - {changed.zone}:
            raise Conflict(f"Cannot add host to aggregate: host {name} is in availability zone {others.pop()} already")
        if self.servers(name) and self.zone(name) != changed.zone:
            raise Conflict(f"Cannot add host to aggregate: host {name} has instances, which would change their zone")


def _require_free(aggregates: Iterable[Aggregate], name: str) -> None:
    if any(one.name == name for one in aggregates):
        raise Conflict(f"Aggregate {name} already exists.")


def _forget_gone(hosts: Hosts, tables: Tables) -> None:
    """Have servers of hosts that are in the topology no more on the first one; they are off then."""
    names, first = {host.name for host in hosts.all}, hosts.all[0].name
    for server in tables.servers:
        if server.host and server.host not in names:
            logger.warning("host %s is gone: server %s is on %s now", server.host, server.id, first)
            tables.servers.change(server.id, host=first, availability_zone=hosts.zone(first), previous=None)
    for service in tables.compute_services:
        if service.name not in names:
            tables.compute_services.remove(service.id)
    for aggregate in tables.aggregates:
        if not names.issuperset(aggregate.hosts):
            tables.aggregates.change(aggregate.id, hosts=tuple(one for one in aggregate.hosts if one in names))
