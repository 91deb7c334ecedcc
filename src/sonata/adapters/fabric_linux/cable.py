"""Cables: two interfaces joined by a veth pair or by the wire process, with the impairment that was declared.

A cable into a card has one end only, an interface that shares the card with others; it carries no impairment.

Each direction has its own impairment, held where packets enter the cable. A rate alone is a token bucket at an end of a
veth pair. Delay and jitter are netem's where the kernel has it, else the wire's. Loss, duplication and reordering are
always the wire's: netem would take whole 64 kB segments for packets, since segmentation comes after it. Where bandwidth
is reserved for spans, a hierarchy of token buckets takes the place of the bucket at both ends.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain

import sonata.adapters.fabric_linux.requests as requests
import sonata.adapters.fabric_linux.reservations as reservations
from sonata._lib.ip import Interface
from sonata._lib.netlink import NetlinkError, Request
from sonata._lib.values import dataclass
from sonata.adapters.fabric_linux.netspace import MACHINE_SETTINGS, Netspace, apply_each, create, require_room
from sonata.adapters.fabric_linux.tap import open_tap
from sonata.adapters.fabric_linux.wire_client import WireClient, WireLink, WireStatistics
from sonata.errors import AdapterError, InvalidInput, Unsupported
from sonata.model.topology import Impairment, both_ways
from sonata.ports.fabric import LinkStatus, Reservation

_TX_DROPPED = 7
_WIRE_QUEUE, _SHAPED_QUEUE = 10_000, 1_000
_NO_STATISTICS = WireStatistics(0, 0, 0)


@dataclass(frozen=True, slots=True)
class End:
    """One end of a cable.

    Args:
        mac: empty for one of the kernel's choice.
        master: index and name of the bridge it is a port of, or None.
        forwards: whether it is a router's: where it has IPv6, its namespace forwards it.
        switched: whether it goes down when the cable is set down. An end in a machine does not: its routes would go.
    """

    netspace: Netspace
    ifname: str
    mtu: int
    mac: str = ""
    master: tuple[int, str] | None = None
    addresses: tuple[Interface, ...] = ()
    switched: bool = True
    forwards: bool = False


@dataclass(slots=True, eq=False)
class Cable:
    """A cable, laid or to be laid; the fields after `shares` say what it does now.

    Args:
        impairment: from `a` to `b`, and back unless `reverse` says otherwise.
        card: index of the interface on which its far end is; `a` is that interface then, and not touched. 0 for none.
        shares: what spans have reserved of each direction, by VNI.
    """

    name: str
    a: End
    b: End
    impairment: Impairment
    reverse: Impairment | None = None
    card: int = 0
    shares: tuple[Mapping[int, Reservation], Mapping[int, Reservation]] = ({}, {})
    mechanism: str = ""
    index_a: int = 0
    index_b: int = 0
    up: bool = True

    @property
    def is_wired(self) -> bool:
        """Whether the wire process carries it."""
        return self.mechanism.startswith("wire")

    @property
    def directions(self) -> tuple[Impairment, Impairment]:
        """From `a` to `b`, and from `b` to `a`."""
        return both_ways(self.impairment, self.reverse)

    @property
    def is_clean(self) -> bool:
        """Whether packets pass untouched both ways."""
        return all(direction.is_clean for direction in self.directions)

    def sent_at(self, index: int) -> Impairment:
        """What is done to packets that enter at the end with this interface index."""
        return self.directions[index == self.index_b]

    def reserved_at(self, index: int) -> Mapping[int, Reservation]:
        """What is reserved of what enters at the end with this interface index."""
        return self.shares[index == self.index_b]

    def ends(self) -> tuple[tuple[End, int], ...]:
        """Both ends with their interface indexes, the one to be switched first; the far one alone at a card."""
        both = (self.a, self.index_a), (self.b, self.index_b)
        return both[1:] if self.card else both


def mechanism_of(*directions: Impairment, has_netem: bool, shared: bool = False) -> str:
    """What carries such a cable; where bandwidth of it is reserved, HTB takes the place of TBF."""
    plain = _plain_mechanism(*directions, has_netem=has_netem)
    return f"{plain.removesuffix('+tbf')}+htb" if shared else plain


def _plain_mechanism(*directions: Impairment, has_netem: bool) -> str:
    if all(one.is_clean for one in directions):
        return "veth"
    if not any(one.needs_wire for one in directions):
        return "veth+tbf"
    carrier = "veth+netem" if has_netem and all(_suits_netem(one) for one in directions) else "wire"
    return f"{carrier}+tbf" if any(one.rate_bps for one in directions) else carrier


def _suits_netem(impairment: Impairment) -> bool:
    return not impairment.picks_packets and impairment.jitter_s <= requests.MOST_NETEM_JITTER_S


def _nothing() -> None:
    pass


class Cables:
    """Lays, changes and cuts cables.

    Args:
        new_index: source of interface indexes that are unique in the fabric.
        wire: carries what the kernel cannot.
    """

    def __init__(self, new_index: Callable[[], int], wire: WireClient) -> None:
        self._new_index = new_index
        self._wire = wire
        self._netem: bool | None = None

    def lay(self, cables: Sequence[Cable], before_up: Callable[[], None] = _nothing) -> None:
        """Make cables; packets pass with the declared impairment at return, or nothing stands and an error is raised.

        Args:
            cables: not laid yet.
            before_up: called when their interfaces are there and no packet passes yet.

        Raises:
            InvalidInput: an impairment makes no sense.
            AdapterError, Unsupported: the kernel failed or cannot do it.
        """
        for cable in cables:
            check(cable.name, *cable.directions)
            cable.index_a, cable.index_b = self._new_index(), self._new_index()
            cable.mechanism = self._mechanism(cable, *cable.directions)
        try:
            self._make(cables)
            before_up()
            _enable_ipv6(cables)
            apply_each(chain.from_iterable(_dress(cable) for cable in cables))
            _synchronise(cables)
        except (AdapterError, Unsupported):
            with suppress(AdapterError, Unsupported):
                self.cut(cables)
            raise

    def change(self, cable: Cable, impairment: Impairment, reverse: Impairment | None = None, *, up: bool) -> bool:
        """Change a cable while packets flow.

        Returns:
            Whether its interfaces were replaced or went up again, so that routes over them have to be made anew.

        Raises:
            InvalidInput: the impairment makes no sense.
            AdapterError, Unsupported: it cannot be done; the cable is as it was.
        """
        directions = both_ways(impairment, reverse)
        check(cable.name, *directions)
        replaced = False
        mechanism = self._mechanism(cable, *directions)
        if mechanism.partition("+")[0] != cable.mechanism.partition("+")[0]:
            self._replace(cable, directions)
            replaced = True
        elif directions != cable.directions:
            self._adjust(cable, directions, mechanism)
        went_up = up and not cable.up
        cable.up = up
        apply_each(_states(cable))
        _synchronise([cable])
        return replaced or went_up

    def reserve(self, cable: Cable, *shares: Mapping[int, Reservation]) -> None:
        """Keep bandwidth of a cable free for spans, by VNI, from `a` to `b` and from `b` to `a`; no others have any.

        Raises:
            AdapterError, Unsupported: the kernel refused; what was reserved before is.
        """
        there, back = shares
        before = cable.shares
        changed = [index for index in (0, 1) if any(before) != any(shares) or shares[index] != before[index]]
        try:
            self._share(cable, (there, back), changed)
        except (AdapterError, Unsupported):
            with suppress(AdapterError, Unsupported):
                self._share(cable, before, changed)
            raise

    def _share(
        self,
        cable: Cable,
        shares: tuple[Mapping[int, Reservation], Mapping[int, Reservation]],
        directions: Iterable[int],
    ) -> None:
        """Note what is reserved of a cable, and hold it in these of its directions."""
        cable.shares = shares
        cable.mechanism = self._mechanism(cable, *cable.directions)
        for end, index in (cable.ends()[number] for number in directions):
            end.netspace.apply([requests.delete_qdisc(index, end.ifname), *_queue(cable, end, index)])

    def readdress(self, cable: Cable, addresses: tuple[Interface, ...]) -> None:
        """Give a cable's far end other addresses, in place; those that stay are not touched."""
        end, index = cable.b, cable.index_b
        cable.b = replace(end, addresses=addresses)
        _enable_ipv6([cable])
        gone = [requests.delete_address(index, end.ifname, value) for value in end.addresses if value not in addresses]
        new = [requests.address(index, end.ifname, value) for value in addresses if value not in end.addresses]
        end.netspace.apply([*gone, *new])

    def resize(self, cable: Cable, mtu: int) -> None:
        """Change the MTU of both ends, in place."""
        cable.a, cable.b = replace(cable.a, mtu=mtu), replace(cable.b, mtu=mtu)
        apply_each((end.netspace, requests.set_mtu(index, end.ifname, mtu)) for end, index in cable.ends())

    def carry(self, cable: Cable, end: End, *, up: bool) -> None:
        """Take a cable's near end out of its namespace and make it this end in another one; the far end stays.

        Raises:
            AdapterError, Unsupported: the kernel refused; the cable is as it was, but down.
        """
        before, index = cable.a, cable.index_a
        before.netspace.apply([requests.move_link(index, before.ifname, end.netspace.descriptor)])
        cable.a = end
        try:
            end.netspace.apply([*_end_requests(cable, end, index), requests.set_up(index, end.ifname, up=up)])
        except (AdapterError, Unsupported):
            end.netspace.apply([requests.move_link(index, end.ifname, before.netspace.descriptor)])
            cable.a = before
            before.netspace.apply(list(_end_requests(cable, before, index)))
            raise
        _synchronise([cable])

    def hold(self, cables: Iterable[Cable], *, held: bool) -> None:
        """Take the carrier from cables, or give it back to those that are up."""
        known = list(cables)
        apply_each(chain.from_iterable(_switch(cable, up=cable.up and not held) for cable in known))
        if not held:
            _synchronise(known)

    def cut(self, cables: Sequence[Cable]) -> None:
        """Drop cables; what is gone already is no mistake."""
        doomed: dict[Netspace, list[int]] = {}
        for cable in cables:
            # Deleting one end of a veth pair deletes the other, too.
            for end, index in cable.ends() if cable.is_wired else cable.ends()[:1]:
                doomed.setdefault(end.netspace, []).append(index)
        for netspace, indexes in doomed.items():
            netspace.apply(requests.delete_links(indexes))
        if wired := [cable.name for cable in cables if cable.is_wired]:
            self._wire.remove(wired)

    def statuses(self, cables: Iterable[Cable]) -> list[LinkStatus]:
        """What cables really do now."""
        known = list(cables)
        wired = [cable for cable in known if cable.is_wired]
        statistics = self._wire.statistics([cable.name for cable in wired]) if wired else {}
        overruns = _interface_overruns(wired)
        return [_status(cable, statistics.get(cable.name, _NO_STATISTICS), overruns) for cable in known]

    def _mechanism(self, cable: Cable, *directions: Impairment) -> str:
        if cable.card:
            _require_clean(cable, directions)
            return "macvlan"
        if self._netem is None and any(direction.needs_wire for direction in directions):
            self._netem = has_netem()
        return mechanism_of(*directions, has_netem=bool(self._netem), shared=any(cable.shares))

    def _make(self, cables: Sequence[Cable]) -> None:
        apply_each((cable.a.netspace, _pair(cable)) for cable in cables if not cable.is_wired)
        if wired := [cable for cable in cables if cable.is_wired]:
            self._make_wired(wired)

    def _make_wired(self, cables: Sequence[Cable]) -> None:
        descriptors: list[int] = []
        try:
            links = []
            for cable in cables:
                for end, index in cable.ends():
                    descriptors.append(open_tap(end.netspace, end.ifname, index))
                links.append(WireLink(cable.name, cable.directions, *descriptors[-2:]))
            self._wire.add(links)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _replace(self, cable: Cable, directions: tuple[Impairment, Impairment]) -> None:
        before = cable.directions
        require_room(f"link `{cable.name}`")
        try:
            self.cut([cable])
            cable.impairment, cable.reverse = directions
            self.lay([cable])
        except (AdapterError, Unsupported):
            cable.impairment, cable.reverse = before
            self.cut([cable])
            self.lay([cable])
            raise

    def _adjust(self, cable: Cable, directions: tuple[Impairment, Impairment], mechanism: str) -> None:
        if cable.is_wired:
            self._wire.set(cable.name, directions)
        stale = mechanism != cable.mechanism and "+" in cable.mechanism
        rates = [one.rate_bps for one in cable.directions]
        (cable.impairment, cable.reverse), cable.mechanism = directions, mechanism
        for (end, index), rate_bps in zip(cable.ends(), rates, strict=True):
            # A bucket that shrinks would wait forever for room for a large segment that is queued already.
            is_new = stale or cable.sent_at(index).rate_bps != rate_bps
            drop = [requests.delete_qdisc(index, end.ifname)] if is_new else []
            end.netspace.apply([*drop, *_queue(cable, end, index)])


