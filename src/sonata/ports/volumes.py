"""Block storage: volumes as file systems of a limited size, which machines see as folders.

Calls block, and are made in threads. Raises `sonata.errors.NotFound` for unknown volumes, `QuotaExceeded` when the disk
is full, and `sonata.errors.AdapterError` when the host's programs fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class VolumeStore(Protocol):
    """Volumes by id; they are kept until they are removed, also when their keeper dies."""

    @property
    def unenforced(self) -> str:
        """Why the host does not let us limit the size of volumes; empty when it does."""

    @property
    def free_bytes(self) -> int:
        """What the disk has left."""

    def create(self, volume_id: str, size_gib: int) -> None:
        """Make an empty volume; nothing is left of it after a failure."""

    def clone(self, source_id: str, volume_id: str, size_gib: int) -> None:
        """Make a volume with the content that another one has at this moment, and at least its size."""

    def fill(self, volume_id: str, layers: Sequence[Path]) -> None:
        """Copy a root file system, its layers topmost first, into a volume.

        Raises:
            QuotaExceeded: it does not fit.
        """

    def unpack(self, volume_id: str, archive: Path) -> None:
        """Write the files of a tar file into a volume; paths in it cannot escape.

        Raises:
            QuotaExceeded: they do not fit.
            AdapterError: the file is damaged.
        """

    def extend(self, volume_id: str, size_gib: int) -> None:
        """Give a volume more room.

        Raises:
            Conflict: it is open and the host does not let us extend it then.
        """

    def open(self, volume_id: str) -> Path:
        """The folder with the content of a volume; idempotent."""

    def shut(self, volume_id: str) -> None:
        """Take the folder of a volume away; idempotent.

        Raises:
            Conflict: somebody uses it.
        """

    def pack(self, volume_id: str, target: Path) -> None:
        """Write the content of a volume to a tar file."""

    def remove(self, volume_id: str) -> None:
        """Remove a volume; idempotent.

        Raises:
            Conflict: somebody uses it.
        """
