"""Plans: what they make of a topology, in which order, and what they refuse. Topologies are made up by hypothesis."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st

from sonata.formats.topology_rules import check_topology
from sonata.model.topology import CLEAN, Endpoint, Host, Impairment, Link, Pop, ServerSeed, Topology
from sonata.model.topology_changes import Action, Change, Kind, applied, diff, impossible

IMPAIRMENTS = (CLEAN, Impairment(0.01), Impairment(0.02, 0.001, rate_bps=1e6), Impairment(loss=0.1))


def made_up(seed: int) -> Topology:
    """A small topology out of few names, so that two of them have much in common; `f` is managed by `a`."""
    chance = Random(seed)  # nothing secret
    names = chance.sample("abcdef", chance.randint(1, 6))
    pops = {name: _pop(chance, name, "a" if name == "f" and "a" in names else "") for name in names}
    pairs = [(a, b) for a in names for b in names if a < b]
    titles = chance.sample([f"l{number}" for number in range(15)], 15)
    ends = chance.sample(pairs, chance.randint(0, len(pairs)))
    links = tuple(Link(title, a, b, *_ways(chance)) for title, (a, b) in zip(titles, ends, strict=False))
    users = {name: _endpoint(chance, name, names) for name in chance.sample("xyz", chance.randint(0, 3))}
    servers = {
        name: ServerSeed(name, chance.choice(names), flavor=chance.choice(("tiny", "small")))
        for name in chance.sample("xyz", chance.randint(0, 3))
    }
    return Topology("t", pops, links, users, servers)


def _pop(chance: Random, name: str, manager: str) -> Pop:
    labels: dict[str, str] = chance.choice(({}, {"tier": "edge"}))
    return Pop(name, cpus=chance.choice((1.0, 4.0)), labels=labels, managed_by=manager)


def _endpoint(chance: Random, name: str, pops: list[str]) -> Endpoint:
    there, back, is_up = _ways(chance)
    image = chance.choice(("host", "web"))
    return Endpoint(name, chance.choice(pops), image, impairment=there, reverse=back, up=is_up)


def _ways(chance: Random) -> tuple[Impairment, Impairment | None, bool]:
    return chance.choice(IMPAIRMENTS), chance.choice((None, *IMPAIRMENTS)), chance.random() < 0.8


topologies = st.integers(0, 2**32).map(made_up)


def normal(topology: Topology) -> Topology:
    """The same topology with its links in order, and no way back where it is as the way there."""
    links = sorted(map(_told_once, topology.links), key=lambda link: link.name)
    ends = {name: _told_once(endpoint) for name, endpoint in topology.endpoints.items()}
    return replace(topology, links=tuple(links), endpoints=ends)


P = TypeVar("P", Link, Endpoint)


def _told_once(part: P) -> P:
    return replace(part, reverse=None) if part.reverse == part.impairment else part


@given(topologies, topologies)
def test_a_plan_makes_one_topology_into_the_other(running: Topology, wanted: Topology) -> None:
    for change in diff(running, wanted):
        running = applied(running, change)
    assert normal(running) == normal(wanted)
    assert diff(running, wanted) == ()


@given(topologies, st.integers())
def test_nothing_is_to_do_for_the_same_topology_in_whatever_order(topology: Topology, seed: int) -> None:
    chance = Random(seed)  # nothing secret
    links, pops = list(topology.links), list(topology.pops.items())
    chance.shuffle(links)
    chance.shuffle(pops)
    assert diff(topology, replace(topology, links=tuple(links), pops=dict(pops))) == ()
    assert list(impossible(topology, topology)) == []


@given(topologies, topologies)
def test_no_step_leaves_a_reference_dangling(running: Topology, wanted: Topology) -> None:
    if list(impossible(running, wanted)):
        return
    for change in diff(running, wanted):
        running = applied(running, change)
        assert [one.code for one in check_topology(running) if one.code in ("TOPO-0010", "TOPO-0013")] == []


@given(topologies, topologies)
def test_each_part_is_changed_once_or_replaced(running: Topology, wanted: Topology) -> None:
    seen: dict[tuple[Kind, str], list[Action]] = {}
    for change in diff(running, wanted):
        seen.setdefault((change.kind, change.name), []).append(change.action)
    assert all(len(known) == 1 or known == [Action.REMOVE, Action.ADD] for known in seen.values()), seen


LINE = Topology("line", {"a": Pop("a"), "b": Pop("b")}, (Link("ab", "a", "b", Impairment(0.01)),))


def test_a_link_is_changed_in_place_and_one_with_other_ends_is_replaced() -> None:
    (change,) = diff(LINE, replace(LINE, links=(Link("ab", "a", "b", Impairment(0.02), up=False),)))
    assert (change.action, change.kind, change.differing) == (Action.CHANGE, Kind.LINK, ("up", "impairment"))
    actions = [change.action for change in diff(LINE, replace(LINE, links=(Link("ab", "b", "a", Impairment(0.01)),)))]
    assert actions == [Action.REMOVE, Action.ADD]


def test_new_ways_come_before_old_ones_go() -> None:
    wanted = replace(LINE, pops={**LINE.pops, "c": Pop("c")}, links=(Link("ac", "a", "c"), Link("cb", "c", "b")))
    told = [f"{change.action} {change.kind} {change.name}" for change in diff(LINE, wanted)]
    assert told == ["add pop c", "add link ac", "add link cb", "remove link ab"]


def test_a_way_back_is_told_where_it_differs() -> None:
    back = replace(LINE.links[0], reverse=Impairment(0.05))
    (change,) = diff(LINE, replace(LINE, links=(back,)))
    assert change.differing == ("reverse",)
    assert diff(LINE, replace(LINE, links=(replace(back, reverse=back.impairment),))) == ()


def test_all_that_cannot_be_done_is_told_at_once() -> None:
    running = Topology("t", {"a": Pop("a"), "b": Pop("b", hosts=(Host("h", 1, 1, 1),), managed_by="a"), "c": Pop("c")})
    moved = Pop("a", hosts=(Host("h", 1, 1, 1),))
    wanted = Topology("u", {"a": moved, "b": Pop("b", managed_by="a"), "c": Pop("c", managed_by="a")})
    reasons = list(impossible(running, wanted))
    assert len(reasons) == 3
    assert [word in reason for word, reason in zip(("`u`", "PoP `c`", "host `h`"), reasons, strict=True)] == [True] * 3


def test_a_change_knows_its_part() -> None:
    assert Change(Action.REMOVE, Kind.POP, Pop("a")).name == "a"
    assert Change(Action.ADD, Kind.POP, None, Pop("a")).differing == ()
