"""From `POST /servers` to the first packet that the server's own program sends, beside the hosts of Mininet.

An emulation in a home of its own. Another server of the network waits for datagrams and notes when they came; clocks
of all processes of a machine agree (`CLOCK_MONOTONIC`). Each server has a port made before, security groups, limits
of its flavor, and a program that says one datagram. Times in milliseconds. Run as `python -m benchmarks first_packet`.
Needs root.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.servers_detail import Site
from benchmarks.surroundings import home_in
from benchmarks.vnf_start import summary
from sonata._lib.paths import data_home
from sonata.model.topology import GIB, Pop, Topology
from sonata.sdk import emulations
from sonata.sdk.emulations import Emulation

STARTS = 60
PATIENCE_S = 20.0
PEER = Path(__file__).with_name("mininet_host.py")
APART = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
"""Mininet leaves the programs of its hosts running; so they end with a process namespace."""
LISTEN = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 5000))
print("ready", flush=True)
while True:
    s.recv(100)
    print(time.monotonic(), flush=True)
"""


def run() -> dict[str, Any]:
    """Measure and return what was found."""
    if os.geteuid():
        return {"skipped": "needs root"}
    images = data_home() / "images"
    with tempfile.TemporaryDirectory(prefix="sonata-bench-") as scratch, home_in(Path(scratch)):
        sites = {"pop": Pop("pop", cpus=1000, memory_bytes=1000 * GIB)}
        topology = Topology("bench", sites)
        with emulations.start(
            topology, name=f"bench-{os.getpid()}", listen=("127.0.0.1", 0), images=images
        ) as emulation:
            delays = _delays(emulation, Site(emulation, "pop"))
    return {"servers": summary(delays), "mininet_host": _mininet(), "load": os.getloadavg()}


def _delays(emulation: Emulation, site: Site) -> list[float]:
    network = site.network()
    site.boot(1, network)
    listener = site.servers()[0]
    (address,) = (each["addr"] for each in listener["addresses"]["inner"])
    image = _talking_image(site, listener["id"], address)
    with _listening(emulation, listener["name"]) as told:
        return [_delay(site, told, image, network, number) for number in range(STARTS + 1)][1:]


def _talking_image(site: Site, server: str, address: str) -> str:
    """The host's files with a program that says one datagram to an address and then sleeps."""
    made = site.post(f"/compute/v2.1/servers/{server}/action", {"createImage": {"name": "talks"}})["image_id"]
    deadline = time.monotonic() + PATIENCE_S
    while site.get(f"/image/v2/images/{made}")["status"] != "active":
        if time.monotonic() > deadline:
            raise RuntimeError("the image does not become active")
        time.sleep(0.05)
    talk = f"init=/bin/bash -- -c 'echo up >/dev/udp/{address}/5000; exec sleep 10000'"
    site.patch(f"/image/v2/images/{made}", [{"op": "add", "path": "/os_command_line", "value": talk}])
    return str(made)


@contextmanager
def _listening(emulation: Emulation, server: str) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-m", "sonata", "emu", "exec", "--name", emulation.record.name]
    argv += [f"pop/{server}", "--", "/usr/bin/python3", "-u", "-c", LISTEN]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    try:
        if not process.stdout or process.stdout.readline().strip() != "ready":
            raise RuntimeError("the listener does not start")
        yield process
    finally:
        process.terminate()
        process.wait()


def _delay(site: Site, told: subprocess.Popen[str], image: str, network: str, number: int) -> float:
    port = site.post("/network/v2.0/ports", {"port": {"network_id": network}})["port"]["id"]
    wish = {"name": f"talker{number}", "imageRef": image, "flavorRef": "1", "networks": [{"port": port}]}
    began = time.monotonic()
    site.post("/compute/v2.1/servers", {"server": wish})
    line = told.stdout.readline() if told.stdout else ""
    if not line.strip():
        raise RuntimeError("the listener has ended")
    return (float(line) - began) * 1e3


def _mininet() -> dict[str, Any]:
    """The same in Mininet: a host added to a running network until its program's datagram arrives."""
    try:
        told = subprocess.run(
            [*APART, "/usr/bin/python3", str(PEER), str(STARTS), LISTEN],
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        ).stdout
    except (subprocess.SubprocessError, OSError):
        return {"absent": "mininet is not installed (apt-get install mininet)"}
    return summary(json.loads(told))


if __name__ == "__main__":
    json.dump(run(), sys.stdout, indent=2)
    print()
