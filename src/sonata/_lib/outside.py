"""Folders that a process makes outside of its own, noted in its own, so that whoever tidies up finds them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

NOTES = "outside"


def make(folder: Path, noted_in: Path) -> None:
    """Make a folder; unless it is there already, note it first in the folder of whoever wants it."""
    if not folder.is_dir():
        noted_in.mkdir(parents=True, exist_ok=True)
        with (noted_in / NOTES).open("a") as notes:
            notes.write(f"{folder}\n")
        folder.mkdir(parents=True, exist_ok=True)


def remove(noted_in: Path) -> None:
    """Remove the folders that are noted here and hold nothing; others stay, and there may be no notes at all."""
    for folder in _noted(noted_in / NOTES):
        with suppress(OSError):  # it is gone, or somebody else has something there
            folder.rmdir()
    (noted_in / NOTES).unlink(missing_ok=True)


def _noted(notes: Path) -> Iterator[Path]:
    with suppress(FileNotFoundError):
        yield from (Path(line) for line in notes.read_text().splitlines())
