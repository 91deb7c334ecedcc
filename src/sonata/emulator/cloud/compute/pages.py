"""Huge pages of servers: what `hw:mem_page_size` of a flavor asks for, and whether this machine has it.

A server gets `/dev/hugepages` of its own, as large as its memory. The pages are taken when it starts (an idle server:
at the first command in it) and given back when it is switched off, so that the kernel's own count is the account, for
all clouds of this machine.
"""

from __future__ import annotations

from collections.abc import Mapping

from sonata.emulator.cloud.entities.compute import Flavor
from sonata.errors import PermanentError
from sonata.ports.runtime import HugePages

KEY = "hw:mem_page_size"
SMALL = ("any", "small", "4", "4KB")
_LARGE = "large"
_UNITS = {"KB": 1, "MB": 1024, "GB": 1024**2}


def wants_huge(flavor: Flavor) -> bool:
    """Whether a flavor asks for huge pages."""
    return flavor.extra_specs.get(KEY, "any") not in SMALL


def huge_pages_for(flavor: Flavor, free: Mapping[int, int]) -> HugePages | None:
    """What a flavor's server would get of the pages that are free; None when they do not suffice.

    `large` is the largest size of which there are enough.
    """
    wish, memory_kib = flavor.extra_specs.get(KEY, "any"), flavor.ram_mib * 1024
    sizes = sorted(free, reverse=True) if wish == _LARGE else [_kib(wish)]
    for size in sizes:
        if size and memory_kib % size == 0 and free.get(size, 0) >= memory_kib // size:
            return HugePages(size * 1024, memory_kib * 1024)
    return None


def taken_for(flavor: Flavor, free: Mapping[int, int]) -> HugePages | None:
    """What a server gets that starts now; None when its flavor asks for nothing.

    Raises:
        PermanentError: others were faster, or the pages are not reserved any more.
    """
    if not wants_huge(flavor):
        return None
    found = huge_pages_for(flavor, free)
    if found is None:
        raise PermanentError(
            f"flavor `{flavor.name}` wants {flavor.ram_mib} MiB of huge pages, and this machine has too few free ones",
            hint="an administrator reserves them: `sysctl vm.nr_hugepages=N`",
        )
    return found


def _kib(wish: str) -> int:
    """A page size in KiB, which is the unit of a number alone; 0 for what is none."""
    number, unit = (wish[:-2], wish[-2:]) if wish[-2:] in _UNITS else (wish, "KB")
    return int(number) * _UNITS[unit] if number.isdigit() else 0
