"""Topology files: what users write is what they get, and every mistake is told at its place."""

from __future__ import annotations

import itertools
from ipaddress import IPv4Interface
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.formats.samples import findings_of

from sonata.errors import InvalidInput, NotFound
from sonata.formats.topology import (
    check_topology,
    check_topology_file,
    dump_topology,
    parse_topology,
    read_topology,
)
from sonata.model.topology import Endpoint, Impairment, Link, Pop, ServerSeed, Topology

EXAMPLES = Path(__file__).parents[3] / "examples"

WHOLE = """\
apiVersion: sonata/v1
kind: Topology
name: cdn
pops:
  access: {location: [51.05, 3.72], cpus: 16, memory: 32GiB, labels: {tier: edge}, cells: [c1, c2]}
  core:   {location: [51.71, 8.75], cpus: 32, memory: 64GiB, oversubscription: {cpu: 4.0}}
links:
  - {name: backbone, between: [access, core], delay: 20ms, jitter: 2ms, loss: 0.1%, rate: 100Mbit}
endpoints:
  users:  {attach: access, image: host}
  origin: {attach: core, image: web-origin, delay: 1ms}
  plant:  {attach: access, interfaces: {eth1: 10.1.0.200/24, eth2: }}
servers:
  probe:  {pop: access, image: host, flavor: tiny, command: [sleep, infinity]}
"""


def test_the_documented_file():
    topology = parse_topology(WHOLE)
    assert topology == Topology(
        name="cdn",
        pops={
            "access": Pop("access", (51.05, 3.72), 16, 32 * 2**30, labels={"tier": "edge"}, cells=("c1", "c2")),
            "core": Pop("core", (51.71, 8.75), 32, 64 * 2**30, cpu_oversubscription=4.0),
        },
        links=(Link("backbone", "access", "core", Impairment(0.02, 0.002, 0.001, 100e6)),),
        endpoints={
            "users": Endpoint("users", "access"),
            "origin": Endpoint("origin", "core", "web-origin", impairment=Impairment(0.001)),
            "plant": Endpoint("plant", "access", interfaces={"eth1": IPv4Interface("10.1.0.200/24"), "eth2": None}),
        },
        servers={"probe": ServerSeed("probe", "access", command=("sleep", "infinity"))},
    )


def test_defaults_are_enough():
    topology = parse_topology(
        "apiVersion: sonata/v1\nkind: Topology\nname: t\npops: {a: , b: {}}\nlinks: [{between: [a, b]}]"
    )
    assert topology.pops == {"a": Pop("a"), "b": Pop("b")}
    assert topology.links == (Link("a-b", "a", "b"),)


@pytest.mark.parametrize("name", ["cdn", "line", "ring"])
def test_examples_are_flawless(name):
    path = EXAMPLES / name / "topology.yaml"
    assert check_topology_file(path) == []
    assert read_topology(path).name == name


