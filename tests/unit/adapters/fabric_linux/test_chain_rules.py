"""The rules of a chain as text; that they work is shown by the contract tests."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from sonata.adapters.fabric_linux.chain_rules import match, remove, render
from sonata.errors import Unsupported
from sonata.ports.chain_rendering import Surroundings
from sonata.ports.fabric import ChainSpec, Classifier, Hop, HopPort

USERS, ORIGIN = IPv4Network("100.64.0.0/24"), IPv4Network("100.64.1.10/32")
TO_ORIGIN = Classifier("tcp", USERS, ORIGIN, None, (80, 80))
AROUND = Surroundings(
    interfaces={"a0": "pa0", "a1": "pa1", "b0": "pb0", "b1": "pb1", "web": "pweb"},
    addresses={"web": [IPv4Network("10.0.0.9/32")]},
    edge=("l1", "e1"),
)


def hop(name: str, *, there: bool = False) -> Hop:
    left, right = (HopPort(f"02:00:00:00:00:{name}{i}", f"n{i}", "" if there else f"{name}{i}") for i in (0, 1))
    return Hop(left, right)


def spec(*hops: Hop, **changes: object) -> ChainSpec:
    made = ChainSpec("c", "p", (TO_ORIGIN,), hops or (hop("a"), hop("b")))
    return replace(made, **changes)  # type: ignore[arg-type]


def rules(chain: ChainSpec) -> dict[str, list[str]]:
    """Rules by interface, without the tunnels' exception."""
    found: dict[str, list[str]] = {}
    for part in render(7, chain, AROUND).split("chain c")[1:]:
        lines = [line for line in part.splitlines()[1:] if line and line != "}"]
        interface = lines[0].split('"')[1]
        found[interface] = [line for line in lines[1:] if not line.startswith("udp dport { 4789, 4790 }")]
    return found


@pytest.mark.parametrize(
    ("classifier", "text"),
    [
        (Classifier(), "ether type ip"),
        (Classifier("icmp"), "ether type ip ip protocol icmp"),
        (Classifier(source=USERS), "ether type ip ip saddr 100.64.0.0/24"),
        (
            Classifier("udp", None, ORIGIN, (5, 5), (80, 90)),
            "ether type ip ip daddr 100.64.1.10/32 ip protocol udp th sport 5 th dport 80-90",
        ),
        (Classifier(destination_ports=(53, 53)), "ether type ip ip protocol { tcp, udp } th dport 53"),
    ],
)
def test_matches(classifier: Classifier, text: str) -> None:
    assert match(classifier) == text


def handed_to(port: str) -> str:
    return f'counter ether daddr set 02:00:00:00:00:{port} fwd to "p{port}"'


def test_a_symmetric_chain_steers_at_the_edge_and_between_functions() -> None:
    found = rules(spec())
    assert set(found) == {"l1", "e1", "pa1", "pb0"}
    forward = f"saddr 100.64.0.0/24 ip daddr 100.64.1.10/32 ip protocol tcp th dport 80 {handed_to('a0')}"
    back = f"saddr 100.64.1.10/32 ip daddr 100.64.0.0/24 ip protocol tcp th sport 80 {handed_to('b1')}"
    for edge in ("l1", "e1"):
        assert [forward in rule for rule in found[edge]] == [True, False]
        assert [back in rule for rule in found[edge]] == [False, True]
    # Between functions the destination side alone counts.
    assert found["pa1"] == [f"ether type ip ip daddr 100.64.1.10/32 ip protocol tcp th dport 80 {handed_to('b0')}"]
    assert found["pb0"] == [f"ether type ip ip saddr 100.64.1.10/32 ip protocol tcp th sport 80 {handed_to('a1')}"]


def test_tunnels_pass_before_anything_else_at_the_edge_alone() -> None:
    text = render(7, spec(classifiers=(Classifier(),)), AROUND)
    for part in text.split("chain c")[1:]:
        at_edge = '"l1"' in part or '"e1"' in part
        assert part.splitlines()[2].startswith("udp dport { 4789, 4790 }") == at_edge


def test_one_way_chains_have_no_rule_for_the_way_back() -> None:
    assert set(rules(spec(symmetric=False))) == {"l1", "e1", "pa1"}
    assert "sport" not in render(7, spec(symmetric=False), AROUND)


