"""Servers that change their size or their host: resize, cold and live migration, evacuation."""

from __future__ import annotations

from dataclasses import replace

from sonata.emulator.cloud.asking import ASKER
from sonata.emulator.cloud.compute.hosts import Hosts
from sonata.emulator.cloud.compute.operations import NoValidHost, Operations
from sonata.emulator.cloud.compute.power import Power
from sonata.emulator.cloud.compute.scheduler import Request, Scheduler
from sonata.emulator.cloud.compute.servers import Servers
from sonata.emulator.cloud.entities.compute import Flavor, Previous, Server, ServerStatus
from sonata.emulator.cloud.entities.hosts import Migration
from sonata.emulator.cloud.site import Site
from sonata.errors import AdapterError, Conflict, InvalidInput


class Moving:
    """Moves servers of one cloud between sizes and hosts. Until a change is confirmed both claims stand."""

    def __init__(self, site: Site, servers: Servers, scheduler: Scheduler, hosts: Hosts) -> None:
        self._site = site
        self._table = site.tables.servers
        self._migrations = site.tables.migrations
        self._servers = servers
        self._operations: Operations = servers.operations
        self._power: Power = servers.power
        self._scheduler = scheduler
        self._hosts = hosts

    def resize(self, server_id: str, flavor: Flavor) -> None:
        """Give a server another size, to be confirmed.

        Raises:
            Conflict: its state does not permit it.
            InvalidInput: it has this size.
            OverQuota: the project may not have so much.
        """
        server = self._table.get(server_id)
        if flavor.id == server.flavor.id:
            raise InvalidInput("When resizing, instances must change flavor!")
        more = {"cores": flavor.vcpus - server.flavor.vcpus, "ram": flavor.ram_mib - server.flavor.ram_mib}
        self._site.quotas.require_all(server.project_id, {name: adding for name, adding in more.items() if adding > 0})
        self._operations.begin(server_id, "resize", "resize_prep", lambda one: self._resize(one, flavor))

    def migrate(self, server_id: str, host: str) -> None:
        """Move a server to another host, switched off on the way; to be confirmed."""
        self._check_target(server_id, host)
        self._operations.begin(server_id, "migrate", "resize_prep", lambda one: self._migrate(one, host))

    def confirm(self, server_id: str) -> None:
        """Keep what a resize or migration has changed."""
        self._operations.begin(server_id, "confirmResize", None, self._confirm)

    def revert(self, server_id: str) -> None:
        """Go back to what was before a resize or migration."""
        self._operations.begin(server_id, "revertResize", "resize_reverting", self._revert)

    def migrate_live(self, server_id: str, host: str) -> None:
        """Move a server to another host while its processes live on."""
        self._check_target(server_id, host)
        self._operations.begin(
            server_id, "live-migration", "migrating", lambda one: self._migrate_live(one, host), rule="live_migration"
        )

    def evacuate(self, server_id: str, host: str) -> None:
        """Begin a server anew on another host, since its own is down.

        Raises:
            InvalidInput: its host is up.
        """
        server = self._table.get(server_id)
        if server.host and self._hosts.is_up(server.host):
            raise InvalidInput(
                f"Compute service of {server.host} is still in use.",
                hint="an administrator forces it down first",
            )
        self._check_target(server_id, host)
        self._operations.begin(server_id, "evacuate", "rebuilding", lambda one: self._evacuate(one, host))

    def _check_target(self, server_id: str, host: str) -> None:
        if host:
            self._hosts.get(host)
            if host == self._table.get(server_id).host:
                raise InvalidInput(f"Unable to migrate instance ({server_id}) to current host ({host}).")

    async def _resize(self, server_id: str, flavor: Flavor) -> None:
        server = self._table.get(server_id)
        cores = self._scheduler.cores_for(server, flavor)
        host = self._scheduler.pick(Request(flavor, server, zone=_zone(server)))
        migration = self._begin_migration(server, "resize", host, flavor)
        server = self._table.change(
            server_id,
            previous=Previous(server.flavor, server.host, server.status),
            flavor=flavor,
            host=host,
            cores=cores,
            task_state="resize_finish",
        )
        await self._apply_limits(server)
        self._migrations.change(migration.id, status="finished")
        self._table.change(server_id, status=ServerStatus.VERIFY_RESIZE, task_state=None, fault=None)

    async def _migrate(self, server_id: str, host: str) -> None:
        server = self._table.get(server_id)
        found = self._pick_other(server, host)
        migration = self._begin_migration(server, "migration", found, server.flavor)
        self._table.change(
            server_id, task_state="resize_migrating", previous=Previous(server.flavor, server.host, server.status)
        )
        await self._power.off(server)
        self._table.change(server_id, host=found, task_state="resize_finish")
        if server.status == ServerStatus.ACTIVE:
            await self._power.on(self._table.get(server_id))
        self._migrations.change(migration.id, status="finished")
        self._table.change(server_id, status=ServerStatus.VERIFY_RESIZE, task_state=None, fault=None)

    async def _confirm(self, server_id: str) -> None:
        self._end_migration(server_id, "confirmed")
        status = _previous(self._table.get(server_id)).status
        self._table.change(server_id, status=status, previous=None, task_state=None)

    async def _revert(self, server_id: str) -> None:
        server = self._table.get(server_id)
        before = _previous(server)
        moved = server.host != before.host and server.flavor == before.flavor
        if moved and before.status == ServerStatus.ACTIVE:
            await self._power.off(server)
        server = replace(server, flavor=before.flavor)
        cores = self._scheduler.cores_for(server, before.flavor)
        server = self._table.change(server_id, flavor=before.flavor, host=before.host, cores=cores)
        if moved and before.status == ServerStatus.ACTIVE:
            await self._power.on(server)
        elif not moved:
            await self._apply_limits(server)
        self._end_migration(server_id, "reverted")
        self._table.change(server_id, status=before.status, previous=None, task_state=None)

    async def _migrate_live(self, server_id: str, host: str) -> None:
        server = self._table.get(server_id)
        found = self._pick_other(server, host)
        migration = self._begin_migration(server, "live-migration", found, server.flavor)
        if server.status == ServerStatus.ACTIVE:
            await self._power.freeze(server)
        # Both hosts are this machine: processes, memory and ports stay where they are, the claim moves.
        server = self._table.change(server_id, host=found, availability_zone=self._hosts.zone(found))
        if server.status == ServerStatus.ACTIVE:
            await self._power.thaw(server)
        self._migrations.change(migration.id, status="completed")
        self._table.change(server_id, task_state=None)

    async def _evacuate(self, server_id: str, host: str) -> None:
        server = self._table.get(server_id)
        found = self._pick_other(server, host)
        migration = self._begin_migration(server, "evacuation", found, server.flavor)
        was_off = server.status == ServerStatus.SHUTOFF
        await self._power.off(server, grace_s=0.0)
        await self._power.wipe(server_id)
        self._table.change(server_id, host=found, availability_zone=self._hosts.zone(found))
        if was_off:
            self._table.change(server_id, task_state=None)
        else:
            await self._servers.switch_on(server_id)
        self._migrations.change(migration.id, status="done")

    def _pick_other(self, server: Server, host: str) -> str:
        """Another host than the server's."""
        if server.host and len(self._hosts.all) == 1:
            raise NoValidHost("No valid host was found. There is no other host in this PoP to migrate to.")
        wanted = Request(server.flavor, server, zone=_zone(server), host=host, not_on=(server.host,))
        return self._scheduler.pick(wanted)

    async def _apply_limits(self, server: Server) -> None:
        """Bring a running server to its new size: as it runs where the kernel can, else by a restart."""
        if _previous(server).status != ServerStatus.ACTIVE:
            return
        try:
            await self._power.limit(server)
        except AdapterError:
            await self._power.off(server)
            await self._power.on(server)

    def _begin_migration(self, server: Server, kind: str, target: str, flavor: Flavor) -> Migration:
        asker = ASKER.get()
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

    def _end_migration(self, server_id: str, status: str) -> None:
        for migration in reversed(tuple(self._migrations)):
            if migration.server_id == server_id:
                self._migrations.change(migration.id, status=status)
                return


def _previous(server: Server) -> Previous:
    if server.previous is None:
        raise Conflict(f"Instance {server.id} has no resize to confirm or revert")
    return server.previous


def _zone(server: Server) -> str:
    """Where a server has to stay: in its zone, if its creator named one."""
    return server.availability_zone if server.pinned_zone else ""
