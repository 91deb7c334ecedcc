"""What stands at the moment, shared by the parts of the fabric. Values only; the parts act."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import field
from ipaddress import IPv4Address, IPv4Network, IPv6Interface

from sonata._lib.ip import Address, Prefix
from sonata._lib.values import dataclass
from sonata.adapters.fabric_linux.cable import Cable
from sonata.adapters.fabric_linux.netspace import Netspace
from sonata.adapters.fabric_linux.stock import Stock
from sonata.errors import NotFound, Unsupported
from sonata.ports.fabric import LinkSpec, NetworkSpec, PopSpec, PortSpec

EXTERNAL_IFNAME = "ext"
"""Name of the external network's bridge, which is the router's interface, in every PoP."""
NETWORK_PREFIX = "net"
"""What the names of tenant networks' bridges begin with, and no others."""


@dataclass(frozen=True, slots=True)
class Bridge:
    """A network's bridge in a PoP; frames for its MAC address are for the PoP's IP layer."""

    index: int
    ifname: str
    spec: NetworkSpec
    mac: str


@dataclass(frozen=True, slots=True)
class Card:
    """Where direct ports of a network are plugged in: a veth pair beside its bridge.

    Args:
        outer: index and name of the side that is the bridge's port.
        inner: index and name of the side on which the ports are.
    """

    outer: tuple[int, str]
    inner: tuple[int, str]


@dataclass(slots=True)
class Pop:
    """A PoP that stands, with its bridges and cards by network id and its routes to other PoPs.

    Args:
        guarded: whether it refuses forged tunnel packets, as long as it stands.
        leads: whether it leads from its networks what chains mark.
        outside: its router's IPv6 addresses on its external network.
        inward: its routes over routers on its external network.
        guests: ports on its external network by their addresses, which belong to other PoPs' external networks.
        answers: whether it answers on its external network for addresses elsewhere.
    """

    spec: PopSpec
    netspace: Netspace
    bridges: dict[str, Bridge] = field(default_factory=dict)
    cards: dict[str, Card] = field(default_factory=dict)
    routes: dict[IPv4Network, IPv4Address] = field(default_factory=dict)
    guarded: bool = False
    leads: bool = False
    outside: tuple[IPv6Interface, ...] = ()
    inward: dict[Prefix, Address] = field(default_factory=dict)
    guests: Mapping[IPv4Address, str] = field(default_factory=dict)
    answers: bool = False


@dataclass(slots=True)
class Link:
    """An underlay link that stands."""

    spec: LinkSpec
    cable: Cable


