"""Snapshots of volumes: copies of one moment, kept beside them."""

from __future__ import annotations

import asyncio
import logging

from sonata.emulator.cloud.background import Background
from sonata.emulator.cloud.entities.volume import Snapshot, VolumeStatus
from sonata.emulator.cloud.site import Site
from sonata.emulator.cloud.volume.sources import require_status
from sonata.errors import InvalidInput, SonataError
from sonata.ports.volumes import VolumeStore

logger = logging.getLogger(__name__)


class Snapshots:
    """The snapshots of one cloud's volumes, and what they share with them: the store and the work in the background."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._tables = site.tables
        self._table = site.tables.volumes
        self._background = Background(self._crashed)

    @property
    def store(self) -> VolumeStore:
        """Where volumes are kept."""
        return self._site.volumes

    def _crashed(self, name: str, error: BaseException) -> None:
        if name in self._table:
            self._table.change(name, status=VolumeStatus.ERROR, fault=f"{type(error).__name__}: {error}")
        elif name in self._tables.snapshots:
            self._tables.snapshots.change(name, status=VolumeStatus.ERROR)

    def require_room(self, project_id: str, name: str, gigabytes: int) -> None:
        """Refuse what a quota does not permit."""
        adding = {"gigabytes": gigabytes, **({name: 1} if name else {})}
        self._site.quotas.require_all(project_id, adding)

    def snapshot(self, snapshot: Snapshot, *, force: bool) -> Snapshot:
        """Accept a snapshot of a volume; it is taken in the background.

        Args:
            snapshot: with the volume's id; size and what else comes from the volume is filled in.
            force: also of a volume that is in use; its writers are held back for a moment then.

        Raises:
            InvalidInput: the volume is not available.
        """
        volume = self._table.get(snapshot.volume_id)
        allowed = {VolumeStatus.AVAILABLE, *((VolumeStatus.IN_USE,) if force else ())}
        require_status(volume, allowed, "create a snapshot")
        self.require_room(volume.project_id, "snapshots", volume.size_gib)
        self._tables.snapshots.add(snapshot)
        self._background.spawn(snapshot.id, self._take(snapshot.id, volume.id, volume.size_gib))
        return snapshot

    def delete_snapshot(self, snapshot_id: str, *, force: bool = False) -> None:
        """Delete a snapshot in the background.

        Raises:
            InvalidInput: it is busy.
        """
        snapshot = self._tables.snapshots.get(snapshot_id)
        if not force and snapshot.status not in (VolumeStatus.AVAILABLE, VolumeStatus.ERROR):
            raise InvalidInput(
                f"Invalid snapshot: Snapshot status must be available or error, but is {snapshot.status}."
            )
        self._tables.snapshots.change(snapshot_id, status=VolumeStatus.DELETING)
        self._background.spawn(snapshot_id, self._drop_snapshot(snapshot_id))

    async def snapshot_settled(self, snapshot_id: str) -> Snapshot | None:
        """Wait until nothing is going on with a snapshot; None when it is gone."""
        await self._background.wait(snapshot_id)
        return self._tables.snapshots.peek(snapshot_id)

    async def revert(self, volume_id: str, snapshot_id: str) -> None:
        """Give a volume the content of its latest snapshot back."""
        volume, snapshot = self._table.get(volume_id), self._tables.snapshots.get(snapshot_id)
        require_status(volume, {VolumeStatus.AVAILABLE}, "revert")
        if volume.size_gib != snapshot.size_gib:
            raise InvalidInput("Invalid volume: the volume was extended after the snapshot and cannot be reverted.")

        def run() -> None:
            self.store.remove(volume_id)
            self.store.clone(snapshot_id, volume_id, volume.size_gib)

        await asyncio.to_thread(run)

    async def _take(self, snapshot_id: str, volume_id: str, size_gib: int) -> None:
        try:
            await asyncio.to_thread(self.store.clone, volume_id, snapshot_id, size_gib)
        except SonataError as error:
            logger.warning("snapshot failed", extra={"snapshot": snapshot_id, "cause": str(error)})
            self._tables.snapshots.change(snapshot_id, status=VolumeStatus.ERROR)
            return
        self._tables.snapshots.change(snapshot_id, status=VolumeStatus.AVAILABLE)

    async def _drop_snapshot(self, snapshot_id: str) -> None:
        await asyncio.to_thread(self.store.remove, snapshot_id)
        self._tables.snapshots.remove(snapshot_id)