def check(name: str, *directions: Impairment) -> None:
    """Refuse impairments that make no sense.

    Raises:
        InvalidInput: tells which value of which cable, and its range.
    """
    for flaw in chain.from_iterable(one.flaws() for one in directions):
        raise InvalidInput(f"link `{name}` is impossible: {flaw.why}", hint=flaw.hint)


def _require_clean(cable: Cable, directions: Iterable[Impairment]) -> None:
    if not all(direction.is_clean for direction in directions):
        raise Unsupported(
            f"port `{cable.name}` is direct: no delay, loss or rate can be held there",
            hint="impair a link between PoPs, or make it a port of the vNIC type `normal`",
        )


def has_netem() -> bool:
    """Whether the kernel has the network emulator, found out by using it in a namespace that is dropped again."""
    (scratch,) = create(["netem probe"], MACHINE_SETTINGS)
    try:
        scratch.apply([requests.netem(1, "lo", Impairment(delay_s=0.001))])
    except (AdapterError, Unsupported) as error:
        cause = error.__cause__
        if isinstance(cause, NetlinkError) and cause.errno in (errno.ENOENT, errno.EOPNOTSUPP):
            return False
        raise
    finally:
        scratch.close()
    return True


def _pair(cable: Cable) -> Request:
    a, b = cable.a, cable.b
    if cable.card:
        inside = (cable.index_b, b.ifname, b.netspace.descriptor)
        return requests.macvlan(*inside, lower=cable.card, mtu=b.mtu, mac=b.mac)
    return requests.veth(
        *(cable.index_a, a.ifname, cable.index_b, b.ifname, b.netspace.descriptor),
        mtu=a.mtu,
        mac=a.mac,
        peer_mac=b.mac,
    )


