"""Servers of a real emulation frozen, resized, moved, shelved, photographed, worked in; their processes are judged."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.contract.openstack.real_emulation import Emulation, on_real_emulation
from tests.contract.openstack.test_compute import FAST, boot, network_of
from tests.proving import let_it_prove_itself
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from sonata.errors import Conflict

pytestmark = on_real_emulation

TOPOLOGY = """
apiVersion: sonata/v1
kind: Topology
name: openstack-contract
pops:
  edge: {cpus: 8, memory: 8GiB, hosts: 2}
servers:
  counter:
    pop: edge
    image: host
    flavor: tiny
    command: [sh, -c, "i=0; while :; do i=$((i+1)); echo $i > /root/count; sleep 0.02; done"]
  glutton:
    pop: edge
    image: host
    flavor: tiny
    command: [sh, -c, "until [ -e /root/go ]; do sleep 0.05; done; exec tail /dev/zero"]
  talker:
    pop: edge
    image: host
    flavor: tiny
    command: [sh, -c, "until [ -e /root/go ]; do sleep 0.05; done; seq 20000000; echo over; exec sleep 1000"]
"""


@pytest.fixture(scope="module")
def emulation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulation]:
    """A PoP of two hosts with one server that counts."""
    folder = tmp_path_factory.mktemp("emulation")
    topology = folder / "topology.yaml"
    topology.write_text(TOPOLOGY)
    running = Emulation(folder / "home")
    try:
        up = running.sonata("up", str(topology), "--name", "openstack-contract", "--listen", "127.0.0.1:0", "--detach")
        if up.returncode != 0:
            pytest.fail(up.stderr)
        yield running
    finally:
        down = running.sonata("down", "--name", "openstack-contract")
        assert down.returncode == 0, down.stderr


@pytest.fixture
def edge(emulation: Emulation) -> Iterator[Any]:
    """openstacksdk at the PoP."""
    cloud = emulation.connect("edge")
    yield cloud
    cloud.close()


def until(cloud: Any, server: Any, status: str) -> Any:
    return cloud.compute.wait_for_server(cloud.compute.get_server(server.id), status=status, interval=FAST, wait=20)


def count(emulation: Emulation) -> int:
    """How far the counter is; its file is empty for a moment whenever it is written."""
    while not (said := emulation.exec("edge/counter", "cat", "/root/count").stdout.strip()):
        pass
    return int(said)


def act(cloud: Any, server: Any, **action: Any) -> Any:
    return cloud.compute.post(f"/servers/{server.id}/action", json=action, microversion="2.96")


def test_a_paused_server_stands_still_and_answers_nobody(emulation: Emulation, edge: Any) -> None:
    network = network_of(edge, name="quiet")
    other = boot(edge, "other", networks=[{"uuid": network.id}])
    server = boot(edge, "frozen", networks=[{"uuid": network.id}])
    address = server.addresses["quiet"][0]["addr"]
    assert emulation.pings("edge/other", address)
    edge.compute.pause_server(server)
    until(edge, server, "PAUSED")
    assert not emulation.pings("edge/other", address)
    edge.compute.unpause_server(server)
    until(edge, server, "ACTIVE")
    assert emulation.pings("edge/other", address)
    for one in (server, other):
        edge.compute.delete_server(one)
        edge.compute.wait_for_delete(one, interval=FAST, wait=20)
    edge.network.delete_network(network, ignore_missing=False)


def test_processes_survive_suspension_resize_and_live_migration(emulation: Emulation, edge: Any) -> None:
    counter = edge.compute.find_server("counter")
    edge.compute.suspend_server(counter)
    until(edge, counter, "SUSPENDED")
    edge.compute.resume_server(counter)
    until(edge, counter, "ACTIVE")
    stood = count(emulation)
    home = edge.compute.get_server(counter.id).compute_host
    assert act(edge, counter, **{"os-migrateLive": {"host": None, "block_migration": "auto"}}).status_code == 202
    moved = until(edge, counter, "ACTIVE")
    while edge.compute.get_server(counter.id).task_state:
        pass
    moved = edge.compute.get_server(counter.id)
    assert {home, moved.compute_host} == {"edge-1", "edge-2"}
    edge.compute.resize_server(counter, edge.compute.find_flavor("small"))
    until(edge, counter, "VERIFY_RESIZE")
    edge.compute.revert_server_resize(counter)
    until(edge, counter, "ACTIVE")
    assert count(emulation) > stood > 0  # one and the same process: a new one would begin at 1
    used = edge.compute.get_server_diagnostics(counter)
    assert used.cpu_details[0]["time"] > 0


def test_a_server_out_of_memory_is_off_and_says_so(emulation: Emulation, edge: Any) -> None:
    glutton = edge.compute.find_server("glutton")
    if (
        "memory"
        in emulation.sonata("show", "--name", "openstack-contract", "-o", "json").stdout.partition("unenforced")[2]
    ):
        pytest.skip("this host lets nobody limit memory")
    let_it_prove_itself(until(edge, glutton, "ACTIVE"))
    emulation.exec("edge/glutton", "touch", "/root/go")
    ended = until(edge, glutton, "SHUTOFF")
    assert ended.power_state == 4
    assert ended.fault["message"] == "its program ended with exit status 137 (out of memory: limit is 64 MiB)"
    with pytest.raises(Conflict, match="SHUTOFF"):
        emulation.exec("edge/glutton", "true")


@pytest.mark.slow
def test_a_disk_survives_stop_shelving_and_migration_and_becomes_an_image(emulation: Emulation, edge: Any) -> None:
    server = boot(edge, "disk")
    emulation.exec("edge/disk", "sh", "-c", "echo kept > /root/file")
    edge.compute.stop_server(server)
    until(edge, server, "SHUTOFF")
    edge.compute.start_server(server)
    until(edge, server, "ACTIVE")
    edge.compute.shelve_server(server)
    until(edge, server, "SHELVED_OFFLOADED")
    edge.compute.unshelve_server(server)
    until(edge, server, "ACTIVE")
    edge.compute.migrate_server(server)
    until(edge, server, "VERIFY_RESIZE")
    edge.compute.confirm_server_resize(server)
    until(edge, server, "ACTIVE")
    assert emulation.exec("edge/disk", "cat", "/root/file").stdout == "kept\n"
    image = edge.compute.create_server_image(server, "shot", wait=True, timeout=20)
    copy = boot(edge, "copy", image="shot")
    assert emulation.exec("edge/copy", "cat", "/root/file").stdout == "kept\n"
    edge.compute.rescue_server(server)
    until(edge, server, "RESCUE")
    assert emulation.exec("edge/disk", "cat", "/root/file").returncode != 0
    edge.compute.unrescue_server(server)
    until(edge, server, "ACTIVE")
    edge.compute.rebuild_server(server, image=edge.image.find_image("host"))
    until(edge, server, "ACTIVE")
    assert emulation.exec("edge/disk", "cat", "/root/file").returncode != 0
    for one in (server, copy):
        edge.compute.delete_server(one)
        edge.compute.wait_for_delete(one, interval=FAST, wait=20)
    edge.image.delete_image(image)


def _drain(socket: ClientConnection) -> None:
    while True:
        socket.recv(timeout=20)


def test_a_console_is_a_shell_for_whoever_has_the_token_first(edge: Any) -> None:
    counter = edge.compute.find_server("counter")

    def url() -> str:
        return str(edge.compute.create_server_remote_console(counter, protocol="serial", type="serial").url)

    first = url()
    with connect(f"{first}&rows=30&columns=90", subprotocols=[Subprotocol("binary")]) as socket:
        assert socket.subprotocol == "binary"
        socket.send(b"hostname; stty size\n")
        seen = b""
        while b"30 90" not in seen:
            printed = socket.recv(timeout=20)
            seen += printed if isinstance(printed, bytes) else printed.encode()
        assert b"counter" in seen
        socket.send(b"exit\n")
        with pytest.raises(ConnectionClosed):
            _drain(socket)
    for worthless in (first, f"{url()}x"):
        with pytest.raises(InvalidStatus), connect(worthless):
            pass
    with pytest.raises(InvalidStatus), connect(url(), additional_headers={"Origin": "http://elsewhere.example"}):
        pass


def test_a_server_that_floods_its_console_fills_no_disk(emulation: Emulation, edge: Any) -> None:
    talker = edge.compute.find_server("talker")

    def said(lines: int) -> list[str]:
        return edge.compute.get_server_console_output(talker, length=lines)["output"].split("\n")[:-1]  # type: ignore[no-any-return]

    emulation.exec("edge/talker", "touch", "/root/go")
    deadline = time.monotonic() + 60
    while said(1) != ["over"]:
        assert time.monotonic() < deadline
        time.sleep(FAST)
    assert said(3) == ["19999999", "20000000", "over"]
    (log,) = (one for one in Path(emulation.environment["SONATA_HOME"]).rglob(talker.id) if one.is_file())
    while log.stat().st_blocks * 512 > 2 * 1024**2:  # of 169 MB
        assert time.monotonic() < deadline
        time.sleep(FAST)
    edge.compute.stop_server(talker)
    until(edge, talker, "SHUTOFF")
    assert log.stat().st_size == 1024**2
    assert said(3) == ["19999999", "20000000", "over"]


def console(emulation: Emulation, *, stdin: int, stdout: int) -> subprocess.Popen[bytes]:
    """`sonata emu console edge/counter` with these ends."""
    command = [sys.executable, "-c", "from sonata.cli.main import main; main()", "emu", "console", "edge/counter"]
    return subprocess.Popen(
        [*command, "--name", "openstack-contract"],
        env=emulation.environment,
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.DEVNULL,
    )


def test_the_console_command_takes_what_is_piped_into_it(emulation: Emulation) -> None:
    shell = console(emulation, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    out, _ = shell.communicate(b"cat > /root/note\nfirst\nsecond\n", timeout=30)
    assert shell.returncode == 0, out
    assert emulation.exec("edge/counter", "cat", "/root/note").stdout == "first\nsecond\n"
    nobody = emulation.sonata("console", "edge/nobody", "--name", "openstack-contract")
    assert (nobody.returncode != 0, "nobody" in nobody.stderr) == (True, True)


def test_the_console_command_joins_terminals(emulation: Emulation) -> None:
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    before = termios.tcgetattr(theirs)
    shell = console(emulation, stdin=theirs, stdout=theirs)
    try:
        os.write(ours, b"stty size\n")
        assert b"33 77" in until_printed(ours, b"33 77")
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 88, 0, 0))
        shell.send_signal(signal.SIGWINCH)
        os.write(ours, b"sleep 0.3; stty size\n")
        assert b"44 88" in until_printed(ours, b"44 88")
        os.write(ours, b"\x1d")
        assert shell.wait(20) == 0
        assert termios.tcgetattr(theirs) == before
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)
        os.close(theirs)


def until_printed(terminal: int, wanted: bytes) -> bytes:
    """What a terminal prints up to these words, within 20 s."""
    seen, deadline = b"", time.monotonic() + 20
    while wanted not in seen and time.monotonic() < deadline:
        if select.select([terminal], [], [], 1)[0]:
            seen += os.read(terminal, 4096)
    return seen
