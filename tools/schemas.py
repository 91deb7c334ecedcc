#!/usr/bin/env python3
"""Writes the JSON Schemas of our file formats into `schemas/`; with --check only tells whether they are up to date."""

from __future__ import annotations

import sys
from pathlib import Path

from sonata.formats.schemas import schema_files

FOLDER = Path(__file__).parent.parent / "schemas"


def main() -> int:
    stale = {name: text for name, text in schema_files().items() if not is_current(FOLDER / name, text)}
    for name, text in stale.items():
        print(f"{'out of date' if '--check' in sys.argv else 'written'}: schemas/{name}")
        if "--check" not in sys.argv:
            (FOLDER / name).write_text(text)
    return bool(stale) and "--check" in sys.argv


def is_current(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


sys.exit(main())
