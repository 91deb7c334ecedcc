"""What threads have allocated in large blocks is the kernel's again once it is freed."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from argon2 import PasswordHasher
from sonata._lib.memory import return_large_blocks

def own_kib():
    lines = open("/proc/self/smaps_rollup").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon"))

if "returned" in sys.argv:
    return_large_blocks()
THREADS, ROUNDS = 4, 3
hasher, all_here = PasswordHasher(time_cost=1, memory_cost=19 * 1024, parallelism=1), threading.Barrier(THREADS)

def hash_some(_):
    for _ in range(ROUNDS):
        all_here.wait()
        hasher.hash("a password")

with ThreadPoolExecutor(THREADS) as pool:
    before = own_kib()
    list(pool.map(hash_some, range(THREADS)))
    print((own_kib() - before) // 1024)
"""


def kept_mib(*arguments: str) -> int:
    """What a program keeps of what it has needed to hash passwords in four threads at a time, each 19 MiB."""
    run = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True)
    return int(run.stdout)


def test_threads_keep_nothing_of_what_they_have_needed() -> None:
    assert kept_mib("returned") < 19
