"""Rule sets of nftables, loaded as one transaction each.

The library is used where it can be loaded, without starting a process; else the program `nft`.
Both speak to the namespace in which the calling thread is.
"""

from __future__ import annotations

import ctypes
import logging
import subprocess
from collections.abc import Callable

from sonata.adapters.fabric_linux.netspace import Netspace
from sonata.errors import PermanentError, Unsupported

logger = logging.getLogger(__name__)

_LIBRARY = "libnftables.so.1"
_TIMEOUT_S = 10.0

Load = Callable[[str], str]
"""Loads a rule set in the current namespace and returns what went wrong, empty if nothing did."""


class Nftables:
    """Loads rule sets into namespaces."""

    def __init__(self) -> None:
        self._load = _from_library() or _by_program

    def load(self, netspace: Netspace, rules: str) -> None:
        """Load rules in a namespace: all of them or none.

        Raises:
            PermanentError: nftables refused; the answer tells where.
            Unsupported: neither library nor program is installed.
        """
        with netspace.entered():
            answer = self._load(rules)
        if answer:
            raise PermanentError(
                f"nftables refused the rules of `{netspace.name}`: {answer.splitlines()[0]}",
                hint="`sonata doctor` tells which kernel modules are missing",
                call="nft -f",
                answer=answer,
            )


def _from_library() -> Load | None:
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

    def load(rules: str) -> str:
        # A context holds a netlink socket, so it belongs to one namespace.
        context = library.nft_ctx_new(0)
        try:
            library.nft_ctx_buffer_error(context)
            failed = library.nft_run_cmd_from_buffer(context, rules.encode())
            return _words(library.nft_ctx_get_error_buffer(context)) if failed else ""
        finally:
            library.nft_ctx_free(context)

    return load


def _by_program(rules: str) -> str:
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
