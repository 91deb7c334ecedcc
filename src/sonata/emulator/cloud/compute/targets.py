"""Where servers may move to, and the notes of their moves."""

from __future__ import annotations

from typing import Any

from sonata.emulator.cloud.asking import ASKER
from sonata.emulator.cloud.causes import ChainAcrossZones
from sonata.emulator.cloud.compute.carrying import Carrying
from sonata.emulator.cloud.compute.hosts import Hosts
from sonata.emulator.cloud.compute.operations import NotDone, NoValidHost
from sonata.emulator.cloud.compute.scheduler import Request, Scheduler
from sonata.emulator.cloud.entities.compute import Flavor, Server
from sonata.emulator.cloud.entities.hosts import Migration
from sonata.emulator.cloud.tables import Tables
from sonata.errors import InvalidInput

LONGEST_LIST = 1000
"""Migrations that a cloud remembers; the oldest ones that are over go first."""
UNDER_WAY = ("running", "migrating")


class Targets:
    """Hosts for the servers of one cloud that leave theirs, and the table of migrations."""

    def __init__(self, tables: Tables, scheduler: Scheduler, hosts: Hosts, carrying: Carrying) -> None:
        self._servers = tables.servers
        self._migrations = tables.migrations
        self._scheduler = scheduler
        self._hosts = hosts
        self._carrying = carrying

    def check(self, server_id: str, host: str) -> None:
        """Refuse a host that a server cannot move to; empty is any.

        Raises:
            NotFound: there is no such host.
            InvalidInput: the server is there.
        """
        if host:
            self._hosts.get(host)
            if host == self._servers.get(server_id).host:
                raise InvalidInput(f"Unable to migrate instance ({server_id}) to current host ({host}).")

    def for_flavor(self, server: Server, flavor: Flavor) -> str:
        """The best host for a server that is to have another size, perhaps its own.

        Raises:
            NoValidHost, NotDone: there is none.
        """
        found = self._scheduler.pick(Request(flavor, server, zone=_zone(server)))
        self.check_chains(server, found)
        return found

    def other(self, server: Server, host: str, *, force: bool = False) -> str:
        """Another host than the server's, in the zone that it has to stay in unless that is forced.

        Raises:
            NoValidHost, NotDone: there is none.
        """
        if server.host and len(self._hosts.all) == 1:
            raise NoValidHost("No valid host was found. There is no other host in this PoP to migrate to.")
        if host and not force and _zone(server) not in ("", self._hosts.zone(host)):
            raise NoValidHost(
                "No valid host was found. There are not enough hosts available. Filter AvailabilityZoneFilter returned "
                f"0 hosts: the server has to stay in zone {_zone(server)}"
            )
        wanted = Request(server.flavor, server, zone=_zone(server), host=host, not_on=(server.host,))
        found = self._scheduler.pick(wanted)
        self.check_chains(server, found)
        return found

    def check_chains(self, server: Server, host: str) -> None:
        """Refuse a host when a port chain through the server cannot follow.

        Raises:
            NotDone: tells which.
        """
        try:
            self._carrying.check(server, host)
        except ChainAcrossZones as error:
            raise NotDone(error.message) from error

    def placed(self, host: str) -> dict[str, Any]:
        """What changes of a server that is on another host."""
        return {"host": host, "availability_zone": self._hosts.zone(host)}

    def are_apart(self, one: str, other: str) -> bool:
        """Whether two hosts are in different PoPs."""
        return self._hosts.site.pop_of(one) is not self._hosts.site.pop_of(other)

    def begin(self, server: Server, kind: str, target: str, flavor: Flavor) -> Migration:
        """Note that a server begins to move."""
        asker = ASKER.get()
        over = [one.id for one in self._migrations if one.status not in UNDER_WAY]
        for migration_id in over[: max(0, len(self._migrations) + 1 - LONGEST_LIST)]:
            self._migrations.remove(migration_id)
        return self._migrations.add(
            Migration(
                number=1 + max((one.number for one in self._migrations), default=0),
                server_id=server.id,
                project_id=asker.project_id or server.project_id,
                user_id=asker.user_id or server.user_id,
                kind=kind,
                status="running" if kind == "live-migration" else "migrating",
                source=server.host,
                target=target,
                old_flavor_id=server.flavor.id,
                new_flavor_id=flavor.id,
            )
        )

    def end(self, migration: Migration, status: str) -> None:
        """Note how a move has ended."""
        self._migrations.change(migration.id, status=status)

    def end_last(self, server_id: str, status: str) -> None:
        """Note what has become of the last move of a server."""
        for migration in reversed(tuple(self._migrations)):
            if migration.server_id == server_id:
                self.end(migration, status)
                return


def _zone(server: Server) -> str:
    """Where a server has to stay: in its zone, if its creator named one."""
    return server.availability_zone if server.pinned_zone else ""
