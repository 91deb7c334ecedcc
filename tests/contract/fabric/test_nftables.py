"""Rule sets reach the namespace that they are meant for, whole or not at all, and nothing keeps a closed one alive."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import sonata.adapters.fabric_linux.requests as requests
from sonata.adapters.fabric_linux.netspace import MACHINE_SETTINGS, Netspace, create
from sonata.adapters.fabric_linux.nftables import MOST_CONTEXTS, Nftables
from sonata.errors import PermanentError


@pytest.fixture
def netspaces() -> Iterator[list[Netspace]]:
    made = create([f"n{number}" for number in range(MOST_CONTEXTS + 2)], MACHINE_SETTINGS)
    yield made
    for netspace in made:
        netspace.close()


def replaced(rule: str) -> str:
    return f"table ip own\ndelete table ip own\ntable ip own {{ chain c {{ {rule}\n}}\n}}"


def rules_in(netspace: Netspace) -> str:
    with netspace.entered():
        return subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout


def open_sockets() -> int:
    return sum("socket:" in os.readlink(one) for one in Path("/proc/self/fd").iterdir() if one.is_symlink())


def test_each_namespace_gets_its_own_rules_in_any_order(netspaces: list[Netspace]) -> None:
    nftables = Nftables()
    for turn in range(3):
        for number, netspace in enumerate(netspaces):
            nftables.load(netspace, replaced(f"ip saddr 10.{turn}.{number}.0/24 drop"))
    assert [rules_in(each).count(f"10.2.{number}.0/24") for number, each in enumerate(netspaces)] == [1] * len(
        netspaces
    )
    assert not any("10.1." in rules_in(each) for each in netspaces)


def test_interfaces_are_those_of_the_namespace(netspaces: list[Netspace]) -> None:
    nftables = Nftables()
    for index, netspace in ((7, netspaces[0]), (9, netspaces[1])):
        netspace.apply([requests.bridge(index, "same", mtu=1500)])
    for _ in range(2):
        for netspace in netspaces[:2]:
            nftables.load(netspace, replaced('oif "same" drop'))
    assert all('oif "same" drop' in rules_in(each) for each in netspaces[:2])


def test_refused_rules_change_nothing_and_the_next_ones_hold(netspaces: list[Netspace]) -> None:
    nftables = Nftables()
    nftables.load(netspaces[0], replaced("ip saddr 10.1.0.0/24 drop"))
    for wrong in ("no rules at all", replaced("ip saddr nonsense drop"), "delete table ip never_made"):
        with pytest.raises(PermanentError, match="nftables refused the rules of `n0`"):
            nftables.load(netspaces[0], wrong)
        assert "10.1.0.0/24" in rules_in(netspaces[0])
    nftables.load(netspaces[0], replaced("ip saddr 10.2.0.0/24 drop"))
    assert "10.2.0.0/24" in rules_in(netspaces[0])


def test_few_sockets_stay_open_and_none_outlives_its_namespace(netspaces: list[Netspace]) -> None:
    nftables, before = Nftables(), open_sockets()
    for netspace in netspaces:
        nftables.load(netspace, replaced("drop"))
    assert open_sockets() <= before + MOST_CONTEXTS
    own = len(netspaces)  # each namespace's netlink socket
    for netspace in netspaces:
        netspace.close()
    assert open_sockets() == before - own


@pytest.mark.parametrize("is_early", [True, False])
def test_high_numbers_of_descriptors_end_nothing(netspaces: list[Netspace], is_early: bool) -> None:
    """The library waits by select(2), for which numbers from 1024 on are the end of the process."""
    early = Nftables() if is_early else None
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1200)]
    try:
        nftables = early or Nftables()  # which has no seat for the library, and takes the program
        for _ in range(2):
            for netspace in netspaces:
                nftables.load(netspace, replaced("counter"))
                assert "counter" in rules_in(netspace)
                with pytest.raises(PermanentError):
                    nftables.load(netspace, "nonsense")
    finally:
        for descriptor in held:
            os.close(descriptor)
