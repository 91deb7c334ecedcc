"""Volumes handed from one project to another, with a key that the first one tells the second."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from sonata.emulator.cloud.entities.volume import Transfer, Volume, VolumeStatus
from sonata.emulator.cloud.tables import Tables
from sonata.emulator.cloud.volume.sources import require_status
from sonata.emulator.cloud.volume.volumes import Volumes
from sonata.errors import InvalidInput

_KEY_BYTES = 8


class Transfers:
    """The transfers of one cloud's volumes."""

    def __init__(self, tables: Tables, volumes: Volumes) -> None:
        self._tables = tables
        self._volumes = volumes

    def offer(self, volume: Volume, name: str) -> tuple[Transfer, str]:
        """Offer a volume; returns the transfer and its key, which is kept nowhere else.

        Raises:
            InvalidInput: the volume is not available.
        """
        require_status(volume, {VolumeStatus.AVAILABLE}, "transfer")
        key, salt = secrets.token_hex(_KEY_BYTES), secrets.token_hex(_KEY_BYTES)
        transfer = Transfer(
            name=name, project_id=volume.project_id, volume_id=volume.id, salt=salt, key_hash=_hashed(salt, key)
        )
        self._tables.volume_transfers.add(transfer)
        self._tables.volumes.change(volume.id, status=VolumeStatus.AWAITING_TRANSFER)
        return transfer, key

    def accept(self, transfer_id: str, key: str, project_id: str, user_id: str) -> Transfer:
        """Take a volume over.

        Raises:
            NoSuch: there is no such transfer.
            InvalidInput: the key is wrong.
            OverQuota: the project has no room for it.
        """
        transfer = self._tables.volume_transfers.get(transfer_id)
        if not hmac.compare_digest(_hashed(transfer.salt, key), transfer.key_hash):
            raise InvalidInput("Invalid auth key: Attempt to transfer with an invalid auth key.")
        volume = self._tables.volumes.get(transfer.volume_id)
        self._volumes.require_room(project_id, "volumes", volume.size_gib)
        for snapshot in self._tables.snapshots:
            if snapshot.volume_id == volume.id:
                self._tables.snapshots.change(snapshot.id, project_id=project_id, user_id=user_id)
        self._tables.volumes.change(volume.id, project_id=project_id, user_id=user_id, status=VolumeStatus.AVAILABLE)
        self._tables.volume_transfers.remove(transfer_id)
        return transfer

    def withdraw(self, transfer_id: str) -> None:
        """Take an offer back."""
        transfer = self._tables.volume_transfers.get(transfer_id)
        self._tables.volume_transfers.remove(transfer_id)
        if transfer.volume_id in self._tables.volumes:
            self._tables.volumes.change(transfer.volume_id, status=VolumeStatus.AVAILABLE)


def _hashed(salt: str, key: str) -> str:
    return hashlib.sha256(f"{salt}:{key}".encode()).hexdigest()
