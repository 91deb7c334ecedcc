"""How a service function chain becomes rules and routes: what renderers are, and what they are told.

A `ChainRenderer` turns the part of a chain that lies in a PoP into a `Rendering`: nftables rules of that PoP, and
steps to take in it and in other PoPs. It touches no kernel itself. The fabric makes a rendering true, brings it up to
date when interfaces, routes or its companions change, and undoes it exactly; steps that several chains share are
taken once, and undone with the last of them.

Renderers are plug-ins: an entry point of the group `sonata.chain_renderers` names a class that takes no arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from ipaddress import IPv4Address
from typing import Protocol

from sonata._lib.ip import Prefix
from sonata._lib.netlink import Request
from sonata._lib.values import dataclass
from sonata.ports.fabric import ChainSpec, HopPort

DEFAULT_RENDERER = "steering"
NSH_RENDERER = "nsh"
"""What makes chains that want network service headers, where the usual one cannot."""
ENTRY_POINTS = "sonata.chain_renderers"


@dataclass(frozen=True, slots=True)
class Card:
    """An interface in a PoP's namespace.

    Args:
        mac: MAC address of the PoP's own IP layer behind it: of its bridge, or its own.
    """

    index: int
    name: str
    mac: str


@dataclass(frozen=True, slots=True)
class Leg:
    """One link on the way from a PoP to another one, in this direction."""

    pop: str
    out: Card
    next_pop: str
    into: Card


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A function's port in another PoP, and the links on the way there; none while there is no way."""

    pop: str
    port_id: str
    way: tuple[Leg, ...]


def _nowhere(_port: HopPort) -> Elsewhere | None:
    return None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a chain meets in its PoP.

    Args:
        interfaces: name of the PoP's side of a port, by port id.
        addresses: addresses of ports, by port id.
        edge: names of the underlay's interfaces and of the access links of endpoints.
        links: names of the underlay's interfaces alone.
        cards: the interfaces of both, by name.
        bridges: the bridges of networks, by network id.
        routers: addresses of the PoPs' routers, by PoP.
        mtus: of the networks in which ports are, by port id.
        gateways: the routers of ports' networks, by port id: the interfaces behind which they are, and their MAC
            addresses.
        elsewhere: finds a port that is in another PoP.
    """

    interfaces: Mapping[str, str]
    addresses: Mapping[str, Sequence[Prefix]]
    edge: Sequence[str]
    cards: Mapping[str, Card] = field(default_factory=dict)
    bridges: Mapping[str, Card] = field(default_factory=dict)
    routers: Mapping[str, IPv4Address] = field(default_factory=dict)
    mtus: Mapping[str, int] = field(default_factory=dict)
    links: Sequence[str] = ()
    gateways: Mapping[str, Card] = field(default_factory=dict)
    elsewhere: Callable[[HopPort], Elsewhere | None] = _nowhere


@dataclass(frozen=True, slots=True)
class Step:
    """A change of a PoP's interfaces, routes, rules or neighbours; `undo` is None where an earlier step's covers it."""

    pop: str
    make: Request
    undo: Request | None = None


@dataclass(frozen=True, slots=True)
class SpeakIPv6:
    """IPv6 on an interface of a PoP, which is off else."""

    pop: str
    interface: str


@dataclass(frozen=True, slots=True)
class Flow:
    """A flow of a PoP's switch for encapsulated packets, in the words of ovs-ofctl(8).

    The switch is there while a flow asks for it; `sonata.adapters.fabric_linux.nsh_flows` tells what it has besides.
    """

    pop: str
    match: str
    actions: str


AnyStep = Step | SpeakIPv6 | Flow


@dataclass(frozen=True, slots=True)
class Rendering:
    """What is to be in the kernel for the part of a chain in one PoP.

    Args:
        rules: one nftables transaction, which replaces what stands of the chain.
        steps: to be taken in this order before the rules hold; undone in reverse after they are gone.
        depends_on_others: whether a change in other PoPs may change it.
        companions: ids of the chains in other PoPs whose renderings change with this one, as parts of the same way.
    """

    rules: str
    steps: tuple[AnyStep, ...] = ()
    depends_on_others: bool = False
    companions: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a renderer can do; what it cannot is refused before anything changes.

    Args:
        nsh: whether functions may take packets with a network service header, and give them back so.
    """

    across_pops: bool = True
    symmetric: bool = True
    sticky: bool = True
    branching: bool = True
    ipv6: bool = True
    nsh: bool = False


class ChainRenderer(Protocol):
    """One way of steering packets through functions; one object serves a whole fabric."""

    @property
    def name(self) -> str:
        """What topologies and chains call it."""

    @property
    def purpose(self) -> str:
        """What it does, in a few words for `sonata doctor`."""

    @property
    def abilities(self) -> Abilities:
        """What it can do."""

    def render(self, number: int, chain: ChainSpec, around: Surroundings, standing: str) -> Rendering:
        """What is to be in the kernel for a chain.

        Args:
            number: of the chain; never used before in the fabric.
            chain: where packets are to go.
            around: what the chain meets.
            standing: the rules that it has now, empty for none; flows that these remember stay remembered.

        Raises:
            Unsupported: what it cannot do with this chain.
        """

    def remove(self, number: int) -> str:
        """The nftables transaction that drops a chain's rules."""

    def why_not(self) -> str:
        """Why it cannot run on this machine; empty when it can."""
