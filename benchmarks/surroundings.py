"""What a benchmark has around it: a home of its own, variables of the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path


def home_in(folder: Path) -> AbstractContextManager[None]:
    """Use a home of its own for the time of the block."""
    return variable("SONATA_HOME", str(folder / "home"))


@contextmanager
def variable(name: str, value: str) -> Iterator[None]:
    """Have a variable of the environment for the time of the block."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before