def _dress(cable: Cable) -> Iterator[tuple[Netspace, Request]]:
    for end, index in reversed(cable.ends()):
        for request in _end_requests(cable, end, index):
            yield end.netspace, request
    yield from _states(cable)


def _end_requests(cable: Cable, end: End, index: int) -> Iterator[Request]:
    if cable.is_wired:
        # A shaped TAP drops in its token bucket; an unshaped one holds bursts for the wire.
        queue = _SHAPED_QUEUE if cable.sent_at(index).rate_bps else _WIRE_QUEUE
        yield requests.dress_link(index, end.ifname, mtu=end.mtu, mac=end.mac, queue=queue)
    if end.master:
        yield requests.enslave(index, end.ifname, end.master[0])
    for value in end.addresses:
        yield requests.address(index, end.ifname, value)
    yield from _queue(cable, end, index)


def _queue(cable: Cable, end: End, index: int) -> Iterator[Request]:
    discipline, impairment = cable.mechanism.partition("+")[2], cable.sent_at(index)
    if "htb" in discipline:
        late = "netem" in discipline
        yield from reservations.hold(index, end.ifname, impairment, cable.reserved_at(index), late=late)
    elif "netem" in discipline:
        yield from requests.late(index, end.ifname, impairment)
    elif impairment.rate_bps:
        yield requests.rate_limit(index, end.ifname, impairment.rate_bps)


