"""The burden: keeps processors busy and memory full in somebody else's cgroups.

Run as a program by `disturber`, with the standard library alone. Its arguments are the pid whose end is its own, the
cores to keep busy, the bytes to fill, and the `cgroup.procs` files of the cgroups to join. It prints `ready` and stays
until its standard input is closed.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import os
import select
import signal
import sys
import time

_PR_SET_PDEATHSIG = 1
_PERIOD_S = 0.02
_PAGE = mmap.PAGESIZE


def burn(share: float) -> None:
    """Keep one core busy for this share of the time, for ever."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    while True:
        begun = time.monotonic()
        while time.monotonic() - begun < share * _PERIOD_S:
            pass
        if share < 1:
            time.sleep((1 - share) * _PERIOD_S)


def filled(size: int) -> mmap.mmap | None:
    """So much memory, touched."""
    if not size:
        return None
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for offset in range(0, size, _PAGE):
        memory[offset] = 1
    return memory


def main() -> None:
    """Join the cgroups, burden them, and wait for the end."""
    pid, cpus, size, *groups = sys.argv[1:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    ending = os.pidfd_open(int(pid))
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # where memory ends it is us who go, however large the machine's own processes are
    for group in groups:
        with open(group, "w") as file:
            file.write("0")
    burning = []
    for number in range(math.ceil(float(cpus))):
        child = os.fork()
        if child == 0:
            burn(min(1.0, float(cpus) - number))
        burning.append(child)
    memory = filled(int(size))
    os.write(1, b"ready\n")
    select.select([0, ending], [], [])
    for child in burning:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    del memory


if __name__ == "__main__":
    main()
