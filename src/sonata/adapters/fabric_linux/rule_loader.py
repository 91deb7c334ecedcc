"""The process that loads rule sets with libnftables, which ends its process over what it has not foreseen.

It waits by select(2), for which descriptors from 1024 on are the end, and gives up where it cannot open a socket; here
are few descriptors, and what holds the namespaces is not here. Run as a program by `nftables`, never imported for its
loop. It needs the standard library alone, so that it starts in a few milliseconds. Its one argument is the descriptor
of a SOCK_SEQPACKET socket over which it gets its orders as JSON; it ends when that socket is closed.

Orders (each is answered by `{"ok": true, ...}` or `{"ok": false, "error": ...}`):
    {"do": "load", "space": id, "leave": [ids]}
        two descriptors, the namespace and a file of rules; first leaves other namespaces. Answers `refused`, why
        nftables has changed nothing, empty where it did, and `library`, whether there is one.
    {"do": "leave", "spaces": [ids]}        close what is open in namespaces

New rules hold when a load is answered, but closing the socket waits until the kernel has done away with what they
replaced: a grace period of its readers, 15 ms. Who changes rules does so again soon, so contexts stay open until they
are to be left, and the wait is left to a thread.
"""

from __future__ import annotations

import _thread
import ctypes
import gc
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import Any, NamedTuple

LIBRARY = "libnftables.so.1"

_PR_SET_PDEATHSIG = 1
_CLONE_NEWNET = 0x40000000
_NETLINK_NETFILTER = 12
_MAX_MESSAGE_BYTES, _MAX_ANSWER_BYTES = 160_000, 20_000

_libc = ctypes.CDLL(None, use_errno=True)


class Context(NamedTuple):
    """A context of the library, and the descriptor of its socket, -1 where that is not known."""

    pointer: int
    descriptor: int


class Loader:
    """The library with its contexts: each holds a netlink socket, so it belongs to one namespace.

    Args:
        library: as `installed` has it.
        home: a descriptor of the namespace to be in meanwhile: who stays in another one keeps it alive.
    """

    def __init__(self, library: ctypes.CDLL, home: int) -> None:
        self._library = library
        self._home = home
        self._contexts: dict[int, Context] = {}

    def obey(self, order: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
        """Carry out an order."""
        if order["do"] == "leave":
            self._leave(order["spaces"])
            return {}
        self._leave(order["leave"])
        namespace, rules = descriptors
        with open(rules, "rb", closefd=False) as file:
            file.seek(0)
            text = file.read()
        _enter(namespace)
        try:
            return {"library": True, "refused": self._load(order["space"], text)}
        finally:
            _enter(self._home)

    def _load(self, space: int, rules: bytes) -> str:
        if space not in self._contexts:
            self._contexts[space] = _opened(self._library)
        pointer = self._contexts[space].pointer
        if not self._library.nft_run_cmd_from_buffer(pointer, rules):
            return ""
        answer: bytes = self._library.nft_ctx_get_error_buffer(pointer) or b""
        return answer[:_MAX_ANSWER_BYTES].decode(errors="replace").strip() or "no reason given"

    def _leave(self, spaces: list[int]) -> None:
        for context in [self._contexts.pop(space) for space in spaces if space in self._contexts]:
            held = os.dup(context.descriptor) if context.descriptor >= 0 else -1
            self._library.nft_ctx_free(context.pointer)
            if held >= 0:
                _thread.start_new_thread(os.close, (held,))


def _opened(library: ctypes.CDLL) -> Context:
    """Make a context where we are."""
    descriptor = os.dup(0)  # the lowest that is free, which a socket gets next
    os.close(descriptor)
    pointer = library.nft_ctx_new(0)
    library.nft_ctx_buffer_error(pointer)
    return Context(pointer, descriptor if _is_netfilter_socket(descriptor) else -1)


def _is_netfilter_socket(descriptor: int) -> bool:
    try:
        with socket.socket(fileno=os.dup(descriptor)) as one:
            return one.family == socket.AF_NETLINK and one.proto == _NETLINK_NETFILTER
    except OSError:
        return False


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def installed() -> ctypes.CDLL | None:
    """The library; None where there is none."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
    for name in ("nft_ctx_free", "nft_ctx_buffer_error", "nft_ctx_get_error_buffer"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    return library


def _answer(loader: Loader | None, message: bytes, descriptors: list[int]) -> dict[str, Any]:
    if loader is None:
        return {"ok": True, "library": False, "refused": ""}
    try:
        return {"ok": True, **loader.obey(json.loads(message), descriptors)}
    except OSError as error:
        return {"ok": False, "error": str(error)}


def main() -> None:
    """Load rules until nobody asks any more."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, whose end is ours
    gc.disable()  # nothing here goes in circles
    control = socket.socket(fileno=int(sys.argv[1]))
    library = installed()
    loader = Loader(library, os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)) if library else None
    with suppress(ConnectionError):
        while True:
            message, descriptors, _, _ = socket.recv_fds(control, _MAX_MESSAGE_BYTES, 2)
            if not message:
                return
            answer = _answer(loader, message, descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            control.send(json.dumps(answer).encode())


if __name__ == "__main__":
    main()
