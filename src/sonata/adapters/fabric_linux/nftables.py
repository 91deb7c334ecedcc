"""Rule sets of nftables, loaded as one transaction each.

The library is used where it can be loaded, without starting a process; else the program `nft`.
Both speak to the namespace in which the calling thread is.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import socket
import subprocess
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from sonata._lib.descriptors import has_room
from sonata._lib.values import dataclass
from sonata.adapters.fabric_linux.netspace import Netspace, failed
from sonata.errors import PermanentError, Unsupported

logger = logging.getLogger(__name__)

MOST_CONTEXTS = 4
"""Contexts that stay open; each takes more than half a mebibyte."""
_LIBRARY = "libnftables.so.1"
_TIMEOUT_S = 10.0
_SEATS, _SELECTABLE = 64, 1000
_LEAST = 16
"""Descriptors without which the library is not asked for anything."""
_CLOSERS = 16
_NETLINK_NETFILTER = 12

Load = Callable[[Netspace, str], str]
"""Loads a rule set in a namespace that was entered, and returns what went wrong, empty if nothing did."""


class Nftables:
    """Loads rule sets into namespaces."""

    def __init__(self) -> None:
        library = _library()
        self._load: Load = _Contexts(library).load if library else _by_program

    def load(self, netspace: Netspace, rules: str) -> None:
        """Load rules in a namespace: all of them or none.

        Raises:
            PermanentError: nftables refused; the answer tells where.
            Unsupported: neither library nor program is installed.
        """
        with netspace.entered():
            try:
                answer = self._load(netspace, rules)
            except OSError as error:
                raise failed(netspace.name, error) from error
        if answer:
            raise PermanentError(
                f"nftables refused the rules of `{netspace.name}`: {answer.splitlines()[0]}",
                hint="`sonata doctor` tells which kernel modules are missing",
                call="nft -f",
                answer=answer,
            )


class _Seats:
    """Low descriptor numbers kept for the library: it waits by select(2), which ends a process at numbers from 1024 on.

    Other threads open descriptors at any moment; so many seats are given up at once that some are left for us.
    """

    def __init__(self) -> None:
        self._taken: list[int] = []
        self.fill()

    @contextmanager
    def vacated(self) -> Iterator[int | None]:
        """Leave the seats to what is opened now; the lowest of them, None where there are none."""
        had, self._taken = self._taken, []
        for descriptor in had:
            os.close(descriptor)
        try:
            yield min(had, default=None)
        finally:
            self.fill()

    @contextmanager
    def enough(self) -> Iterator[None]:
        """The time in which the library works: it ends the process where it cannot open a socket.

        Raises:
            OSError: there are too few descriptors even without the seats.
        """
        if has_room(_SEATS):
            yield
            return
        with self.vacated():
            if not has_room(_LEAST):
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            yield

    def fill(self) -> None:
        """Take seats that are free again."""
        while len(self._taken) < _SEATS:
            try:
                descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:  # there are no more at the time
                return
            if descriptor >= _SELECTABLE:
                os.close(descriptor)
                return
            self._taken.append(descriptor)


@dataclass(frozen=True, slots=True)
class _Context:
    """A context of the library, and the descriptor of its socket, -1 where that is not known."""

    pointer: int
    descriptor: int


class _Contexts:
    """The library's contexts: each holds a netlink socket, so it belongs to one namespace.

    New rules hold when the load returns, but closing the socket waits until the kernel has done away with what they
    replaced: a grace period of its readers, 15 ms. Who changes rules does so again soon, so the contexts of the
    namespaces that were used last stay open, and are closed together with them. The wait itself is left to a thread,
    which holds the socket beyond the context; the library must not be used by two threads at once.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._seats = _Seats()
        self._closing = ThreadPoolExecutor(_CLOSERS, thread_name_prefix="nftables")
        self._open: OrderedDict[Netspace, _Context] = OrderedDict()

    def load(self, netspace: Netspace, rules: str) -> str:
        """See `Load`."""
        with self._seats.enough():
            if netspace not in self._open and not self._opened(netspace):
                return _by_program(netspace, rules)
            self._open.move_to_end(netspace)
            pointer = self._open[netspace].pointer
            refused = self._library.nft_run_cmd_from_buffer(pointer, rules.encode())
            return _words(self._library.nft_ctx_get_error_buffer(pointer)) if refused else ""

    def _opened(self, netspace: Netspace) -> bool:
        """Make a context in a namespace that was entered, unless there is no seat for it."""
        with self._seats.vacated() as seat:
            if seat is None:
                return False
            pointer = self._library.nft_ctx_new(0)
            descriptor = seat if _is_netfilter_socket(seat) else -1
        self._library.nft_ctx_buffer_error(pointer)
        self._open[netspace] = _Context(pointer, descriptor)
        netspace.closed_with_it["nftables"] = lambda: self._close(netspace)
        if len(self._open) > MOST_CONTEXTS:
            self._close(next(iter(self._open)))
        return True

    def _close(self, netspace: Netspace) -> None:
        netspace.closed_with_it.pop("nftables")
        context = self._open.pop(netspace)
        held = _second(context.descriptor)
        self._library.nft_ctx_free(context.pointer)
        self._seats.fill()
        if held >= 0:
            self._closing.submit(os.close, held)


def _second(descriptor: int) -> int:
    """Another descriptor of the same socket; -1 where there is none, or no room for it."""
    try:
        return os.dup(descriptor)
    except OSError:
        return -1


def _is_netfilter_socket(descriptor: int) -> bool:
    try:
        with socket.socket(fileno=os.dup(descriptor)) as one:
            return one.family == socket.AF_NETLINK and one.proto == _NETLINK_NETFILTER
    except OSError:
        return False


def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError:
        logger.info("libnftables is not installed; starting nft for each change")
        return None
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
    for name in ("nft_ctx_free", "nft_ctx_buffer_error", "nft_ctx_get_error_buffer"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    return library


def _by_program(_netspace: Netspace, rules: str) -> str:
    try:
        result = subprocess.run(
            ["nft", "-f", "-"], input=rules, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except FileNotFoundError as error:
        raise Unsupported(
            "nftables is not installed: chains and routers need it", hint="install the package `nftables`"
        ) from error
    return _words(result.stderr.encode()) if result.returncode else ""


def _words(answer: bytes | None) -> str:
    return (answer or b"").decode(errors="replace").strip() or "no reason given"
