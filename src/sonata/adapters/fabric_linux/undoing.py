"""Undoing what failed half-way."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sonata.errors import SonataError

logger = logging.getLogger(__name__)


@contextmanager
def undone_by(undo: Callable[[], object]) -> Iterator[None]:
    """Have undone what a block has done when it fails; the failure is told, whatever becomes of the undoing."""
    try:
        yield
    except SonataError as error:
        try:
            undo()
        except SonataError as further:
            told = {"failed": error.message, "undoing": further.message}
            logger.warning("what failed half-way is not wholly undone", extra=told)
        raise
