"""How long a line of PoPs with two idle machines each takes to come up and to go down.

Run as `python -m benchmarks.pop_start`. Up means that a packet of the first PoP's machine has reached the last PoP's.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

from sonata.adapters.fabric_linux import LinuxFabric
from sonata.ports.fabric import EXTERNAL, LinkSpec, NetworkSpec, PopSpec, PortSpec

SIZES = (16, 128)
REPETITIONS = 3
SETTLE_S = 8.0  # the kernel reclaims namespaces in the background; the next run must not wait for it


def external(pop: int, host: int = 1) -> IPv4Interface:
    return IPv4Interface((int(IPv4Address("100.64.0.0")) + 256 * pop + host, 24))


def link_address(link: int, side: int) -> IPv4Interface:
    return IPv4Interface((int(IPv4Address("198.18.0.0")) + 2 * link + side, 31))


def routes(pop: int, networks: Sequence[IPv4Network]) -> dict[IPv4Network, IPv4Address]:
    left, right = link_address(pop - 1, 0).ip, link_address(pop, 1).ip
    return {network: left if other < pop else right for other, network in enumerate(networks) if other != pop}


def port(pop: int, number: int) -> PortSpec:
    """The first machine is on the external network, so that PoPs can be reached; the second on the tenant's."""
    machine, mac = f"p{pop}m{number}", f"02:00:00:{number:02x}:{pop >> 8:02x}:{pop & 255:02x}"
    if number == 0:
        address, gateway, network = external(pop, 10), external(pop).ip, EXTERNAL
    else:
        address, gateway, network = IPv4Interface("10.0.0.10/24"), IPv4Address("10.0.0.1"), "net"
    return PortSpec(f"{machine}-eth0", f"p{pop}", network, machine, "eth0", mac, (address,), gateway)


def build(fabric: LinuxFabric, size: int) -> None:
    pops = range(size)
    networks = [external(i).network for i in pops]
    fabric.underlay.add_pops([PopSpec(f"p{i}", external(i)) for i in pops])
    fabric.underlay.add_links(
        [LinkSpec(f"l{i}", f"p{i}", f"p{i + 1}", link_address(i, 0), link_address(i, 1)) for i in pops[:-1]]
    )
    for i in pops:
        fabric.underlay.set_routes(f"p{i}", routes(i, networks))
    fabric.networks.add_networks([NetworkSpec("net", f"p{i}") for i in pops])
    fabric.machines.add_machines([f"p{i}m{n}" for i in pops for n in (0, 1)])
    fabric.machines.add_ports([port(i, n) for i in pops for n in (0, 1)])


def reaches(fabric: LinuxFabric, size: int) -> bool:
    # A line of more PoPs than the usual time to live is walked as far as packets live.
    last = min(size - 1, 60)
    namespace = f"--net={fabric.machines.netns_path('p0m0')}"
    ping = ["ping", "-c1", "-W3", "-i0.2", str(external(last, 10).ip)]
    return subprocess.run(["nsenter", namespace, *ping], capture_output=True, check=False).returncode == 0


def measure(size: int) -> dict[str, Any]:
    start = time.monotonic()
    fabric = LinuxFabric()
    try:
        build(fabric, size)
        built = time.monotonic()
        reached = reaches(fabric, size)
        answered = time.monotonic()
    finally:
        closing = time.monotonic()
        fabric.close()
    return {
        "built_s": built - start,
        "up_s": answered - start,
        "down_s": time.monotonic() - closing,
        "reached": reached,
    }


def mininet(size: int) -> dict[str, Any]:
    """The same line in Mininet, in a network namespace of its own; one sample, since it is slow."""
    if not shutil.which("mn"):
        return {"absent": "mininet is not installed"}
    script = Path(__file__).with_name("mininet_line.py")
    command = ["unshare", "--net", "--mount", "/usr/bin/python3", str(script), str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"failed": done.stderr.strip()[-300:]}
    figures: dict[str, Any] = json.loads(done.stdout)
    time.sleep(SETTLE_S)
    return figures


def run() -> dict[str, Any]:
    """Measure all sizes; medians in seconds."""
    results = {}
    for size in SIZES:
        samples = []
        for _ in range(REPETITIONS):
            samples.append(measure(size))
            time.sleep(SETTLE_S)
        medians = {key: round(statistics.median(s[key] for s in samples), 4) for key in ("built_s", "up_s", "down_s")}
        results[str(size)] = {**medians, "reached": all(s["reached"] for s in samples), "samples": len(samples)}
        results[str(size)]["mininet"] = mininet(size)
    return {"benchmark": "pop_start", "machines_per_pop": 2, "pops": results}


if __name__ == "__main__":
    json.dump(run(), sys.stdout, indent=2)
    print()
