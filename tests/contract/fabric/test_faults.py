"""Each thing that a request asks of the kernel fails once: nothing half-made stays, and the request can be repeated."""

from __future__ import annotations

import gc
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

import pytest

from sonata.errors import SonataError
from sonata.model.topology import CLEAN, Impairment
from sonata.ports.fabric import (
    EXTERNAL,
    ChainSpec,
    Classifier,
    FilterRule,
    Forwarding,
    LinkSpec,
    NetworkSpec,
    PatchSpec,
    PortRate,
    PortShape,
    PortSpec,
    Reservation,
    Route,
    RouterSpec,
)

from .conftest import World, a_world, external, has_vlans, over, router_spec, span_of, tenant
from .faults import REASON, Faults, held, looked
from .test_chains import local_hop
from .test_filtering import EVERYTHING_OUT, PING_IN, filter_of

SEED, FEW = 50, 1
MBIT = 1e6
RATE, DELAY = Impairment(rate_bps=20 * MBIT), Impairment(delay_s=0.005)
FRIENDS = FilterRule("ingress", members="friends")

Act = Callable[[World], None]


@dataclass(frozen=True)
class Case:
    """A request to the fabric.

    Args:
        name: of the case.
        prepare: what stands before.
        ask: the request.
        takes_away: whether it only removes: what it has removed before it failed may be gone.
        variant: of another request, and left to the long run.
    """

    name: str
    prepare: Act
    ask: Act
    takes_away: bool = False
    variant: bool = False


CASES: list[Case] = []


def after(*before: Act, takes_away: bool = False, variant: bool = False) -> Callable[[Act], Act]:
    """Have a request tested, after others."""

    def prepared(world: World) -> None:
        for each in before:
            each(world)

    def noted(ask: Act) -> Act:
        CASES.append(Case(ask.__name__, prepared, ask, takes_away, variant))
        return ask

    return noted


# PoPs and links


def two_pops(world: World) -> None:
    world.pops(2)


def line(world: World) -> None:
    world.line(2)


def line_of(impairment: Impairment) -> Act:
    return lambda world: world.line(2, impairment)


def link(world: World, name: str, impairment: Impairment) -> LinkSpec:
    number = int(name.lstrip("l"))
    return LinkSpec(name, "p0", "p1", over(number, 0), over(number, 1), impairment)


@after()
def add_pops(world: World) -> None:
    world.pops(2)


@after(two_pops)
def add_links(world: World) -> None:
    links = [link(world, f"l{number}", one) for number, one in enumerate((CLEAN, RATE, DELAY))]
    world.fabric.underlay.add_links(links)


@after(line_of(RATE))
def set_link_rate(world: World) -> None:
    world.fabric.underlay.set_link("l0", Impairment(rate_bps=10 * MBIT), RATE)


@after(line)
def set_link_delay(world: World) -> None:
    world.fabric.underlay.set_link("l0", DELAY)


@after(line_of(DELAY), variant=True)
def set_link_other_delay(world: World) -> None:
    world.fabric.underlay.set_link("l0", Impairment(delay_s=0.01, rate_bps=10 * MBIT))


@after(line_of(DELAY), variant=True)
def set_link_clean(world: World) -> None:
    world.fabric.underlay.set_link("l0", CLEAN)


@after(line)
def set_link_down(world: World) -> None:
    world.fabric.underlay.set_link("l0", CLEAN, up=False)


@after(line, set_link_down, variant=True)
def set_link_up(world: World) -> None:
    world.fabric.underlay.set_link("l0", CLEAN)


@after(line_of(RATE))
def reserve(world: World) -> None:
    world.fabric.underlay.reserve("l0", {4711: Reservation(5 * MBIT)}, {4711: Reservation(2 * MBIT)})


@after(line_of(RATE), reserve, variant=True)
def reserve_nothing(world: World) -> None:
    world.fabric.underlay.reserve("l0", {}, {})


@after(line)
def set_routes(world: World) -> None:
    further = {IPv4Network("100.64.7.0/24"): over(0, 1).ip}
    world.fabric.underlay.set_routes("p0", further)


@after(two_pops)
def set_outside(world: World) -> None:
    addresses = [IPv6Interface("2001:db8::1/64")]
    world.fabric.underlay.set_outside("p0", addresses, {IPv6Network("2001:db8:7::/64"): IPv6Address("2001:db8::7")})


@after(two_pops, set_outside, variant=True)
def set_outside_otherwise(world: World) -> None:
    addresses = [IPv6Interface("2001:db8::2/64")]
    world.fabric.underlay.set_outside("p0", addresses, {IPv6Network("2001:db8:8::/64"): IPv6Address("2001:db8::8")})


