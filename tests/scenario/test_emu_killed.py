"""The keeper, an engine or a launcher is killed in the middle of something: what is told is true, and nothing is left.

The moments are drawn by a seed; most of them are for the long run.
"""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from keystoneauth1.exceptions import ClientException
from openstack.exceptions import SDKException

from tests.scenario.clouds import FAST, boot, network_of, site
from tests.scenario.emu_command import Emu, left, settle

pytestmark = [pytest.mark.root, pytest.mark.serial]

SEED, MOMENTS = 30, 30
LONGEST_S = {"up": 0.6, "servers": 0.8}
USUAL = {"up": (21,), "servers": (13,)}
SLEEP_S = "87654"


def moments(what: str) -> list[object]:
    """Times after which something is killed; most of them for the long run."""
    draw = random.Random(f"{SEED} {what}")
    drawn = sorted(draw.uniform(0.0, LONGEST_S[what]) for _ in range(MOMENTS))
    marks = [() if number in USUAL[what] else (pytest.mark.slow,) for number in range(MOMENTS)]
    return [pytest.param(at, marks=mark, id=f"{at:.3f}s") for at, mark in zip(drawn, marks, strict=True)]


def kill_keeper(pid: int) -> None:
    """Kill a process, and see it end."""
    with suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        assert poll.poll(30_000)
        os.close(handle)


def keepers(emu: Emu) -> list[psutil.Process]:
    """Processes of the keeper of a name, the outermost first: those that have its lock open."""
    lock = str(emu.home / "state" / "emulations" / f".{emu.name}.lock")
    found = []
    for process in psutil.process_iter():
        with suppress(OSError, psutil.Error):
            targets = [os.readlink(path) for path in Path(f"/proc/{process.pid}/fd").iterdir()]
            if lock in targets and "sonata.daemon" in " ".join(process.cmdline()):
                found.append(process)
    return found


def until(holds: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 30
    while not (found := holds()):
        assert time.monotonic() < deadline, "it does not come to that"
        time.sleep(0.005)
    return found


@pytest.mark.parametrize("at", moments("up"))
def test_a_keeper_that_is_killed_while_it_starts_leaves_nothing_and_up_works_again(emu: Emu, at: float) -> None:
    starting = emu.aside("up", str(emu.topology), "--listen", "127.0.0.1:0", "--detach")
    first = until(lambda: keepers(emu) or starting.poll() is not None)
    time.sleep(at)
    for process in first if isinstance(first, list) else []:
        kill_keeper(process.pid)
    for process in keepers(emu):
        kill_keeper(process.pid)
    _, told = starting.communicate(timeout=60)
    if starting.returncode == 0:
        assert [row["state"] for row in emu.json("ls")] == ["dead"]
    else:
        assert starting.returncode == 1, told
        assert "died" in told, told
        assert "Traceback" not in told
        assert emu.json("ls") == []
        assert left(emu) == []
    footprint = emu.up()
    emu.ok("exec", "users", "--", "true")
    emu.ok("down")
    assert footprint.leftovers() == []
    assert left(emu) == []


@pytest.mark.parametrize("at", moments("servers"))
def test_a_keeper_that_is_killed_while_servers_come_and_go(emu: Emu, at: float) -> None:
    emu.up()
    cloud = site(emu.record(), "a")
    network = network_of(cloud, "10.7.0.0/24", "10.7.0.10", "10.7.0.99")
    image, flavor = cloud.image.find_image("host"), cloud.compute.find_flavor("tiny")
    pid = emu.record().process.pid
    settle()
    killer = subprocess.Popen(["sh", "-c", f"sleep {at:.3f}; kill -9 {pid}"])
    with suppress(ClientException, SDKException):
        for number in range(100):
            made = cloud.compute.create_server(
                name=f"s{number}", image_id=image.id, flavor_id=flavor.id, networks=[{"uuid": network.id}]
            )
            if number % 3 == 2:
                cloud.compute.delete_server(made)
    killer.wait(30)
    kill_keeper(pid)
    assert [row["state"] for row in emu.json("ls")] == ["dead"]
    footprint = emu.up()
    cloud.network.get_network(network.id)
    until(lambda: not [one for one in cloud.compute.servers() if one.task_state])
    servers = list(cloud.compute.servers())
    assert {server.status for server in servers} <= {"SHUTOFF", "ERROR"}
    assert all(server.fault["message"] for server in servers if server.status == "ERROR")
    owners = {port.device_id for port in cloud.network.ports() if port.device_owner.startswith("compute:")}
    assert owners <= {server.id for server in servers}
    kept = [path.name for path in (emu.home / "state/emulations" / emu.name / "clouds/disks").glob("*/*")]
    assert set(kept) <= {server.id for server in servers}
    for server in servers:
        cloud.compute.delete_server(server)
        cloud.compute.wait_for_delete(server, interval=FAST, wait=30)
    assert boot(cloud, "again", network.id).status == "ACTIVE"
    cloud.close()
    emu.ok("down")
    assert footprint.leftovers() == []
    assert left(emu) == []
