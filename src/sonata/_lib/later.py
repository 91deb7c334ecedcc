"""The one way in which a room imports a library when it is first used, not when the room itself is imported.

For libraries that a keeper of an emulation may need some day, and that take longer to import than the work is worth
until then. Type checkers and import contracts see the usual import:

    if TYPE_CHECKING:
        import h11
    else:
        h11 = later("h11")

`tests/unit/test_idle_imports.py` tells which process holds which library from its beginning.
"""

from __future__ import annotations

import importlib
from typing import Any


def later(name: str, *parts: str) -> Any:
    """A module whose first use imports it, and these modules below it."""
    return _Later(name, parts)


class _Later:
    """Stands for a module; what is looked up here is looked up there."""

    def __init__(self, name: str, parts: tuple[str, ...]) -> None:
        self._name = name
        self._parts = parts

    def __getattr__(self, attribute: str) -> Any:
        for part in self._parts:
            importlib.import_module(f"{self._name}.{part}")
        found = getattr(importlib.import_module(self._name), attribute)
        setattr(self, attribute, found)
        return found
