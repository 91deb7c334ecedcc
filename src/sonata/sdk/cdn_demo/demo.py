"""The demonstration's story: infrastructure up, package in, service running, users fetching, everything gone again."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import field
from pathlib import Path
from typing import Any

from sonata._lib.values import dataclass
from sonata.errors import InvalidInput
from sonata.formats.topology import read_topology
from sonata.sdk import emulations, platforms
from sonata.sdk.cdn_demo.report import DemoReport, PlacementReport, VnfTraffic
from sonata.sdk.demonstration import Fetch, Say, example_folder, fetch, follow
from sonata.sdk.emulator_client import EmulatorClient
from sonata.sdk.packages import build_package, validate_package
from sonata.sdk.platform_client import PlatformClient

Document = Mapping[str, Any]

ANY_PORT = ("127.0.0.1", 0)
EXAMPLE = SERVICE = "cdn"
CHAIN = ("vcache", "vtc", "vtu")
OBJECTS = ("/1k.bin", "/100k.bin", "/1M.bin")
PROOF = "/1k.bin?proof"


@dataclass(frozen=True, slots=True)
class Stage:
    """What the demonstration plays on.

    Args:
        origin: address of the content server.
        kept: what `keep` leaves running: the name of the emulation, the data folder of the platform.
    """

    emulator: EmulatorClient
    platform: PlatformClient
    origin: str
    say: Say
    kept: Mapping[str, str] = field(default_factory=dict)

    def fetch(self, *paths: str) -> tuple[Fetch, ...]:
        """Let the users fetch objects from the origin, one after another."""
        return fetch(self.emulator, self.origin, *paths)


def run_cdn_demo(placements: Sequence[str], say: Say, *, keep: bool = False) -> DemoReport:
    """Run the whole demonstration; needs the images of its example in the store.

    Args:
        placements: `ssm`, `generic`, or both, in the order in which they are tried.
        say: told what is going on.
        keep: leave emulator, platform and the last service running.

    Raises:
        SonataError: whatever failed; nothing is left running then.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sonata-demo-") as scratch:
        with _stage(Path(scratch), say, keep) as stage:
            _onboard(stage, Path(scratch))
            direct = stage.fetch(*OBJECTS)
            say(f"without the service users fetch straight from the origin: {direct[0].first_byte_ms:.0f} ms")
            runs = [_try_placement(stage, placement) for placement in placements[:-1]]
            runs.append(_try_placement(stage, placements[-1], keep=keep))
    took_s = round(time.monotonic() - started, 1)
    return DemoReport(direct, tuple(runs), took_s, stage.kept if keep else {})


@contextmanager
def _stage(scratch: Path, say: Say, keep: bool) -> Iterator[Stage]:
    topology = read_topology(example_folder(EXAMPLE) / "topology.yaml")
    say(f"starting two sites {topology.links[0].impairment.delay_s * 1000:.0f} ms apart")
    with ExitStack() as running:
        emulation = running.enter_context(emulations.start(topology, name=f"cdn-demo-{os.getpid()}", listen=ANY_PORT))
        say("starting the service platform")
        data = Path(tempfile.mkdtemp(prefix="sonata-demo-data-")) if keep else scratch / "platform"
        running.callback(shutil.rmtree, data, ignore_errors=True)
        platform = running.enter_context(platforms.start(data, listen=ANY_PORT))
        with (
            EmulatorClient.of(emulation.record) as emulator,
            PlatformClient(platform.record.url, platform.record.token) as client,
        ):
            client.attach_emulation(emulation.record)
            addresses = {row["name"]: row["address"] for row in emulator.endpoints()}
            kept = {"emulation": emulation.record.name, "data": str(data)}
            yield Stage(emulator, client, addresses["origin"].partition("/")[0], say, kept)
        if keep:
            platform.let_go()
            emulation.let_go()
            running.pop_all()


def _onboard(stage: Stage, scratch: Path) -> None:
    package = build_package(example_folder(EXAMPLE), scratch / "cdn.tgo")
    findings = [finding for finding in validate_package(package) if finding.severity == "error"]
    if findings:
        raise InvalidInput("the CDN package is not valid", diagnostics=findings)
    stage.platform.onboard(package.read_bytes())
    stage.say(f"built, validated and on-boarded {package.name} ({package.stat().st_size / 1024:.0f} KiB)")


def _try_placement(stage: Stage, placement: str, *, keep: bool = False) -> PlacementReport:
    stage.say(f"instantiating the service with {placement} placement")
    started = time.monotonic()
    request = stage.platform.instantiate(
        SERVICE, name=f"cdn-{placement}", ingress="users", egress="origin", placement=placement
    )
    follow(stage.platform, request["id"], stage.say)
    ready_s = round(time.monotonic() - started, 3)
    record = stage.platform.show("records/services", request["instance_uuid"])
    report = _measure(stage, placement, ready_s, record)
    if not keep:
        stage.say("terminating the service")
        follow(stage.platform, stage.platform.terminate(request["instance_uuid"])["id"], stage.say)
    return report


def _measure(stage: Stage, placement: str, ready_s: float, record: Document) -> PlacementReport:
    before = _counters(stage, record)
    stage.fetch(PROOF)
    path = _difference(record, before, _counters(stage, record))
    cold = stage.fetch(*OBJECTS)
    cached = stage.fetch(*OBJECTS)
    stage.say(f"  cold {cold[0].first_byte_ms:.0f} ms, cached {cached[0].first_byte_ms:.0f} ms to the first byte")
    return PlacementReport(
        placement=placement,
        where={vnf["vnf_id"]: vnf["vim"] for vnf in _in_chain_order(record)},
        decided_by=record["placement"]["decided_by"],
        ready_s=ready_s,
        cold=cold,
        cached=cached,
        path=path,
        cache_hits=sum(fetch.cache == "HIT" for fetch in cached),
    )


def _in_chain_order(record: Document) -> list[Document]:
    return sorted(record["network_functions"], key=lambda vnf: CHAIN.index(vnf["vnf_id"]))


def _counters(stage: Stage, record: Document) -> dict[str, Document]:
    """Counters of each VNF's interfaces, by VNF and connection point."""
    found: dict[str, Document] = {}
    for vnf in record["network_functions"]:
        ports = stage.emulator.counters(f"{vnf['vim']}/{vnf['server_id']}")
        found[vnf["vnf_id"]] = {each["cp"]: ports[f"eth{i}"] for i, each in enumerate(vnf["interfaces"])}
    return found


def _difference(
    record: Document, before: Mapping[str, Document], after: Mapping[str, Document]
) -> tuple[VnfTraffic, ...]:
    """What each interface counted in between."""

    def grown(vnf: str, counter: str) -> dict[str, int]:
        return {cp: after[vnf][cp][counter] - before[vnf][cp][counter] for cp in after[vnf]}

    return tuple(
        VnfTraffic(vnf["vnf_id"], vnf["vim"], grown(vnf["vnf_id"], "rx_packets"), grown(vnf["vnf_id"], "tx_packets"))
        for vnf in _in_chain_order(record)
    )
