"""One platform process per data folder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from sonata.errors import Conflict


class DataLock:
    """An exclusive lock on a data folder, held until `release` or the end of the process.

    Raises:
        Conflict: another process holds it; the message names its pid.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 32).decode().strip() or "unknown"
            os.close(descriptor)
            raise Conflict(
                f"data folder `{folder}` is in use by the platform with pid {holder}",
                hint="stop it with `sonata down`, or choose another folder with `--data`",
            ) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Let go. Idempotent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
