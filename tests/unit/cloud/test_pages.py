"""Which huge pages a flavor gets."""

from __future__ import annotations

import pytest

from sonata.emulator.cloud.compute.pages import KEY, huge_pages_for, taken_for, wants_huge
from sonata.emulator.cloud.entities.compute import Flavor
from sonata.errors import PermanentError
from sonata.ports.runtime import HugePages

MIB = 1024**2
FREE = {2048: 512, 1024**2: 1}


def flavor(wish: str, ram_mib: int = 1024) -> Flavor:
    return Flavor(name="f", vcpus=1, ram_mib=ram_mib, disk_gib=0, extra_specs={KEY: wish})


@pytest.mark.parametrize(
    ("wish", "ram_mib", "page_mib"),
    [("large", 1024, 1024), ("large", 512, 2), ("2MB", 64, 2), ("2048", 1024, 2), ("1GB", 1024, 1024)],
)
def test_sizes(wish: str, ram_mib: int, page_mib: int) -> None:
    assert huge_pages_for(flavor(wish, ram_mib), FREE) == HugePages(page_mib * MIB, ram_mib * MIB)


@pytest.mark.parametrize(
    ("wish", "ram_mib"), [("2MB", 2048), ("1GB", 512), ("1GB", 2048), ("2MB", 63), ("64KB", 64), ("huge", 64)]
)
def test_what_is_not_there(wish: str, ram_mib: int) -> None:
    assert huge_pages_for(flavor(wish, ram_mib), FREE) is None
    with pytest.raises(PermanentError, match="huge pages"):
        taken_for(flavor(wish, ram_mib), FREE)


@pytest.mark.parametrize("wish", ["any", "small", "4", "4KB"])
def test_small_pages_are_everybodys(wish: str) -> None:
    assert not wants_huge(flavor(wish))
    assert taken_for(flavor(wish), {}) is None
