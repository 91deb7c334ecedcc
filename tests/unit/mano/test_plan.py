"""From a placed service to networks, ports, servers and chains."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.services import chain_nsd, vnfd

from sonata.errors import InvalidInput, QuotaExceeded
from sonata.mano.lifecycle.plan import Plan, make_plan, split
from sonata.model.descriptors import ConnectionPoint, CpRef, ForwardingGraph, ForwardingPath, Vdu, VirtualLink

NAMES = ("va", "vb", "vc")
VNFDS = {name: vnfd(name) for name in NAMES}


def plan(*pops: str) -> Plan:
    return make_plan(chain_nsd(NAMES), VNFDS, dict(zip(NAMES, pops, strict=True)), "10.0.16.0/20")


def test_in_one_pop_every_link_is_one_network_and_the_path_one_chain() -> None:
    made = plan("core", "core", "core")
    assert sorted(made.networks) == ["l0@core", "l1@core", "l2@core", "l3@core"]
    assert made.spans == {}
    assert len({network.cidr for network in made.networks.values()}) == 4
    (chain,) = made.chains.values()
    assert chain.pairs == tuple((f"{n}/vdu-0/input", f"{n}/vdu-0/output") for n in NAMES)
    assert (chain.protocol, chain.destination_port, chain.remote) == ("tcp", 80, ())


def test_a_path_there_and_back_again_has_one_chain_per_stretch() -> None:
    made = plan("access", "core", "access")
    assert [(chain.pop, len(chain.pairs), len(chain.remote)) for chain in made.chains.values()] == [
        ("access", 2, 1),
        ("core", 3, 2),
        ("access", 2, 1),
    ]
    assert made.spans == {
        "l1": {"access": "l1@access", "core": "l1@core"},
        "l2": {"core": "l2@core", "access": "l2@access"},
    }


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=3, max_size=3))
def test_every_port_is_in_a_network_of_its_pop_and_every_stand_in_next_to_its_chain(pops: list[str]) -> None:
    made = plan(*pops)
    for port in made.ports.values():
        assert made.networks[port.network].pop == port.pop
    for chain in made.chains.values():
        known = {remote.key for remote in chain.remote} | made.ports.keys()
        assert {key for pair in chain.pairs for key in pair} <= known
        for remote in chain.remote:
            assert made.networks[remote.network].pop == chain.pop
            assert made.ports[remote.port].pop != chain.pop
            assert made.networks[made.ports[remote.port].network].link == made.networks[remote.network].link


@given(st.integers(2, 20))
def test_pools_of_a_spanned_subnet_are_disjoint_and_spare_the_gateways(parts: int) -> None:
    subnet = IPv4Network("10.0.16.0/24")
    pools, gateways = split(subnet, parts)
    ranges = [(IPv4Address(first), IPv4Address(last)) for first, last in pools]
    assert all(first <= last for first, last in ranges)
    assert all(a[1] < b[0] for a, b in pairwise(ranges))
    assert len(set(gateways)) == parts
    assert all(IPv4Address(gateway) < ranges[0][0] for gateway in gateways)
    assert ranges[-1][1] < subnet.broadcast_address


def test_a_subnet_that_is_too_small_to_be_shared_is_refused() -> None:
    with pytest.raises(QuotaExceeded, match="too small"):
        split(IPv4Network("10.0.0.0/29"), 3)


def test_a_path_over_a_missing_link_is_refused() -> None:
    nsd = chain_nsd(NAMES)
    jump = ForwardingPath("jump", (CpRef("va", "input"), CpRef("va", "output"), CpRef("vc", "input")))
    broken = replace(nsd, forwarding_graphs=(ForwardingGraph("g", (jump,)),))
    with pytest.raises(InvalidInput, match="`va:output` to `vc:input`"):
        make_plan(broken, VNFDS, dict.fromkeys(NAMES, "core"), "10.0.16.0/20")


def test_units_of_a_vnf_are_joined_by_its_inner_links() -> None:
    front = Vdu("front", "host", connection_points=(ConnectionPoint("outside"), ConnectionPoint("inside")))
    back = Vdu("back", "host", instances=2, connection_points=(ConnectionPoint("inside"),))
    two = replace(
        vnfd("va"),
        vdus=(front, back),
        virtual_links=(
            VirtualLink("up", "E-Line", (CpRef("front", "outside"), CpRef("", "input"))),
            VirtualLink("between", "E-LAN", (CpRef("front", "inside"), CpRef("back", "inside"))),
        ),
    )
    nsd = replace(chain_nsd(("va",)), forwarding_graphs=())
    made = make_plan(nsd, {"va": two}, {"va": "core"}, "10.0.16.0/20")
    assert sorted(made.servers) == ["va/back-0", "va/back-1", "va/front-0"]
    assert sorted(made.networks) == ["l0@core", "va.between@core"]
    assert made.servers["va/front-0"].ports == ("va/front-0/outside", "va/front-0/inside")
    assert made.ports["va/front-0/outside"].cp == "input"