@pytest.mark.parametrize(
    ("old", "new", "code", "at", "told"),
    [
        ("delay: 20ms", "dely: 20ms", "TOPO-0001", "dely", "did you mean `delay`?"),
        ("name: cdn\n", "", "TOPO-0002", "apiVersion", "`name`"),
        ("delay: 20ms", "delay: 20", "TOPO-0003", "20,", "has no unit"),
        ("kind: Topology", "kind: Topologie", "TOPO-0004", "Topologie", "did you mean `Topology`?"),
        ("apiVersion: sonata/v1", "apiVersion: sonata/v9", "TOPO-0004", "sonata/v9", "sonata/v1"),
        ("name: cdn\n", "name: -cdn\n", "TOPO-0003", "-cdn", "letters, digits"),
        ("attach: access", "attach: acess", "TOPO-0010", "acess", "did you mean `access`?"),
        ("pop: access", "pop: nowhere", "TOPO-0010", "nowhere", "there are `access`, `core`"),
        ("[access, core]", "[access, access]", "TOPO-0011", "access], delay", "with itself"),
        ("[access, core]", "[access]", "TOPO-0003", "[access]", "at least 2"),
        ("delay: 20ms, jitter: 2ms", "delay: 2ms, jitter: 20ms", "TOPO-0015", "20ms", "jitter 20ms exceeds delay 2ms"),
        ("delay: 20ms", "delay: 11s", "TOPO-0016", "11s", "0..10"),
        ("loss: 0.1%", "loss: 101%", "TOPO-0003", "101%", "more than 100%"),
        ("rate: 100Mbit", "rate: -1Mbit", "TOPO-0003", "-1Mbit", "negative"),
        ("rate: 100Mbit", "rate: 0", "TOPO-0016", "0}\nend", "below 8kbit"),
        ("delay: 20ms", "reorder: 1%", "TOPO-0015", "1%", "there is none"),
        ("rate: 100Mbit", "reverse: {jitter: 1s}", "TOPO-0015", "1s}", "jitter 1s exceeds delay 20ms"),
        ("rate: 100Mbit", "reverse: {delay: 11s}", "TOPO-0016", "11s}", "0..10"),
        ("rate: 100Mbit", "reverse: {dely: 1s}", "TOPO-0001", "dely", "did you mean `delay`?"),
        ("[51.05, 3.72]", "[91, 3.72]", "TOPO-0016", "91", "latitude"),
        ("[51.05, 3.72]", "[51, 181]", "TOPO-0016", "181", "longitude"),
        ("cpus: 16", "cpus: 0", "TOPO-0016", "0, memory", "not positive"),
        ("cpus: 16", "cpus: .inf", "TOPO-0003", ".inf", "finite"),
        ("cpus: 16", "cpus: true", "TOPO-0003", "true", "number"),
        ("labels: {tier: edge}", "labels: {country: no}", "TOPO-0003", "no}", "quotes"),
        ("  users: ", "  core: ", "TOPO-0017", "{attach: access", "name of a PoP"),
        ("pops:\n", "pops:\n  docs: {}\n", "TOPO-0014", "{}", "reserved"),
        ("pops:\n", "pops:\n  a_b: {}\n", "TOPO-0003", "a_b", "letters, digits"),
    ],
)
def test_each_mistake_has_code_place_and_help(old, new, code, at, told):
    assert old in WHOLE
    text = WHOLE.replace(old, new, 1)
    with pytest.raises(InvalidInput) as caught:
        parse_topology(text, "t.yaml")
    found = [d for d in caught.value.diagnostics if d.code == code]
    assert found, [str(d) for d in caught.value.diagnostics]
    before = text[: text.index(at)]
    place = (before.count("\n") + 1, len(before) - before.rfind("\n"))
    assert (found[0].file, found[0].line, found[0].column) == ("t.yaml", *place)
    assert told in str(found[0])


def test_links_are_told_apart():
    text = WHOLE.replace("endpoints:", "  - {name: backbone, between: [core, access]}\nendpoints:")
    with pytest.raises(InvalidInput) as caught:
        parse_topology(text)
    assert {d.code for d in caught.value.diagnostics} == {"TOPO-0012", "TOPO-0013"}


def test_all_mistakes_at_once():
    text = WHOLE.replace("attach: access", "attach: x").replace("attach: core", "attach: y").replace("20ms", "1ms")
    with pytest.raises(InvalidInput) as caught:
        parse_topology(text)
    assert sorted(d.code for d in caught.value.diagnostics) == ["TOPO-0010"] * 3 + ["TOPO-0015"]
    assert "4 errors" in str(caught.value)


def test_islands_are_a_warning(tmp_path):
    path = tmp_path / "t.yaml"
    path.write_text(WHOLE.replace("  - {name: backbone", "  # - {name: backbone").replace("links:", "links: []"))
    findings = check_topology_file(path)
    assert [(d.code, d.severity) for d in findings] == [("TOPO-0018", "warning")]
    assert read_topology(path).links == ()


def test_topologies_of_scripts_are_checked_too():
    topology = Topology("t", {"a": Pop("a")}, (Link("l", "a", "b", Impairment(loss=1.5)),))
    assert {d.code for d in check_topology(topology)} == {"TOPO-0010", "TOPO-0016"}
    assert check_topology(parse_topology(WHOLE)) == []


def test_missing_file():
    with pytest.raises(NotFound):
        read_topology(Path("/nonexistent/t.yaml"))


@pytest.mark.parametrize("text", ["[]", "3", "text", "null: 1", "{1: 2}", "pops: 3", "pops: [a]", "pops: {1: {}}"])
def test_wrong_shapes_are_findings(text):
    with pytest.raises(InvalidInput) as caught:
        parse_topology(text)
    assert caught.value.diagnostics


names = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True).filter(
    lambda name: name not in {"docs", "metrics", "emulator"}
)
delays = st.floats(min_value=1e-6, max_value=10)
shares = st.floats(min_value=0, max_value=1)
impairments = st.builds(
    lambda delay, share, loss, rate, twice, ahead: Impairment(
        delay, delay * share, loss, rate, twice, ahead if delay else 0.0
    ),
    st.just(0.0) | delays,
    shares,
    shares,
    st.none() | st.floats(min_value=8000, max_value=1e13),
    shares,
    shares,
)


def way_back(there: Impairment) -> st.SearchStrategy[Impairment | None]:
    """What may be different there; the same is nothing."""
    return st.none() | impairments.filter(lambda back: back != there)


words = st.text(min_size=1, max_size=10)


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    sites = draw(st.lists(names, min_size=1, max_size=5, unique=True))
    pops = {
        site: Pop(
            site,
            location=draw(st.none() | st.tuples(st.floats(-90, 90), st.floats(-180, 180))),
            cpus=draw(st.floats(min_value=0.01, max_value=1e5)),
            memory_bytes=draw(st.integers(1, 2**50)),
            cpu_oversubscription=draw(st.floats(min_value=1, max_value=1000)),
            labels=draw(st.dictionaries(words, words, max_size=2)),
            cells=tuple(draw(st.lists(names, max_size=2))),
        )
        for site in sites
    }
    links = tuple(
        Link(f"l{i}", a, b, there := draw(impairments), draw(way_back(there)))
        for i, (a, b) in enumerate(itertools.pairwise(sites))
    )
    endpoints = {
        f"E{i}": Endpoint(
            f"E{i}",
            draw(st.sampled_from(sites)),
            impairment=(there := draw(impairments)),
            reverse=draw(way_back(there)),
        )
        for i in range(2)
    }
    servers = {"s": ServerSeed("s", sites[0], command=tuple(draw(st.lists(words, max_size=3))))}
    return Topology(draw(names), pops, links, endpoints, servers)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(topologies())
def test_what_is_written_reads_back(topology):
    assert parse_topology(dump_topology(topology)) == topology


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["access", "20ms"]),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), children, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_any_change_is_read_or_refused(data):
    document = yaml.safe_load(WHOLE)
    place: object = document
    while isinstance(place, dict | list) and place:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if data.draw(st.booleans()):
            place[key] = data.draw(values)  # type: ignore[index]
            break
        place = place[key]  # type: ignore[index]
    assert findings_of(lambda: parse_topology(yaml.safe_dump(document, allow_unicode=True))) != []


@settings(max_examples=80, deadline=None)
@given(st.integers(0, len(WHOLE)), st.integers(0, 5), st.text(max_size=5))
def test_any_edit_of_the_text_is_read_or_refused(start, length, inserted):
    assert findings_of(lambda: parse_topology(WHOLE[:start] + inserted + WHOLE[start + length :])) != []


def test_directions_differ_in_what_is_said_of_the_way_back() -> None:
    text = """
apiVersion: sonata/v1
kind: Topology
name: dsl
pops: {home: {}, access: {}}
links:
  - {between: [home, access], delay: 10ms, rate: 10Mbit, loss: 1%, reverse: {rate: 100Mbit, loss: 0%, duplicate: 2%}}
  - {name: lan, between: [access, home2], delay: 1ms, rate: 1Gbit, reorder: 5%, reverse: {rate: null}}
"""
    topology = parse_topology(text.replace("access: {}", "access: {}, home2: {}"))
    dsl, lan = topology.links
    assert dsl.impairment == Impairment(0.01, 0.0, 0.01, 1e7)
    assert dsl.reverse == Impairment(0.01, 0.0, 0.0, 1e8, duplicate=0.02)
    assert (lan.impairment.reorder, lan.reverse and lan.reverse.rate_bps) == (0.05, None)
    assert parse_topology(dump_topology(topology)) == topology


def test_links_that_begin_down_are_read_and_written() -> None:
    text = WHOLE.replace("rate: 100Mbit", "up: false, rate: 100Mbit").replace("delay: 1ms", "delay: 1ms, up: false")
    topology = parse_topology(text)
    assert ([link.up for link in topology.links], topology.endpoints["origin"].up) == ([False], False)
    assert topology.endpoints["users"].up
    assert parse_topology(dump_topology(topology)) == topology


@pytest.mark.parametrize("name", ["../x", "", "a_b", "-a", "a" * 64])
def test_names_of_scripts_are_those_that_files_can_have(name: str) -> None:
    topology = Topology("t", {name: Pop(name)})
    assert "TOPO-0003" in [found.code for found in check_topology(topology)]
