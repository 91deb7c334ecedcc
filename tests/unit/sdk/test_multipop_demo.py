"""What the multi-PoP demonstration makes of the stock client's words, and how it changes a descriptor."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest

import sonata.sdk.multipop_demo.stock_client as stock_client
from sonata._lib.processes import ProcessId
from sonata.errors import NotFound, PermanentError
from sonata.formats.topology import read_topology
from sonata.sdk.demonstration import Say, example_folder
from sonata.sdk.emulation_records import EmulationRecord
from sonata.sdk.multipop_demo.demo import EXAMPLE, SWAP
from sonata.sdk.multipop_demo.forms import OSM_SERVICE, changed_service
from sonata.sdk.multipop_demo.stock_client import StockClient, find_client

FOLDER = example_folder(EXAMPLE)


def client(folder: Path, script: str, say: Say = lambda line: None) -> StockClient:
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
    return StockClient(str(program), folder, record, say)


def test_each_pop_has_a_client_of_its_own_with_only_its_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OS_CLOUD", "production")
    told = client(tmp_path, 'echo "$OS_AUTH_URL $OS_PASSWORD $OS_CLOUD: $@"').run({"edge": "a 'b c'\n", "core": "d"})
    assert told == {
        "edge": "http://127.0.0.1:1/edge/identity/v3 secret : a b c\n",
        "core": "http://127.0.0.1:1/core/identity/v3 secret : d\n",
    }


def test_words_on_standard_error_alone_are_no_failure(tmp_path: Path) -> None:
    assert client(tmp_path, "echo a warning >&2; echo done").run({"edge": "network list"}) == {"edge": "done\n"}


def test_each_command_is_told_when_it_begins(tmp_path: Path) -> None:
    told: list[str] = []

    def say(line: str) -> None:
        told.append(f"{line}, after {len(list(tmp_path.glob('*.done')))}")

    client(tmp_path, "touch $1.done", say).run({"edge": "one\ntwo\nthree"})
    assert told == [f"  edge: openstack {word}, after {number}" for number, word in enumerate(("one", "two", "three"))]


def test_a_failed_command_is_the_error_and_ends_all_that_is_going_on(tmp_path: Path) -> None:
    before = psutil.Process().children()  # what machines of other tests left to this process, too
    script = "[ $1 = sleep ] && exec sleep 1000; [ $1 = fail ] && echo No Server found >&2 && exit 3; touch $1"
    with pytest.raises(PermanentError, match="`openstack fail now` at `edge` ended with status 3: No Server found"):
        client(tmp_path, script).run({"edge": "fine\nfail now\nnever", "core": "sleep"})
    assert (tmp_path / "fine").exists()
    assert not (tmp_path / "never").exists()
    left = [one for one in psutil.Process().children() if one.name() == "sleep"]
    assert [one for one in left if one not in before] == []


def test_a_command_that_the_client_does_not_have_is_told_with_how_to_get_it(tmp_path: Path) -> None:
    script = "echo \"openstack: 'stack list' is not an openstack command. See 'openstack --help'.\"; exit 2"
    with pytest.raises(PermanentError, match="'stack list' is not an openstack command") as refused:
        client(tmp_path, script).run({"edge": "stack list"})
    assert "pip install 'sonata-nfv[clients]'" in (refused.value.hint or "")


def test_a_client_that_takes_too_long_is_ended_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stock_client, "_PATIENCE_S", 0.1)
    with pytest.raises(PermanentError, match="`openstack server list` at `edge` took more than"):
        client(tmp_path, "exec sleep 1000").run({"edge": "server list"})


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
