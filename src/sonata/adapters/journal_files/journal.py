"""One folder, one JSON file for each document; only its owner can read them.

A file appears by one rename, so a kill of the writer leaves the old or the new one. Nothing is flushed to the
disk: what the machine itself had not written when its power went is lost, and a torn file is set aside at the next
start.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sonata._lib.paths import private_folder, write_private
from sonata._lib.plain import decode, encode
from sonata.errors import AdapterError

logger = logging.getLogger(__name__)

_SUFFIX, _DAMAGED = ".json", ".damaged"


class FileJournal:
    """`sonata.ports.journal.Journal` in a folder, which is made with the first document."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self) -> Mapping[str, Any]:
        """All documents that can be read; see the port."""
        found = {}
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            try:
                found[path.stem] = decode(path.read_bytes())
            except (OSError, ValueError) as error:
                logger.warning("a saved document cannot be read: %s: %s", path, error)
                self.set_aside(path.stem)
        return found

    def save(self, name: str, document: Any) -> None:
        """Replace a document; see the port."""
        try:
            write_private(private_folder(self._folder) / f"{name}{_SUFFIX}", encode(document))
        except OSError as error:
            raise AdapterError(f"cannot save `{name}` in {self._folder}: {error.strerror}") from error

    def set_aside(self, name: str) -> None:
        """Rename a document so that it is not loaded again."""
        path = self._folder / f"{name}{_SUFFIX}"
        if path.exists():
            path.replace(path.with_name(path.name + _DAMAGED))
            logger.warning("saved document set aside: %s%s", path, _DAMAGED)

    def remove(self, name: str) -> None:
        """Forget a document; idempotent."""
        (self._folder / f"{name}{_SUFFIX}").unlink(missing_ok=True)
