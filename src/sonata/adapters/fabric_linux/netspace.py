"""A network namespace with what is needed to work in it: its descriptor and a netlink socket."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import IPv6Address

import sonata.adapters.fabric_linux.requests as requests
import sonata.adapters.fabric_linux.settings as settings
from sonata._lib import namespaces
from sonata._lib.descriptors import has_room, is_exhaustion, limit
from sonata._lib.ip import Address
from sonata._lib.netlink import NetlinkError, NetlinkSocket, Request
from sonata.errors import PermanentError, QuotaExceeded, Unsupported

_IPV6_OFF = ("ipv6/conf/all/disable_ipv6", "ipv6/conf/default/disable_ipv6")
_IPV6_ON: Mapping[str, bytes] = {"accept_dad": b"0", "accept_ra": b"0", "disable_ipv6": b"0"}
_QUIET = ("ipv4/conf/all/send_redirects", "ipv4/conf/default/send_redirects")
_NO_REVERSE_PATH_CHECK = ("ipv4/conf/all/rp_filter", "ipv4/conf/default/rp_filter")
_BRIDGED_IP_RULES = ("bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables")
"""There where the module br_netfilter is loaded. Bridges with secured ports switch it on for themselves."""

MACHINE_SETTINGS: Mapping[str, bytes] = {
    **dict.fromkeys(_IPV6_OFF, b"1"),
    **dict.fromkeys((*_NO_REVERSE_PATH_CHECK, *_QUIET), b"0"),
}
"""Machines take chained packets, whose sources are behind other interfaces, and send no redirects about them."""

ROUTER_SETTINGS: Mapping[str, bytes] = {
    **MACHINE_SETTINGS,
    "ipv4/ip_forward": b"1",
    "ipv6/conf/all/forwarding": b"1",
    **dict.fromkeys(_BRIDGED_IP_RULES, b"0"),
}
"""PoPs and routers forward, too; bridged packets are not theirs to look at."""

_SIOCETHTOOL, _ETHTOOL_GLINK, _IFREQ_BYTES = 0x8946, 0x0000000A, 40
_ETHTOOL_STXCSUM = 0x00000017
_ETHERTYPE_ARP, _ARP_REQUEST = 0x0806, 1
_ETHERTYPE_IPV6, _ICMPV6, _NEIGHBOUR_ADVERTISEMENT, _OVERRIDE = 0x86DD, 58, 136, 0x20
_DESCRIPTORS = 2
_WAY_BACK = 16
_ALL_NODES = IPv6Address("ff02::1").packed


class Netspace:
    """A network namespace held by this process alone.

    Args:
        name: for error messages.
        descriptor: of the namespace; owned.

    `closed_with_it` is what others have open here, by their name: called at the end, as it would keep the namespace.
    """

    def __init__(self, name: str, descriptor: int, route: NetlinkSocket) -> None:
        self.name = name
        self.descriptor = descriptor
        self._route = route
        self._packets: socket.socket | None = None
        self.closed_with_it: dict[str, Callable[[], None]] = {}

    @property
    def path(self) -> str:
        """A path by which any process of this pid namespace can open the namespace."""
        return f"/proc/{os.getpid()}/fd/{self.descriptor}"

    @property
    def inspects_bridged(self) -> bool:
        """Whether bridges here can show the IP layer what they forward: the module br_netfilter is loaded."""
        with self.entered():
            return settings.exist(_BRIDGED_IP_RULES)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Run a block with the calling thread in the namespace.

        Raises:
            PermanentError: there is no file descriptor left to come back by.
        """
        with ExitStack() as inside:
            try:
                inside.enter_context(namespaces.inside(self.descriptor))
            except OSError as error:
                raise failed(self.name, error) from error
            yield

    def enable_ipv6(self, ifnames: Iterable[str], *, forwarding: bool = False) -> None:
        """Switch IPv6 on for some interfaces; it is off in new namespaces, for speed.

        Addresses work at once, and routes come from us alone, so nothing is probed and nothing is learned.
        """
        wanted = {"ipv6/conf/all/forwarding": b"1"} if forwarding else {}
        for ifname in ifnames:
            wanted.update({f"ipv6/conf/{ifname}/{name}": value for name, value in _IPV6_ON.items()})
        self._set(wanted)

    def disable_ipv6(self, ifnames: Iterable[str]) -> None:
        """Switch IPv6 off again at interfaces, some of which may be gone; its addresses, routes and neighbours go."""
        self._set({f"ipv6/conf/{ifname}/disable_ipv6": b"1" for ifname in ifnames})

    def answer_for_others(self, ifname: str, *, wanted: bool) -> None:
        """Answer ARP requests on an interface, and at once, for addresses that are reached over other interfaces."""
        answers = b"1" if wanted else b"0"
        self._set({f"ipv4/neigh/{ifname}/proxy_delay": b"0", f"ipv4/conf/{ifname}/proxy_arp": answers})

    def _set(self, wanted: Mapping[str, bytes]) -> None:
        """Change settings of the namespace, given as paths below /proc/sys/net.

        Raises:
            PermanentError: the kernel refused.
        """
        with self.entered():
            try:
                settings.write(wanted)
            except OSError as error:
                raise failed(self.name, error) from error

    def apply(self, wanted: Sequence[Request]) -> None:
        """Do requests in order.

        Raises:
            PermanentError: the kernel refused one; tells which and why.
            Unsupported: the kernel does not know what was asked for.
        """
        try:
            self._route.apply(wanted)
        except NetlinkError as error:
            raise explain(self.name, error) from error
        except OSError as error:
            raise failed(self.name, error) from error

    def statistics(self) -> Mapping[int, tuple[int, ...]]:
        """Counters by interface index, as in `requests.read_statistics`."""
        return dict(requests.read_statistics(payload) for payload in self._route.dump(*requests.statistics_query()))

    def queue_drops(self) -> Mapping[int, int]:
        """Frames that the queues of interfaces have lost, by index; those without losses are left out."""
        found = (requests.read_queue_drops(payload) for payload in self._route.dump(*requests.queues_query()))
        return {index: drops for index, drops in found if drops}

    def synchronise(self, ifname: str) -> None:
        """Let an interface that has got its carrier pass packets now.

        The kernel does so in the background, up to a second later; asking for the link's state does it at once.
        """
        with suppress(OSError):  # a driver that does not tell has no carrier to wait for
            self._ethtool(ifname, _ETHTOOL_GLINK)

    def send_finished(self, ifname: str) -> None:
        """Have frames leave an interface as on a wire, with their checksums and in their sizes.

        Between kernels that share memory both are left for later; who reads the frames elsewhere cannot know.
        """
        self._ethtool(ifname, _ETHTOOL_STXCSUM)

    def stay_apart(self, ifname: str, *, forwarding: bool) -> None:
        """Answer no ARP on an interface without addresses for those elsewhere, and forward from it only if wanted."""
        wanted = b"1" if forwarding else b"0"
        self._set({f"ipv4/conf/{ifname}/arp_ignore": b"1", f"ipv4/conf/{ifname}/forwarding": wanted})

    def forward_from(self, ifnames: Iterable[str], *, wanted: bool) -> None:
        """Whether IPv4 packets that come in at interfaces are led on; what is bridged there is no matter of this."""
        self._set({f"ipv4/conf/{ifname}/forwarding": b"1" if wanted else b"0" for ifname in ifnames})

    def accept_own(self, ifname: str) -> None:
        """Take packets from an interface that have an address of the namespace itself as their source."""
        self._set({f"ipv4/conf/{ifname}/accept_local": b"1"})

    def announce(self, ifname: str, mac: str, address: Address) -> None:
        """Tell the neighbours on an interface who has an address now, so that they forget who had it before.

        Sent are a gratuitous ARP, or an unsolicited neighbour advertisement (RFC 4861, 7.2.6).
        """
        station = requests.mac_bytes(mac)
        frame = _gratuitous_arp(station, address) if address.version == 4 else _advertisement(station, address)
        with suppress(OSError, PermanentError):  # a courtesy: neighbours find out by themselves, only later
            if self._packets is None:
                with self.entered():
                    self._packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
            self._packets.sendto(frame, (ifname, 0))

    def _ethtool(self, ifname: str, command: int) -> None:
        """Ask an interface's driver for something, or set it to 0."""
        query = (ctypes.c_uint32 * 2)(command, 0)
        request = struct.pack("=16sQ", ifname.encode(), ctypes.addressof(query)).ljust(_IFREQ_BYTES, b"\0")
        fcntl.ioctl(self._route.fileno(), _SIOCETHTOOL, request)

    def close(self) -> None:
        """Let go of the namespace; it vanishes when no process is in it any more."""
        if self.descriptor < 0:
            return
        for close in tuple(self.closed_with_it.values()):
            close()
        self._route.close()
        if self._packets is not None:
            self._packets.close()
        os.close(self.descriptor)
        self.descriptor = -1


