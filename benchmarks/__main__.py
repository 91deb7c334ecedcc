"""Run benchmarks one after another and print their results as one JSON document, also when they are ended early."""

from __future__ import annotations

import importlib
import json
import os
import platform
import signal
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
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # to end what it has begun, as after Ctrl-C
    results: dict[str, object] = {
        "machine": {"kernel": platform.release(), "cpus": os.cpu_count(), "load": os.getloadavg()}
    }
    try:
        for name in wanted:
            print(f"running {name}", file=sys.stderr)
            results[name] = found = importlib.import_module(f"benchmarks.{name}").run()
            if found.get("interrupted"):
                break
    except KeyboardInterrupt:
        results["interrupted"] = True
    finally:
        # What was measured before one of them failed is not lost.
        json.dump(results, sys.stdout, indent=2)
        print()


main()
