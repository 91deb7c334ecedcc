"""Run benchmarks one after another and print their results as one JSON document."""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys

NAMES = (
    "vnf_start",
    "first_packet",
    "pop_start",
    "emulations",
    "mininet_topologies",
    "chain",
    "service",
    "servers_detail",
    "memory",
    "many_pops",
    "week",
)


def main() -> None:
    wanted = sys.argv[1:] or list(NAMES)
    results: dict[str, object] = {
        "machine": {"kernel": platform.release(), "cpus": os.cpu_count(), "load": os.getloadavg()}
    }
    try:
        for name in wanted:
            print(f"running {name}", file=sys.stderr)
            results[name] = importlib.import_module(f"benchmarks.{name}").run()
    finally:
        # What was measured before one of them failed is not lost.
        json.dump(results, sys.stdout, indent=2)
        print()


main()
