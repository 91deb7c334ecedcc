"""Failures put into a fabric on purpose: whatever it asks of the kernel, nftables or a helper fails once."""

from __future__ import annotations

import errno
import os
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import psutil

import sonata.adapters.fabric_linux.netspace as netspace
import sonata.adapters.fabric_linux.settings as settings
import sonata.adapters.fabric_linux.tap as tap
from sonata._lib import namespaces
from sonata._lib.netlink import NetlinkError, NetlinkSocket, Request
from sonata.adapters.fabric_linux.helper_process import HelperProcess

from .conftest import World

NUMBER = errno.ENOMEM
REASON = os.strerror(NUMBER)


@dataclass
class Faults:
    """Counts the calls that a request makes, and lets one of them fail.

    Args:
        at: number of the one that fails, from 0 on; -1 for none.
        calls: what was called, in order.
        what: what the failed call was about, as an error should tell it.
    """

    at: int = -1
    calls: list[str] = field(default_factory=list)
    what: str = ""

    def strikes(self, kind: str, what: str) -> bool:
        """Whether this call fails."""
        self.calls.append(f"{kind} {what}")
        if len(self.calls) - 1 != self.at:
            return False
        self.what = what
        return True

    @contextmanager
    def put_in(self) -> Iterator[None]:
        """Have the calls of a block counted, or fail."""
        with ExitStack() as patched:
            for owner, name, replacement in self._replacements():
                usual = getattr(owner, name)
                patched.enter_context(patch.object(owner, name, replacement(usual)))
            yield

    def _replacements(self) -> list[tuple[Any, str, Callable[[Any], Any]]]:
        faults = self

        def apply(usual: Any) -> Any:
            return lambda this, wanted: faults._apply(partial(usual, this), wanted)

        def ask(usual: Any) -> Any:
            def asked(this: Any, order: Any, descriptors: Any = ()) -> Any:
                what = "nftables" if order["do"] == "load" else str(order["do"])
                if what != "leave" and faults.strikes("helper", what):
                    return {"ok": False, "error": REASON}
                return usual(this, order, descriptors)

            return asked

        return [
            (NetlinkSocket, "apply", apply),
            (HelperProcess, "ask", ask),
            (settings, "_overwrite", partial(faults._failing, "setting", what="")),
            (namespaces, "current", partial(faults._failing, "namespace", what="")),
            (netspace, "NetlinkSocket", partial(faults._failing, "socket", what="")),
            (tap, "fcntl", lambda usual: SimpleNamespace(ioctl=faults._failing("tap", usual.ioctl, what="wire end"))),
        ]

    def _failing(self, kind: str, usual: Any, what: str) -> Any:
        def called(*arguments: Any, **named: Any) -> Any:
            if self.strikes(kind, what):
                raise OSError(NUMBER, REASON)
            return usual(*arguments, **named)

        return called

    def _apply(self, usual: Callable[[Sequence[Request]], None], wanted: Sequence[Request]) -> None:
        """Requests of which one may be refused; the kernel does the others, as far as it can without that one."""
        struck = [request for request in wanted if self.strikes("netlink", request.subject)]
        try:
            usual([request for request in wanted if request not in struck])
        except NetlinkError:
            if not struck:
                raise
        for request in struck:
            raise NetlinkError(NUMBER, f"{request.subject} {request.about}".rstrip())


LOOK = r"""
printf 'addr show\nlink show\nneigh show nud permanent\n' | ip -o -batch -
for version in -4 -6; do printf 'route show table all\nrule\n' | ip $version -batch -; done
bridge fdb show | grep dst
shown='class show dev \1\nfilter show dev \1\nfilter show dev \1 parent ffff:'
ip -o link | sed -E "1i qdisc show
s/^[0-9]+: ([^:@]+).*/$shown/" | tc -force -batch -
nft -s list ruleset; cat /proc/sys/net/ipv4/conf/*/proxy_arp
"""


def looked(world: World) -> Counter[str]:
    """What stands in all namespaces of a fabric, but for numbers that are given out anew."""
    found: Counter[str] = Counter()
    for name, path in spaces(world).items():
        told = subprocess.run(
            ["nsenter", f"--net={path}", "sh", "-c", LOOK], capture_output=True, text=True, check=True
        )
        found.update(f"{name}: {plain(line)}" for line in told.stdout.splitlines() if not _LEFT_OUT.search(line))
    return found


def spaces(world: World) -> dict[str, str]:
    """Paths to the namespaces that this process holds, by what they are for."""
    fabric = world.fabric
    known = {f"pop {name}": pop.netspace.path for name, pop in fabric._world.pops.items()}
    known |= {f"machine {name}": machine.netspace.path for name, machine in fabric._world.machines.items()}
    known |= {name: router.netspace.path for name, router in fabric._routers._routers.items()}
    return known


def held(world: World) -> Counter[str]:
    """Descriptors of this process by their kind, without what is kept for the next time, and helpers that run."""
    kinds = (os.readlink(path) for path in descriptors())
    found = Counter(kind.partition(":")[0] for kind in kinds if kind.startswith(("net:", "/dev/net/tun")))
    found["helpers"] = len([one for one in psutil.Process().children() if one.status() != psutil.STATUS_ZOMBIE])
    return found


def descriptors() -> list[str]:
    """Those that stay open: the folder itself is open while it is read."""
    return [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")]


def plain(line: str) -> str:
    """A line about the kernel's state without what differs each time: indexes, counters, numbers in names."""
    for pattern, replacement in _VARYING:
        line = pattern.sub(replacement, line)
    return line.strip()


_LEFT_OUT = re.compile(r"\blo\b.* ::1/128|dev \S+ table local proto kernel metric")
"""IPv6 that was once switched on stays so, and the kernel keeps its own routes in the background."""

_VARYING = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^\d+: ", ""),
        (r"@\S+?:? ", "@ "),
        (r"<([A-Z_,-]+,)?UP(,[A-Z_,-]+)?>", "<UP>"),
        (r"<(?!UP>)[^>]*>", "<>"),
        (r"\b(state|group) \S+ ", ""),
        (r"link-netns\S* \S+", ""),
        (r"\b(?!02:00:0|0a:00:64:40|0a:01:(64:40|c6:12))([0-9a-f]{2}:){5}[0-9a-f]{2}\b", "MAC"),
        (r"\b(qdisc \S+|htb|parent) [0-9a-f]+:[0-9a-f]*", r"\1"),
        (r"0x[0-9a-f]+", "0x#"),
        (r"\bfwd to \d+", "fwd to #"),
        (r"\b(table|lookup) \d{1,3}\b", r"\1 #"),
        (r"(?<![\w:.-])(?!eth)([a-z]{1,3}|[a-z]+_[a-z]*)\d+\b", r"\1#"),
        (r" (linkdown|dead|offload)\b", ""),
    )
]
