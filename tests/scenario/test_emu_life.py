"""Emulations from start to end: traffic, live changes, refusals, and nothing left behind however they end."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.scenario.emu_command import ORIGIN, PATH_DELAY_S, Emu, wait_for_line

OPENSTACK = shutil.which("openstack", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
pytestmark = [pytest.mark.root, pytest.mark.serial]


def round_trip_s(emu: Emu) -> float:
    """The least round trip of a few pings from the users to the origin."""
    told = emu.ok("exec", "users", "--", "ping", "-c", "3", "-i", "0.2", ORIGIN)
    found = re.search(r"min/avg/max/mdev = ([\d.]+)/", told)
    assert found, told
    return float(found[1]) / 1000


def test_packets_take_the_declared_delay_and_follow_live_changes(emu: Emu) -> None:
    footprint = emu.up_by_command()
    assert 2 * PATH_DELAY_S <= round_trip_s(emu) < 2 * PATH_DELAY_S + 0.2

    assert {left.split()[0] for left in footprint.leftovers()} >= {"process", "file"}  # what is asked for below is seen

    emu.ok("link", "set", "a", "b", "--delay", "40ms", "--rate", "10Mbit")
    links = {link["name"]: link for link in emu.json("link", "ls")}
    shown = {key: value for key, value in links["ab"]["impairment"].items() if value}
    assert shown == {"delay_s": 0.04, "rate_bps": 10_000_000.0}
    assert round_trip_s(emu) >= 2 * 0.041

    emu.ok("link", "set", "bc", "--down")
    assert emu.run("exec", "users", "--", "ping", "-c", "1", "-W", "1", ORIGIN).returncode == 1
    emu.ok("link", "set", "bc", "--up")
    assert round_trip_s(emu) >= 2 * 0.041

    assert emu.aside("down").wait(30) == 0
    assert footprint.leftovers() == []


def test_a_command_speaks_while_it_runs_and_ends_with_its_caller(emu: Emu) -> None:
    emu.up()
    running = emu.aside("exec", "users", "--", "sh", "-c", "echo begun >&2; exec sleep 4713")
    wait_for_line(running, "begun")
    count = ("exec", "users", "--", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c 'sleep [4]713'")
    assert emu.run(*count).stdout == "1\n"
    running.send_signal(signal.SIGINT)
    assert running.wait(10) == 130
    deadline = time.monotonic() + 10
    while emu.run(*count).stdout != "0\n":
        assert time.monotonic() < deadline
    refused = emu.run("exec", "nobody", "--", "true")
    assert refused.returncode == 5
    assert "nobody" in refused.stderr


def test_verbs_tell_the_truth(emu: Emu) -> None:
    footprint = emu.up()
    (listed,) = emu.json("ls")
    assert (listed["name"], listed["state"], listed["pops"]) == (emu.name, "ready", 3)
    shown = emu.json("show")
    assert {machine["name"]: machine["status"] for machine in shown["machines"]} == {
        "users": "idle",
        "origin": "running",
    }
    assert f"export OS_AUTH_URL={listed['url']}/b/identity/v3" in emu.ok("openrc", "b")
    for_ada = emu.ok("openrc", "b", "--user", "ada", "--project", "blue").splitlines()
    assert {"export OS_USERNAME=ada", "export OS_PROJECT_NAME=blue"} < set(for_ada)
    assert not any("PASSWORD" in line for line in for_ada)
    assert emu.run("openrc", "nowhere").returncode == 5
    assert f"emulation.started {emu.name}" in emu.ok("logs")

    command = emu.run("exec", "-i", "origin", "--", "sh", "-c", "cat; echo oops >&2; exit 7", stdin="hello")
    assert (command.returncode, command.stdout, command.stderr) == (7, "hello", "oops\n")
    assert emu.run("exec", "nobody", "--", "true").returncode == 5
    assert emu.run("link", "set", "a", "b", "--loss", "200%").returncode == 2
    assert emu.run("link", "set", "a", "c", "--delay", "1ms").returncode == 5
    assert emu.run("link", "set", "ab", "--jitter", "1s").returncode == 2

    emu.ok("down")
    assert footprint.leftovers() == []
    assert emu.run("down").returncode == 5
    assert emu.json("ls") == []


@pytest.mark.skipif(OPENSTACK is None, reason="python-openstackclient is not installed")
def test_stock_client_works_with_the_printed_credentials(emu: Emu) -> None:
    emu.up()
    lines = emu.ok("openrc", "a")
    script = f"{lines}\n{OPENSTACK} server list -f value -c Status && {OPENSTACK} catalog list -f value -c Name"
    done = subprocess.run(["sh", "-c", script], env=emu.env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert {"keystone", "nova", "neutron", "glance"} <= set(done.stdout.split())


def test_capture_holds_the_packets_of_the_link(emu: Emu) -> None:
    emu.up()
    target = emu.home / "bc.pcap"
    capture = subprocess.Popen(
        [*emu.command("capture", "b", "c", "-w", str(target), "--seconds", "20")], env=emu.env, stderr=subprocess.PIPE
    )
    try:
        while not (target.exists() and target.stat().st_size >= 24):
            assert capture.poll() is None
        emu.ok("exec", "users", "--", "ping", "-c", "2", "-i", "0.2", "-p", "5e", ORIGIN)
        while target.read_bytes().count(b"\x5e" * 16) < 4:  # two requests, two replies
            assert capture.poll() is None
    finally:
        capture.kill()
        capture.communicate()
    assert target.read_bytes()[:4] == b"\xd4\xc3\xb2\xa1"


def test_links_are_measured_and_those_that_are_off_are_told(emu: Emu) -> None:
    emu.up()
    for _ in range(4):  # once more where something else had the processors meanwhile
        told = emu.run("link", "check", "--seconds", "0.5", "-o", "json")
        if told.returncode == 0:
            break
    checked = json.loads(told.stdout)
    assert [link["name"] for link in checked] == ["ab", "access-origin", "access-users", "bc"]
    for one in [one for link in checked for direction in link["directions"] for one in direction["quantities"]]:
        assert one["verdict"] != "off", one
    emu.ok("link", "set", "users", "a", "--from", "users", "--delay", "30ms")
    table = emu.run("link", "check", "a", "users", "--seconds", "0.5").stdout
    assert [line.split()[3] for line in table.splitlines() if " delay " in line] == ["0ns", "30ms"]


def test_packets_of_a_machine_are_captured(emu: Emu) -> None:
    emu.up()
    target = emu.home / "users.pcap"
    capture = subprocess.Popen(emu.command("capture", "users:eth0", "-w", str(target)), env=emu.env)
    try:
        while not (target.exists() and target.stat().st_size >= 24):
            assert capture.poll() is None
        emu.ok("exec", "users", "--", "ping", "-c", "1", "-p", "5d", ORIGIN)
        while target.read_bytes().count(b"\x5d" * 16) < 2:
            assert capture.poll() is None
    finally:
        capture.kill()
        capture.communicate()
    refused = emu.run("capture", "users:eth1", "-w", str(target))
    assert (refused.returncode, "it has eth0" in refused.stderr) == (5, True)


def test_events_are_told_as_they_happen_and_until_the_end(emu: Emu) -> None:
    emu.up()
    watching = subprocess.Popen(
        emu.command("events", "-o", "jsonl", "--kind", "link."), env=emu.env, stdout=subprocess.PIPE, text=True
    )
    try:
        emu.ok("link", "set", "ab", "--loss", "1%")
        assert watching.stdout
        event = json.loads(watching.stdout.readline())
        assert (event["kind"], event["subject"], event["detail"]["impairment"]["loss"]) == ("link.changed", "ab", 0.01)
        assert event["detail"]["was"]["impairment"]["loss"] == 0.0
        everything = emu.json("events")
        assert [told["kind"] for told in everything].count("link.changed") == 1
        assert "emulation.started" in emu.ok("events", "--no-follow")
        emu.ok("down")
        assert watching.wait(10) == 0
    finally:
        watching.kill()
        watching.communicate()


def test_a_second_start_finds_the_emulation_running_and_changes_what_differs(emu: Emu) -> None:
    footprint = emu.up()
    before = emu.record()
    again = emu.run("up", str(emu.topology), "--listen", "127.0.0.1:0", "--detach")
    assert (again.returncode, again.stdout) == (0, "")
    assert f"runs on {before.url}" in again.stderr
    assert "nothing differs" in again.stderr
    assert emu.record() == before
    assert emu.run("exec", "origin", "--", "true").returncode == 0
    emu.ok("down")
    assert footprint.leftovers() == []


def test_a_taken_port_is_named(emu: Emu) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        refused = emu.run("up", str(emu.topology), "--listen", address, "--detach")
    assert refused.returncode == 6
    assert address in refused.stderr
    assert emu.json("ls") == []


@pytest.mark.parametrize(
    ("old", "new", "status", "told"),
    [
        ("delay: 10ms", "delai: 10ms", 2, "delai"),
        ("attach: c,", "attach: nowhere,", 2, "nowhere"),
        ("attach: a}", "attach: a, image: no-such-image}", 5, "no-such-image"),
        ("[sleep, infinity]", "[no-such-program]", 1, "no-such-program"),
    ],
)
def test_a_start_that_fails_tells_why_and_leaves_nothing(emu: Emu, old: str, new: str, status: int, told: str) -> None:
    emu.topology.write_text(emu.topology.read_text().replace(old, new))
    failed = emu.run("up", str(emu.topology), "--listen", "127.0.0.1:0", "--detach")
    assert failed.returncode == status, failed.stderr
    assert told in failed.stderr
    assert "Traceback" not in failed.stderr
    assert emu.state_files() == []


def test_interrupting_the_foreground_ends_the_emulation(emu: Emu) -> None:
    process = emu.foreground()
    wait_for_line(process, "is ready")
    footprint = emu.footprint()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert footprint.leftovers() == []


def test_the_foreground_notices_that_somebody_ended_the_emulation(emu: Emu) -> None:
    process = emu.foreground()
    wait_for_line(process, "is ready")
    footprint = emu.footprint()
    emu.ok("down", "--name", emu.name)
    assert process.wait(30) == 0
    assert footprint.leftovers() == []


@pytest.mark.slow
def test_the_foreground_notices_a_killed_keeper_and_leaves_the_state_of_its_clouds(emu: Emu) -> None:
    process = emu.foreground()
    wait_for_line(process, "is ready")
    footprint = emu.footprint()
    kill_keeper(emu)
    assert process.wait(30) == 1
    assert {left.split()[0] for left in footprint.leftovers()} <= {"file"}
    emu.ok("down", "--name", emu.name)
    assert footprint.leftovers() == []


@pytest.mark.parametrize("moment", [pytest.param("3 PoPs", marks=pytest.mark.slow), "2 endpoints"])
def test_interrupting_the_start_leaves_nothing(emu: Emu, moment: str) -> None:
    process = emu.foreground()
    wait_for_line(process, moment)
    footprint = emu.footprint()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert footprint.leftovers() == []


@pytest.mark.parametrize("moment", [pytest.param("3 PoPs", marks=pytest.mark.slow), "is ready"])
def test_the_emulation_follows_a_killed_foreground(emu: Emu, moment: str) -> None:
    process = emu.foreground()
    wait_for_line(process, moment)
    footprint = emu.footprint()
    keeper = os.pidfd_open(emu.record().process.pid)
    process.kill()
    assert signal_of_end(keeper)
    assert footprint.leftovers() == []


def test_down_cleans_up_after_a_killed_keeper(emu: Emu) -> None:
    footprint = emu.up()
    emu.ok("exec", "users", "--", "true")
    kill_keeper(emu)
    (listed,) = emu.json("ls")
    assert listed["state"] == "dead"
    assert emu.run("exec", "users", "--", "true").returncode == 5
    emu.ok("down")
    assert footprint.leftovers() == []


def test_up_cleans_up_after_a_killed_keeper(emu: Emu) -> None:
    first = emu.up()
    kill_keeper(emu)
    second = emu.up_by_command()
    # Files and their loop devices are the second one's, in the same home.
    assert [left for left in first.leftovers() if not left.startswith(("file", "loop device"))] == []
    assert round_trip_s(emu) >= 2 * PATH_DELAY_S
    emu.ok("down")
    assert second.leftovers() == []


def kill_keeper(emu: Emu) -> None:
    keeper = os.pidfd_open(emu.record().process.pid)
    signal.pidfd_send_signal(keeper, signal.SIGKILL)
    assert signal_of_end(keeper)


def signal_of_end(keeper: int) -> bool:
    """Wait until a process held by its descriptor has ended."""
    poll = select.poll()
    poll.register(keeper, select.POLLIN)
    try:
        return bool(poll.poll(30_000))
    finally:
        os.close(keeper)


def test_servers_of_the_topology_run_and_answer_each_other(emu: Emu) -> None:
    text = emu.topology.read_text() + "servers:\n  alice: {pop: a}\n  bob: {pop: a}\n  carol: {pop: c}\n"
    emu.topology.write_text(text)
    footprint = emu.up()
    servers = {m["name"]: m["status"] for m in emu.json("show")["machines"] if m["kind"] == "server"}
    assert servers == {"a/alice": "ACTIVE", "a/bob": "ACTIVE", "c/carol": "ACTIVE"}
    address = emu.ok("exec", "a/bob", "--", "sh", "-c", "ip -4 -o address show eth0 | grep -o '10[.0-9]*'").split()[0]
    assert "2 received" in emu.ok("exec", "a/alice", "--", "ping", "-c", "2", "-i", "0.2", address)
    assert "1 received" in emu.ok("exec", "a/alice", "--", "ping", "-c", "1", "-W", "2", ORIGIN)
    emu.ok("down")
    assert footprint.leftovers() == []
