"""`GET /servers/detail` with 100 servers and the API's delay beside 200 running ones, over HTTP, from another process.

An emulation in a home of its own; its servers run, each with an address in a network. The load generator
(`benchmarks/http_load.py`) is a process of its own with kept-alive connections. `per_second` is with four of them at
once and `per_cpu_second` counts by the CPU time that the emulation used meanwhile, all of it: on a machine that is
busy with something else too, it is what one core of the emulation would do. `p50_ms` and `p99_ms` are with one
connection. Each figure is the median of the rounds. In `changing`, a server's metadata changes before each 10th
request. `pops_64` polls 64 PoPs of one emulation in turn, a server in each. `python -m benchmarks servers_detail`
prints JSON. Needs root.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from benchmarks.http_load import Found, Load, in_another_process
from benchmarks.surroundings import home_in
from sonata._lib.paths import data_home
from sonata.model.topology import GIB, Pop, Topology
from sonata.sdk import emulations
from sonata.sdk.emulations import Emulation

LISTED, RUNNING, POPS = 100, 200, 64
ROUNDS = int(os.environ.get("ROUNDS", "5"))
REQUESTS, AT_ONCE = 3000, 4
BUILD_S = 120.0


class Site:
    """One PoP of an emulation, and a user who is logged in there."""

    def __init__(self, emulation: Emulation, pop: str) -> None:
        record = emulation.record
        self._host, self._base, self.pid = urlsplit(record.url).netloc, f"/{pop}", record.process.pid
        self._http = httpx.Client(base_url=f"{record.url}/{pop}", timeout=60)
        user = {"name": "admin", "password": record.admin_password, "domain": {"id": "default"}}
        scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
        identity = {"methods": ["password"], "password": {"user": user}}
        answer = self._http.post("/identity/v3/auth/tokens", json={"auth": {"identity": identity, "scope": scope}})
        self._headers = {
            "X-Auth-Token": answer.raise_for_status().headers["x-subject-token"],
            "X-OpenStack-Nova-API-Version": "2.96",
        }
        self._http.headers.update(self._headers)

    def get(self, path: str) -> Any:
        """The decoded answer to a request."""
        return self._http.get(path).raise_for_status().json()

    def post(self, path: str, body: object) -> Any:
        """The decoded answer to a request with a body."""
        return self._http.post(path, json=body).raise_for_status().json()

    def patch(self, path: str, body: object) -> Any:
        """The decoded answer to a change of an image's properties."""
        kind = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
        return self._http.patch(path, content=json.dumps(body), headers=kind).raise_for_status().json()

    def request(self, path: str, body: object = None) -> str:
        """A request to the Compute API as it goes over the wire."""
        content = "" if body is None else json.dumps(body)
        headers = {"Host": self._host, **self._headers, "Accept": "application/json", "User-Agent": "benchmark"}
        if content:
            headers |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"{'POST' if content else 'GET'} {self._base}/compute/v2.1{path} HTTP/1.1\r\n{head}\r\n{content}"

    def load(self, *requests: str, **more: Any) -> Load:
        """A load of these requests."""
        host, _, port = self._host.partition(":")
        return Load(host, int(port), self.pid, requests, REQUESTS, **more)

    def network(self) -> str:
        """A new network with a subnet."""
        network = self.post("/network/v2.0/networks", {"network": {"name": "inner"}})["network"]["id"]
        subnet = {"network_id": network, "cidr": "10.0.0.0/16", "ip_version": 4}
        self.post("/network/v2.0/subnets", {"subnet": subnet})
        return str(network)

    def boot(self, wanted: int, network: str) -> None:
        """Start servers and wait until they run."""
        image = next(one["id"] for one in self.get("/image/v2/images")["images"] if one["name"] == "host")
        server = {"name": "s", "imageRef": image, "flavorRef": "1", "networks": [{"uuid": network}]}
        self.post("/compute/v2.1/servers", {"server": {**server, "min_count": wanted, "max_count": wanted}})
        deadline = time.monotonic() + BUILD_S
        while pending := [one["status"] for one in self.servers() if one["status"] != "ACTIVE"]:
            if "ERROR" in pending or time.monotonic() > deadline:
                raise RuntimeError(f"{len(pending)} of {wanted} servers do not run: {sorted(set(pending))}")
            time.sleep(0.2)

    def servers(self) -> list[Any]:
        """The documents of all servers."""
        return list(self.get("/compute/v2.1/servers/detail")["servers"])


def run() -> dict[str, Any]:
    """Measure and return what was found."""
    if os.geteuid():
        return {"skipped": "needs root"}
    images = data_home() / "images"
    with tempfile.TemporaryDirectory(prefix="sonata-bench-") as scratch, home_in(Path(scratch)):
        with _emulation(["pop"], images) as emulation:
            found = _one_pop(Site(emulation, "pop"))
        with _emulation([f"pop{number}" for number in range(POPS)], images) as emulation:
            found[f"pops_{POPS}"] = _many_pops([Site(emulation, pop) for pop in emulation.record.topology.pops])
    return {"load_generator": "another process", "servers": LISTED, "load": os.getloadavg(), **found}


def _emulation(pops: Sequence[str], images: Path) -> Emulation:
    sites = {name: Pop(name, cpus=1000, memory_bytes=1000 * GIB) for name in pops}
    return emulations.start(
        Topology("bench", sites), name=f"bench-{os.getpid()}", listen=("127.0.0.1", 0), images=images
    )


def _one_pop(site: Site) -> dict[str, Any]:
    network = site.network()
    site.boot(LISTED, network)
    server = site.servers()[0]["id"]
    detail, change = site.request("/servers/detail"), site.request(f"/servers/{server}/metadata", _metadata("new"))
    found = {
        "unchanged": _measured(site.load(detail)),
        "changing": _measured(site.load(detail, change=change, change_every=10)),
    }
    site.boot(RUNNING - LISTED, network)
    found[f"show_beside_{RUNNING}"] = _measured(site.load(site.request(f"/servers/{server}")))
    found[f"list_beside_{RUNNING}"] = _measured(site.load(site.request("/servers")))
    return found


def _many_pops(sites: Sequence[Site]) -> dict[str, Any]:
    for site in sites:
        site.boot(1, site.network())
    return _measured(sites[0].load(*(site.request("/servers/detail") for site in sites)))


def _metadata(value: str) -> Mapping[str, Any]:
    return {"metadata": {"state": value}}


def _measured(load: Load) -> dict[str, float]:
    """Medians over the rounds: throughput with several connections, delay with one."""
    many = [in_another_process(replace(load, connections=AT_ONCE)) for _ in range(ROUNDS)]
    one = [in_another_process(load) for _ in range(ROUNDS)]
    return {
        "per_second": round(statistics.median(each.requests / each.taken_s for each in many)),
        "per_cpu_second": round(statistics.median(each.requests / each.server_cpu_s for each in many)),
        "p50_ms": _quantile(one, 0.5),
        "p99_ms": _quantile(one, 0.99),
        "bytes": many[0].bytes_read // many[0].requests,
        "requests": ROUNDS * load.count,
    }


def _quantile(rounds: Sequence[Found], share: float) -> float:
    return round(statistics.median(each.delays_ms[int(share * len(each.delays_ms))] for each in rounds), 3)


if __name__ == "__main__":
    json.dump(run(), sys.stdout, indent=2)
    print()