@after(two_pops)
def set_guests(world: World) -> None:
    world.fabric.underlay.set_guests("p0", {external(1, 77).ip: "guest"}, answers=True)


@after(two_pops, set_guests, variant=True)
def set_no_guests(world: World) -> None:
    world.fabric.underlay.set_guests("p0", {}, answers=False)


@after(line_of(DELAY), takes_away=True)
def remove_links(world: World) -> None:
    world.fabric.underlay.remove_links(["l0"])


# machines


def blue(world: World) -> None:
    """Two PoPs, a network `blue` with a router in the first, one without in the second, and machines `a` and `b`."""
    world.line(2)
    tenant(world, 0, "blue")
    tenant(world, 1, "blue", router=False)
    world.fabric.machines.add_machines(["a", "b"])


def port(name: str, **changes: object) -> PortSpec:
    number = ord(name[0]) - ord("a") + 10
    usual = PortSpec(
        f"{name}-eth0",
        "p0",
        "blue",
        name,
        "eth0",
        f"02:00:00:00:00:{number:02x}",
        (IPv4Interface(f"10.0.0.{number}/24"),),
        IPv4Address("10.0.0.1"),
    )
    return replace(usual, **changes)  # type: ignore[arg-type]


def plugged(world: World) -> None:
    world.fabric.machines.add_ports([port("a"), port("b")])


@after(two_pops)
def add_machines(world: World) -> None:
    world.fabric.machines.add_machines(["a", "b"])


@after(blue)
def add_ports(world: World) -> None:
    world.fabric.machines.add_ports([port("a"), port("b", impairment=DELAY)])


@after(blue, variant=True)
def add_port_with_two_versions(world: World) -> None:
    addresses = (IPv4Interface("10.0.0.10/24"), IPv6Interface("2001:db8::10/64"))
    routes = (Route(IPv4Network("10.9.0.0/24"), IPv4Address("10.0.0.9")),)
    world.fabric.machines.add_ports([port("a", addresses=addresses, routes=routes)])


@after(blue)
def add_endpoint(world: World) -> None:
    here = external(0, 10)
    world.fabric.machines.add_ports([port("a", network=EXTERNAL, addresses=(here,), gateway=external(0).ip, up=False)])


@after(blue, variant=True)
def add_direct_ports(world: World) -> None:
    world.fabric.machines.add_ports([port("a", direct=True), port("b", direct=True)])


@after(blue, plugged)
def change_ports(world: World) -> None:
    addresses = (IPv4Interface("10.0.0.30/24"), IPv4Interface("10.0.0.31/24"))
    world.fabric.machines.change_ports([port("a", addresses=addresses), port("b", up=False)])


@after(blue, plugged)
def hold_ports(world: World) -> None:
    world.fabric.machines.hold_ports(["a-eth0", "b-eth0"], held=True)


@after(blue, plugged, hold_ports)
def release_ports(world: World) -> None:
    world.fabric.machines.hold_ports(["a-eth0", "b-eth0"], held=False)


@after(blue, plugged)
def move_ports(world: World) -> None:
    world.fabric.machines.move_ports([port("a", pop="p1"), port("b", pop="p1")])


@after(blue, add_ports, takes_away=True)
def remove_ports(world: World) -> None:
    world.fabric.machines.remove_ports(["a-eth0", "b-eth0"])


@after(blue, add_direct_ports, takes_away=True, variant=True)
def remove_direct_ports(world: World) -> None:
    world.fabric.machines.remove_ports(["a-eth0", "b-eth0"])


@after(blue, add_ports, takes_away=True)
def remove_machines(world: World) -> None:
    world.fabric.machines.remove_machines(["a", "b"])


# networks


@after(two_pops)
def add_networks(world: World) -> None:
    world.fabric.networks.add_networks([NetworkSpec("blue", "p0"), NetworkSpec("red", "p0", up=False)])


@after(blue, plugged)
def change_network(world: World) -> None:
    world.fabric.networks.change_network(NetworkSpec("blue", "p0", mtu=1400, up=False))


@after(blue, takes_away=True)
def remove_networks(world: World) -> None:
    world.fabric.networks.remove_networks([("p1", "blue")])


def guarded(world: World) -> None:
    """The first span has all PoPs refuse forged tunnel packets from then on."""
    world.fabric.networks.set_span(replace(span_of(world, "blue", {0: [], 1: []}), id="first"))
    world.fabric.networks.remove_span("first")


@after(blue, guarded)
def set_span(world: World) -> None:
    world.fabric.networks.set_span(span_of(world, "blue", {0: ["02:00:00:00:00:0a"], 1: ["02:00:00:00:00:0b"]}))


