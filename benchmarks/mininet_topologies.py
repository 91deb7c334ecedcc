"""Mininet's own topologies (single, linear, tree), in Mininet and as emulations: how long until they are usable.

Run as `python -m benchmarks.mininet_topologies`. Usable means that the first machine has got an answer from every
other one; the same command asks everywhere, all others at once, up to nine times each. Three ways in turn:

- `mininet`: namespaces, wires and Linux bridges; its import is not counted.
- `data_plane`: the same of ours: what forwards packets, made by the emulator's own code in this process.
- `emulation`: the whole of `sonata emu up`: a new process, an OpenStack for each PoP, APIs that answer.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.pop_start import external, link_address
from sonata.adapters.fabric_linux import LinuxFabric
from sonata.embedding import Emulator, Topology, shapes
from sonata.emulator.routing import Edge, Routing
from sonata.ports.fabric import EXTERNAL, LinkSpec, NetworkSpec, PopSpec, PortSpec

# Packets of ours are routed and live for 64 hops, which a line must not exceed.
SHAPES: tuple[tuple[str, tuple[int, ...]], ...] = (("single", (200,)), ("linear", (60,)), ("tree", (3, 6)))
REPETITIONS = 3
SETTLE_S = 5.0  # the kernel reclaims namespaces in the background; the next run must not wait for it
TRIES = "1 2 3 4 5 6 7 8 9"
CHECK = f"for a; do (for i in {TRIES}; do ping -c1 -W1 $a >/dev/null && echo reached && break; done) & done; wait"

ONE_ENDPOINT = shapes.Kit(endpoints_per_pop=1)
OURS: dict[str, Callable[..., Topology]] = {
    "single": lambda machines: shapes.single(kit=shapes.Kit(endpoints_per_pop=machines)),
    "linear": lambda pops: shapes.line(pops, name="linear", kit=ONE_ENDPOINT),
    "tree": lambda depth, fanout: shapes.tree(depth, fanout, kit=shapes.Kit(endpoints_per_pop=fanout)),
}


def emulation(shape: str, sizes: tuple[int, ...]) -> dict[str, Any]:
    """One start of an emulation."""
    topology = OURS[shape](*sizes)
    start = time.monotonic()
    emulator = Emulator(topology, name=f"bench-{shape}")
    running = emulator.start()
    built = time.monotonic()
    try:
        first, *others = running.machines()
        addresses = [other["addresses"][0] for other in others]
        said = running.exec(first["name"], ["sh", "-c", CHECK, "check", *addresses]).stdout
        usable = time.monotonic()
    finally:
        closing = time.monotonic()
        emulator.stop()
    return {
        "machines": len(others) + 1,
        "reached": said.count("reached"),
        "built_s": built - start,
        "usable_s": usable - start,
        "down_s": time.monotonic() - closing,
    }


def data_plane(shape: str, sizes: tuple[int, ...]) -> dict[str, Any]:
    """One start of the data plane alone."""
    topology = OURS[shape](*sizes)
    start = time.monotonic()
    fabric = LinuxFabric()
    try:
        first, *others = build(fabric, topology)
        built = time.monotonic()
        command = ["nsenter", f"--net={fabric.machines.netns_path(first)}", "sh", "-c", CHECK, "check"]
        addresses = [str(port.addresses[0].ip) for port in ports(topology)][1:]
        done = subprocess.run([*command, *addresses], capture_output=True, text=True, check=True)
        usable = time.monotonic()
    finally:
        closing = time.monotonic()
        fabric.close()
    return {
        "machines": len(others) + 1,
        "reached": done.stdout.count("reached"),
        "built_s": built - start,
        "usable_s": usable - start,
        "down_s": time.monotonic() - closing,
    }


def build(fabric: LinuxFabric, topology: Topology) -> list[str]:
    """PoPs, links, routes and machines of a topology; the names of the machines."""
    pops = {name: index for index, name in enumerate(topology.pops)}
    fabric.underlay.add_pops([PopSpec(name, external(index)) for name, index in pops.items()])
    fabric.underlay.add_links(
        [LinkSpec(each.name, each.a, each.b, link_address(i, 0), link_address(i, 1)) for i, each in links(topology)]
    )
    for name, routes in routes_of(topology, pops).items():
        fabric.underlay.set_routes(name, routes)
    fabric.networks.add_networks([NetworkSpec("net", name) for name in pops])
    wanted = list(ports(topology))
    fabric.machines.add_machines([port.machine for port in wanted])
    fabric.machines.add_ports(wanted)
    return [port.machine for port in wanted]


def links(topology: Topology) -> list[tuple[int, Any]]:
    return list(enumerate(topology.links))


def routes_of(topology: Topology, pops: Mapping[str, int]) -> dict[str, dict[IPv4Network, IPv4Address]]:
    """For each PoP the way to the external network of each other one."""
    routing = Routing(len(pops), [Edge(each.name, pops[each.a], pops[each.b], 0.0) for each in topology.links])
    towards = {}
    for index, link in links(topology):
        towards[pops[link.a], pops[link.b]] = link_address(index, 1).ip
        towards[pops[link.b], pops[link.a]] = link_address(index, 0).ip
    return {
        name: {
            external(target).network: towards[own, hop] for target, hop in enumerate(routing.next_hops(own)) if hop >= 0
        }
        for name, own in pops.items()
    }


def ports(topology: Topology) -> list[PortSpec]:
    """Endpoints are on the external network of their PoP, servers on its own network."""
    found: list[tuple[str, str, str, IPv4Interface, IPv4Address | None]] = []
    number = count(1)
    for pop, index in ((name, index) for index, name in enumerate(topology.pops)):
        there = [each for each in topology.endpoints.values() if each.attach == pop]
        for host, endpoint in enumerate(there, 10):
            found.append((endpoint.name, pop, EXTERNAL, external(index, host), external(index).ip))
        for host, seed in enumerate((each for each in topology.servers.values() if each.pop == pop), 2):
            found.append((seed.name, pop, "net", IPv4Interface(f"10.0.0.{host}/24"), None))
    return [
        PortSpec(f"{name}-eth0", pop, network, name, "eth0", _mac(next(number)), (address,), gateway)
        for name, pop, network, address, gateway in found
    ]


def _mac(number: int) -> str:
    return f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"


def mininet(shape: str, sizes: tuple[int, ...]) -> dict[str, Any]:
    """One start in Mininet, in a network namespace of its own."""
    script = Path(__file__).with_name("mininet_shapes.py")
    command = ["unshare", "--net", "--mount", "/usr/bin/python3", str(script), shape, ",".join(map(str, sizes)), CHECK]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def run() -> dict[str, Any]:
    """Measure all shapes, the three ways in turn; medians in seconds, and how many times faster ours are usable."""
    ways = {"data_plane": data_plane, "emulation": emulation}
    if shutil.which("mn"):
        ways["mininet"] = mininet
    results: dict[str, Any] = {}
    for shape, sizes in SHAPES:
        samples: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
        for _ in range(REPETITIONS):
            for way, measure in ways.items():
                samples[way].append(measure(shape, sizes))
                time.sleep(SETTLE_S)
        found: dict[str, Any] = {way: medians(each) for way, each in samples.items()}
        peer = found.setdefault("mininet", {"absent": "mininet is not installed"}).get("usable_s")
        if peer:
            found["times_faster"] = {
                way: round(peer / found[way]["usable_s"], 1) for way in ("data_plane", "emulation")
            }
        results[",".join([shape, *map(str, sizes)])] = found
    return {"benchmark": "mininet_topologies", "topologies": results}


def medians(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of times; of counts the least."""
    times = {key: round(statistics.median(each[key] for each in samples), 3) for key in samples[0] if key[-2:] == "_s"}
    counts = {key: min(each[key] for each in samples) for key in ("machines", "reached")}
    return {**counts, **times, "samples": len(samples)}


if __name__ == "__main__":
    json.dump(run(), sys.stdout, indent=2)
    print()
