"""The emulated infrastructure as a value: PoPs, links between them, endpoints outside of them.

Read by `formats.topology`, built by scripts through `sonata.emulator`, run by the emulator.
Units are plain SI: seconds, bytes, bits per second; a loss is a probability in 0..1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import NamedTuple

from sonata._lib.ip import Interface
from sonata._lib.quantities import format_duration
from sonata._lib.values import dataclass
from sonata.model.figures import COLD, FREE, SILENCE, Cost, Energy, Noise

GIB = 1024**3


MAX_DELAY_S, MIN_RATE_BPS = 10.0, 8000.0


class Flaw(NamedTuple):
    """A value of a link that cannot be.

    Args:
        quantity: `delay`, `jitter`, `loss`, `duplicate`, `reorder` or `rate`.
        why: what is wrong with it.
        hint: what to do, where a value contradicts another one; else empty.
    """

    quantity: str
    why: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Impairment:
    """What a link does to packets in one direction.

    Args:
        delay_s: one-way delay in seconds, 0..10.
        jitter_s: standard deviation of the delay in seconds, at most `delay_s`; it changes no order of packets.
        loss: probability that a packet is lost, 0..1.
        rate_bps: layer 2 rate in bits per second, None for unlimited.
        duplicate: probability that a packet arrives twice, 0..1.
        reorder: probability that a packet goes without the delay and overtakes those ahead of it, 0..1; it needs a
            delay.
    """

    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    rate_bps: float | None = None
    duplicate: float = 0.0
    reorder: float = 0.0

    @property
    def is_late(self) -> bool:
        """Whether packets are delayed."""
        return bool(self.delay_s or self.jitter_s)

    @property
    def picks_packets(self) -> bool:
        """Whether single packets are treated otherwise than the rest: lost, doubled or let ahead."""
        return bool(self.loss or self.duplicate or self.reorder)

    @property
    def needs_wire(self) -> bool:
        """Whether more than a rate limit is asked for."""
        return self.is_late or self.picks_packets

    @property
    def is_clean(self) -> bool:
        """Whether packets pass untouched."""
        return not self.needs_wire and self.rate_bps is None

    def flaws(self) -> Iterator[Flaw]:
        """Everything about it that no link can do."""
        if not 0 <= self.delay_s <= MAX_DELAY_S:
            yield Flaw("delay", f"delay of {self.delay_s:g} s is not within 0..{MAX_DELAY_S:g} s")
        if not self.jitter_s >= 0:
            yield Flaw("jitter", f"jitter of {self.jitter_s:g} s is not 0 or more")
        if self.reorder > 0 and not self.delay_s:
            yield Flaw("reorder", "reordered packets go without the delay, and there is none", "declare a delay")
        if self.jitter_s > self.delay_s:
            why = f"jitter {format_duration(self.jitter_s)} exceeds delay {format_duration(self.delay_s)}"
            yield Flaw("jitter", why, "packets cannot arrive before they are sent")
        for quantity in ("loss", "duplicate", "reorder"):
            if not 0 <= (share := getattr(self, quantity)) <= 1:
                yield Flaw(quantity, f"{quantity} of {share:g} is not within 0..1")
        if self.rate_bps is not None and not self.rate_bps >= MIN_RATE_BPS:
            yield Flaw("rate", f"rate of {self.rate_bps:g} bit/s is below 8kbit")


CLEAN = Impairment()


def both_ways(impairment: Impairment, reverse: Impairment | None) -> tuple[Impairment, Impairment]:
    """There and back, where nothing said of the way back means the same."""
    return impairment, impairment if reverse is None else reverse


@dataclass(frozen=True, slots=True)
class Host:
    """A hypervisor of a PoP with its part of the PoP's capacity."""

    name: str
    cpus: float
    memory_bytes: int
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class Pop:
    """A point of presence: one site with an OpenStack of its own, or a zone of another one's.

    Args:
        location: latitude and longitude in degrees, or None.
        cpus: physical cores offered.
        memory_bytes: memory offered.
        disk_bytes: disk offered.
        cpu_oversubscription: factor by which virtual cores may exceed `cpus`, at least 1.
        memory_oversubscription: the same for memory.
        labels: free key-value pairs for placement, e.g. `tier: edge`.
        cells: radio cells or access areas that endpoints can attach to.
        hosts: its hypervisors; none stands for one of the PoP's name with all of its capacity.
        managed_by: name of the PoP whose OpenStack has it as an availability zone; empty for one of its own.
        cost: prices of what is claimed there, for placement.
        energy: what it draws, for placement.
        noise: what neighbours take of it all the time.
    """

    name: str
    location: tuple[float, float] | None = None
    cpus: float = 16.0
    memory_bytes: int = 32 * GIB
    disk_bytes: int = 1024 * GIB
    cpu_oversubscription: float = 1.0
    memory_oversubscription: float = 1.0
    labels: Mapping[str, str] = field(default_factory=dict)
    cells: tuple[str, ...] = ()
    hosts: tuple[Host, ...] = ()
    managed_by: str = ""
    cost: Cost = FREE
    energy: Energy = COLD
    noise: Noise = SILENCE

    @property
    def hypervisors(self) -> tuple[Host, ...]:
        """Its hosts, at least one."""
        return self.hosts or (Host(self.name, self.cpus, self.memory_bytes, self.disk_bytes),)


