"""What the multi-PoP demonstration makes of the stock client's words, and how it changes a descriptor."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sonata._lib.processes import ProcessId
from sonata.errors import NotFound, PermanentError
from sonata.formats.topology import read_topology
from sonata.sdk.demonstration import example_folder
from sonata.sdk.emulation_records import EmulationRecord
from sonata.sdk.multipop_demo.demo import EXAMPLE, SWAP
from sonata.sdk.multipop_demo.forms import OSM_SERVICE, changed_service
from sonata.sdk.multipop_demo.stock_client import StockClient, find_client

FOLDER = example_folder(EXAMPLE)


def client(folder: Path, script: str) -> StockClient:
    """A client whose program is a script of ours."""
    program = folder / "openstack"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    record = EmulationRecord(
        name="two",
        process=ProcessId(1, 1),
        url="http://127.0.0.1:1",
        token="",
        wan_token="",
        admin_password="secret",
        proxy="",
        proxy_token="",
        cgroups="",
        created_at=0.0,
        topology=read_topology(FOLDER / "topology.yaml"),
    )
    return StockClient(str(program), folder, record, lambda line: None)


def test_each_pop_has_a_client_of_its_own_with_only_its_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OS_CLOUD", "production")
    told = client(tmp_path, 'echo "$OS_AUTH_URL $OS_PASSWORD $OS_CLOUD:"; cat').run({"edge": "a\nb\n", "core": "c"})
    assert told["edge"].split() == ["http://127.0.0.1:1/edge/identity/v3", "secret", ":", "a", "b"]
    assert told["core"].split()[-1] == "c"


def test_the_end_of_a_batch_with_1_alone_is_no_failure(tmp_path: Path) -> None:
    assert client(tmp_path, "echo done; exit 1").run({"edge": "network list"}) == {"edge": "done\n"}


def test_what_the_client_complains_about_is_the_error_even_when_it_ends_with_0(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="`openstack` at `edge` failed: No Server found for squid"):
        client(tmp_path, "echo No Server found for squid >&2").run({"edge": "server show squid"})


def test_a_command_that_the_client_does_not_have_is_told_with_how_to_get_it(tmp_path: Path) -> None:
    script = "echo \"openstack: 'stack list' is not an openstack command. See 'openstack --help'.\""
    with pytest.raises(PermanentError, match="'stack list' is not an openstack command") as refused:
        client(tmp_path, script).run({"edge": "stack list"})
    assert "pip install 'sonata-nfv[clients]'" in (refused.value.hint or "")


def test_a_missing_client_is_told_with_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotFound, match="stock OpenStack client") as refused:
        find_client()
    assert "pip install 'sonata-nfv[clients]'" in (refused.value.hint or "")


def test_the_changed_service_is_a_new_version_with_the_other_forwarder(tmp_path: Path) -> None:
    told: list[str] = []
    changed = changed_service(FOLDER / "osm" / OSM_SERVICE, tmp_path, SWAP, told.append)
    text = (changed / "cdn_nsd.yaml").read_text()
    assert ("socat_vnf" in text, "vnfd-id: haproxy_vnf" in text, "version: '2.0'" in text) == (False, True, True)
    assert len(told) == 6
    assert "socat_vnf" in (FOLDER / "osm" / OSM_SERVICE / "cdn_nsd.yaml").read_text()


def test_a_change_of_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="`nginx_vnf` is not in"):
        changed_service(FOLDER / "osm" / OSM_SERVICE, tmp_path, {"nginx_vnf": "x"}, lambda line: None)
