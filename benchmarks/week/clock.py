"""A clock for one emulation that can be put on: its keeper lives through a week in minutes.

What the machine tells the keeper of time, by either clock, is put on by as much as a file in memory says. It alone sees
that: its helpers and the machines in it run without `site`, or are other programs.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOADED = """
import mmap, time
with open({setting!r}, "rb") as _setting:
    _ahead = memoryview(mmap.mmap(_setting.fileno(), 8, prot=mmap.PROT_READ)).cast("d")
_wall, _wall_ns, _steady, _steady_ns = time.time, time.time_ns, time.monotonic, time.monotonic_ns
time.time = lambda: _wall() + _ahead[0]
time.monotonic = lambda: _steady() + _ahead[0]
time.time_ns = lambda: _wall_ns() + int(_ahead[0] * 1e9)
time.monotonic_ns = lambda: _steady_ns() + int(_ahead[0] * 1e9)
"""
"""What Python loads as `sitecustomize` before anything else."""


class Clock:
    """How far the keepers are ahead that were started within `applied`."""

    def __init__(self, folder: Path) -> None:
        setting = folder / "ahead"
        setting.write_bytes(struct.pack("d", 0.0))
        with setting.open("r+b") as stream:
            self._memory = mmap.mmap(stream.fileno(), 8)
        self._folder = folder
        self.ahead_s = 0.0
        (folder / "sitecustomize.py").write_text(_LOADED.format(setting=str(setting)))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Have keepers that are started in the block follow this clock."""
        usual = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join((str(self._folder), *([usual] if usual else ())))
        try:
            yield
        finally:
            os.environ.pop("PYTHONPATH")
            if usual is not None:
                os.environ["PYTHONPATH"] = usual

    def put_on(self, seconds: float) -> None:
        """Let so much time have gone by."""
        self.ahead_s += seconds
        self._memory[:] = struct.pack("d", self.ahead_s)