@after(blue, set_span, variant=True)
def set_span_otherwise(world: World) -> None:
    world.fabric.networks.set_span(span_of(world, "blue", {0: ["02:00:00:00:00:0c"], 1: []}))


@after(blue, set_span, variant=True)
def set_span_with_other_number(world: World) -> None:
    world.fabric.networks.set_span(replace(span_of(world, "blue", {0: [], 1: []}), vni=4712))


@after(blue, set_span, takes_away=True)
def remove_span(world: World) -> None:
    world.fabric.networks.remove_span("span-blue")


def red(world: World) -> None:
    world.fabric.networks.add_networks([NetworkSpec("red", "p0"), NetworkSpec("green", "p0")])


@after(blue, red)
def set_patch(world: World) -> None:
    world.fabric.networks.set_patch(PatchSpec("patch", "p0", ("blue", "red")))


@after(blue, red, set_patch, variant=True)
def set_patch_otherwise(world: World) -> None:
    world.fabric.networks.set_patch(PatchSpec("patch", "p0", ("blue", "green")))


def vlans(_world: World) -> None:
    if not has_vlans():
        pytest.skip("this kernel has no 802.1q")


@after(vlans, blue, red)
def set_patch_with_a_tag(world: World) -> None:
    world.fabric.networks.set_patch(PatchSpec("patch", "p0", ("blue", "green"), tag=100))


@after(blue, red, set_patch, takes_away=True)
def remove_patch(world: World) -> None:
    world.fabric.networks.remove_patch("patch")


def full_router() -> RouterSpec:
    floating = {external(0, 210).ip: IPv4Address("10.0.0.10")}
    usual = router_spec(0, [("blue", "10.0.0.0/24"), ("red", "10.1.0.0/24")], floating)
    return replace(
        usual,
        forwardings=(Forwarding(external(0, 211).ip, (80, 80), "tcp", IPv4Address("10.0.0.10"), (8080, 8080)),),
        routes=(Route(IPv4Network("10.9.0.0/24"), IPv4Address("10.0.0.9")),),
        shapes={external(0, 210).ip: PortShape(egress=PortRate(5 * MBIT), ingress=PortRate(5 * MBIT))},
    )


@after(two_pops, add_networks)
def set_router(world: World) -> None:
    world.fabric.networks.set_router(full_router())


@after(blue, red, variant=True)
def set_router_otherwise(world: World) -> None:
    world.fabric.networks.set_router(full_router())


@after(blue, red, set_router_otherwise, variant=True)
def set_router_back(world: World) -> None:
    world.fabric.networks.set_router(router_spec(0, [("blue", "10.0.0.0/24")]))


@after(two_pops, add_networks, set_router, takes_away=True)
def remove_router(world: World) -> None:
    world.fabric.networks.remove_router("router-0")


# chains, filters, rates


def function(world: World) -> None:
    """A function `f` beside machines `a` and `b`."""
    blue(world)
    plugged(world)
    world.machine("f", *legs())


def legs() -> tuple[PortSpec, PortSpec]:
    return port("f"), port("f", id="f-eth1", ifname="eth1", mac="02:00:00:00:00:1f", gateway=None)


def chain(**changes: object) -> ChainSpec:
    from_b = Classifier(source_port_id="b-eth0", destination=IPv4Network("10.0.0.10/32"))
    return replace(ChainSpec("chain", "p0", (from_b,), (local_hop(legs()),)), **changes)  # type: ignore[arg-type]


@after(function)
def set_chain(world: World) -> None:
    world.fabric.steering.set_chain(chain())


@after(function, set_chain, variant=True)
def set_chain_otherwise(world: World) -> None:
    classifier = Classifier(source_port_id="a-eth0", protocol="tcp")
    world.fabric.steering.set_chain(chain(classifiers=(classifier,), symmetric=False))


@after(function, set_chain, takes_away=True)
def remove_chain(world: World) -> None:
    world.fabric.steering.remove_chain("chain")


@after(function)
def set_filters(world: World) -> None:
    filters = [filter_of(port("a"), EVERYTHING_OUT, FRIENDS), filter_of(port("b"), PING_IN, stateful=False)]
    world.fabric.filtering.set_filters("p0", filters, {"friends": [IPv4Network("10.0.0.11/32")]})


@after(function, set_filters, variant=True)
def set_filters_otherwise(world: World) -> None:
    filters = [filter_of(port("a"), EVERYTHING_OUT), filter_of(port("b"), PING_IN)]
    world.fabric.filtering.set_filters("p0", filters, {})


