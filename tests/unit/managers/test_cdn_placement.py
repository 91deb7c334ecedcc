"""The CDN's own placement manager, tested as its author would."""

from __future__ import annotations

from pathlib import Path

import pytest

from sonata.managers import Demand, ManagerError, PlacementState, ServiceSpecificManager
from sonata.managers.loading import load_manager_classes
from sonata.managers.testing import Context, Room, placement_state

EXAMPLE = Path(__file__).parents[3] / "examples/cdn/managers/cdn_placement.py"
CDN = {"vcache": Demand(1, 512), "vtc": Demand(1, 256), "vtu": Demand(2, 256)}


@pytest.fixture
def manager() -> Context:
    (cdn_placement,) = load_manager_classes(EXAMPLE)
    assert issubclass(cdn_placement, ServiceSpecificManager)
    return Context(cdn_placement)


def world(**rooms: Room) -> PlacementState:
    """access - 5 ms - metro - 15 ms - core, users at one end and the content at the other."""
    return placement_state(
        CDN,
        delays={("access", "metro"): 0.005, ("metro", "core"): 0.015},
        rooms=rooms,
        endpoints={"users": "access", "origin": "core"},
        ingress="users",
        egress="origin",
    )


def test_cache_and_classifier_stand_by_the_users_and_the_transcoder_by_the_content(manager: Context) -> None:
    assert manager.place(world()).mapping == {"vcache": "access", "vtc": "access", "vtu": "core"}


def test_a_full_pop_is_passed_over_for_the_next_nearest(manager: Context) -> None:
    assert manager.place(world(access=Room(vcpus_used=16))).mapping["vcache"] == "metro"
    assert manager.place(world(core=Room(vcpus=1))).mapping["vtu"] == "metro"


def test_room_for_one_of_two_splits_them(manager: Context) -> None:
    mapping = manager.place(world(access=Room(memory_mib=600))).mapping
    assert (mapping["vcache"], mapping["vtc"]) == ("access", "metro")


def test_without_endpoints_it_declines(manager: Context) -> None:
    state = placement_state(CDN, delays={("access", "core"): 0.02})
    with pytest.raises(ManagerError, match="ingress"):
        manager.place(state)


def test_no_room_anywhere_is_said(manager: Context) -> None:
    full = Room(vcpus=0)
    with pytest.raises(ManagerError, match="no room for `vcache`"):
        manager.place(world(access=full, metro=full, core=full))
