"""Fixtures of all tests."""

from __future__ import annotations

import os
import sys

import pytest
from hypothesis import settings

from tests import sessions

# How long an example takes says more about the machine than about us.
settings.register_profile("sonata", deadline=None)
settings.load_profile("sonata")

# Tests start hundreds of programs of ours: each would compile all that it imports anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_configure(config: pytest.Config) -> None:
    """Begin a session, once for all workers: they inherit its environment."""
    if not is_worker(config):
        sessions.begin()


def pytest_unconfigure(config: pytest.Config) -> None:
    """End it."""
    if not is_worker(config):
        sessions.end()


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is one of pytest-xdist's."""
    return hasattr(config, "workerinput")


@pytest.fixture(scope="session", autouse=True)
def _claimed(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Have what emulations left below `tmp_path` found after a kill."""
    sessions.claim(tmp_path_factory.getbasetemp())


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio."""
    return "asyncio"
