"""What an author may ask of the state."""

from __future__ import annotations

import math

import pytest

from sonata.errors import ManagerError
from sonata.managers import Demand
from sonata.managers.testing import Room, placement_state

LINE = {("west", "mid"): 0.010, ("mid", "east"): 0.005}


def test_delay_follows_the_fastest_path_in_both_directions() -> None:
    state = placement_state(["v"], delays={**LINE, ("west", "east"): 0.050})
    assert state.delay_s("west", "east") == pytest.approx(0.015)
    assert state.delay_s("east", "west") == pytest.approx(0.015)
    assert state.delay_s("mid", "mid") == 0.0


def test_pops_without_a_path_are_infinitely_far_and_not_near_anybody() -> None:
    state = placement_state(["v"], delays=LINE, rooms={"island": Room()}, endpoints={"users": "west"})
    assert state.delay_s("west", "island") == math.inf
    assert state.pops_nearest("users") == ("west", "mid", "east")


def test_equally_near_pops_are_ordered_by_name() -> None:
    state = placement_state(["v"], delays={("hub", "b"): 0.01, ("hub", "a"): 0.01}, endpoints={"users": "hub"})
    assert state.pops_nearest("users") == ("hub", "a", "b")


def test_unknown_endpoint_is_told_with_those_that_exist() -> None:
    state = placement_state(["v"], delays=LINE, endpoints={"users": "west", "origin": "east"})
    with pytest.raises(ManagerError, match=r"`user`.*`origin`, `users`"):
        state.pops_nearest("user")


def test_room_counts_what_is_used_and_what_is_placed_before() -> None:
    vnfs = {"a": Demand(2, 100), "b": Demand(2, 100), "c": Demand(0.5, 4000)}
    state = placement_state(vnfs, delays=LINE, rooms={"west": Room(vcpus=5, memory_mib=4000, vcpus_used=1)})
    assert state.has_room("west", "a", {"b": "west"})
    assert not state.has_room("west", "a", {"b": "west", "c": "west"})
    assert state.has_room("west", "a", {"a": "west", "b": "west"}), "a VNF does not stand in its own way"
    assert state.has_room("west", "c", {"a": "mid"})
    assert not state.has_room("west", "c", {"a": "west"}), "memory counts as well"


def test_no_room_anywhere_names_vnf_need_and_pops() -> None:
    state = placement_state({"big": Demand(64, 128)}, delays=LINE)
    with pytest.raises(ManagerError, match=r"`big` \(64 vCPU, 128 MiB\).*`mid`, `west`"):
        state.first_with_room(["mid", "west"], "big")


def test_state_cannot_be_changed() -> None:
    state = placement_state(["v"], delays=LINE)
    with pytest.raises(AttributeError):
        state.problem = None  # type: ignore[misc, assignment]
