"""Volumes as folders, without a limit; `full` makes the disk full."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path

from sonata.errors import Conflict, NotFound, QuotaExceeded


class FakeVolumeStore:
    """Volumes by id, with their sizes in GiB."""

    unenforced = ""
    free_bytes = 100 * 1024**3

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sonata-fake-volumes-"))
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        self.sizes: dict[str, int] = {}
        self.open_ones: set[str] = set()
        self.full = False
        self.extends_open_ones = True

    def create(self, volume_id: str, size_gib: int) -> None:
        if self.full:
            raise QuotaExceeded("no space is left: the disk is full")
        (self.folder / volume_id).mkdir()
        self.sizes[volume_id] = size_gib

    def clone(self, source_id: str, volume_id: str, size_gib: int) -> None:
        self._require(source_id)
        self.create(volume_id, size_gib)
        shutil.copytree(self.folder / source_id, self.folder / volume_id, dirs_exist_ok=True)

    def fill(self, volume_id: str, layers: Sequence[Path]) -> None:
        self._require(volume_id)
        (self.folder / volume_id / "filled").write_text(str(len(layers)))

    def unpack(self, volume_id: str, archive: Path) -> None:
        self._require(volume_id)
        (self.folder / volume_id / "unpacked").write_bytes(archive.read_bytes())

    def extend(self, volume_id: str, size_gib: int) -> None:
        self._require(volume_id)
        if volume_id in self.open_ones and not self.extends_open_ones:
            raise Conflict("not while it is in use")
        self.sizes[volume_id] = size_gib

    def open(self, volume_id: str) -> Path:
        self._require(volume_id)
        self.open_ones.add(volume_id)
        return self.folder / volume_id

    def shut(self, volume_id: str) -> None:
        self.open_ones.discard(volume_id)

    def pack(self, volume_id: str, target: Path) -> None:
        self._require(volume_id)
        target.write_bytes(b"OCI of a volume")

    def remove(self, volume_id: str) -> None:
        shutil.rmtree(self.folder / volume_id, ignore_errors=True)
        self.sizes.pop(volume_id, None)

    def _require(self, volume_id: str) -> None:
        if volume_id not in self.sizes:
            raise NotFound(f"there is no volume `{volume_id}`")