def _gratuitous_arp(station: bytes, address: Address) -> bytes:
    header = b"\xff" * 6 + station + _ETHERTYPE_ARP.to_bytes(2, "big")
    return header + bytes((0, 1, 8, 0, 6, 4, 0, _ARP_REQUEST)) + station + address.packed + bytes(6) + address.packed


def _advertisement(station: bytes, address: Address) -> bytes:
    message = struct.pack("!BBHB3x", _NEIGHBOUR_ADVERTISEMENT, 0, 0, _OVERRIDE) + address.packed
    message += bytes((2, 1)) + station
    pseudo = address.packed + _ALL_NODES + struct.pack("!I3xB", len(message), _ICMPV6) + message
    total = sum(struct.unpack(f"!{len(pseudo) // 2}H", pseudo))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    message = message[:2] + struct.pack("!H", ~total & 0xFFFF) + message[4:]
    header = b"\x33\x33\0\0\0\x01" + station + _ETHERTYPE_IPV6.to_bytes(2, "big")
    return header + struct.pack("!IHBB", 6 << 28, len(message), _ICMPV6, 255) + address.packed + _ALL_NODES + message


def create(names: Sequence[str], wanted: Mapping[str, bytes]) -> list[Netspace]:
    """Create namespaces with loopback up and these settings.

    Raises:
        QuotaExceeded: too many open files or namespaces.
        Unsupported: this process may not create namespaces.
        PermanentError: the kernel failed otherwise.
    """
    needed = _DESCRIPTORS * len(names)
    if names and not has_room(needed):
        raise QuotaExceeded(
            f"cannot create {len(names)} network namespaces: they take {needed} open files of the {limit()} that this "
            "process may have, and fewer are left",
            hint="raise the hard limit `nofile`, see limits.conf(5) and prlimit(1)",
        )
    made: list[Netspace] = []
    pending = iter(names)

    def settle(descriptor: int) -> None:
        try:
            settings.write(wanted)
            made.append(Netspace(next(pending), descriptor, NetlinkSocket()))
        except OSError:
            os.close(descriptor)
            raise
        made[-1].apply([requests.loopback_up()])

    try:
        namespaces.create(len(names), settle)
    except (OSError, PermanentError) as error:
        for netspace in made:
            netspace.close()
        raise _explain_creation(error, len(names)) from error
    return made