def _enable_ipv6(cables: Iterable[Cable]) -> None:
    for cable in cables:
        for end, _ in cable.ends():
            if any(value.version == 6 for value in end.addresses):
                end.netspace.enable_ipv6(("lo", end.ifname), forwarding=end.forwards)


def _states(cable: Cable) -> Iterator[tuple[Netspace, Request]]:
    for end, index in reversed(cable.ends()[1:]):
        yield end.netspace, requests.set_up(index, end.ifname, up=cable.up or not end.switched)
    yield from _switch(cable, up=cable.up)


def _switch(cable: Cable, *, up: bool) -> Iterator[tuple[Netspace, Request]]:
    """Bring the end up or down that switches a cable; a machine's loses its IPv6 addresses when it goes down."""
    end, index = cable.ends()[0]
    yield end.netspace, requests.set_up(index, end.ifname, up=up)
    if up and cable.card:
        for value in end.addresses:
            yield end.netspace, requests.address(index, end.ifname, value)


def _synchronise(cables: Sequence[Cable]) -> None:
    masters: dict[tuple[Netspace, str], None] = {}
    for cable in cables:
        for end, _ in cable.ends():
            end.netspace.synchronise(end.ifname)
            if end.master:
                masters[end.netspace, end.master[1]] = None
    for netspace, ifname in masters:
        netspace.synchronise(ifname)


def _interface_overruns(cables: Iterable[Cable]) -> Mapping[int, int]:
    """Frames that the kernel dropped at a wire's ends since the wire did not take them in time, by index."""
    netspaces = {end.netspace for cable in cables for end, _ in cable.ends()}
    return {index: counters[_TX_DROPPED] for netspace in netspaces for index, counters in netspace.statistics().items()}


def _status(cable: Cable, statistics: WireStatistics, overruns: Mapping[int, int]) -> LinkStatus:
    at_ends = sum(overruns.get(index, 0) for _, index in cable.ends()) if cable.is_wired else 0
    return LinkStatus(
        name=cable.name,
        impairment=cable.impairment,
        reverse=None if cable.reverse == cable.impairment else cable.reverse,
        mechanism=cable.mechanism,
        up=cable.up,
        overruns=statistics.overruns + at_ends,
        dropped=statistics.dropped,
        forwarded=statistics.forwarded,
    )
