"""The demonstration as a newcomer runs it, and what its counters prove."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openstack
import pytest

from sonata.sdk import emulation_records
from sonata.sdk.cdn_demo.demo import CHAIN, EXAMPLE, PROOF, Stage
from sonata.sdk.emulator_client import EmulatorClient
from sonata.sdk.platform_client import PlatformClient
from tests.residue import Host
from tests.scenario.demonstrations import image_store, our_processes, own_home, sonata

DELAY_MS = 20.0
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
    return own_home(tmp_path, images, monkeypatch)


def test_both_placements_serve_content_through_the_chain_and_leave_nothing(home: Path) -> None:
    before = Host.now()
    report = json.loads(sonata("demo", "cdn", "-o", "json"))
    ssm, generic = report["placements"]

    assert ssm["where"] == {"vcache": "access", "vtc": "access", "vtu": "core"}
    assert ssm["decided_by"] == "ssm:cdn-placement"
    assert generic["decided_by"] == "generic"
    assert generic["where"] != ssm["where"]
    for run in (ssm, generic):
        assert [hop["vnf"] for hop in run["path"]] == list(CHAIN)
        for hop in run["path"]:
            assert all(count > 0 for count in (*hop["received"].values(), *hop["sent"].values())), hop
        assert [fetch["cache"] for fetch in run["cold"]] == ["MISS"] * 3
        assert [fetch["cache"] for fetch in run["cached"]] == ["HIT"] * 3
        assert run["cold"][0]["first_byte_ms"] >= 2 * DELAY_MS
    assert all(fetch["cache"] == "" for fetch in report["direct"])
    # A hit at the users' own site has no wide area link on its way; one in the core has it twice, there and back.
    assert generic["cached"][0]["first_byte_ms"] >= 2 * DELAY_MS
    assert ssm["cached"][0]["total_ms"] < generic["cached"][0]["total_ms"]

    assert our_processes(home) == []
    assert Host.now() == before
    assert not list(home.rglob("state/emulations/*"))


@pytest.fixture
def kept_demo(home: Path) -> Iterator[Stage]:
    """What `--keep` leaves running: the service, its emulation and its platform."""
    kept = json.loads(sonata("demo", "cdn", "--placement", "ssm", "--keep", "-o", "json"))["kept"]
    record = emulation_records.find(kept["emulation"])
    data = Path(kept["data"])
    try:
        with EmulatorClient.of(record) as emulator, PlatformClient.connect(data) as platform:
            addresses = {row["name"]: row["address"].partition("/")[0] for row in emulator.endpoints()}
            yield Stage(emulator, platform, addresses["origin"], lambda message: None)
    finally:
        sonata("down", "--data", str(data))
        sonata("emu", "down", "--name", kept["emulation"])
        shutil.rmtree(data)


def counted(stage: Stage) -> dict[str, int]:
    """Packets that each VNF has received on its input so far."""
    machines = [row["name"] for row in stage.emulator.machines() if row["kind"] == "server"]
    return {name: stage.emulator.counters(name)["eth0"]["rx_packets"] for name in machines}


def site(record: emulation_records.EmulationRecord, pop: str) -> Any:
    return openstack.connection.Connection(
        auth_url=f"{record.url}/{pop}/identity/v3",
        username="admin",
        password=record.admin_password,
        project_name="admin",
        user_domain_name="Default",
        project_domain_name="Default",
    )


def test_without_the_chain_packets_pass_no_vnf(kept_demo: Stage) -> None:
    record = emulation_records.find(None)
    idle = counted(kept_demo)
    through = kept_demo.fetch(f"{PROOF}=chained")[0]
    chained = counted(kept_demo)
    assert all(chained[name] > idle[name] for name in idle)
    assert through.cache == "MISS"

    for pop in record.topology.pops:
        with site(record, pop) as cloud:
            for chain in list(cloud.network.sfc_port_chains()):
                cloud.network.delete_sfc_port_chain(chain)
    bare = counted(kept_demo)
    direct = kept_demo.fetch(f"{PROOF}=direct")[0]
    after = counted(kept_demo)
    assert direct.cache == ""
    # Neighbour discovery may add a packet or two; a fetch needs five at least.
    assert all(after[name] - bare[name] < 5 for name in bare), (bare, after)
