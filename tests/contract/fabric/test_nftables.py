"""Rule sets reach the namespace that they are meant for, whole or not at all, and nothing keeps a closed one alive."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import sonata.adapters.fabric_linux.requests as requests
import sonata.adapters.fabric_linux.rule_loader as rule_loader
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


@pytest.fixture
def nftables() -> Iterator[Nftables]:
    made = Nftables()
    yield made
    made.close()


def open_sockets(nftables: Nftables) -> int:
    """Of the process that loads rules, but for that of its orders."""
    assert nftables.pid
    found = [os.readlink(one) for one in Path(f"/proc/{nftables.pid}/fd").iterdir() if one.is_symlink()]
    return sum("socket:" in each for each in found) - 1


def test_each_namespace_gets_its_own_rules_in_any_order(netspaces: list[Netspace], nftables: Nftables) -> None:
    for turn in range(3):
        for number, netspace in enumerate(netspaces):
            nftables.load(netspace, replaced(f"ip saddr 10.{turn}.{number}.0/24 drop"))
    assert [rules_in(each).count(f"10.2.{number}.0/24") for number, each in enumerate(netspaces)] == [1] * len(
        netspaces
    )
    assert not any("10.1." in rules_in(each) for each in netspaces)


def test_interfaces_are_those_of_the_namespace(netspaces: list[Netspace], nftables: Nftables) -> None:
    for index, netspace in ((7, netspaces[0]), (9, netspaces[1])):
        netspace.apply([requests.bridge(index, "same", mtu=1500)])
    for _ in range(2):
        for netspace in netspaces[:2]:
            nftables.load(netspace, replaced('oif "same" drop'))
    assert all('oif "same" drop' in rules_in(each) for each in netspaces[:2])


def test_refused_rules_change_nothing_and_the_next_ones_hold(netspaces: list[Netspace], nftables: Nftables) -> None:
    nftables.load(netspaces[0], replaced("ip saddr 10.1.0.0/24 drop"))
    for wrong in ("no rules at all", replaced("ip saddr nonsense drop"), "delete table ip never_made"):
        with pytest.raises(PermanentError, match="nftables refused the rules of `n0`"):
            nftables.load(netspaces[0], wrong)
        assert "10.1.0.0/24" in rules_in(netspaces[0])
    nftables.load(netspaces[0], replaced("ip saddr 10.2.0.0/24 drop"))
    assert "10.2.0.0/24" in rules_in(netspaces[0])


def test_few_sockets_stay_open_and_none_outlives_its_namespace(netspaces: list[Netspace], nftables: Nftables) -> None:
    for netspace in netspaces:
        nftables.load(netspace, replaced("drop"))
    comes_to(lambda: open_sockets(nftables), MOST_CONTEXTS)
    for netspace in netspaces:
        netspace.close()
    comes_to(lambda: open_sockets(nftables), 0)


def comes_to(look: Callable[[], int], wanted: int) -> None:
    """See a number come true: sockets are closed in the background."""
    for _ in range(100):
        if look() == wanted:
            return
        time.sleep(0.05)
    assert look() == wanted


@pytest.mark.parametrize("is_early", [True, False])
def test_high_numbers_of_descriptors_end_nothing(netspaces: list[Netspace], nftables: Nftables, is_early: bool) -> None:
    """The library waits by select(2), for which numbers from 1024 on are the end of the process."""
    if is_early:
        nftables.begin()
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1200)]
    try:
        for _ in range(2):
            for netspace in netspaces:
                nftables.load(netspace, replaced("counter"))
                assert "counter" in rules_in(netspace)
                with pytest.raises(PermanentError):
                    nftables.load(netspace, "nonsense")
    finally:
        for descriptor in held:
            os.close(descriptor)


def test_another_process_takes_the_place_of_one_that_was_killed(netspaces: list[Netspace], nftables: Nftables) -> None:
    for number in range(2):
        nftables.load(netspaces[number], replaced("drop"))
    first = nftables.pid
    assert first
    os.kill(first, signal.SIGKILL)
    nftables.load(netspaces[1], replaced("ip saddr 10.1.0.0/24 drop"))
    assert "10.1.0.0/24" in rules_in(netspaces[1])
    assert nftables.pid != first


def test_a_process_that_cannot_be_started_is_told(
    netspaces: list[Netspace], nftables: Nftables, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", "/no/python")
        with pytest.raises(PermanentError, match="rules of `n0` are not loaded"):
            nftables.load(netspaces[0], replaced("drop"))
    nftables.load(netspaces[0], replaced("drop"))
    assert "drop" in rules_in(netspaces[0])


def test_rules_of_any_length_are_loaded(netspaces: list[Netspace], nftables: Nftables) -> None:
    """They do not go over the socket, whose messages are short."""
    drops = "\n".join(f"ip saddr 10.{one}.{other}.0/24 drop" for one in range(40) for other in range(256))
    nftables.load(netspaces[0], replaced(drops))
    assert rules_in(netspaces[0]).count("drop") == 40 * 256


def test_without_the_library_the_program_is_called(
    netspaces: list[Netspace], nftables: Nftables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "rule_loader.py"
    program.write_text(Path(rule_loader.__file__).read_text().replace(rule_loader.LIBRARY, "libnone.so.1"))
    monkeypatch.setattr(rule_loader, "__file__", str(program))
    bare = Nftables()
    for _ in range(2):
        bare.load(netspaces[0], replaced("drop"))
        assert "drop" in rules_in(netspaces[0])
    with pytest.raises(PermanentError, match="nftables refused the rules of `n0`"):
        bare.load(netspaces[0], "nonsense")
    assert bare.pid is None
