"""The world outside of projects' routers: IPv6 on the external network, and address scopes."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

from sonata.ports.fabric import NetworkSpec, PortSpec, RouterSpec

from .conftest import World, external, router_spec
from .test_filtering import passes

GATEWAY, WAY_IN = IPv6Interface("fd00:64::1/64"), IPv6Address("fd00:64::200")
INNER = IPv6Network("fd00:1::/64")


def with_six(port: PortSpec, address: str, gateway: str) -> PortSpec:
    return replace(port, addresses=(*port.addresses, IPv6Interface(address)), gateway6=IPv6Address(gateway))


def routed_six(world: World) -> RouterSpec:
    """A server `in0` behind a router with IPv6, and a user outside."""
    world.pops(1)
    world.fabric.networks.add_networks([NetworkSpec("blue", "p0")])
    server = world.port("in0", 0, "blue", "10.0.0.10/24", "10.0.0.1")
    world.machine("in0", with_six(server, "fd00:1::10/64", "fd00:1::1"))
    user = world.port("user", 0, "external", external(0, 10), external(0).ip)
    world.machine("user", with_six(user, "fd00:64::10/64", str(GATEWAY.ip)))
    spec = router_spec(0, [("blue", "10.0.0.0/24")])
    legs = tuple(replace(leg, further=(IPv6Interface("fd00:1::1/64"),)) for leg in spec.interfaces)
    outer = (IPv6Interface((WAY_IN, 64)),)
    spec = replace(spec, interfaces=legs, external_further=outer, external_gateway6=GATEWAY.ip)
    world.fabric.networks.set_router(spec)
    return spec


def test_ipv6_is_routed_to_the_outside_and_back(world: World) -> None:
    routed_six(world)
    underlay = world.fabric.underlay
    assert not passes(world, "user", "fd00:1::10")
    underlay.set_outside("p0", [GATEWAY], {INNER: WAY_IN})
    assert world.reaches("user", "fd00:1::10")
    assert world.reaches("in0", "fd00:64::10")
    underlay.set_outside("p0", [GATEWAY], {})
    assert not passes(world, "user", "fd00:1::10")
    for _ in range(2):
        underlay.set_outside("p0", [GATEWAY], {INNER: WAY_IN})
    assert world.reaches("user", "fd00:1::10")
    underlay.set_outside("p0", [], {})
    assert "fd00" not in world.run_in_pop("p0", "ip", "-6", "route")
    assert "fd00" not in world.run_in_pop("p0", "ip", "-6", "addr")


def scoped(world: World) -> RouterSpec:
    """Networks `red` and `blue` in one address scope, `grey` in none; a user outside, in the scope of the first two."""
    world.pops(1)
    world.host("user", 0)
    names = ("red", "blue", "grey")
    world.fabric.networks.add_networks([NetworkSpec(name, "p0") for name in names])
    for number, name in enumerate(names):
        world.machine(name, world.port(name, 0, name, f"10.{number}.0.10/24", f"10.{number}.0.1"))
    spec = router_spec(0, [(name, f"10.{number}.0.0/24") for number, name in enumerate(names)])
    scopes = (("s", ""), ("s", ""), ("", ""))
    legs = tuple(replace(leg, scopes=scope) for leg, scope in zip(spec.interfaces, scopes, strict=True))
    spec = replace(spec, interfaces=legs, external_scopes=("s", ""))
    world.fabric.networks.set_router(spec)
    assert spec.external is not None
    world.fabric.underlay.set_outside("p0", [], {IPv4Network("10.0.0.0/24"): spec.external.ip})
    return spec


def source_seen(world: World, sender: str) -> str:
    """Under which address a sender's datagram comes to the user."""
    with world.socket("user") as there, world.socket(sender) as here:
        there.bind((str(external(0, 10).ip), 5000))
        here.sendto(b"who", (str(external(0, 10).ip), 5000))
        return str(there.recvfrom(10)[1][0])


def test_scopes_are_apart_but_for_what_is_translated(world: World) -> None:
    spec = scoped(world)
    assert spec.external is not None
    assert world.reaches("red", "10.1.0.10")
    for one, other in (("red", "10.2.0.10"), ("grey", "10.1.0.10")):
        assert not passes(world, one, other)
    assert source_seen(world, "red") == "10.0.0.10"
    assert source_seen(world, "grey") == str(spec.external.ip)
    assert world.reaches("user", "10.0.0.10")
    assert world.reaches("grey", external(0, 10).ip)
    floating = external(0, 201).ip
    world.fabric.networks.set_router(replace(spec, floating={floating: IPv4Address("10.2.0.10")}))
    assert world.reaches("user", floating)
    assert source_seen(world, "grey") == str(floating)
    world.fabric.networks.set_router(replace(spec, snat=False))
    assert not passes(world, "grey", external(0, 10).ip)
    assert source_seen(world, "red") == "10.0.0.10"


def test_without_scopes_routers_forward_as_ever(world: World) -> None:
    spec = scoped(world)
    free = tuple(replace(leg, scopes=("", "")) for leg in spec.interfaces)
    world.fabric.networks.set_router(replace(spec, interfaces=free, external_scopes=("", "")))
    assert world.reaches("red", "10.2.0.10")
    assert spec.external is not None
    assert source_seen(world, "red") == str(spec.external.ip)


def test_ipv6_of_other_scopes_does_not_pass(world: World) -> None:
    spec = routed_six(world)
    world.fabric.underlay.set_outside("p0", [GATEWAY], {INNER: WAY_IN})
    assert world.reaches("user", "fd00:1::10")
    legs = tuple(replace(leg, scopes=("", "six")) for leg in spec.interfaces)
    world.fabric.networks.set_router(replace(spec, interfaces=legs))
    assert not passes(world, "user", "fd00:1::10")
    assert world.reaches("user", "fd00:64::200")
