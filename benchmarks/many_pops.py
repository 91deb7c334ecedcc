"""A thousand PoPs: how long until they are up, what they take, whether they can be used, how long until they are gone.

Three emulations of 1,024 PoPs in a tree, four below each one: without anything in them, with two endpoints each, and
with two servers each. Used is what came last and lies far apart: a packet crosses the tree, and the last PoP's
OpenStack boots one more server. What the kernel takes is told by its slabs, less what it gives back meanwhile of
earlier emulations. `python -m benchmarks many_pops` prints JSON; seconds and MiB. Needs root.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.memory import memory_of
from sonata.embedding import Emulator, Endpoint, Link, Pop, RunningEmulation, ServerSeed, Topology
from sonata.sdk.emulation_records import load

POPS, BELOW, MACHINES = 1024, 4, 2
SETTLE_S = 20.0  # the kernel reclaims namespaces in the background; the next run must not wait for it
CLIENT_WAIT_S = 60.0


def run() -> dict[str, Any]:
    """Measure, and return what was found."""
    if os.geteuid():
        return {"skipped": "needs root"}
    found = {}
    for what in ("nothing", "endpoints", "servers"):
        found[what] = _measure(_topology(what))
        time.sleep(SETTLE_S)
    return {"benchmark": "many_pops", "pops": POPS, "with": found}


def _topology(what: str) -> Topology:
    pops = [f"p{number}" for number in range(POPS)]
    links = tuple(Link(f"l{number}", pops[(number - 1) // BELOW], pops[number]) for number in range(1, POPS))
    places = [(pop, f"{pop}m{number}") for pop, number in product(pops, range(MACHINES))]
    servers = {name: ServerSeed(name, pop, "host") for pop, name in places if what == "servers"}
    endpoints = {name: Endpoint(name, pop, "host") for pop, name in places if what == "endpoints"}
    return Topology("many", {pop: Pop(pop) for pop in pops}, links, endpoints=endpoints, servers=servers)


def _measure(topology: Topology) -> dict[str, Any]:
    slab = _slab_mib()
    begun = time.monotonic()
    emulator = Emulator(topology, name=f"bench-{os.getpid()}")
    running = emulator.start()
    figures: dict[str, Any] = {"up_s": _since(begun)}
    try:
        record = load(running.name)
        figures["memory"] = memory_of(emulator=record.process.pid) if record else {}
        figures["kernel_mib"] = round(_slab_mib() - slab, 1)
        figures.update(_used(running))
    finally:
        begun = time.monotonic()
        emulator.stop()
    return {**figures, "down_s": _since(begun)}


def _used(running: RunningEmulation) -> Iterator[tuple[str, Any]]:
    """Boot a server in the last PoP; reach it, or what was there before, from far away."""
    cloud, begun = running.openstack(f"p{POPS - 1}"), time.monotonic()
    late = cloud.create_server("late", image="host", flavor="tiny", auto_ip=False, network=_network(cloud))
    late = cloud.compute.wait_for_server(late, interval=0.05, wait=CLIENT_WAIT_S)
    port = next(iter(cloud.network.ports(device_id=late.id)))
    external = cloud.network.find_network("external")
    outer = cloud.network.create_ip(floating_network_id=external.id, port_id=port.id).floating_ip_address
    yield "one_more_server_s", _since(begun)
    machines = [row["name"] for row in running.machines()]
    yield "reached", running.exec(machines[len(machines) // 4], ["ping", "-c3", "-W2", outer]).status == 0


def _network(cloud: Any) -> str:
    """A network with a way out: the one of the topology's servers, else a new one."""
    if cloud.get_network("default"):
        return "default"
    network = cloud.create_network("late", port_security_enabled=False)
    subnet = cloud.create_subnet(network.id, cidr="10.1.0.0/24")
    router = cloud.create_router("late", ext_gateway_net_id=cloud.get_network("external").id)
    cloud.add_router_interface(router, subnet_id=subnet.id)
    return "late"


def _slab_mib() -> float:
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return next(int(words[1]) for words in lines if words[0] == "Slab:") / 1024


def _since(begun: float) -> float:
    return round(time.monotonic() - begun, 2)
