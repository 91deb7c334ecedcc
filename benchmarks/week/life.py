"""The life of one emulation: what stands in it for a while, and what is always there."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

from benchmarks.week.site import Site
from sonata.embedding import Endpoint, Impairment, Link, Pop, ServerSeed, Topology
from sonata.emulator.cloud.compute.actions import LONGEST_LOG
from sonata.model.scenario import Scenario, Step
from sonata.sdk.emulation_records import EmulationRecord
from sonata.sdk.emulator_client import EmulatorClient
from sonata.sdk.metrics_client import MetricsClient
from sonata.sdk.scenario_runs import ScenarioClient
from sonata.sdk.wan_client import WanClient

STAY = ("sleep", "infinity")
LONGEST_STAY = 60
"""Happenings after which at the latest what was made is unmade."""
JOINED = "joined"
FLAPS = 500
"""Changes of a link in one scenario."""


def topology(name: str) -> Topology:
    """Four PoPs in a ring, `far` a zone of `core`; machines with a program and idle ones, endpoints in cells."""
    pops = {
        "edge": Pop("edge", cells=("north", "south")),
        "metro": Pop("metro", cells=("east",)),
        "core": Pop("core"),
        "far": Pop("far", managed_by="core"),
    }
    links = (
        Link("em", "edge", "metro", Impairment(delay_s=0.002, loss=0.001)),
        Link("mc", "metro", "core", Impairment(rate_bps=1e9)),
        Link("cf", "core", "far"),
        Link("fe", "far", "edge", Impairment(delay_s=0.004)),
    )
    endpoints = {"users": Endpoint("users", "edge"), "origin": Endpoint("origin", "metro", command=STAY)}
    servers = {
        f"{kind}-{pop}": ServerSeed(f"{kind}-{pop}", pop, command=STAY if kind == "busy" else ())
        for pop in ("edge", "metro", "core")
        for kind in ("busy", "idle")
    }
    return Topology(name, pops, links, endpoints=endpoints, servers=servers)


class Stay:
    """What is to be unmade, the last first; a failure ends that, and is told before others that come of it."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], object]] = []

    def callback(self, call: Callable[..., object], *args: Any, **named: Any) -> None:
        """Have something called in the end."""
        self._undo.append(partial(call, *args, **named))

    def close(self) -> None:
        """Unmake it all."""
        while self._undo:
            self._undo.pop()()


