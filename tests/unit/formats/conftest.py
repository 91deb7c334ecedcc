"""Parts of a small sound package, and the project made of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.formats.samples import write_project


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A sound project on disk."""
    return write_project(tmp_path / "project")
