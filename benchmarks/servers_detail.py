"""`GET /servers/detail` with 100 servers, and the API's delay beside 200 running ones: over HTTP by a raw client.

An emulation of one PoP in a home of its own. Each request is written to one connection and its answer read to the end.
`unchanged` polls a cloud in which nothing happens; in `changing` a server's metadata changes before each request.
`python -m benchmarks servers_detail` prints JSON; times in milliseconds. Needs root.
"""

from __future__ import annotations

import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

NAME = "bench-servers-detail"
TOPOLOGY = """
apiVersion: sonata/v1
kind: Topology
name: bench-servers-detail
pops:
  pop: {cpus: 1000, memory: 1000GiB}
"""
LISTED, RUNNING = 100, 200
REQUESTS = int(os.environ.get("ROUNDS", "300"))


class Client:
    """One connection to one PoP."""

    def __init__(self, settings: dict[str, str]) -> None:
        url = urlsplit(settings["OS_AUTH_URL"])
        self._connection = http.client.HTTPConnection(url.hostname or "", url.port)
        self._headers = {"Content-Type": "application/json", "X-OpenStack-Nova-API-Version": "2.96"}
        user = {"name": settings["OS_USERNAME"], "password": settings["OS_PASSWORD"], "domain": {"id": "default"}}
        scope = {"project": {"name": settings["OS_PROJECT_NAME"], "domain": {"id": "default"}}}
        identity = {"methods": ["password"], "password": {"user": user}}
        body = {"auth": {"identity": identity, "scope": scope}}
        self.request("POST", "/pop/identity/v3/auth/tokens", body)
        self._headers["X-Auth-Token"] = self._token

    def ask(self, path: str, body: Any = None) -> Any:
        """The answer of the Compute API; a body makes it a POST."""
        return json.loads(self.request("POST" if body else "GET", f"/pop/compute/v2.1{path}", body) or b"null")

    def raw(self, path: str) -> bytes:
        """The undecoded answer of the Compute API."""
        return self.request("GET", f"/pop/compute/v2.1{path}")

    def request(self, method: str, path: str, body: Any = None) -> bytes:
        """The answer to any request."""
        text = None if body is None else json.dumps(body)
        self._connection.request(method, path, text, self._headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {content[:200]!r}")
        self._token = answer.headers.get("X-Subject-Token", "")
        return content


def _sonata(home: Path, *arguments: str) -> str:
    command = [sys.executable, "-c", "from sonata.cli.main import main; main()", "emu", *arguments]
    environment = {**os.environ, "SONATA_HOME": str(home)}
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def _timed(work: Callable[[], object], before: Callable[[], object] = lambda: None) -> dict[str, float]:
    taken = []
    for _ in range(REQUESTS):
        before()
        begun = time.perf_counter()
        work()
        taken.append((time.perf_counter() - begun) * 1e3)
    taken.sort()
    median = statistics.median(taken)
    return {
        "p50_ms": round(median, 3),
        "p99_ms": round(taken[int(0.99 * len(taken))], 3),
        "per_second": round(1e3 / median),
        "requests": len(taken),
    }


def _boot(client: Client, wanted: int) -> None:
    image = "host"
    found = json.loads(client.request("GET", "/pop/image/v2/images"))["images"]
    image_id = next(one["id"] for one in found if one["name"] == image)
    server = {"name": "s", "imageRef": image_id, "flavorRef": "1", "networks": "none"}
    client.ask("/servers", {"server": {**server, "min_count": wanted, "max_count": wanted}})
    while any(one["status"] == "BUILD" for one in client.ask("/servers/detail")["servers"]):
        time.sleep(0.2)


def run() -> dict[str, Any]:
    """Measure and return what was found."""
    if os.geteuid():
        return {"skipped": "needs root"}
    with tempfile.TemporaryDirectory(prefix="sonata-bench-") as scratch:
        home, topology = Path(scratch) / "home", Path(scratch) / "topology.yaml"
        topology.write_text(TOPOLOGY)
        try:
            _sonata(home, "up", str(topology), "--name", NAME, "--listen", "127.0.0.1:0", "--detach")
            lines = _sonata(home, "openrc", "pop", "--name", NAME).splitlines()
            return _measure(Client(dict(line.removeprefix("export ").split("=", 1) for line in lines)))
        finally:
            _sonata(home, "down", "--name", NAME)


def _measure(client: Client) -> dict[str, Any]:
    _boot(client, LISTED)
    server = client.ask("/servers")["servers"][0]["id"]
    numbers = iter(range(10**6))

    def change() -> None:
        client.ask(f"/servers/{server}/metadata", {"metadata": {"n": str(next(numbers))}})

    found: dict[str, Any] = {
        "unchanged": _timed(lambda: client.raw("/servers/detail")),
        "changing": _timed(lambda: client.raw("/servers/detail"), change),
    }
    _boot(client, RUNNING - LISTED)
    found["show_beside_200"] = _timed(lambda: client.raw(f"/servers/{server}"), change)
    return {"servers": LISTED, "load": os.getloadavg(), **found}


if __name__ == "__main__":
    json.dump(run(), sys.stdout, indent=2)
    sys.stdout.write("\n")
