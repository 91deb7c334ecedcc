"""An image store in memory; archives that begin with `OCI` can be imported."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import uuid
import weakref
from collections.abc import Sequence
from pathlib import Path

from sonata.errors import NotFound
from sonata.model.recipe import Recipe
from sonata.ports.images import Image, NotAnArchive, Progress
from sonata.ports.runtime import DiskImage


def image(name: str, *, argv: tuple[str, ...] = (), ready_tcp_port: int = 0) -> Image:
    """An image whose content is its name."""
    digest = f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"
    image_id = str(uuid.uuid5(uuid.NAMESPACE_URL, digest))
    return Image(image_id, name, digest, argv=argv, ready_tcp_port=ready_tcp_port, size_bytes=1000, created_at=1.7e9)


class FakeImageStore:
    """Images by name."""

    def __init__(self, *images: Image) -> None:
        self.data = Path(tempfile.mkdtemp(prefix="sonata-fake-images-"))
        weakref.finalize(self, shutil.rmtree, self.data, ignore_errors=True)
        self.images = {one.name: one for one in (image("host"), *images)}
        self.snapshots: list[tuple[str, Path]] = []

    def list(self) -> Sequence[Image]:
        return [self.images[name] for name in sorted(self.images)]

    def get(self, name_or_id: str) -> Image:
        for one in self.images.values():
            if name_or_id in (one.name, one.id):
                return one
        raise NotFound(f"no image `{name_or_id}`", hint=f"images: {', '.join(sorted(self.images))}")

    def build(self, recipe: Recipe, progress: Progress) -> Image:
        raise NotImplementedError

    def import_archive(self, archive: Path, name: str, progress: Progress) -> Image:
        if not archive.read_bytes().startswith(b"OCI"):
            raise NotAnArchive(f"`{archive}` is no image archive: no OCI layout and no `docker save` archive")
        self.images[name] = image(name, argv=("/bin/app",))
        return self.images[name]

    def data_path(self, name: str) -> Path:
        return self.data / name

    def snapshot(self, base: str, disk: Path, name: str) -> Image:
        self.images[name] = image(name, argv=self.get(base).argv)
        self.snapshots.append((base, disk))
        return self.images[name]

    def flatten(self, image: DiskImage, layer: Path, target: Path) -> None:
        target.write_bytes(image.file.read_bytes())

    def remove(self, name_or_id: str) -> None:
        data = self.data / name_or_id
        if data.exists():
            data.unlink()
            if name_or_id not in self.images:
                return
        del self.images[self.get(name_or_id).name]
