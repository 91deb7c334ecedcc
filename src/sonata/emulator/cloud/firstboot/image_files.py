"""What an image has in it, without starting anything: its layers are looked through as an overlay shows them."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from sonata.ports.images import Image

_MOST_LINKS = 16


def has_file(image: Image, path: str) -> bool:
    """Whether an image has something at a path, given without its first `/`.

    Of a volume that is booted from nothing is known before it is opened: it counts as having everything.
    """
    if not image.id:
        return True
    roots = (*image.layers, Path("/")) if image.on_host or not image.layers else image.layers
    return _exists(roots, path.split("/"))


def _exists(roots: Sequence[Path], parts: Sequence[str], links: int = 0) -> bool:
    """Whether there is something at a path; links are followed within the image, never out of it."""
    for depth in range(1, len(parts) + 1):
        found = _topmost(roots, "/".join(parts[:depth]))
        if found is None:
            return False
        if found.is_symlink():
            target = os.path.normpath(os.path.join("/", *parts[: depth - 1], os.readlink(found)))
            whole = (*filter(None, target.split("/")), *parts[depth:])
            return links < _MOST_LINKS and _exists(roots, whole, links + 1)
    return True


def _topmost(roots: Sequence[Path], path: str) -> Path | None:
    """Where a path is in the uppermost layer that knows it; None when none does or that one has deleted it."""
    for root in roots:
        found = root / path
        if os.path.lexists(found):
            return None if _is_deletion(found) else found
    return None


def _is_deletion(path: Path) -> bool:
    """Whether this stands for something that a layer has deleted (overlayfs: a character device 0/0)."""
    about = path.lstat()
    return stat.S_ISCHR(about.st_mode) and about.st_rdev == 0
