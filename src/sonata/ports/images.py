"""The local store of machine images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Protocol

from sonata._lib.values import dataclass
from sonata.errors import InvalidInput
from sonata.model.recipe import Recipe
from sonata.ports.runtime import DiskImage

Progress = Callable[[str], None]

UPLOAD_PREFIX = "upload-"
"""Names of images that were uploaded to a cloud begin so; the image's id follows. Each cloud shows its own alone."""
STAGED_PREFIX = "staged-"
"""Names under which data wait until somebody makes them an image's own."""


@dataclass(frozen=True, slots=True)
class Image:
    """An unpacked image, ready to be a root file system.

    Args:
        id: a UUID derived from `digest`; Glance shows it.
        layers: overlay layers, topmost first; empty for `host`.
        argv: default program, empty when it has none.
        ready_tcp_port: a machine of this image is ready when a process of it listens on this port; 0 for at once.
        digest: sha256 of its content or recipe, `sha256:...`.
        on_host: whether its layers lie on top of the `host` root.
    """

    id: str
    name: str
    digest: str
    layers: tuple[Path, ...] = ()
    argv: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    ready_tcp_port: int = 0
    size_bytes: int = 0
    created_at: float = 0.0
    on_host: bool = False


class NotAnArchive(InvalidInput):
    """A file is neither an image archive nor a root file system."""


class ImageStore(Protocol):
    """Images by name; `host` is always there."""

    def list(self) -> Sequence[Image]:
        """All images, sorted by name."""

    def get(self, name_or_id: str) -> Image:
        """One image.

        Raises:
            NotFound: with the list of names that exist.
        """

    def build(self, recipe: Recipe, progress: Progress) -> Image:
        """Build from a recipe; returns at once when the same content was built before."""

    def import_archive(self, archive: Path, name: str, progress: Progress) -> Image:
        """Import an OCI layout (folder or tar), a `docker save` archive, or a tar file of a root file system.

        Paths in it cannot escape.

        Raises:
            NotAnArchive: it is none of them.
            InvalidInput: it is damaged, or has a dangerous member.
        """

    def data_path(self, name: str) -> Path:
        """Where the original data of an uploaded image are kept; the folder exists, the file once it is written."""

    def snapshot(self, base: str, disk: Path, name: str) -> Image:
        """Make an image of what a machine of image `base` has written to its disk (`RootFs.disk`).

        Raises:
            NotFound: there is no such image.
            AdapterError: the disk cannot be copied.
        """

    def flatten(self, image: DiskImage, layer: Path, target: Path) -> None:
        """Write what a disk holds, a layer over an image, to a new qcow2 file that needs no other.

        Raises:
            AdapterError: it cannot be copied.
        """

    def remove(self, name_or_id: str) -> None:
        """Remove an image, the data kept under its name, and what an interrupted import of it has left.

        Raises:
            NotFound: there is nothing of that name.
        """
