"""Hypervisors of PoPs in topology files."""

from __future__ import annotations

import pytest

from sonata.errors import InvalidInput
from sonata.formats.topology import dump_topology, parse_topology
from sonata.model.topology import GIB, Host

HEAD = "apiVersion: sonata/v1\nkind: Topology\nname: t\npops:\n  p: {cpus: 8, memory: 8GiB, disk: 80GiB, hosts: %s}\n"


def test_a_number_of_hosts_shares_the_pop_equally() -> None:
    pop = parse_topology(HEAD % "2").pops["p"]
    assert pop.hosts == (Host("p-1", 4, 4 * GIB, 40 * GIB), Host("p-2", 4, 4 * GIB, 40 * GIB))


def test_one_host_is_the_pop_itself() -> None:
    pop = parse_topology(HEAD % "1").pops["p"]
    assert pop.hosts == ()
    assert pop.hypervisors == (Host("p", 8, 8 * GIB, 80 * GIB),)


def test_named_hosts_say_what_differs_and_read_back() -> None:
    topology = parse_topology(HEAD % "[{name: big, cpus: 6, memory: 6GiB}, {name: small}]")
    assert topology.pops["p"].hosts == (Host("big", 6, 6 * GIB, 40 * GIB), Host("small", 4, 4 * GIB, 40 * GIB))
    assert parse_topology(dump_topology(topology)) == topology


@pytest.mark.parametrize("wrong", ["0", "many", "[{cpus: 1}]", "[{name: a, cpus: 0}]"])
def test_wrong_hosts_are_refused(wrong: str) -> None:
    with pytest.raises(InvalidInput):
        parse_topology(HEAD % wrong)