@dataclass(frozen=True, slots=True)
class Link:
    """A link between two PoPs; `name` is unique in the topology.

    Args:
        impairment: from `a` to `b`, and back unless `reverse` says otherwise.
        up: whether packets may pass.
        price: of a reservation of 1 Gbit/s, both ways, for an hour, in a currency of the reader's choice.
    """

    name: str
    a: str
    b: str
    impairment: Impairment = CLEAN
    reverse: Impairment | None = None
    up: bool = True
    price: float = 0.0

    @property
    def directions(self) -> tuple[Impairment, Impairment]:
        """From `a` to `b`, and from `b` to `a`."""
        return both_ways(self.impairment, self.reverse)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host outside of the PoPs (users, a content server), attached to the external network of one PoP.

    Args:
        attach: name of the PoP.
        image: image name, `host` for the host's own programs.
        command: argv of its program; empty means the image's command, or an idle machine when it has none.
        impairment: of its access link from the PoP to it, and back unless `reverse` says otherwise.
        interfaces: its further interfaces `eth1`, `eth2`, ..., with the address of each, or None; they lead into the
            PoP, where a layer 2 gateway of its OpenStack may join them to a network.
        up: whether packets may pass its access link.
    """

    name: str
    attach: str
    image: str = "host"
    command: tuple[str, ...] = ()
    impairment: Impairment = CLEAN
    reverse: Impairment | None = None
    interfaces: Mapping[str, Interface | None] = field(default_factory=dict)
    up: bool = True

    @property
    def directions(self) -> tuple[Impairment, Impairment]:
        """To the endpoint, and from it."""
        return both_ways(self.impairment, self.reverse)


@dataclass(frozen=True, slots=True)
class ServerSeed:
    """A server that is started together with the topology, on a PoP's default network."""

    name: str
    pop: str
    image: str = "host"
    flavor: str = "tiny"
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Topology:
    """A whole emulated infrastructure.

    Args:
        chain_renderer: what steers service function chains.

    Example:
        >>> from sonata.model.topology import Link, Pop, Topology
        >>> sites = {f"p{i}": Pop(f"p{i}") for i in range(3)}
        >>> line = Topology("line", sites, (Link("l0", "p0", "p1"), Link("l1", "p1", "p2")))
        >>> len(line.pops)
        3
    """

    name: str
    pops: Mapping[str, Pop]
    links: tuple[Link, ...] = ()
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    servers: Mapping[str, ServerSeed] = field(default_factory=dict)
    chain_renderer: str = "steering"

    @property
    def sites(self) -> tuple[Pop, ...]:
        """The PoPs with an OpenStack of their own."""
        return tuple(pop for pop in self.pops.values() if not pop.managed_by)

    def managed(self, site: str) -> tuple[Pop, ...]:
        """The PoPs that the OpenStack of a site has as zones, besides its own."""
        return tuple(pop for pop in self.pops.values() if pop.managed_by == site)

    def site_of(self, pop: str) -> str:
        """Name of the site whose OpenStack a PoP belongs to."""
        return self.pops[pop].managed_by or pop