@after(function, set_filters, takes_away=True)
def remove_filters(world: World) -> None:
    world.fabric.filtering.remove_filters("p0", ["a-eth0", "b-eth0"])


@after(function, set_filters_otherwise, variant=True)
def set_chain_of_a_secured_port(world: World) -> None:
    world.fabric.steering.set_chain(chain())


@after(function, set_filters_otherwise, set_chain, takes_away=True, variant=True)
def remove_chain_of_a_secured_port(world: World) -> None:
    world.fabric.steering.remove_chain("chain")


@after(function, set_filters_otherwise, set_chain, takes_away=True, variant=True)
def remove_ports_that_are_secured_and_steered(world: World) -> None:
    world.fabric.machines.remove_ports(["a-eth0", "b-eth0"])


def filters_there(world: World) -> None:
    world.fabric.filtering.set_filters("p1", [filter_of(port("a"), EVERYTHING_OUT)], {})


@after(blue, plugged, set_filters, filters_there)
def move_secured_ports(world: World) -> None:
    world.fabric.machines.move_ports([port("a", pop="p1")])


@after(function)
def set_shapes(world: World) -> None:
    shape = PortShape(egress=PortRate(5 * MBIT), ingress=PortRate(5 * MBIT), dscp=10)
    world.fabric.shaping.set_shapes({"a-eth0": shape, "b-eth0": PortShape(dscp=12)})


@after(function, set_shapes, variant=True)
def set_shapes_otherwise(world: World) -> None:
    world.fabric.shaping.set_shapes({"a-eth0": PortShape(egress=PortRate(9 * MBIT)), "b-eth0": PortShape(dscp=14)})


@after(function, set_shapes, variant=True)
def set_no_shapes(world: World) -> None:
    world.fabric.shaping.set_shapes({"a-eth0": PortShape(), "b-eth0": PortShape()})


@after(function, set_shapes, set_filters, set_chain, takes_away=True)
def remove_pops(world: World) -> None:
    world.fabric.underlay.remove_pops(["p0", "p1"])


def calls_of(case: Case) -> tuple[list[str], Counter[str], Counter[str]]:
    """What a request asks of others, and what stands after it, seen once without a failure."""
    with a_world() as world:
        case.prepare(world)
        faults = Faults()
        with faults.put_in():
            case.ask(world)
        return faults.calls, looked(world), held(world)


EXTENTS = [
    *(pytest.param(case, FEW, id=f"few-{case.name}") for case in CASES if not case.variant),
    *(pytest.param(case, None, marks=(pytest.mark.slow, pytest.mark.timeout(600)), id=case.name) for case in CASES),
]


@pytest.mark.parametrize(("case", "most"), EXTENTS)
def test_what_fails_once_leaves_nothing_half_made(case: Case, most: int | None) -> None:
    calls, done, held_done = calls_of(case)
    numbers = random.Random(f"{SEED} {case.name}").sample(range(len(calls)), len(calls))
    flaws = []
    for at in sorted(numbers[:most]):
        flaws += [f"{at} {calls[at]}: {flaw}" for flaw in flaws_at(case, at, done, held_done)]
    assert not flaws, "\n".join(flaws)


def interfaces(stands: Counter[str]) -> int:
    return sum(count for line, count in stands.items() if " mtu " in line)


def flaws_at(case: Case, at: int, done: Counter[str], held_done: Counter[str]) -> list[str]:
    """What is wrong when this call of a request fails, in words."""
    flaws = []
    with a_world() as world:
        case.prepare(world)
        gc.collect()
        before, held_before = looked(world), held(world)
        faults, failed = Faults(at), ""
        with faults.put_in():
            try:
                case.ask(world)
            except SonataError as error:
                failed = f"{error.message} {getattr(error, 'answer', '')}"
        if failed:
            if faults.what not in failed or REASON not in failed:
                flaws.append(f"tells `{failed}`")
            stands = looked(world)
            if case.takes_away:
                flaws += ["more interfaces stand"] if interfaces(stands) > interfaces(before) else []
            else:
                flaws += [f"more stands: {found}" for found in stands - before]
                flaws += [f"is gone: {found}" for found in before - stands]
                flaws += [f"holds more: {found}" for found in held(world) - held_before if found != "helpers"]
            try:
                case.ask(world)
            except SonataError as error:
                return [*flaws, f"cannot be repeated: {error.message}"]
        stands = looked(world)
        flaws += [f"in the end more stands: {found}" for found in stands - done]
        flaws += [f"in the end is missing: {found}" for found in done - stands]
        flaws += [f"in the end holds more: {found}" for found in held(world) - held_done]
    return flaws
