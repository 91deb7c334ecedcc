"""The operator has the last word on what managers decide."""

from __future__ import annotations

import pytest

from sonata.errors import ManagerError
from sonata.managers import Placement
from sonata.mano.managers import EventPolicy

DECISION = Placement({"cache": "edge", "tc": "core"})


def test_allow_takes_what_comes() -> None:
    EventPolicy().check_placement(DECISION)


def test_forbid_takes_nothing() -> None:
    with pytest.raises(ManagerError, match="forbids"):
        EventPolicy("forbid").check_placement(DECISION)


def test_bound_names_every_vnf_outside() -> None:
    EventPolicy("bound", frozenset({"edge", "core"})).check_placement(DECISION)
    with pytest.raises(ManagerError, match=r"`tc` at `core`") as caught:
        EventPolicy("bound", frozenset({"edge"})).check_placement(DECISION)
    assert "cache" not in caught.value.message


@pytest.mark.parametrize(
    ("policy", "rule"),
    [
        (EventPolicy(), "allow, else generic"),
        (EventPolicy(fallback="fail"), "allow, else fail"),
        (EventPolicy("bound", frozenset({"b", "a"})), "bound to a, b, else generic"),
        (EventPolicy("forbid"), "forbid"),
    ],
)
def test_the_rule_is_told_in_words(policy: EventPolicy, rule: str) -> None:
    assert policy.rule == rule