def test_a_neighbour_in_another_pop_is_handed_packets_by_the_bridge() -> None:
    first = rules(spec(hop("a"), hop("b", there=True)))
    assert first["pa1"][0].endswith("ether daddr set 02:00:00:00:00:b0 accept")
    assert all("sport" not in rule for rule in first["l1"]), "the way back does not enter here"
    second = rules(spec(hop("a", there=True), hop("b")))
    assert second["pb0"][0].endswith("ether daddr set 02:00:00:00:00:a1 accept")
    assert all("dport" not in rule for rule in second["l1"]), "the way there does not enter here"


def test_a_source_port_is_the_only_entry_and_its_addresses_are_the_source() -> None:
    picked = Classifier(destination=ORIGIN, source_port_id="web")
    found = rules(spec(classifiers=(picked,)))
    assert "daddr 100.64.1.10/32" in found["pweb"][0]
    assert len(found["l1"]) == 1
    assert "saddr 100.64.1.10/32 ip daddr 10.0.0.9/32" in found["l1"][0]


def test_a_missing_function_drops() -> None:
    around = replace(AROUND, interfaces={"a0": "pa0", "a1": "pa1"})
    text = render(7, spec(), around)
    assert text.count("th dport 80 drop") == 1  # from the first function to the missing one
    assert text.count("th sport 80 drop") == 2  # the way back at both edges
    gone = replace(AROUND, interfaces={})
    assert "fwd" not in render(7, spec(), gone)


def test_one_port_tells_directions_by_both_sides() -> None:
    port = HopPort("02:00:00:00:00:a0", "n0", "a0")
    other = HopPort("02:00:00:00:00:b0", "n0", "b0")
    found = rules(spec(Hop(port, port), Hop(other, other)))
    assert "saddr 100.64.0.0/24 ip daddr 100.64.1.10/32" in found["pa0"][0]
    assert "saddr 100.64.1.10/32 ip daddr 100.64.0.0/24" in found["pb0"][0]
    with pytest.raises(Unsupported, match="one port"):
        render(7, spec(Hop(port, port), Hop(other, other), classifiers=(Classifier("tcp"),)), AROUND)


def test_a_table_is_replaced_and_removed_by_its_name() -> None:
    assert render(7, spec(), AROUND).startswith(remove(7))
    assert remove(7) == "table netdev chain_7\ndelete table netdev chain_7"


def test_flows_that_stay_are_looked_up_before_they_are_hashed() -> None:
    place = replace(hop("a"), sticky="g1", weight=2, alternatives=(replace(hop("b"), weight=0),))
    text = render(7, spec(place), AROUND)
    assert "map flows_g1_4p {\ntypeof ip saddr . th sport . th dport . ip daddr : ether daddr" in text
    assert "ip protocol tcp th dport 80 meta l4proto { tcp, udp } goto to_g1_4p" in text
    to, back = (text.partition(f"chain {way}_g1_4p {{")[2].partition("}\nchain")[0] for way in ("to", "back"))
    for part, key in ((to, "ip saddr . th sport"), (back, "ip daddr . th dport")):
        assert part.index(f"ether daddr set {key}") < part.index("jhash")
        assert "mod 2 seed 0x50a7a map { 0-1 : 02:00:00:00:00:a0 }" in part  # the draining one gets nothing new
        assert "02:00:00:00:00:b0 : goto" in part
    assert "flows_g1_4p" in render(7, spec(place, classifiers=(Classifier(),)), AROUND)
    assert "typeof ip6 saddr . ip6 daddr : ether daddr" in render(
        7, spec(place, classifiers=(Classifier("icmp", ip_version=6),)), AROUND
    )


def test_what_is_remembered_outlives_a_change() -> None:
    place = replace(hop("a"), sticky="g1")
    before = render(7, spec(place), AROUND)
    after = render(7, spec(replace(place, alternatives=(hop("b"),))), AROUND, before)
    assert "delete table" not in after
    assert "flush table netdev chain_7\nadd chain netdev chain_7 to_g1_4p_0\ndelete chain" in after
    assert render(7, spec(), AROUND, before).startswith(remove(7))


def test_a_chain_leads_nothing_back_into_functions_that_another_one_remembers() -> None:
    first = spec(replace(hop("a"), sticky="g1"))
    with pytest.raises(Unsupported, match="another chain's last functions"):
        render(8, spec(hop("b"), after=(first,)), AROUND)
    assert "goto to_g1_4p" in render(8, spec(replace(hop("b"), sticky="g1"), after=(spec(hop("a")),)), AROUND)


def test_nothing_new_gets_past_while_no_function_takes_any() -> None:
    place = replace(hop("a"), weight=0)
    assert "fwd" not in render(7, spec(place, symmetric=False), AROUND)
    assert "drop" in render(7, spec(place, symmetric=False), AROUND)
