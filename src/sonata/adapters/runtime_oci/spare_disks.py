"""Empty disks that are ready before somebody asks for one: on the host's disk already, so that nobody waits for that.

One of 1 GiB costs the host 64 KiB until it is used.
"""

from __future__ import annotations

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import sonata.adapters.runtime_oci.ext4 as ext4
from sonata.errors import SonataError

_OF_A_SIZE = 2
_SIZES = 4


class SpareDisks:
    """Files with empty file systems, some of each size that was asked for lately.

    Args:
        templates: folder for what they are copied from.
        folder: where spare ones wait, emptied of what an earlier life left; best on the file system where disks go.
    """

    def __init__(self, templates: Path, folder: Path) -> None:
        self._templates = templates
        self._folder = folder
        self._making = threading.Lock()
        self._spares: dict[int, list[Path]] = {}
        self._refilling = ThreadPoolExecutor(1, thread_name_prefix="spare-disks")
        self._count = 0
        shutil.rmtree(folder, ignore_errors=True)

    def give(self, size: int, target: Path) -> None:
        """Put an empty disk of a size in place of a file, at once where one is ready.

        Raises:
            OSError: the host has no room for it.
            AdapterError: none can be made.
        """
        waiting = self._spares.get(size)
        if not (waiting and self._moved(waiting, target)):
            ext4.copy(self._template(size), target)
        with suppress(RuntimeError):  # it is closed
            self._refilling.submit(self._refill, size)

    def close(self) -> None:
        """Give all of them back."""
        self._refilling.shutdown(cancel_futures=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _moved(self, waiting: list[Path], target: Path) -> bool:
        with suppress(IndexError, OSError):  # somebody else took it, or the disk lies on another file system
            waiting.pop().rename(target)
            return True
        return False

    def _template(self, size: int) -> Path:
        """An empty file system of a size, made once."""
        template = self._templates / f"empty-{size}.ext4"
        with self._making:
            if not template.exists():
                unfinished = template.with_suffix(".new")
                try:
                    ext4.make(unfinished, size)
                    unfinished.rename(template)
                finally:
                    unfinished.unlink(missing_ok=True)
        return template

    def _refill(self, size: int) -> None:
        """Have enough of a size again; the size that was asked for longest ago makes room for a new one."""
        waiting = self._spares.pop(size, [])
        self._spares[size] = waiting
        while len(self._spares) > _SIZES:
            for spare in self._spares.pop(next(iter(self._spares))):
                spare.unlink(missing_ok=True)
        with suppress(OSError, SonataError):  # the next one is made when it is wanted, and says why it cannot be
            while len(waiting) < _OF_A_SIZE:
                waiting.append(self._made(size))

    def _made(self, size: int) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._count += 1
        spare = self._folder / f"{size}-{self._count}"
        try:
            ext4.copy(self._template(size), spare)
            _flush(spare)
        except (OSError, SonataError):
            spare.unlink(missing_ok=True)
            raise
        return spare


def _flush(file: Path) -> None:
    """Have a file's content on the host's disk."""
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
