"""A clock for one emulation that can be put on: its keeper lives through a week in minutes, and counts its objects.

What the machine tells the keeper of time, by either clock, is put on by as much as a file in memory says. The keeper
alone sees that: its helpers and the machines in it run without `site`, or are other programs. Told by a signal, it
writes into the same memory which objects it has.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import struct
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.surroundings import variable

BLOCKS, HEAP, FREE_HEAP = "blocks of memory", "KiB of the C library in use", "KiB of the C library free"
"""Beside the types: blocks of Python's own allocator; what was allocated past it (glibc's mallinfo2(3))."""
_SIZE = 2**20
_INTERNED = 50_000
"""Python's table of interned strings doubles, by 1 MiB, once it is full of those that are gone: here at the start."""
_PATIENCE_S, _PAUSE_S = 60.0, 0.01
_LOADED = """
import collections, ctypes, gc, json, mmap, signal, sys, time
with open({setting!r}, "r+b") as _setting:
    _memory = memoryview(mmap.mmap(_setting.fileno(), {size}))
_ahead, _counts, _text = _memory[:8].cast("d"), _memory[8:24].cast("Q"), _memory[24:]
_wall, _wall_ns, _steady, _steady_ns = time.time, time.time_ns, time.monotonic, time.monotonic_ns
_held = [sys.intern(f"interned {{number}}") for number in range({interned})]
del _held
time.time = lambda: _wall() + _ahead[0]
time.monotonic = lambda: _steady() + _ahead[0]
time.time_ns = lambda: _wall_ns() + int(_ahead[0] * 1e9)
time.monotonic_ns = lambda: _steady_ns() + int(_ahead[0] * 1e9)

def _type_of(one):
    return f"{{type(one).__module__}}.{{type(one).__qualname__}}"

class _Heap(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]

_library = ctypes.CDLL(None)

def _heap():
    if not hasattr(_library, "mallinfo2"):
        return {{}}
    _library.mallinfo2.restype = _Heap
    heap = _library.mallinfo2()
    return {{"{of_heap}": (heap.uordblks + heap.hblkhd) >> 10, "{free_heap}": heap.fordblks >> 10}}

def _count(*_):
    gc.collect()
    found = collections.Counter(_type_of(one) for one in gc.get_objects())
    found["{blocks}"] = sys.getallocatedblocks()
    found.update(_heap())
    told = json.dumps(found).encode()
    _text[: len(told)] = told
    _counts[1] = len(told)
    _counts[0] += 1

signal.signal(signal.SIGUSR1, _count)
"""
"""What Python loads as `sitecustomize` before anything else."""


class Clock:
    """How far the keepers are ahead that were started within `applied`."""

    def __init__(self, folder: Path) -> None:
        setting = folder / "ahead"
        setting.write_bytes(bytes(_SIZE))
        with setting.open("r+b") as stream:
            self._memory = mmap.mmap(stream.fileno(), _SIZE)
        self._folder = folder
        self.ahead_s = 0.0
        (folder / "sitecustomize.py").write_text(_program(setting))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Have keepers that are started in the block follow this clock, and tell of their memory what they use.

        What each thread keeps for its next calls (malloc(3), tcache) would count as used, and fills by and by.
        """
        usual = os.environ.get("PYTHONPATH")
        path = os.pathsep.join((str(self._folder), *([usual] if usual else ())))
        with variable("PYTHONPATH", path), variable("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0"):
            yield

    def put_on(self, seconds: float) -> None:
        """Let so much time have gone by."""
        self.ahead_s += seconds
        self._memory[:8] = struct.pack("d", self.ahead_s)

    def objects(self, keeper: int) -> Counter[str]:
        """Objects of a keeper by type that refer to others, after its waste has gone; its blocks of memory, its heap.

        Raises:
            TimeoutError: it does not answer.
        """
        before, _ = self._counted()
        os.kill(keeper, signal.SIGUSR1)
        deadline = time.monotonic() + _PATIENCE_S
        while (told := self._counted())[0] == before:
            if time.monotonic() > deadline:
                raise TimeoutError(f"keeper {keeper} does not tell its objects")
            time.sleep(_PAUSE_S)
        return Counter(json.loads(self._memory[24 : 24 + told[1]]))

    def _counted(self) -> tuple[int, int]:
        """How many counts there were, and how long the text of the last one is."""
        number, length = struct.unpack("QQ", self._memory[8:24])
        return number, length


def _program(setting: Path) -> str:
    return _LOADED.format(
        setting=str(setting), size=_SIZE, interned=_INTERNED, blocks=BLOCKS, of_heap=HEAP, free_heap=FREE_HEAP
    )