@dataclass(frozen=True, slots=True)
class Shim:
    """A veth pair between a port's interface and its bridge, where rates are held.

    Args:
        near: index and name of the side that exchanges all frames with the port's interface.
        far: index and name of the side that is the bridge's port.
    """

    near: tuple[int, str]
    far: tuple[int, str]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A bridge of a port's own, and the veth pair that leads from it to the bridge of the port's network.

    Args:
        bridge: index and name, as of the sides of the pair.
        inner: the side that is a port of it.
        outer: the side that is a port of the network's bridge.
    """

    bridge: tuple[int, str]
    inner: tuple[int, str]
    outer: tuple[int, str]


@dataclass(slots=True)
class Port:
    """A machine's port that stands.

    Args:
        shim: where its rates are held, None while it has none.
        held: whether no packet may pass for the time being.
        shaped: whether its frames go through the shim: not yet while that comes, and no more while it goes.
        checkpoint: where its filter judges what is steered, None while it has none.
    """

    spec: PortSpec
    cable: Cable
    shim: Shim | None = None
    held: bool = False
    shaped: bool = False
    checkpoint: Checkpoint | None = None

    @property
    def bridged_names(self) -> tuple[str, ...]:
        """The names under which the bridge knows it: one, but for the moment in which a shim comes or goes."""
        return (self.cable.a.ifname, self.shim.far[1]) if self.shim else (self.cable.a.ifname,)

    @property
    def bridged_end(self) -> tuple[int, str]:
        """Index and name of what is a port of a bridge: the far side of its shim, else its own interface."""
        return self.shim.far if self.shim and self.shaped else (self.cable.index_a, self.cable.a.ifname)

    @property
    def steered_end(self) -> tuple[int, str]:
        """Index and name of the interface at which chains meet its packets: the last one before its network."""
        return self.checkpoint.outer if self.checkpoint else self.bridged_end

    @property
    def further_interfaces(self) -> tuple[tuple[int, str], ...]:
        """Index and name of all that its frames go through besides its cable, the bridge last."""
        shim = (self.shim.near, self.shim.far) if self.shim else ()
        own = (self.checkpoint.inner, self.checkpoint.outer, self.checkpoint.bridge) if self.checkpoint else ()
        return (*shim, *own)

    @property
    def is_routed(self) -> bool:
        """Whether routes may lead over it: the kernel takes none over an interface that is down."""
        return not self.spec.direct or (self.cable.up and not self.held)

    def require_bridged(self, what: str) -> None:
        """Refuse what is done beside the bridge.

        Raises:
            Unsupported: its frames do not pass there.
        """
        if self.spec.direct:
            raise Unsupported(
                f"port `{self.spec.id}` is direct: it cannot be {what}, as its packets go around the bridge",
                hint="make it a port of the vNIC type `normal`",
            )


@dataclass(slots=True)
class Machine:
    """A machine's namespace with its ports by id.

    Args:
        routing: bodies of the routes and rules that we made in it, with their subject.
    """

    netspace: Netspace
    ports: dict[str, Port] = field(default_factory=dict)
    routing: dict[bytes, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gateway:
    """What a router is to one of its inner networks.

    Args:
        interface: index and name of the PoP's interface behind which the leg is.
    """

    pop: str
    network: str
    mac: str
    addresses: tuple[Address, ...]
    interface: tuple[int, str]


class World:
    """Everything that stands, by name."""

    def __init__(self) -> None:
        self.pops: dict[str, Pop] = {}
        self.links: dict[str, Link] = {}
        self.machines: dict[str, Machine] = {}
        self.ports: dict[str, Port] = {}
        self.gateways: dict[str, tuple[Gateway, ...]] = {}
        self.missing_routers: dict[str, str] = {}
        self.before_ports: list[Callable[[Sequence[Port]], None]] = []
        self.around_moves: list[Callable[[Sequence[Port]], AbstractContextManager[None]]] = []
        self.on_interfaces_changed: list[Callable[[str], None]] = []
        self.on_routes_changed: list[Callable[[], None]] = []
        self.on_gateways_changed: list[Callable[[str], None]] = []
        self.on_pops_added: list[Callable[[], None]] = []
        self.on_ports_given_up: list[Callable[[Sequence[Port]], None]] = []
        self._unsettled: dict[str, None] = {}
        # Unique in the whole fabric: a veth whose two ends have equal indexes gets its carrier up to a second late.
        self._indexes = itertools.count(16)
        self.stock = Stock()

    def new_index(self) -> int:
        """An interface index, and number for a name, that was never used before."""
        return next(self._indexes)

    def pop(self, name: str) -> Pop:
        """The PoP of this name.

        Raises:
            NotFound: there is none.
        """
        if name not in self.pops:
            raise NotFound(f"no PoP `{name}` in the data plane", hint=_choices("PoPs", self.pops))
        return self.pops[name]

    def machine(self, name: str) -> Machine:
        """The machine of this name.

        Raises:
            NotFound: there is none.
        """
        if name not in self.machines:
            raise NotFound(f"no machine `{name}` in the data plane")
        return self.machines[name]

    def bridge(self, pop: str, network: str) -> Bridge:
        """The bridge of a network in a PoP.

        Raises:
            NotFound: there is none.
        """
        bridges = self.pop(pop).bridges
        if network not in bridges:
            raise NotFound(f"no network `{network}` in PoP `{pop}`", hint=_choices("networks", bridges))
        return bridges[network]

    def bridge_under(self, port: Port) -> int:
        """Index of the bridge that a port's frames come to first: its checkpoint, or its network's."""
        return port.checkpoint.bridge[0] if port.checkpoint else self.bridge(port.spec.pop, port.spec.network).index

    def close(self) -> None:
        """Let go of all namespaces and forget everything."""
        self.stock.close()
        for machine in self.machines.values():
            machine.netspace.close()
        for pop in self.pops.values():
            pop.netspace.close()
        for known in (self.pops, self.links, self.machines, self.ports, self.gateways):
            known.clear()

    def add_pops(self, pops: Iterable[Pop]) -> None:
        """Take note of new PoPs, and tell those who have work to do in every PoP."""
        self.pops.update({pop.spec.name: pop for pop in pops})
        for listener in self.on_pops_added:
            listener()

    def ports_planned(self, ports: Sequence[Port]) -> None:
        """Tell those who have work to do before new ports let packets pass."""
        for listener in self.before_ports:
            listener(ports)

    def ports_given_up(self, ports: Sequence[Port]) -> None:
        """Tell those who had work to do before that these ports do not come, for the time being."""
        for listener in self.on_ports_given_up:
            listener(ports)

    @contextmanager
    def off_balance(self, ports: Sequence[Port]) -> Iterator[None]:
        """The time in which ports are moved to other PoPs, for those who keep something beside them."""
        with ExitStack() as around:
            for listener in self.around_moves:
                around.enter_context(listener(ports))
            yield

    def interfaces_changed(self, *pops: str) -> None:
        """Tell those who depend on PoPs' interfaces that some were added, replaced or removed.

        Where somebody fails over it, all are told again the next time that anything is told.
        """
        self._unsettled.update(dict.fromkeys(pops))
        for pop in [name for name in self._unsettled if name in self.pops or name in pops]:
            for listener in self.on_interfaces_changed:
                listener(pop)
            self._unsettled.pop(pop, None)

    def unsettle(self, pop: str) -> None:
        """Have all told of a PoP the next time that anything is told: somebody has failed there."""
        self._unsettled[pop] = None

    def router_changed(self, router_id: str, gateways: tuple[Gateway, ...]) -> None:
        """Take note of what a router is to its networks now; tell those who depend on it."""
        before = self.gateways.pop(router_id, ())
        if gateways:
            self.gateways[router_id] = gateways
        if set(before) != set(gateways):
            pops = sorted({one.pop for one in (*before, *gateways)})
            self._unsettled.update(dict.fromkeys(pops))
            for pop in pops:
                for listener in self.on_gateways_changed:
                    listener(pop)
                self._unsettled.pop(pop, None)

    def routes_changed(self) -> None:
        """Tell those who depend on the ways between PoPs that some are others now."""
        for listener in self.on_routes_changed:
            listener()


def _choices(what: str, known: dict[str, Pop] | dict[str, Bridge]) -> str:
    return f"{what} are {', '.join(sorted(known)[:10])}" if known else f"there are no {what}"
