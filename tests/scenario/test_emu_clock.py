"""The clock of the machine is set by days while an emulation runs: nothing but the life of tokens follows it.

Only the keeper sees another time here: what tells it the time reads from a file how far that is off.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from tests.proving import let_it_prove_itself
from tests.scenario.clouds import FAST, boot, network_of, site
from tests.scenario.emu_command import ORIGIN, Emu

pytestmark = [pytest.mark.root, pytest.mark.serial]

SET_CLOCK = """
import pathlib, time
wall, wall_ns = time.time, time.time_ns
ahead = lambda: int(pathlib.Path({setting!r}).read_text())
time.time = lambda: wall() + ahead()
time.time_ns = lambda: wall_ns() + ahead() * 10**9
"""
"""What is loaded into the keeper, as Python loads a `sitecustomize`."""
DAY_S = 86_400
SLEEP_S = "86321"
STACK = {"heat_template_version": "2018-08-31", "resources": {"net": {"type": "OS::Neutron::Net"}}}


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "it does not come to that"
        time.sleep(FAST)


def works(emu: Emu, cloud: Any, name: str) -> None:
    """Packets pass with their delay, servers and stacks come and go, events go on in order."""
    out = emu.ok("exec", "users", "--", "ping", "-c", "3", "-W", "2", ORIGIN)
    assert 20.0 < float(out.rpartition("= ")[2].split("/")[0]) < 40.0
    server = boot(cloud, name, cloud.network.find_network("inner").id)
    stack = cloud.orchestration.create_stack(name=name, template=STACK)
    until(lambda: cloud.orchestration.get_stack(stack.id).status == "CREATE_COMPLETE")
    cloud.orchestration.delete_stack(stack.id)
    cloud.compute.delete_server(server)
    cloud.compute.wait_for_delete(server, interval=FAST, wait=30)
    numbers = [event["number"] for event in emu.json("events")]
    assert numbers == sorted(numbers)


@pytest.mark.parametrize("steps", [(DAY_S, -DAY_S), pytest.param((-DAY_S, DAY_S), marks=pytest.mark.slow)])
def test_a_clock_that_is_set_by_days_disturbs_nothing(emu: Emu, steps: tuple[int, int]) -> None:
    setting, loaded = emu.home / "clock", emu.home / "loaded"
    setting.write_text("0")
    loaded.mkdir()
    (loaded / "sitecustomize.py").write_text(SET_CLOCK.format(setting=str(setting)))
    usual = emu.env.get("PYTHONPATH", "")
    emu.env["PYTHONPATH"] = f"{loaded}:{usual}"
    emu.topology.write_text(
        emu.topology.read_text() + f"servers:\n  cache: {{pop: a, command: [sleep, '{SLEEP_S}']}}\n"
    )
    footprint = emu.up_by_command()
    emu.env["PYTHONPATH"] = usual
    cloud = site(emu.record(), "a")
    network_of(cloud, "10.7.0.0/24", "10.7.0.10", "10.7.0.99")
    works(emu, cloud, "before")
    token = cloud.authorize()
    let_it_prove_itself(cloud.compute.get_server(cloud.compute.find_server("cache")))
    for step in steps:
        setting.write_text(str(step))
        again = site(emu.record(), "a")
        works(emu, again, f"at{step}")
        again.close()
    setting.write_text(str(DAY_S))
    assert (
        cloud.session.get(
            f"{cloud.compute.get_endpoint()}/servers",
            authenticated=False,
            headers={"X-Auth-Token": token},
            raise_exc=False,
        ).status_code
        == 401
    )
    setting.write_text(str(-DAY_S))
    program = next(
        one for one in psutil.Process(emu.record().process.pid).children(recursive=True) if SLEEP_S in one.cmdline()
    )
    os.kill(program.pid, signal.SIGKILL)
    last = site(emu.record(), "a")
    until(lambda: last.compute.find_server("cache").status == "SHUTOFF")
    samples = emu.json("metrics", 'count_over_time(sonata_link_up{link="ab"}[5m])')
    assert samples, "the metrics of before are gone"
    for connection in (cloud, last):
        connection.close()
    emu.ok("down")
    assert footprint.leftovers() == []
