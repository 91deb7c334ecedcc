"""Emulations in scripts: real ones, by the same keeper as the command line's."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sonata.embedding import (
    CommandFailed,
    Emulator,
    Endpoint,
    Impairment,
    Link,
    Pop,
    RunningEmulation,
    ServerSeed,
    Topology,
    attach,
)
from sonata.embedding.testing import what_is_missing
from sonata.errors import Conflict, InvalidInput, NotFound
from sonata.sdk.emulation_records import find, recorded
from sonata.sdk.wan_client import WanClient
from tests.residue import Footprint, Host

pytestmark = [pytest.mark.root, pytest.mark.serial]

TWO = Topology(
    "embedded",
    {"west": Pop("west"), "east": Pop("east")},
    (Link("backbone", "west", "east", Impairment(delay_s=0.01)),),
    {"users": Endpoint("users", "west"), "origin": Endpoint("origin", "east")},
    {"probe": ServerSeed("probe", "west")},
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home of its own for emulations; skips where none can run."""
    if lacking := what_is_missing():
        pytest.skip(lacking)
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SONATA_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def emulation(home: Path) -> Iterator[RunningEmulation]:
    with Emulator(TWO) as running:
        yield running


def is_over(process: int) -> bool:
    """Whether a process ends within half a minute."""
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return True
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    try:
        return bool(poll.poll(30_000))
    finally:
        os.close(descriptor)


def ping(emulation: RunningEmulation) -> float | None:
    """Round trip from the users to the origin in milliseconds, the quickest of three; None when nothing comes back."""
    (origin, *_) = emulation.addresses("origin")
    done = emulation.exec("users", ["ping", "-n", "-c3", "-i0.2", "-W2", origin])
    return None if done.status else float(done.stdout.rpartition("= ")[2].split("/")[0])


def test_links_are_changed_while_packets_flow(emulation: RunningEmulation) -> None:
    link = emulation.link("west", "east")
    assert link.name == emulation.link("backbone").name == "backbone"
    before = ping(emulation)
    assert before is not None
    assert before >= 20
    link.set(delay="50ms", jitter=0.0, rate="10Mbit")
    after = ping(emulation)
    assert after is not None
    assert after >= 100
    assert link.status["impairment"]["rate_bps"] == 10e6
    link.down()
    assert ping(emulation) is None
    link.up()
    link.set(delay=0.01, rate="none")
    assert link.status["impairment"]["rate_bps"] is None
    assert ping(emulation) is not None


def test_commands_give_their_status_and_output(emulation: RunningEmulation) -> None:
    done = emulation.exec("west/probe", ["sh", "-c", "cat; echo oops >&2; exit 3"], stdin="héllo")
    assert (done.status, done.stdout, done.stderr) == (3, "héllo", "oops\n")
    with pytest.raises(CommandFailed, match="oops") as failed:
        emulation.exec("users", 'sh -c "echo oops >&2; exit 3"', check=True)
    assert failed.value.completed.status == 3


def test_metrics_are_asked_for_by_expressions(emulation: RunningEmulation) -> None:
    there, back = emulation.query('sonata_link_up{link="backbone"} == 1')
    assert {there["labels"]["source"], back["labels"]["source"]} == {"west", "east"}
    assert (there["name"], there["value"]) == ("sonata_link_up", 1.0)
    assert emulation.query("1 + 2") == [{"name": "", "labels": {}, "value": 3.0}]
    assert emulation.query("sonata_link_up", at=1.0) == []
    with pytest.raises(InvalidInput):
        emulation.query("sum(")
    assert 'sonata_link_up{link="backbone"' in emulation.metrics()


def test_what_is_not_there_is_named_with_what_is(emulation: RunningEmulation) -> None:
    with pytest.raises(NotFound, match="backbone"):
        emulation.link("spur")
    with pytest.raises(NotFound, match="backbone"):
        emulation.link("west", "north")
    with pytest.raises(NotFound, match="users"):
        emulation.addresses("nobody")
    with pytest.raises(NotFound):
        emulation.exec("nobody", "true")
    with pytest.raises(NotFound, match="west, east"):
        emulation.openstack("north")


