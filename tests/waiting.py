"""Waiting for what happens by itself, and telling what is instead when it does not."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PATIENCE_S = 30
_PAUSE_S = 0.01


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it does not come to that"
        time.sleep(_PAUSE_S)


def until(look: Callable[[], Any], wanted: Any) -> None:
    """Wait until something is so; tell what it is when it does not come to that."""
    deadline = time.monotonic() + PATIENCE_S
    while (found := look()) != wanted:
        assert time.monotonic() < deadline, f"{found} is not {wanted}"
        time.sleep(_PAUSE_S)
