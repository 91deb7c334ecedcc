"""One service in four forms, as the demonstration shows it, and the OSM packages of its example on their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sonata.formats.topology import read_topology
from sonata.sdk import emulation_records, emulations, platforms
from sonata.sdk.demonstration import example_folder, fetch, follow
from sonata.sdk.emulator_client import EmulatorClient
from sonata.sdk.multipop_demo.demo import CHAIN, EXAMPLE
from sonata.sdk.multipop_demo.forms import OSM_SERVICE, OSM_VNFS, PINNED
from sonata.sdk.packages import build_package
from sonata.sdk.platform_client import PlatformClient
from tests.residue import Host
from tests.scenario.demonstrations import image_store, our_processes, own_home, sonata
from tests.stock_client import needs_client

ROUND_TRIP_MS = 40.0
PACKETS_OF_A_MEGABYTE = 10
"""Fewer cannot carry it, even where the kernel hands over 64 kB at a time."""
MOMENTS = (
    "openstack server create squid",
    "image apache: looking it up",
    "step 1: starting",
    "starting the orchestrator",
    "openstack server delete squid",
    "openstack stack create content",
    "on-boarded",
    "the OSM service with another forwarder",
)
ANY_PORT = ("127.0.0.1", 0)
pytestmark = [
    pytest.mark.root,
    pytest.mark.serial,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="builds images and starts an emulation; needs root"),
]


@pytest.fixture(scope="module")
def images() -> Path:
    return image_store(EXAMPLE)


@pytest.fixture
def home(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return own_home(tmp_path / "home", images, monkeypatch)


@pytest.fixture
def emulator(home: Path) -> Iterator[EmulatorClient]:
    topology = read_topology(example_folder(EXAMPLE) / "topology.yaml")
    with (
        emulations.start(topology, name="osm", listen=ANY_PORT) as emulation,
        EmulatorClient.of(emulation.record) as client,
    ):
        yield client


@pytest.fixture
def platform(emulator: EmulatorClient, home: Path) -> Iterator[PlatformClient]:
    with platforms.start(home / "data", listen=ANY_PORT), PlatformClient.connect(home / "data") as client:
        client.attach_emulation(emulation_records.find("osm"))
        yield client


def onboard(platform: PlatformClient, folder: str, scratch: Path) -> Any:
    package = build_package(example_folder(EXAMPLE) / "osm" / folder, scratch / f"{folder}.tar.gz")
    return platform.onboard(package.read_bytes(), package.name)


def received(emulator: EmulatorClient) -> dict[str, int]:
    """Packets that the ports of each server have received so far, by image."""
    servers = [row for row in emulator.machines() if row["kind"] == "server"]
    return {
        row["image"]: sum(port["rx_packets"] for port in emulator.counters(row["name"]).values()) for row in servers
    }


def test_osm_packages_become_a_service_that_users_fetch_from(
    platform: PlatformClient, emulator: EmulatorClient, tmp_path: Path
) -> None:
    for folder in OSM_VNFS:
        onboard(platform, folder, tmp_path)
    service = onboard(platform, OSM_SERVICE, tmp_path)
    request = platform.instantiate(service["service_uuid"], name="web", pinned=PINNED)
    follow(platform, request["id"], lambda line: None)

    functions = {row["vnf_id"]: row for row in platform.show("records/services", "web")["network_functions"]}
    assert {name: row["vim"] for name, row in functions.items()} == PINNED
    reached = {name: [port["public_address"] for port in row["interfaces"]] for name, row in functions.items()}
    assert reached["forwarder"] == ["", ""]
    assert reached["apache"] == [""]
    public, inner = reached["squid"]
    assert (bool(public), inner) == (True, "")
    assert functions["forwarder"]["interfaces"][0]["address"] == "10.43.1.20"
    assert [port["address"] for port in functions["apache"]["interfaces"]] == ["10.43.2.30"]

    idle = received(emulator)
    cold = fetch(emulator, public, "/1M.bin")[0]
    once = received(emulator)
    cached = fetch(emulator, public, "/1M.bin")[0]
    twice = received(emulator)
    assert [(each.size_bytes, each.cache) for each in (cold, cached)] == [(10**6, "MISS"), (10**6, "HIT")]
    assert cold.first_byte_ms >= ROUND_TRIP_MS
    assert once["squid"] - idle["squid"] >= PACKETS_OF_A_MEGABYTE
    assert once["socat"] - idle["socat"] >= PACKETS_OF_A_MEGABYTE
    assert once["apache"] > idle["apache"]
    assert twice["squid"] > once["squid"]
    # Neighbour discovery may add a packet or two; a fetch needs many more.
    assert twice["socat"] - once["socat"] < PACKETS_OF_A_MEGABYTE

    follow(platform, platform.terminate("web")["id"], lambda line: None)
    assert received(emulator) == {}


@pytest.mark.slow
@needs_client
def test_all_forms_serve_content_and_leave_nothing(home: Path) -> None:
    before = Host.now()
    report = json.loads(sonata("demo", "multipop", "-o", "json"))

    forms = {form["form"]: form for form in report["forms"]}
    assert list(forms) == ["commands", "HOT", "SONATA", "OSM", "OSM HAProxy"]
    for name, form in forms.items():
        swapped = "socat" if name == "OSM HAProxy" else "haproxy"
        assert [vnf["vnf"] for vnf in form["traffic"]] == [vnf for vnf in CHAIN if vnf != swapped], name
        assert [vnf["pop"] for vnf in form["traffic"]] == ["edge", "core", "core"]
        assert [each["size_bytes"] for each in form["cold"]] == [1000, 10**6]
        assert form["cold"][0]["first_byte_ms"] >= ROUND_TRIP_MS
        assert [each["cache"] for each in form["cold"]] == ["MISS"] * 2
        assert (form["cache_hits"], [each["cache"] for each in form["cached"]]) == (2, ["HIT"] * 2)
        squid, forwarder, apache = form["traffic"]
        for vnf in (squid, forwarder, apache):
            assert min(vnf["cold"].values()) >= PACKETS_OF_A_MEGABYTE, (name, vnf)
        assert min(squid["cached"].values()) >= PACKETS_OF_A_MEGABYTE
        assert max(forwarder["cached"].values()) < PACKETS_OF_A_MEGABYTE, (name, forwarder)

    assert report["kept"] == {}
    assert our_processes(home) == []
    assert Host.now() == before
    assert not list(home.rglob("state/emulations/*"))


@needs_client
@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c_leaves_nothing(home: Path, moment: str) -> None:
    before, folders = Host.now(), demo_folders()
    demo = subprocess.Popen(
        [sys.executable, "-m", "sonata", "demo", "multipop"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert demo.stderr is not None
        assert any(moment in line for line in demo.stderr), "the demonstration has failed"
        os.killpg(demo.pid, signal.SIGINT)  # as a terminal does it: to all that are in the foreground
        told = demo.stderr.read()
        status = demo.wait(60)
    finally:
        demo.kill()
        demo.wait()
    assert (status, "Traceback" in told) == (130, False), told
    assert our_processes(home) == []
    assert Host.now() == before
    assert demo_folders() == folders
    assert not list(home.rglob("state/emulations/*"))


def demo_folders() -> set[Path]:
    """Scratch and data folders of demonstrations."""
    return set(Path(tempfile.gettempdir()).glob("sonata-demo-*"))