def test_changes_of_links_are_checked(emulation: RunningEmulation) -> None:
    link = emulation.link("backbone")
    for wrong in ({}, {"delay": "20"}, {"rate": "fast"}, {"loss": "200%"}, {"jitter": 1.0}):
        with pytest.raises(InvalidInput):
            link.set(**wrong)


def test_a_link_of_which_more_is_reserved_is_slowed_by_force_alone(emulation: RunningEmulation) -> None:
    link, clouds = emulation.link("backbone"), {pop: emulation.openstack(pop) for pop in ("west", "east")}
    networks = {pop: cloud.network.create_network(name="joined") for pop, cloud in clouds.items()}
    members = {pop: network.id for pop, network in networks.items()}
    with WanClient.of(find(TWO.name)) as wan:
        made = wan.connect("gold", members, {"rate_bps": 20e6})
        try:
            with pytest.raises(Conflict, match="20Mbit from `west` promised to connections: `gold`"):
                link.set(rate="10Mbit")
            assert link.status["impairment"]["rate_bps"] is None
            link.set(rate="10Mbit", force=True)
            assert [one["state"] for one in wan.connections()] == ["degraded"]
        finally:
            link.set(rate="none")
            wan.disconnect(made["id"])
            for pop, network in networks.items():
                clouds[pop].network.delete_network(network)


def test_its_openstack_is_that_of_the_site(emulation: RunningEmulation) -> None:
    servers = emulation.openstack("west").compute.servers()
    assert [server.name for server in servers] == ["probe"]
    assert list(emulation.openstack("east").compute.servers()) == []
    assert emulation.openrc("west")["OS_AUTH_URL"] == f"{emulation.url}/west/identity/v3"
    with pytest.raises(InvalidInput, match="password"):
        emulation.openstack("west", user="somebody")


def test_a_capture_has_the_packets_of_its_time(emulation: RunningEmulation) -> None:
    (origin, *_) = emulation.addresses("origin")
    emulation.exec("users", ["sh", "-c", f"ping -c 20 -i 0.1 {origin} >/dev/null 2>&1 &"])
    packets = emulation.link("backbone").capture(1.0)
    assert packets[:4] in (b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4", b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d")
    assert len(packets) > 24


def test_the_command_line_sees_the_same_emulation(emulation: RunningEmulation) -> None:
    assert attach().name == attach("embedded").name == emulation.name
    command = [sys.executable, "-m", "sonata", "emu", "graph", "--name", emulation.name, "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    edges = {edge["name"]: edge for edge in json.loads(done.stdout)["edges"]}
    assert edges["backbone"]["up"] is True


def test_a_name_is_given_once(emulation: RunningEmulation) -> None:
    with pytest.raises(Conflict, match="embedded"):
        Emulator(TWO).start()


def test_flaws_are_told_before_anything_starts(home: Path) -> None:
    before = [record.name for record in recorded()]
    with pytest.raises(InvalidInput):
        Emulator(Topology("flawed", {"a": Pop("a")}, (Link("l", "a", "b"),))).start()
    with pytest.raises(NotFound):
        Emulator(home / "none.yaml").start()
    assert [record.name for record in recorded()] == before


def test_an_error_in_the_block_ends_the_emulation(home: Path) -> None:
    before = Host.now()
    footprints: list[Footprint] = []

    def fail() -> None:
        with Emulator(Topology("doomed", {"a": Pop("a")})) as running:
            footprints.append(Footprint.of(running.record, before, home / "doomed"))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert footprints[0].leftovers() == []
    assert "doomed" not in [record.name for record in recorded()]


def test_a_script_that_is_killed_leaves_nothing(home: Path) -> None:
    script = (
        "import os, signal\n"
        "from sonata.embedding import *\n"
        "Emulator(Topology('killed', {'a': Pop('a')})).start()\n"
        "print(attach('killed').record.process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, timeout=60, check=False)
    assert is_over(int(done.stdout))
    assert "killed" not in [record.name for record in recorded() if record.is_running]
