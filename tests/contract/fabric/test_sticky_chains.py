"""Flows that stay with their firewall, both ways, while others of its kind come, drain, die and return.

Each firewall notes the client ports of the packets that it forwards, for each direction.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace

import pytest

from sonata.ports.fabric import ChainSpec, Hop, PortSpec

from .conftest import World
from .test_chains import FIRST_ONE, ORIGIN, TO_ORIGIN, function, local_hop, site

__all__ = ["site"]  # a fixture

pytestmark = pytest.mark.parametrize("renderer", FIRST_ONE)
PORT, FLOWS = 80, 16
NOTES = """
table ip notes {
  set there { type inet_service; flags dynamic; }
  set back { type inet_service; flags dynamic; }
  chain noting {
    type filter hook forward priority 0;
    iifname eth0 add @there { th sport }
    iifname eth1 add @back { th dport }
  }
}
"""

Flow = tuple[socket.socket, socket.socket]


class Firewalls:
    """Firewalls in one place of a chain, and connections from the user to the origin through them."""

    def __init__(self, world: World, stack: ExitStack, names: Sequence[str]) -> None:
        self._world = world
        self._stack = stack
        self._legs: dict[str, tuple[PortSpec, PortSpec]] = {}
        for number, name in enumerate(names, start=5):
            self._legs[name] = function(world, name, 0, "n1", "n2", number)
            assert world.run(name, "nft", NOTES).returncode == 0
        self._server = stack.enter_context(world.socket("origin", socket.SOCK_STREAM))
        self._server.bind((str(ORIGIN), PORT))
        self._server.listen(FLOWS)

    def share(self, *names: str, draining: Sequence[str] = (), sticky: str = "group1") -> None:
        """Have these firewalls share the flows."""
        first, *others = (self._hop(name, 0 if name in draining else 1) for name in names)
        place = replace(first, alternatives=tuple(others), sticky=sticky)
        self._world.fabric.steering.set_chain(ChainSpec("firewalls", "p0", (TO_ORIGIN,), (place,)))

    def open(self) -> list[Flow]:
        """New connections."""
        return [self._connect() for _ in range(FLOWS)]

    def seen(self, flows: Sequence[Flow]) -> dict[str, set[int]]:
        """The flows' client ports by the firewall through which question and answer go now."""
        for name in self._legs:
            assert self._world.run(name, "nft", "flush set ip notes there; flush set ip notes back").returncode == 0
        for near, far in flows:
            near.sendall(b"question")
            assert far.recv(8) == b"question"
            far.sendall(b"answer")
            assert near.recv(8) == b"answer"
        found = {}
        for name in self._legs:
            there, back = self._noted(name, "there"), self._noted(name, "back")
            assert there == back, f"{name} sees one direction alone"
            found[name] = there
        assert sum(map(len, found.values())) == len(flows)
        return found

    def _connect(self) -> Flow:
        near = self._stack.enter_context(self._world.socket("user", socket.SOCK_STREAM))
        near.settimeout(5)
        near.connect((str(ORIGIN), PORT))
        far = self._stack.enter_context(self._server.accept()[0])
        far.settimeout(5)
        return near, far

    def _noted(self, name: str, direction: str) -> set[int]:
        answer = json.loads(self._world.run(name, "nft", "-j", "list", "set", "ip", "notes", direction).stdout)
        return set(answer["nftables"][1]["set"].get("elem", ()))

    def _hop(self, name: str, weight: int) -> Hop:
        return replace(local_hop(self._legs[name]), weight=weight)


@pytest.fixture
def firewalls(site: World) -> Iterator[Firewalls]:
    """Three of them."""
    with ExitStack() as stack:
        yield Firewalls(site, stack, ("a", "b", "c"))


def test_both_directions_of_a_flow_meet_one_firewall(firewalls: Firewalls) -> None:
    firewalls.share("a", "b")
    found = firewalls.seen(firewalls.open())
    assert found["a"]
    assert found["b"]
    assert not found["c"]


def test_a_new_firewall_takes_no_established_flow(firewalls: Firewalls) -> None:
    firewalls.share("a")
    established = firewalls.open()
    before = firewalls.seen(established)
    firewalls.share("a", "b", "c")
    assert firewalls.seen(established) == before
    assert all(firewalls.seen(firewalls.open()).values())


def test_a_draining_firewall_keeps_its_flows_and_gets_no_other(firewalls: Firewalls) -> None:
    firewalls.share("a", "b")
    established = firewalls.open()
    before = firewalls.seen(established)
    firewalls.share("a", "b", draining=("a",))
    assert firewalls.seen(established) == before
    assert not firewalls.seen(firewalls.open())["a"]


def test_the_flows_of_a_dead_firewall_alone_move_and_stay_there(firewalls: Firewalls) -> None:
    firewalls.share("a", "b", "c")
    established = firewalls.open()
    before = firewalls.seen(established)
    firewalls.share("a", "c")
    after = firewalls.seen(established)
    assert not after["b"]
    assert after["a"] >= before["a"]
    assert after["c"] >= before["c"]
    firewalls.share("a", "b", "c")
    assert firewalls.seen(established) == after
    assert firewalls.seen(firewalls.open())["b"]


def test_flows_are_remembered_while_interfaces_come(site: World, firewalls: Firewalls) -> None:
    firewalls.share("a")
    established = firewalls.open()
    firewalls.share("a", "b")
    before = firewalls.seen(established)
    site.host("late", 0, 77)
    assert firewalls.seen(established) == before


def test_pings_pass_and_nothing_is_left(site: World, firewalls: Firewalls) -> None:
    firewalls.share("a", "b")
    assert site.ping("user", ORIGIN).received == 3
    site.fabric.steering.remove_chain("firewalls")
    assert "flows_" not in site.run_in_pop("p0", "nft", "list", "ruleset")
    assert site.ping("user", ORIGIN).received == 3


def test_without_memory_a_hash_decides(firewalls: Firewalls) -> None:
    """What the memory is for: by hash alone a new firewall takes flows over."""
    firewalls.share("a", sticky="")
    established = firewalls.open()
    firewalls.share("a", "b", sticky="")
    assert firewalls.seen(established)["b"]