def apply_each(wanted: Iterable[tuple[Netspace, Request]]) -> None:
    """Do requests in several namespaces: one batch per namespace, order kept within each.

    Raises:
        PermanentError, Unsupported: as `Netspace.apply`, for the first namespace that failed; the others are done.
    """
    batches: dict[Netspace, list[Request]] = {}
    for netspace, request in wanted:
        batches.setdefault(netspace, []).append(request)
    failures: list[PermanentError | Unsupported] = []
    for netspace, batch in batches.items():
        try:
            netspace.apply(batch)
        except (PermanentError, Unsupported) as error:
            failures.append(error)
    if failures:
        raise failures[0]


def explain(where: str, error: NetlinkError) -> PermanentError | Unsupported:
    """Put the kernel's refusal into our own words."""
    if error.errno == errno.EOPNOTSUPP:
        return Unsupported(
            f"this kernel cannot make {error.subject} in `{where}`: {error.reason}",
            hint="`sonata doctor` tells which kernel modules are missing",
        )
    return PermanentError(
        f"the kernel refused {error.subject} in `{where}`: {error.reason}", call="rtnetlink", answer=str(error)
    )


def require_room(what: str) -> None:
    """Refuse what could not be taken back: it needs file descriptors for the way back, too.

    Raises:
        QuotaExceeded: hardly any is left.
    """
    if not has_room(_WAY_BACK):
        raise QuotaExceeded(
            f"{what} stays as it is: hardly one of the {limit()} files that this process may open is left",
            hint="raise the hard limit `nofile`, see limits.conf(5) and prlimit(1)",
        )


def failed(where: str, error: OSError) -> PermanentError:
    """What the machine did not let us do in a namespace, in our own words."""
    hint = "raise the hard limit `nofile`, see limits.conf(5) and prlimit(1)" if is_exhaustion(error) else ""
    return PermanentError(f"the machine does not let us work in `{where}`: {error}", hint=hint, answer=str(error))


def _explain_creation(error: OSError | PermanentError, count: int) -> Exception:
    if isinstance(error, PermanentError):
        return error
    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EUSERS):
        return QuotaExceeded(
            f"cannot create {count} network namespaces: {error}",
            hint="each takes two open files: raise the hard limit `nofile`, or user.max_net_namespaces",
        )
    if error.errno in (errno.EPERM, errno.EACCES):
        return Unsupported(
            f"this process may not create network namespaces: {error}",
            hint="run as root, or let the emulation run in a user namespace",
        )
    return PermanentError(f"cannot create network namespaces: {error}", call="unshare", answer=str(error))
