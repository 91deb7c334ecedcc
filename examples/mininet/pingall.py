#!/usr/bin/env python3
"""`mn --topo SHAPE --test pingall`, on emulated sites: start, ping between all pairs, end.

sudo examples/mininet/pingall.py single,3
sudo examples/mininet/pingall.py linear,4
sudo examples/mininet/pingall.py tree,2,3
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from sonata.embedding import Emulator, RunningEmulation, Topology, shapes

SHAPES: dict[str, Callable[..., Topology]] = {
    "single": lambda hosts: shapes.single(kit=shapes.Kit(endpoints_per_pop=hosts)),
    "linear": lambda sites: shapes.line(sites, name="linear", kit=shapes.Kit(endpoints_per_pop=1)),
    "tree": lambda depth, fanout: shapes.tree(depth, fanout, kit=shapes.Kit(endpoints_per_pop=fanout)),
}


def ping_all(emulation: RunningEmulation) -> int:
    """Ping from each host to each other one; how many pings were lost."""
    addresses = {machine["name"]: machine["addresses"][0] for machine in emulation.machines()}
    lost = 0
    for host in addresses:
        others = [address for other, address in addresses.items() if other != host]
        one_each = 'for a; do ping -c1 -W2 "$a" >/dev/null || echo "$a"; done'
        missing = emulation.exec(host, ["sh", "-c", one_each, "ping", *others], check=True).stdout.split()
        print(host, "->", "all others" if not missing else f"not {', '.join(missing)}")
        lost += len(missing)
    return lost


def main() -> int:
    shape, *sizes = (sys.argv[1] if len(sys.argv) > 1 else "single,2").split(",")
    begin = time.monotonic()
    with Emulator(SHAPES[shape](*map(int, sizes)), name=f"mininet-{shape}") as emulation:
        print(f"{shape} with {len(emulation.machines())} hosts is up after {time.monotonic() - begin:.1f} s")
        lost = ping_all(emulation)
    print(f"{lost} pings lost")
    return int(lost > 0)


if __name__ == "__main__":
    sys.exit(main())
