"""Fixtures of scenarios with whole emulations."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenario.emu_command import Emu


@pytest.fixture
def emu(tmp_path: Path) -> Iterator[Emu]:
    """The command `sonata emu` with a home of its own; whatever it started ends with the test."""
    yield from running(tmp_path)


@pytest.fixture(scope="module")
def shared_emu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emu]:
    """The same for all tests of a module."""
    yield from running(tmp_path_factory.mktemp("emu"))


def running(home: Path) -> Iterator[Emu]:
    """The command `sonata emu`, until the test is over."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if not (shutil.which("crun") or shutil.which("runc")):
        pytest.skip("needs crun or runc")
    command = Emu(home)
    try:
        yield command
    finally:
        command.close()
