"""Where files live: one folder for state, one for data; `SONATA_HOME` moves both."""

from __future__ import annotations

import os
from pathlib import Path


def state_home() -> Path:
    """Folder for running state (locks, logs, tokens); not created here."""
    return _home("XDG_STATE_HOME", ".local/state")


def data_home() -> Path:
    """Folder for what is kept (images, databases); not created here."""
    return _home("XDG_DATA_HOME", ".local/share")


def _home(variable: str, default: str) -> Path:
    if root := os.environ.get("SONATA_HOME"):
        return Path(root) / default.rpartition("/")[2]
    return Path(os.environ.get(variable) or Path.home() / default) / "sonata"


def private_folder(path: Path) -> Path:
    """Create a folder (and its parents) that its owner alone can enter, and return it."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def write_private(path: Path, content: bytes) -> None:
    """Replace a file atomically; its owner alone can read it."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        scratch.replace(path)
    except OSError:
        scratch.unlink(missing_ok=True)
        raise
