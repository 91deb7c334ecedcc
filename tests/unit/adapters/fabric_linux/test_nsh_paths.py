"""Numbering of service paths: one path for all parts of a chain, alike wherever it is asked for."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network
from itertools import permutations

import pytest

from sonata.adapters.fabric_linux.nsh_paths import Paths, Waypoint
from sonata.errors import QuotaExceeded
from sonata.ports.fabric import ChainSpec, Classifier, Hop, HopPort

FLOW = Classifier(destination=IPv4Network("100.64.2.0/24"))
OTHER = Classifier(destination=IPv4Network("100.64.9.0/24"))


def hop(name: str, *, there: bool = False) -> Hop:
    sides = [HopPort(f"{name}-{side}", "n", "" if there else f"{name}-{side}") for side in ("in", "out")]
    return Hop(sides[0], sides[1])


def there(name: str) -> Hop:
    return hop(name, there=True)


def part(pop: str, *hops: Hop, flow: Classifier = FLOW) -> ChainSpec:
    return ChainSpec(f"chain in {pop}", pop, (flow,), hops)


PARTS = (
    part("a", hop("fw"), there("dpi")),
    part("b", there("fw"), hop("dpi"), there("cache")),
    part("c", hop("cache")),
)


def knowing(*parts: ChainSpec) -> Paths:
    paths = Paths()
    for one in parts:
        paths.learn(one)
    return paths


def point(paths: Paths, where: ChainSpec, name: str, *, backward: bool = False) -> Waypoint:
    course = paths.course(where.id)
    assert course
    position = next(at for at, place in enumerate(where.hops) if f"{name}-in" in {one.ingress.mac for one in place.all})
    return paths.waypoint(course, position, f"{name}-in", backward=backward)


@pytest.mark.parametrize("order", tuple(permutations(PARTS)))
def test_parts_are_one_path_in_whatever_order_they_come(order: tuple[ChainSpec, ...]) -> None:
    paths = knowing(*order)
    first, second, third = PARTS
    there = [point(paths, first, "fw"), point(paths, second, "dpi"), point(paths, third, "cache")]
    assert [at.index for at in there] == [255, 254, 253]
    assert len({at.path for at in there}) == 1
    assert point(paths, first, "dpi") == point(paths, second, "dpi"), "both sides of a border say the same"
    back = [point(paths, third, "cache", backward=True), point(paths, second, "fw", backward=True)]
    assert [at.index for at in back] == [255, 253]
    assert {at.path for at in back}.isdisjoint({at.path for at in there})


def test_other_packets_have_a_path_of_their_own() -> None:
    first, second, _ = PARTS
    paths = knowing(first, replace(second, classifiers=(OTHER,)))
    assert point(paths, first, "dpi") != point(paths, second, "dpi")


def test_chains_of_one_pop_do_not_belong_together() -> None:
    one = part("a", hop("fw"), hop("dpi"))
    paths = knowing(one, replace(one, id="another", classifiers=(FLOW,)))
    assert point(paths, one, "fw").path == 1
    other = paths.course("another")
    assert other
    assert paths.waypoint(other, 0, "fw-in", backward=False).path == 2


def test_a_path_and_an_index_name_one_function() -> None:
    place = replace(hop("fw"), alternatives=(hop("ids"),))
    paths = knowing(one := part("a", place, hop("dpi")))
    points = [point(paths, one, name) for name in ("fw", "ids", "dpi")]
    assert len(set(points)) == 3
    assert [at.index for at in points] == [255, 255, 254]
    assert points[0].path == points[2].path


def test_a_part_that_comes_back_has_its_path_again() -> None:
    one, two = part("a", hop("fw")), part("b", hop("dpi"))
    paths = knowing(one, two)
    before = point(paths, one, "fw"), point(paths, two, "dpi")
    paths.forget(one.id)
    assert paths.course(one.id) is None
    paths.learn(one)
    assert (point(paths, one, "fw"), point(paths, two, "dpi")) == before


def test_paths_that_are_too_long_are_refused() -> None:
    paths = knowing(one := part("a", *(hop(f"f{number}") for number in range(255))))
    with pytest.raises(QuotaExceeded, match="254"):
        point(paths, one, "f0")