class Life:
    """One emulation and those who use it.

    Args:
        chance: decides all that is left to chance.
    """

    def __init__(self, record: EmulationRecord, chance: random.Random) -> None:
        self.record = record
        self.chance = chance
        self.emulator = EmulatorClient.of(record)
        self.metrics = MetricsClient.of(record)
        self.wan = WanClient.of(record)
        self.scenarios = ScenarioClient(record.url, record.token)
        self.sites = {pop.name: Site(record, pop.name) for pop in record.topology.sites}
        self.declared = record.topology
        self.numbers = count(1)
        self.joined = {name: _joined_network(site, place) for place, (name, site) in enumerate(self.sites.items())}
        self._now = 0
        self._stays: list[tuple[int, Stay]] = []

    def stay(self) -> Stay:
        """What is to be done after a while, the last first, to unmake what is about to be made."""
        made = Stay()
        self._stays.append((self._now + self.chance.randint(1, LONGEST_STAY), made))
        return made

    def go_on(self) -> None:
        """One step further: unmake what is due."""
        self._now += 1
        self._end([made for due, made in self._stays if due <= self._now])

    def site(self) -> Site:
        """Any site."""
        return self.chance.choice(list(self.sites.values()))

    def fresh(self) -> str:
        """A name that nothing has had."""
        return f"w{next(self.numbers)}"

    def rest(self) -> None:
        """Bring it to what it was declared to be: nothing else stands, all servers run, all endpoints are at home."""
        self._end([made for _, made in self._stays])
        self.emulator.apply(self.declared)
        links: list[Link | str] = [*self.declared.links, *(f"access-{name}" for name in self.declared.endpoints)]
        for link in links:
            self.mend(link)
        for endpoint in self.declared.endpoints.values():
            self.emulator.move_endpoint(endpoint.name, endpoint.attach)
        for site in self.sites.values():
            self.wake(site)
            # An idle machine has processes from the first command in it.
            self.emulator.exec(f"{site.pop}/idle-{site.pop}", ["true"])
        self.emulator.exec("users", ["true"])

    def grow_old(self) -> None:
        """Fill the histories that are bounded: of what was asked of servers, and of events."""
        for site in self.sites.values():
            server = self.seed(site, "idle")["id"]
            for _ in range(LONGEST_LOG // 2):
                self.act(site, server, {"pause": None})
                self.act(site, server, {"unpause": None})
        link = self.declared.links[0].name
        flaps = tuple(Step(0.0, "link", link, up=number % 2 > 0) for number in range(FLAPS))
        while self.emulator.events(["emulation.started"])[0]["kind"] != "events.missed":
            self.play(*flaps)

    def play(self, *steps: Step) -> None:
        """Carry a scenario out and follow it to its end."""
        run = self.scenarios.start(Scenario(self.fresh(), steps))
        self.scenarios.follow(run, lambda event: None)

    def mend(self, link: Link | str) -> None:
        """Let a link be as it was declared, or the access link of an endpoint."""
        name, clean = (link.name, link.impairment) if isinstance(link, Link) else (link, Impairment())
        self.emulator.change_link(name, {**_values(clean), "up": True, "force": True})

    def wake(self, site: Site) -> None:
        """Start all servers of the topology that are off."""
        for server in site.ask("GET", "/compute/v2.1/servers/detail")["servers"]:
            self.rouse(site, server["id"])

    def rouse(self, site: Site, server_id: str) -> None:
        """Start a server if it is off, and wait until nothing goes on with it."""
        if site.server(server_id)["status"] in ("SHUTOFF", "ERROR"):
            self.act(site, server_id, {"reboot": {"type": "HARD"}})

    def act(self, site: Site, server_id: str, action: Mapping[str, Any]) -> Any:
        """Do something with a server, and wait until it is done."""
        site.ask("POST", f"/compute/v2.1/servers/{server_id}/action", dict(action))
        return site.server(server_id)

    def seed(self, site: Site, kind: str = "busy") -> Any:
        """A server of the topology, `busy` or `idle`."""
        return site.named("/compute/v2.1/servers/detail", "servers", f"{kind}-{site.pop}")

    def port_of(self, site: Site, server_id: str) -> str:
        """Id of the first port of a server."""
        found: str = site.ask("GET", f"/network/v2.0/ports?device_id={server_id}")["ports"][0]["id"]
        return found

    def changed_file(self) -> Topology:
        """The topology of somebody who has edited the file: any of some changes."""
        extra, here = self.fresh(), self.declared
        edits: list[Callable[[], Topology]] = [
            lambda: replace(here, endpoints={**here.endpoints, extra: Endpoint(extra, "core")}),
            lambda: replace(here, servers={**here.servers, extra: ServerSeed(extra, "metro", command=STAY)}),
            lambda: replace(here, links=(*here.links[1:], replace(here.links[0], impairment=Impairment(delay_s=0.01)))),
            lambda: replace(
                here, pops={**here.pops, extra: Pop(extra)}, links=(*here.links, Link(extra, "core", extra))
            ),
        ]
        return self.chance.choice(edits)()

    def close(self) -> None:
        """Hang up."""
        for site in self.sites.values():
            site.close()

    def _end(self, due: list[Stay]) -> None:
        self._stays = [entry for entry in self._stays if entry[1] not in due]
        for made in reversed(due):
            made.close()


def _values(impairment: Impairment) -> dict[str, Any]:
    fields = ("delay_s", "jitter_s", "loss", "rate_bps", "duplicate", "reorder")
    return {field: getattr(impairment, field) for field in fields}


def _joined_network(site: Site, place: int) -> str:
    """A network with a subnet that overlaps with none of another site's, for connections over the wide area."""
    network: str = site.make("/network/v2.0/networks", "network", name=JOINED)["id"]
    pool = [{"start": f"10.5.{place}.10", "end": f"10.5.{place}.200"}]
    subnet = {"network_id": network, "ip_version": 4, "cidr": "10.5.0.0/16", "gateway_ip": None}
    site.make("/network/v2.0/subnets", "subnet", **subnet, allocation_pools=pool)
    return network
