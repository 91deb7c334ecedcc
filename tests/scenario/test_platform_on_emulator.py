"""The real platform on a real emulation: a service over two sites, with a sandboxed manager; both killed on the way."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sonata.errors import SonataError
from sonata.model.topology import Endpoint, Impairment, Link, Pop, Topology
from sonata.sdk import emulations, platforms
from sonata.sdk.emulator_client import EmulatorClient
from sonata.sdk.keepers import Keeper
from sonata.sdk.packages import build_package
from sonata.sdk.platform_client import PlatformClient
from sonata.sdk.templates import TEMPLATE

EXAMPLE = Path(__file__).parents[2] / "examples" / "cdn"
TOPOLOGY = Topology(
    "two-sites",
    {"access": Pop("access"), "core": Pop("core")},
    (Link("backbone", "access", "core", Impairment(delay_s=0.005)),),
    {"users": Endpoint("users", "access"), "origin": Endpoint("origin", "core")},
)
pytestmark = [
    pytest.mark.root,
    pytest.mark.serial,
    pytest.mark.skipif(os.geteuid() != 0, reason="starts an emulation; needs root"),
]


@pytest.fixture
def archive(tmp_path: Path) -> bytes:
    """The CDN package with the `host` image for all VNFs: they run, and do nothing."""
    project = tmp_path / "project"
    shutil.copytree(EXAMPLE, project)
    for path in (project / "descriptors").glob("*-vnfd.yml"):
        path.write_text(re.sub(r"vm_image: .*", "vm_image: host", path.read_text()))
    return build_package(project, tmp_path / "cdn.tgo").read_bytes()


@pytest.fixture
def emulation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[emulations.Emulation]:
    monkeypatch.setenv("SONATA_HOME", str(tmp_path / "home"))
    with Keeper(TEMPLATE.spawn) as keeper:
        running = emulations.start(TOPOLOGY, name="two-sites", listen=("127.0.0.1", 0), keeper=keeper)
    with running:
        yield running


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def start(data: Path) -> platforms.RunningPlatform:
    return platforms.start(data, listen=("127.0.0.1", 0))


def servers(emulation: emulations.Emulation) -> list[str]:
    with EmulatorClient.of(emulation.record) as client:
        return [str(machine["name"]) for machine in client.machines() if machine["kind"] == "server"]


def at_step(client: PlatformClient, operation: str, step: str, deed: Callable[[], None]) -> None:
    """Do something while a step runs; the platform may be gone after it."""
    try:
        for _, document in client.watch(operation, 60):
            if document.get("step") == step:
                deed()
                return
    except SonataError:
        return
    raise AssertionError(f"step {step} never came")


def test_a_service_survives_the_death_of_the_platform_and_leaves_nothing(
    emulation: emulations.Emulation, data: Path, archive: bytes
) -> None:
    with start(data) as platform, PlatformClient.connect(data) as client:
        client.attach_emulation(emulation.record)
        client.onboard(archive)
        request = client.instantiate("cdn", name="web", ingress="users", egress="origin", placement="ssm")
        at_step(client, request["id"], "deploy/vtc", lambda: os.kill(platform.record.process.pid, signal.SIGKILL))
    with start(data), PlatformClient.connect(data) as client:
        ended = client.wait(request["id"], 60)
        assert (ended["state"], ended["error"]) == ("COMPLETED", "")
        record = client.show("records/services", "web")
        assert record["placement"]["decided_by"] == "ssm:cdn-placement", record["placement"]["rule"]
        assert {vnf["vnf_id"]: vnf["vim"] for vnf in record["network_functions"]} == {
            "vcache": "access",
            "vtc": "access",
            "vtu": "core",
        }
        assert len(servers(emulation)) == 3
        ended = client.wait(client.terminate("web")["id"], 60)
        assert (ended["state"], ended["error"]) == ("COMPLETED", "")
        assert servers(emulation) == []
        with EmulatorClient.of(emulation.record) as emulator:
            assert emulator.wan_connections() == []


def test_an_emulation_killed_midway_ends_the_operation_with_the_cause(
    emulation: emulations.Emulation, data: Path, archive: bytes
) -> None:
    with start(data), PlatformClient.connect(data) as client:
        client.attach_emulation(emulation.record)
        client.onboard(archive)
        request = client.instantiate("cdn", name="web", ingress="users", egress="origin", placement="generic")
        at_step(client, request["id"], "create_ports", lambda: os.kill(emulation.record.process.pid, signal.SIGKILL))
        ended = client.wait(request["id"], 90)
        assert ended["state"] == "FAILED"
        assert "cannot be reached" in ended["error"]
        record = client.show("records/services", "web")
        assert (record["status"], record["error"]) == ("ERROR", ended["error"])
