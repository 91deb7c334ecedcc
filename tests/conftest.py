"""Fixtures of all tests."""

from __future__ import annotations

import os
import sys

import pytest

# Tests start hundreds of programs of ours: each would compile all that it imports anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio."""
    return "asyncio"
