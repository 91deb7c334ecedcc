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
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if not (shutil.which("crun") or shutil.which("runc")):
        pytest.skip("needs crun or runc")
    command = Emu(tmp_path)
    try:
        yield command
    finally:
        command.close()
