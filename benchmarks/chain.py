"""Two functions in a chain, inside one PoP and over two: ours beside the same path built by hand.

By hand means: the same machines, functions (which forward by leg) and router in a row, joined by plain bridges and veth
pairs, and over two PoPs by a VXLAN, all made with `ip`. No rule steers anything there; the row itself is the path. Both
are measured in turns in one run, as are the other chain renderers. Run as `python -m benchmarks.chain`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from sonata._lib import namespaces
from sonata.adapters.fabric_linux import LinuxFabric
from sonata.adapters.fabric_linux.renderers import candidates
from sonata.ports.fabric import (
    EXTERNAL,
    ChainSpec,
    Classifier,
    Hop,
    HopPort,
    LinkSpec,
    NetworkSpec,
    PopSpec,
    PortSpec,
    RouterInterface,
    RouterSpec,
    SpanSpec,
)

ROUNDS = 5
SECONDS = 2
OTHERS = ("routed", "srv6", "nsh")
PINGS = 300

Run = Callable[..., subprocess.CompletedProcess[str]]


class Ours:
    """The chain as the fabric makes it."""

    def __init__(self, pops: int, renderer: str = "steering") -> None:
        self.fabric = LinuxFabric(renderer)
        self._macs = 0
        last = pops - 1
        self.fabric.underlay.add_pops([PopSpec(f"p{i}", IPv4Interface(f"100.64.{i}.1/24")) for i in range(pops)])
        if pops > 1:
            self._join()
        self._network("n1", 0)
        self._network("n2", 0)
        self._network("n3", last)
        if pops > 1:
            self._network("n2", 1)
        self._router(0, "n1", "n2", *(() if last else ("n3",)))
        if pops > 1:
            self._router(1, "n3")
        self._endpoint("user", 0, 10)
        self.target = self._endpoint("origin", last, 11)
        self._chain(self._function("fw", 0, "n1", "n2", 11), self._function("dpi", last, "n2", "n3", 12))

    def run(self, machine: str, *argv: str) -> subprocess.CompletedProcess[str]:
        return run_inside(self.fabric.machines.netns_path(machine), *argv)

    def close(self) -> None:
        self.fabric.close()

    def _mac(self) -> str:
        self._macs += 1
        return f"02:00:00:00:00:{self._macs:02x}"

    def _join(self) -> None:
        left, right = IPv4Interface("198.18.0.0/31"), IPv4Interface("198.18.0.1/31")
        self.fabric.underlay.add_links([LinkSpec("l", "p0", "p1", left, right)])
        self.fabric.underlay.set_routes("p0", {IPv4Network("100.64.1.0/24"): right.ip})
        self.fabric.underlay.set_routes("p1", {IPv4Network("100.64.0.0/24"): left.ip})

    def _network(self, name: str, pop: int) -> None:
        self.fabric.networks.add_networks([NetworkSpec(name, f"p{pop}")])

    def _router(self, pop: int, *networks: str) -> None:
        legs = tuple(
            RouterInterface(f"leg{name}", name, IPv4Interface(f"10.{name[1]}.0.1/24"), self._mac()) for name in networks
        )
        outside = IPv4Interface(f"100.64.{pop}.200/24")
        gateway = IPv4Address(f"100.64.{pop}.1")
        self.fabric.networks.set_router(RouterSpec(f"r{pop}", f"p{pop}", legs, outside, self._mac(), gateway))

    def _plug(self, machine: str, ifname: str, pop: int, network: str, address: str, gateway: str) -> PortSpec:
        addresses = (IPv4Interface(address),)
        spec = PortSpec(
            f"{machine}-{ifname}", f"p{pop}", network, machine, ifname, self._mac(), addresses, IPv4Address(gateway)
        )
        self.fabric.machines.add_machines([machine])
        self.fabric.machines.add_ports([spec])
        return spec

    def _endpoint(self, name: str, pop: int, number: int) -> str:
        self._plug(name, "eth0", pop, EXTERNAL, f"100.64.{pop}.{number}/24", f"100.64.{pop}.1")
        return f"100.64.{pop}.{number}"

    def _function(self, name: str, pop: int, left: str, right: str, number: int) -> list[PortSpec]:
        legs = [
            self._plug(name, f"eth{i}", pop, net, f"10.{net[1]}.0.{number}/24", f"10.{net[1]}.0.1")
            for i, net in enumerate((left, right))
        ]
        forward(lambda *argv: self.run(name, *argv))
        for preference, (come, table) in enumerate((("eth0", "1001"), ("eth1", "1000")), 100):
            self.run(name, "ip", "rule", "add", "pref", str(preference), "iif", come, "lookup", table)
        return legs

    def _chain(self, first: list[PortSpec], second: list[PortSpec]) -> None:
        wanted = Classifier(source=IPv4Network("100.64.0.10"), destination=IPv4Network(self.target))
        both = [first, second]
        if first[0].pop == second[0].pop:
            self.fabric.steering.set_chain(ChainSpec("c", "p0", (wanted,), tuple(hop(legs, "p0") for legs in both)))
            return
        members = {"p0": "n2", "p1": "n2"}
        stations = {"p0": (first[1].mac,), "p1": (second[0].mac,)}
        self.fabric.networks.set_span(SpanSpec("s", 77, members, stations))
        for pop in ("p0", "p1"):
            hops = tuple(hop(legs, pop) for legs in both)
            self.fabric.steering.set_chain(ChainSpec(f"c{pop}", pop, (wanted,), hops))


def hop(legs: list[PortSpec], pop: str) -> Hop:
    come, leave = (HopPort(leg.mac, leg.network, leg.id if leg.pop == pop else "") for leg in legs)
    return Hop(come, leave)


def forward(run: Run) -> None:
    run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0")


class ByHand:
    """user - fw - dpi - router - origin in a row, a bridge between neighbours; the second may be two with a tunnel."""

    ROW = ("user", "fw", "dpi", "router", "origin")

    def __init__(self, pops: int) -> None:
        self.target = "10.4.0.2"
        sites = [f"site{i}" for i in range(pops)]
        names = [*self.ROW, *sites]
        self._namespaces = dict(zip(names, namespaces.create(len(names), lambda fd: fd), strict=True))
        for site in sites:
            self._ip(site, "link set lo up")
        for number, (left, right) in enumerate(zip(self.ROW, self.ROW[1:], strict=False), 1):
            far = pops > 1 and number == 2
            self._bridge(number, left, right, sites[0 if number < 3 or pops == 1 else 1], sites[-1] if far else "")
        if pops > 1:
            self._tunnel(*sites)
        for position, name in enumerate(self.ROW):
            forward(lambda *argv, name=name: self.run(name, *argv))
            self._routes(position, name)

    def run(self, machine: str, *argv: str) -> subprocess.CompletedProcess[str]:
        return run_inside(self._path(machine), *argv)

    def close(self) -> None:
        for descriptor in self._namespaces.values():
            os.close(descriptor)

    def _path(self, name: str) -> str:
        return f"/proc/{os.getpid()}/fd/{self._namespaces[name]}"

    def _ip(self, name: str, *commands: str) -> None:
        subprocess.run(
            ["nsenter", f"--net={self._path(name)}", "ip", "-batch", "-"],
            input="\n".join(commands),
            text=True,
            check=True,
        )

    def _bridge(self, number: int, left: str, right: str, site: str, far_site: str) -> None:
        for where in filter(None, (site, far_site)):
            self._ip(where, f"link add br{number} type bridge forward_delay 0", f"link set br{number} up")
        for side, (machine, where) in enumerate(((left, site), (right, far_site or site)), 1):
            peer = f"n{number}"
            self._ip(
                where,
                f"link add v{number}{side} type veth peer name {peer} netns {self._path(machine)}",
                f"link set v{number}{side} master br{number} up",
            )
            self._ip(machine, "link set lo up", f"addr add 10.{number}.0.{side}/24 dev {peer}", f"link set {peer} up")

    def _tunnel(self, near: str, far: str) -> None:
        self._ip(near, f"link add wan mtu 1600 type veth peer name wan mtu 1600 netns {self._path(far)}")
        for side, site in enumerate((near, far), 1):
            self._ip(
                site,
                f"addr add 192.0.2.{side}/24 dev wan",
                "link set wan up",
                f"link add x type vxlan id 9 local 192.0.2.{side} remote 192.0.2.{3 - side} dstport 4789 nolearning",
                "link set x mtu 1500 master br2 up",
            )

    def _routes(self, position: int, name: str) -> None:
        if position < len(self.ROW) - 1:
            self._ip(name, f"route add default via 10.{position + 1}.0.2")
        for network in range(1, position):
            self._ip(name, f"route add 10.{network}.0.0/24 via 10.{position}.0.1")
        if name in ("fw", "dpi"):
            self._ip(
                name,
                f"route add default via 10.{position}.0.1 table 1000",
                f"route add default via 10.{position + 1}.0.2 table 1001",
                f"rule add pref 100 iif n{position} lookup 1001",
                f"rule add pref 101 iif n{position + 1} lookup 1000",
            )


def run_inside(path: str, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["nsenter", f"--net={path}", *argv], capture_output=True, text=True, check=False)


def round_trip_ms(chain: Ours | ByHand) -> float:
    answer = chain.run("user", "ping", "-n", "-q", f"-c{PINGS}", "-i0.002", chain.target).stdout
    found = re.search(r"= [\d.]+/([\d.]+)/", answer)
    if not found:
        raise RuntimeError(f"no answer through the chain: {answer}")
    return float(found[1])


def gigabits(chain: Ours | ByHand) -> float | None:
    if not shutil.which("iperf3"):
        return None
    chain.run("origin", "iperf3", "-s", "-1", "-D")
    for _ in range(50):
        result = json.loads(chain.run("user", "iperf3", "-J", "-t", str(SECONDS), "-c", chain.target).stdout)
        if "sum_received" in result["end"]:
            return float(result["end"]["sum_received"]["bits_per_second"]) / 1e9
        time.sleep(0.05)
    raise RuntimeError(f"iperf3: {result.get('error')}")


def compare(pops: int) -> dict[str, Any]:
    ours, hand = Ours(pops), ByHand(pops)
    others = {one.name: Ours(pops, one.name) for one in candidates() if one.name in OTHERS and not one.why_not}
    chains: dict[str, Ours | ByHand] = {"ours": ours, "by_hand": hand, **others}
    samples: dict[str, list[float]] = {}
    try:
        for _ in range(ROUNDS):
            for name, chain in chains.items():
                samples.setdefault(f"{name}_rtt_ms", []).append(round_trip_ms(chain))
                if (rate := gigabits(chain)) is not None:
                    samples.setdefault(f"{name}_gbit_s", []).append(rate)
    finally:
        for chain in chains.values():
            chain.close()
    result: dict[str, Any] = {name: round(statistics.median(values), 4) for name, values in samples.items()}
    result["rtt_ratio"] = round(result["ours_rtt_ms"] / result["by_hand_rtt_ms"], 3)
    if "ours_gbit_s" in result:
        result["throughput_ratio"] = round(result["ours_gbit_s"] / result["by_hand_gbit_s"], 3)
    else:
        result["throughput"] = "not measured: iperf3 is not installed"
    return result


def run() -> dict[str, Any]:
    """Measure both chains; medians."""
    return {
        "benchmark": "chain",
        "functions": 2,
        "rounds": ROUNDS,
        "inside_a_pop": compare(1),
        "over_two_pops": compare(2),
    }


if __name__ == "__main__":
    json.dump(run(), sys.stdout, indent=2)
    print()
