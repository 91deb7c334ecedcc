"""Folders made outside of one's own are found by whoever tidies up."""

from __future__ import annotations

from pathlib import Path

import pytest

from sonata._lib import outside


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    return folder


def test_what_was_made_is_removed_by_whoever_reads_the_notes(own: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        outside.make(tmp_path / name, own)
    outside.remove(own)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own"]
    outside.remove(own)


def test_what_was_there_or_holds_something_stays(own: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    for name in ("theirs", "used"):
        outside.make(tmp_path / name, own)
    (tmp_path / "used" / "file").touch()
    outside.remove(own)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own", "theirs", "used"]


def test_without_notes_there_is_nothing_to_do(tmp_path: Path) -> None:
    outside.remove(tmp_path / "nowhere")
