"""Huge pages of this machine, see hugetlbpage in the kernel's administration guide."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_POOLS = Path("/sys/kernel/mm/hugepages")
_PREFIX, _SUFFIX = "hugepages-", "kB"


def free_huge_pages() -> Mapping[int, int]:
    """How many pages nobody has or has reserved, by their size in KiB; none where we are not the host's root."""
    if Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]:
        return {}
    found: dict[int, int] = {}
    for pool in _POOLS.iterdir() if _POOLS.is_dir() else ():
        with suppress(OSError, ValueError):
            size = int(pool.name.removeprefix(_PREFIX).removesuffix(_SUFFIX))
            free, reserved = (int((pool / f"{kind}_hugepages").read_text()) for kind in ("free", "resv"))
            found[size] = free - reserved
    return found
