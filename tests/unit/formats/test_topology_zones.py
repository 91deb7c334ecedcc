"""PoPs that another one's OpenStack manages, in topology files."""

from __future__ import annotations

from functools import partial

import pytest
from tests.unit.formats.samples import findings_of

from sonata.formats.topology import dump_topology, parse_topology

ZONES = """\
apiVersion: sonata/v1
kind: Topology
name: t
pops:
  core: {}
  edge: {managed_by: core}
  far: {managed_by: core, hosts: 2}
  other: {}
links:
  - {between: [core, edge], delay: 10ms}
  - {between: [other, edge]}
  - {between: [other, far]}
"""


def test_a_site_has_the_pops_that_it_manages() -> None:
    topology = parse_topology(ZONES)
    assert [pop.name for pop in topology.sites] == ["core", "other"]
    assert [pop.name for pop in topology.managed("core")] == ["edge", "far"]
    assert topology.managed("other") == ()
    assert (topology.site_of("far"), topology.site_of("core")) == ("core", "core")
    assert parse_topology(dump_topology(topology)) == topology


@pytest.mark.parametrize(
    ("old", "new", "code", "told"),
    [
        ("far: {managed_by: core", "far: {managed_by: cor", "TOPO-0010", "did you mean `core`?"),
        ("far: {managed_by: core", "far: {managed_by: far", "TOPO-0019", "by itself"),
        ("far: {managed_by: core", "far: {managed_by: edge", "TOPO-0019", "which `core` manages"),
        ("  - {between: [other, far]}\n", "", "TOPO-0020", "no path leads from PoP `far` to `core`"),
        ("hosts: 2", "hosts: [{name: core}]", "TOPO-0021", "PoP `core` has a host `core`"),
        ("hosts: 2", "hosts: [{name: a}, {name: a}]", "TOPO-0021", "PoP `far` has a host `a`"),
        ("hosts: 2", "cells: [c1]", "TOPO-0022", "cannot have cells"),
        ("  edge: {m", "  nova: {m", "TOPO-0014", "an availability zone of this name"),
    ],
)
def test_each_mistake_has_code_and_help(old: str, new: str, code: str, told: str) -> None:
    text = ZONES.replace(old, new).replace("edge]", "nova]" if "nova" in new else "edge]")
    (finding,) = [one for one in findings_of(partial(parse_topology, text)) if one.code not in ("TOPO-0018",)]
    assert finding.code == code
    assert told in f"{finding.summary} {finding.hint}"


def test_all_mistakes_at_once() -> None:
    text = ZONES.replace("hosts: 2", "cells: [c1], hosts: [{name: core}]").replace("[other, far]", "[other, core]")
    assert {one.code for one in findings_of(partial(parse_topology, text))} >= {"TOPO-0020", "TOPO-0021", "TOPO-0022"}
