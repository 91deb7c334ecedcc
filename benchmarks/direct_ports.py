"""Ports of the vNIC types `normal` and `direct` of one network: round trips of UDP, and what TCP carries.

Normal ports are measured with security groups (`secured`) and without. Two machines of each kind are in one PoP; the
kinds are measured in turns in one run. Run as `python -m benchmarks.direct_ports`.
"""

from __future__ import annotations

import json
import socket
import statistics
import sys
import threading
import time
from ipaddress import IPv4Interface, IPv4Network

from sonata._lib import namespaces
from sonata.adapters.fabric_linux import LinuxFabric
from sonata.ports.fabric import AllowedSource, FilterRule, NetworkSpec, PopSpec, PortFilter, PortSpec

KINDS = ("secured", "normal", "direct")
ROUNDS = 5
SECONDS = 1.0
PORT = 5201
BLOCK = bytes(1 << 17)


def build(fabric: LinuxFabric) -> None:
    """Two machines of each kind on one network, `.1` and `.2` of its own part."""
    fabric.underlay.add_pops([PopSpec("pop", IPv4Interface("100.64.0.1/24"))])
    fabric.networks.add_networks([NetworkSpec("net", "pop")])
    for part, kind in enumerate(KINDS):
        for number in (1, 2):
            name, mac = f"{kind}{number}", f"02:00:00:00:0{part}:0{number}"
            address = IPv4Interface(f"10.0.{part}.{number}/16")
            fabric.machines.add_machines([name])
            port = PortSpec(name, "pop", "net", name, "eth0", mac, (address,), direct=kind == "direct")
            fabric.machines.add_ports([port])
            if kind == "secured":
                source = AllowedSource(mac, IPv4Network(f"{address.ip}/32"))
                rules = FilterRule("egress"), FilterRule("ingress")
                fabric.filtering.set_filters("pop", [PortFilter(name, (source,), rules)], {})


def made_inside(fabric: LinuxFabric, machine: str, kind: int) -> socket.socket:
    """A socket in a machine."""
    with open(fabric.machines.netns_path(machine), "rb") as inside, namespaces.inside(inside.fileno()):
        made = socket.socket(socket.AF_INET, kind)
    made.settimeout(5)
    return made


def echo(server: socket.socket) -> None:
    """Send datagrams back until the socket is closed."""
    try:
        while True:
            data, sender = server.recvfrom(2048)
            server.sendto(data, sender)
    except OSError:
        return


def swallow(server: socket.socket) -> None:
    """Read all that one client sends."""
    client, _ = server.accept()
    with client:
        room = bytearray(len(BLOCK))
        while client.recv_into(room):
            pass


def round_trip_us(fabric: LinuxFabric, kind: str, address: str) -> float:
    """Median round trip of a datagram from the first to the second machine of a kind, in microseconds."""
    server, client = (made_inside(fabric, f"{kind}{number}", socket.SOCK_DGRAM) for number in (2, 1))
    with server, client:
        server.bind((address, PORT))
        server.settimeout(SECONDS)
        answers = threading.Thread(target=echo, args=(server,))
        answers.start()
        client.connect((address, PORT))
        times, end = [], time.perf_counter() + SECONDS
        while (began := time.perf_counter()) < end:
            client.send(b"x" * 64)
            client.recv(2048)
            times.append(time.perf_counter() - began)
        answers.join()
    return statistics.median(times) * 1e6


def bits_per_second(fabric: LinuxFabric, kind: str, address: str) -> float:
    """What one TCP connection carries."""
    server, client = (made_inside(fabric, f"{kind}{number}", socket.SOCK_STREAM) for number in (2, 1))
    with server:
        server.bind((address, PORT))
        server.listen()
        reader = threading.Thread(target=swallow, args=(server,))
        reader.start()
        with client:
            client.connect((address, PORT))
            sent, began = 0, time.perf_counter()
            while time.perf_counter() - began < SECONDS:
                sent += client.send(BLOCK)
            took = time.perf_counter() - began
        reader.join()
    return 8 * sent / took


def main() -> None:
    """Print medians over all rounds as JSON."""
    fabric = LinuxFabric()
    trips: dict[str, list[float]] = {kind: [] for kind in KINDS}
    rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
    try:
        build(fabric)
        for _ in range(ROUNDS):
            for part, kind in enumerate(KINDS):
                address = f"10.0.{part}.2"
                trips[kind].append(round_trip_us(fabric, kind, address))
                rates[kind].append(bits_per_second(fabric, kind, address))
    finally:
        fabric.close()
    figures = {
        kind: {
            "round_trip_us": round(statistics.median(trips[kind]), 1),
            "tcp_gbit_s": round(statistics.median(rates[kind]) / 1e9, 2),
        }
        for kind in trips
    }
    json.dump(figures, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
