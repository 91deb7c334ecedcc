"""Changes whose parts belong together: taken back when what should follow failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def undone_on_failure(undo: Callable[[], object]) -> Iterator[None]:
    """Call `undo` when the block is left by any exception, cancellation included."""
    with ExitStack() as pending:
        pending.callback(undo)
        yield
        pending.pop_all()
