"""The test kit: an author's manager meets on the desk what it will meet on the platform."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sonata.errors import ManagerError
from sonata.managers import Demand, Placement, PlacementState, ServiceSpecificManager
from sonata.managers.testing import Context, ImpossibleWorld, Room, check_world, placement_state
from sonata.model.descriptors import ConstituentVnf, CpRef, DescriptorId, VirtualLink
from sonata.model.infrastructure import WanEdge

STATE = placement_state(["cache"], delays={("edge", "core"): 0.02}, endpoints={"users": "edge"}, ingress="users")


def deciding(mapping: object) -> type[ServiceSpecificManager]:
    class Deciding(ServiceSpecificManager):
        def place(self, state: PlacementState) -> Placement:
            return Placement(mapping)  # type: ignore[arg-type]

    return Deciding


def test_a_good_decision_comes_back() -> None:
    assert Context(deciding({"cache": "core"})).place(STATE) == Placement({"cache": "core"})


@pytest.mark.parametrize(
    ("mapping", "reason"),
    [
        ({}, "VNF `cache` is missing"),
        ({"cache": "moon"}, "unknown PoP `moon`.*`core`, `edge`"),
        ({"cache": "core", "cash": "core"}, "`cash` is not part"),
        ({"cache": 3}, r"mapping\.cache"),
        (["core"], "mapping"),
    ],
)
def test_decisions_are_checked_as_on_the_platform(mapping: object, reason: str) -> None:
    with pytest.raises(ManagerError, match=reason):
        Context(deciding(mapping)).place(STATE)


def test_a_decision_beyond_capacity_tells_both_sides() -> None:
    vnfs = {"a": Demand(3, 10), "b": Demand(3, 10)}
    state = placement_state(vnfs, delays={}, rooms={"small": Room(vcpus=5)})
    with pytest.raises(ManagerError, match=r"`small` has 5 vCPU.*`a`, `b` need 6"):
        Context(deciding({"a": "small", "b": "small"})).place(state)


def test_something_else_than_a_placement_is_refused() -> None:
    class Wrong(ServiceSpecificManager):
        def place(self, state: PlacementState) -> Placement:
            return {"cache": "core"}  # type: ignore[return-value]

    with pytest.raises(ManagerError, match="must return a Placement, not `dict`"):
        Context(Wrong).place(STATE)


def test_a_manager_that_answers_nothing_learns_what_it_can_answer() -> None:
    class Mute(ServiceSpecificManager):
        pass

    with pytest.raises(ManagerError, match=r"`Mute` answers no event.*`place`"):
        Context(Mute).place(STATE)


def test_one_event_does_not_see_the_object_of_another() -> None:
    class Counting(ServiceSpecificManager):
        asked = 0

        def place(self, state: PlacementState) -> Placement:
            self.asked += 1
            return Placement({"cache": "core"}, reason=str(self.asked))

    context = Context(Counting)
    assert [context.place(STATE).reason for _ in range(2)] == ["1", "1"]


def test_impossible_worlds_are_explained_all_at_once() -> None:
    problem = STATE.problem
    nsd = replace(
        problem.nsd,
        vnfs=(*problem.nsd.vnfs, ConstituentVnf("ghost", DescriptorId("v", "ghost", "1"))),
        virtual_links=(VirtualLink("data", "E-LAN", (CpRef("phantom", "eth0"),)),),
    )
    wan = replace(problem.wan, edges=(*problem.wan.edges, WanEdge("lost", "edge", "nowhere", -1.0)))
    pops = {**problem.pops, "edge": replace(problem.pops["edge"], vcpus_used=99)}
    impossible = PlacementState(replace(problem, nsd=nsd, wan=wan, pops=pops, egress="origin"))
    with pytest.raises(ImpossibleWorld) as caught:
        check_world(impossible)
    for contradiction in (
        "`ghost` has no descriptor",
        "`phantom`",
        "`nowhere`",
        "negative delay",
        "99 of 16",
        "`origin`",
    ):
        assert contradiction in str(caught.value)


def test_the_context_refuses_an_impossible_world() -> None:
    state = placement_state(["cache"], delays={}, rooms={"p": Room(vcpus=1, vcpus_used=2)})
    with pytest.raises(ImpossibleWorld, match="2 of 1 vCPU"):
        Context(deciding({"cache": "p"})).place(state)
