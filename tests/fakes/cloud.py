"""A fake cloud: VIMs and a WIM whose objects live in memory, or in a file that survives kill -9 and several processes.

Strict like a real VIM: an object refers to what exists, a tag names one object, deletes have an order.
`creates` counts every object ever made: creating twice what carries one tag would show.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from sonata.errors import NotFound, PermanentError, QuotaExceeded, TransientError
from sonata.model.infrastructure import AttachedEndpoint, PopCapacity, WanEdge, WanGraph
from sonata.ports.vim import (
    ChainRequest,
    Leftover,
    NetworkRequest,
    PortRequest,
    ServerRequest,
    VimNetwork,
    VimPort,
)
from sonata.ports.wim import ConnectionRequest

Document = dict[str, Any]
ORDER = ("chain", "server", "router", "port", "network")


@dataclass
class FakeCloud:
    """All sites: PoPs with their capacity (vCPU, MiB), the graph between them, and what was made in them.

    Args:
        path: file that keeps the objects, None for memory.
        faults: by `pop.call`: errors to raise, first first; each is raised once.
        delay_s: how long each call takes.
    """

    pops: dict[str, tuple[float, int]]
    edges: tuple[WanEdge, ...] = ()
    endpoints: dict[str, AttachedEndpoint] = field(default_factory=dict)
    path: Path | None = None
    images: tuple[str, ...] = ("host",)
    faults: dict[str, list[Exception]] = field(default_factory=dict)
    delay_s: float = 0.0
    dead: bool = False
    calls: list[str] = field(default_factory=list)
    before_call: Callable[[str], Awaitable[None]] | None = None
    _memory: Document = field(default_factory=lambda: {"objects": {}, "creates": []})

    def vim(self, pop: str) -> FakeVim:
        return FakeVim(self, pop)

    def wim(self) -> FakeWim:
        return FakeWim(self)

    @contextmanager
    def state(self) -> Iterator[Document]:
        if self.path is None:
            yield self._memory
            return
        with self.path.open("a+") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            stream.seek(0)
            text = stream.read()
            document = json.loads(text) if text else {"objects": {}, "creates": []}
            yield document
            scratch = self.path.with_suffix(".new")
            scratch.write_text(json.dumps(document))
            # The lock is on the file that we replace the content of, so it is written in place, after a safe copy.
            stream.seek(0)
            stream.truncate()
            stream.write(scratch.read_text())

    async def enter(self, where: str, call: str) -> None:
        name = f"{where}.{call}"
        self.calls.append(name)
        if self.before_call is not None:
            await self.before_call(name)
        await asyncio.sleep(self.delay_s)
        if self.dead:
            raise TransientError(f"`{where}` does not answer", call=call, answer="connection refused")
        if queue := self.faults.get(name):
            raise queue.pop(0)

    @property
    def objects(self) -> dict[str, Document]:
        with self.state() as state:
            return dict(state["objects"])

    @property
    def creates(self) -> list[str]:
        with self.state() as state:
            return list(state["creates"])

    def of_kind(self, kind: str, where: str = "") -> list[Document]:
        return [o for o in self.objects.values() if o["kind"] == kind and where in ("", o["where"])]


class FakeVim:
    """One PoP of a fake cloud."""

    def __init__(self, cloud: FakeCloud, pop: str) -> None:
        self.cloud, self.pop = cloud, pop

    async def capacity(self) -> PopCapacity:
        await self.cloud.enter(self.pop, "capacity")
        if self.pop not in self.cloud.pops:
            raise TransientError(f"`{self.pop}` does not answer", call="GET /limits", answer="connection refused")
        servers = self.cloud.of_kind("server", self.pop)
        vcpus, memory = self.cloud.pops[self.pop]
        used = (sum(s["vcpus"] for s in servers), sum(s["memory_mib"] for s in servers))
        return PopCapacity(self.pop, vcpus, used[0], memory, used[1])

    async def check_image(self, name: str) -> str:
        await self.cloud.enter(self.pop, "check_image")
        if name not in self.cloud.images:
            raise NotFound(f"no image `{name}` in `{self.pop}`; known: {', '.join(self.cloud.images)}")
        return f"image-{name}"

    async def ensure_network(self, request: NetworkRequest) -> VimNetwork:
        await self.cloud.enter(self.pop, "ensure_network")
        IPv4Network(request.cidr)
        made = self._ensure("network", request.tag, lambda: {
            "cidr": request.cidr, "pool": request.pool, "subnet": str(uuid.uuid4()),
            "gateway": request.gateway_address or (str(IPv4Network(request.cidr)[1]) if request.gateway else ""),
        })  # fmt: skip
        return VimNetwork(made["id"], made["subnet"], made["cidr"])

    async def ensure_port(self, request: PortRequest) -> VimPort:
        await self.cloud.enter(self.pop, "ensure_port")
        network = self._known("network", request.network.id)
        made = self._ensure("port", request.tag, lambda: {
            "network": network["id"], "mac": request.mac or _mac(),
            "address": request.address or self._address(network),
        })  # fmt: skip
        return VimPort(made["id"], made["network"], made["mac"], made["address"])

    def _address(self, network: Document) -> str:
        taken = {port["address"] for port in self.cloud.of_kind("port", self.pop) if port["network"] == network["id"]}
        hosts = [str(host) for host in IPv4Network(network["cidr"]).hosts()]
        if network["pool"]:
            hosts = hosts[hosts.index(network["pool"][0]) : hosts.index(network["pool"][1]) + 1]
        else:
            hosts.remove(network["gateway"])
        return next(host for host in hosts if host not in taken)

    async def ensure_server(self, request: ServerRequest) -> str:
        await self.cloud.enter(self.pop, "ensure_server")
        for port in request.ports:
            self._known("port", port)
        vcpus, _ = self.cloud.pops[self.pop]
        others = [s for s in self.cloud.of_kind("server", self.pop) if s["tag"] != request.tag]
        if sum(s["vcpus"] for s in others) + request.vcpus > vcpus:
            raise QuotaExceeded(f"`{self.pop}` has no valid host")
        made = self._ensure("server", request.tag, lambda: {
            "vcpus": request.vcpus, "memory_mib": request.memory_mib, "ports": list(request.ports),
            "image": request.image,
        })  # fmt: skip
        return str(made["id"])

    async def wait_active(self, server_id: str, *, timeout_s: float) -> None:
        await self.cloud.enter(self.pop, "wait_active")
        self._known("server", server_id)

    async def ensure_router(self, tag: str, name: str, networks: Sequence[VimNetwork]) -> str:
        await self.cloud.enter(self.pop, "ensure_router")
        for network in networks:
            self._known("network", network.id)
        return str(self._ensure("router", tag, lambda: {"networks": [n.id for n in networks]})["id"])

    async def ensure_chain(self, request: ChainRequest) -> str:
        await self.cloud.enter(self.pop, "ensure_chain")
        for port in {port for pair in request.pairs for port in pair}:
            self._known("port", port)
        made = self._ensure("chain", request.tag, lambda: {
            "pairs": [list(pair) for pair in request.pairs], "source": request.source_prefix,
            "destination": request.destination_prefix, "protocol": request.protocol,
            "destination_port": request.destination_port,
        })  # fmt: skip
        return str(made["id"])

    async def leftovers(self, tag_prefix: str) -> Sequence[Leftover]:
        await self.cloud.enter(self.pop, "leftovers")
        found = [o for o in self.cloud.objects.values() if o["where"] == self.pop and o["tag"].startswith(tag_prefix)]
        return [Leftover(o["kind"], o["id"], o["tag"]) for o in found]

    async def sweep(self, tag_prefix: str) -> None:
        await self.cloud.enter(self.pop, "sweep")
        with self.cloud.state() as state:
            for kind in ORDER:
                for key, each in list(state["objects"].items()):
                    if (each["kind"], each["where"]) == (kind, self.pop) and each["tag"].startswith(tag_prefix):
                        del state["objects"][key]

    async def close(self) -> None:
        return

    def _ensure(self, kind: str, tag: str, make: Callable[[], Document]) -> Document:
        made = make()
        with self.cloud.state() as state:
            for each in state["objects"].values():
                if (each["kind"], each["where"], each["tag"]) == (kind, self.pop, tag):
                    return dict(each)
            made |= {"kind": kind, "where": self.pop, "tag": tag, "id": str(uuid.uuid4())}
            state["objects"][made["id"]] = made
            state["creates"].append(f"{kind} {self.pop} {tag}")
        return made

    def _known(self, kind: str, key: str) -> Document:
        each = self.cloud.objects.get(key)
        if each is None or each["kind"] != kind or each["where"] != self.pop:
            raise PermanentError(f"`{self.pop}` has no {kind} `{key}`", call=f"GET /{kind}s/{key}", answer="404")
        return each


class FakeWim:
    """The wide area of a fake cloud."""

    def __init__(self, cloud: FakeCloud) -> None:
        self.cloud = cloud

    async def graph(self) -> WanGraph:
        await self.cloud.enter("wan", "graph")
        return WanGraph(tuple(self.cloud.pops), self.cloud.edges, self.cloud.endpoints)

    async def ensure_connection(self, request: ConnectionRequest) -> str:
        await self.cloud.enter("wan", "ensure_connection")
        objects = self.cloud.objects
        for pop, network in request.members.items():
            if objects.get(network, {}).get("where") != pop:
                raise PermanentError(f"no network `{network}` in `{pop}`", call="POST /connections", answer="404")
        with self.cloud.state() as state:
            for each in state["objects"].values():
                if each["kind"] == "connection" and each["tag"] == request.tag:
                    return str(each["id"])
            key = str(uuid.uuid4())
            made = {"kind": "connection", "where": "wan", "tag": request.tag, "id": key}
            state["objects"][key] = made | {"members": dict(request.members)}
            state["creates"].append(f"connection {request.tag}")
            return key

    async def leftovers(self, tag_prefix: str) -> Sequence[str]:
        await self.cloud.enter("wan", "leftovers")
        return [o["id"] for o in self.cloud.of_kind("connection") if o["tag"].startswith(tag_prefix)]

    async def sweep(self, tag_prefix: str) -> None:
        await self.cloud.enter("wan", "sweep")
        with self.cloud.state() as state:
            for key, each in list(state["objects"].items()):
                if each["kind"] == "connection" and each["tag"].startswith(tag_prefix):
                    del state["objects"][key]

    async def close(self) -> None:
        return


def _mac() -> str:
    return "fa:16:3e:" + ":".join(f"{byte:02x}" for byte in uuid.uuid4().bytes[:3])
