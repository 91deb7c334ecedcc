"""Values survive the trip over the bus, and nonsense does not get through."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonata.errors import InvalidInput, ManagerError
from sonata.managers import Demand, Placement
from sonata.managers.codec import from_json, to_json
from sonata.managers.events import read_placement, read_problem, write_problem
from sonata.managers.testing import Room, placement_state
from sonata.model.descriptors import CpRef, Vdu, VirtualLink
from sonata.model.infrastructure import PopCapacity, WanEdge

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
sizes = st.integers(0, 10**6)
fractions = st.floats(0, 1e6, allow_nan=False)


@given(
    st.dictionaries(names, st.builds(Demand, fractions, sizes), min_size=1, max_size=4),
    st.dictionaries(st.tuples(names, names), fractions, max_size=4),
    st.dictionaries(names, st.builds(Room, fractions, sizes, fractions, sizes), min_size=1, max_size=3),
    names,
)
def test_a_problem_survives_json(
    vnfs: dict[str, Demand], delays: dict[tuple[str, str], float], rooms: dict[str, Room], users: str
) -> None:
    problem = placement_state(vnfs, delays=delays, rooms=rooms, endpoints={users: next(iter(rooms))}).problem
    assert read_problem(json.loads(json.dumps(write_problem(problem)))) == problem


def test_every_kind_of_field_survives() -> None:
    values = [
        VirtualLink("l", "E-Line", (CpRef("a", "out"), CpRef("", "in")), cidr="10.0.0.0/24", max_delay_s=0.1),
        PopCapacity("p", 1, 0, 1, 0, location=(51.05, 3.72), labels={"tier": "edge"}),
        WanEdge("e", "a", "b", rate_bps=None),
    ]
    for value in values:
        assert from_json(type(value), json.loads(json.dumps(to_json(value)))) == value


def test_unknown_fields_of_a_newer_platform_are_skipped() -> None:
    assert from_json(WanEdge, {"name": "e", "a": "x", "b": "y", "colour": "red"}) == WanEdge("e", "x", "y")


@pytest.mark.parametrize(
    ("kind", "document", "path"),
    [
        (WanEdge, {"name": "e", "a": "x"}, r"\$\.b"),
        (WanEdge, {"name": "e", "a": "x", "b": 3}, r"\$\.b"),
        (WanEdge, {"name": "e", "a": "x", "b": "y", "delay_s": "soon"}, r"\$\.delay_s"),
        (WanEdge, {"name": "e", "a": "x", "b": "y", "delay_s": True}, r"\$\.delay_s"),
        (WanEdge, {"name": "e", "a": "x", "b": "y", "delay_s": float("inf")}, r"\$\.delay_s"),
        (WanEdge, ["e"], r"\$"),
        (Vdu, {"id": "u", "image": "i", "instances": 1.5}, r"\$\.instances"),
        (VirtualLink, {"id": "l", "connectivity": "E-Mail", "members": []}, r"\$\.connectivity"),
        (VirtualLink, {"id": "l", "connectivity": "E-LAN", "members": [{"unit": "u"}]}, r"\$\.members\[0\]\.cp"),
        (VirtualLink, {"id": "l", "connectivity": "E-LAN", "members": "ab"}, r"\$\.members"),
        (Placement, {"mapping": {"v": None}}, r"\$\.mapping\.v"),
    ],
)
def test_what_does_not_fit_is_told_by_its_path(kind: type, document: Any, path: str) -> None:
    with pytest.raises(InvalidInput, match=path):
        from_json(kind, document)


def test_a_decision_with_other_fields_is_refused() -> None:
    with pytest.raises(ManagerError, match="maping"):
        read_placement({"maping": {}})
