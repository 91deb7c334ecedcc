"""The demonstration's story: sites up, the service in one form after another, its traffic counted, all gone again."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sonata._lib.values import dataclass
from sonata.errors import PermanentError
from sonata.formats.topology import read_topology
from sonata.sdk import emulations, platforms
from sonata.sdk.demonstration import Say, example_folder, fetch
from sonata.sdk.emulator_client import EmulatorClient
from sonata.sdk.multipop_demo.forms import (
    OSM_SERVICE,
    OSM_VNFS,
    ByCommands,
    ByDescriptors,
    ByTemplates,
    Form,
    changed_service,
)
from sonata.sdk.multipop_demo.report import FormReport, MultipopReport, Packets, VnfTraffic
from sonata.sdk.multipop_demo.stock_client import StockClient, find_client
from sonata.sdk.platform_client import PlatformClient

EXAMPLE = "multipop"
OBJECTS = ("/1k.bin", "/1M.bin")
CHAIN = ("squid", "socat", "haproxy", "apache")
"""Images of the VNFs, in the order in which requests pass them."""
SWAP = {"socat_vnf": "haproxy_vnf", "version: '1.0'": "version: '2.0'"}
"""How the descriptor of the service is changed for another forwarder."""
LAST = "OSM HAProxy"
_ANY_PORT = ("127.0.0.1", 0)


@dataclass(frozen=True, slots=True)
class Stage:
    """What the demonstration plays on.

    Args:
        folder: of the example.
        scratch: folder for packages.
        kept: what `keep` leaves running: the name of the emulation, the data folder of the platform.
    """

    folder: Path
    scratch: Path
    emulator: EmulatorClient
    client: StockClient
    platform: PlatformClient
    kept: Mapping[str, str]
    say: Say

    def forms(self) -> Iterator[Form]:
        """The service in each of its forms; told when its turn comes."""
        self.say("step 2: the service by stock OpenStack commands")
        yield ByCommands(self.client)
        self.say("step 3: both sites are registered at the orchestrator")
        for vim in self.platform.list("vims"):
            self.say(f"  {vim['name']}: {vim['endpoint']}")
        self.say("step 4 and 5: the same service from descriptions, with users fetching from each; first as HOT stacks")
        yield ByTemplates(self.client)
        self.say("the service as a SONATA package")
        yield self._described("SONATA", self.folder / "sonata")
        self.say("the service as OSM packages")
        osm = self.folder / "osm"
        yield self._described("OSM", *(osm / name for name in OSM_VNFS), osm / OSM_SERVICE)
        self.say("the OSM service with another forwarder: HAProxy for Socat")
        changed = changed_service(osm / OSM_SERVICE, self.scratch, SWAP, self.say)
        yield self._described(LAST, osm / "haproxy_vnf", changed)

    def _described(self, name: str, *projects: Path) -> ByDescriptors:
        return ByDescriptors(name, self.platform, projects, self.scratch, self.say)


def run_multipop_demo(say: Say, *, keep: bool = False) -> MultipopReport:
    """Run the whole demonstration; needs the images of its example in the store.

    Args:
        say: told what is going on.
        keep: leave emulator, platform and the last service running.

    Raises:
        NotFound: the stock OpenStack client is not installed.
        SonataError: whatever failed; nothing is left running then.
    """
    started = time.monotonic()
    program = find_client()
    with tempfile.TemporaryDirectory(prefix="sonata-demo-") as scratch:
        with _stage(program, Path(scratch), say, keep) as stage:
            reports = [_try_form(stage, form, keep=keep and form.name == LAST) for form in stage.forms()]
    return MultipopReport(tuple(reports), round(time.monotonic() - started, 1), stage.kept if keep else {})


@contextmanager
def _stage(program: str, scratch: Path, say: Say, keep: bool) -> Iterator[Stage]:
    folder = example_folder(EXAMPLE)
    topology = read_topology(folder / "topology.yaml")
    say(f"step 1: starting {len(topology.pops)} sites {topology.links[0].impairment.delay_s * 1000:.0f} ms apart")
    with ExitStack() as running:
        name = f"multipop-demo-{os.getpid()}"
        emulation = running.enter_context(emulations.start(topology, name=name, listen=_ANY_PORT))
        say("starting the orchestrator, Sonata's service platform")
        data = Path(tempfile.mkdtemp(prefix="sonata-demo-data-")) if keep else scratch / "platform"
        running.callback(shutil.rmtree, data, ignore_errors=True)
        platform = running.enter_context(platforms.start(data, listen=_ANY_PORT))
        with (
            EmulatorClient.of(emulation.record) as emulator,
            PlatformClient(platform.record.url, platform.record.token) as orchestrator,
        ):
            client = StockClient(program, folder, emulation.record, say)
            kept = {"emulation": emulation.record.name, "data": str(data)}
            orchestrator.attach_emulation(emulation.record)
            yield Stage(folder, scratch, emulator, client, orchestrator, kept, say)
        if keep:
            platform.let_go()
            emulation.let_go()
            running.pop_all()


def _try_form(stage: Stage, form: Form, *, keep: bool = False) -> FormReport:
    started = time.monotonic()
    address = form.deploy()
    ready_s = round(time.monotonic() - started, 2)
    stage.say(f"ready after {ready_s:.1f} s; users fetch from {address}")
    report = _measure(stage, form.name, address, ready_s)
    told = f"{report.cold[0].first_byte_ms:.0f} ms, cached {report.cached[0].first_byte_ms:.0f} ms to the first byte"
    stage.say(f"  cold {told}; {report.cache_hits} of {len(report.cached)} from the cache")
    if not keep:
        stage.say("removing it")
        form.remove()
        _refuse_leftovers(stage)
    return report


def _measure(stage: Stage, form: str, address: str, ready_s: float) -> FormReport:
    servers = _servers(stage)
    idle = _counted(stage, servers)
    cold = fetch(stage.emulator, address, *OBJECTS)
    between = _counted(stage, servers)
    cached = fetch(stage.emulator, address, *OBJECTS)
    end = _counted(stage, servers)
    traffic = tuple(
        VnfTraffic(vnf, name.partition("/")[0], between[vnf].since(idle[vnf]), end[vnf].since(between[vnf]))
        for vnf, name in servers.items()
    )
    return FormReport(form, address, ready_s, cold, cached, traffic)


def _servers(stage: Stage) -> dict[str, str]:
    """Names of the servers that run now, by their image."""
    found = {row["image"]: row["name"] for row in stage.emulator.machines() if row["kind"] == "server"}
    return {vnf: found[vnf] for vnf in CHAIN if vnf in found}


def _counted(stage: Stage, servers: Mapping[str, str]) -> dict[str, Packets]:
    """What the interfaces of each server have counted so far, together."""
    counters = {vnf: stage.emulator.counters(name).values() for vnf, name in servers.items()}
    return {
        vnf: Packets(sum(port["rx_packets"] for port in ports), sum(port["tx_packets"] for port in ports))
        for vnf, ports in counters.items()
    }


def _refuse_leftovers(stage: Stage) -> None:
    if left := _servers(stage):
        raise PermanentError(f"servers were left behind: {', '.join(left.values())}")
