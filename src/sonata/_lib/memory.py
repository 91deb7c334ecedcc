"""How the C library keeps memory that was freed."""

from __future__ import annotations

import ctypes

_M_MMAP_THRESHOLD = -3
LARGE_BYTES = 2**20


def return_large_blocks() -> None:
    """Have the C library give large blocks back to the kernel as soon as they are freed.

    glibc (mallopt(3)) keeps blocks of the sizes that it has seen freed, up to 32 MiB and in each thread's own heap: who
    has hashed passwords in six threads once would hold six times what one hash needs for ever. Other C libraries, which
    have no such call, keep none.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
