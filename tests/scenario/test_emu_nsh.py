"""Chains with the correlation `nsh` in a running emulation: they outlive their switches and the keeper."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from sonata.adapters.fabric_linux.open_vswitch import missing_programs
from tests.scenario.clouds import boot, network_of, route, site
from tests.scenario.emu_command import ORIGIN, Emu, kill, settle
from tests.scenario.test_emu_recovery import ids, pings, power_on, received
from tests.waiting import eventually

pytestmark = [
    pytest.mark.root,
    pytest.mark.serial,
    pytest.mark.skipif(bool(missing_programs()), reason="needs Open vSwitch"),
]

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def near(emu: Emu) -> Iterator[Any]:
    emu.up()
    cloud = site(emu.record(), "a")
    yield cloud
    cloud.close()


def chain_with_nsh(cloud: Any, server: Any, knows: str | None = None, *, symmetric: bool = False) -> Any:
    """Lead the users' pings to the origin through a server."""
    net = cloud.network
    (port,) = net.ports(device_id=server.id)
    parameters = {"correlation": knows}
    pair = net.create_sfc_port_pair(ingress=port.id, egress=port.id, service_function_parameters=parameters)
    group = net.create_sfc_port_pair_group(port_pairs=[pair.id])
    classifier = net.create_sfc_flow_classifier(
        source_ip_prefix="100.64.0.10/32", destination_ip_prefix=f"{ORIGIN}/32", protocol="icmp"
    )
    return net.create_sfc_port_chain(
        port_pair_groups=[group.id],
        flow_classifiers=[classifier.id],
        chain_parameters={"correlation": "nsh", "symmetric": symmetric},
    )


def switches(emu: Emu) -> list[psutil.Process]:
    """The processes of Open vSwitch in an emulation."""
    family = psutil.Process(emu.record().process.pid).children(recursive=True)
    return [process for process in family if process.name().startswith("ovs")]


def is_led(emu: Emu) -> bool:
    """Whether a ping of the users passes the function."""
    seen = received(emu, "a/one")
    pings(emu, "users", ORIGIN)
    return received(emu, "a/one") > seen


def test_chains_with_nsh_come_back_and_leave_nothing(emu: Emu, near: Any) -> None:
    network = network_of(near, "10.5.0.0/24", "10.5.0.10", "10.5.0.99")
    route(near, network)
    server = boot(near, "one", network.id)
    assert not is_led(emu)
    assert not switches(emu)
    chain = chain_with_nsh(near, server)
    assert chain.chain_parameters["correlation"] == "nsh"
    assert is_led(emu)
    assert sorted(process.name() for process in switches(emu)) == ["ovs-vswitchd", "ovsdb-server"]

    (switch,) = (process for process in switches(emu) if process.name() == "ovs-vswitchd")
    os.kill(switch.pid, signal.SIGKILL)
    eventually(lambda: "plane.mended" in emu.ok("events", "--no-follow"))
    assert is_led(emu)

    before = ids(near)
    settle()
    kill(emu)
    emu.up()
    assert ids(near) == before
    power_on(near, "one")
    assert is_led(emu)
    footprint = emu.footprint()
    emu.ok("down")
    assert footprint.leftovers() == []


def test_the_example_of_a_function_that_knows_nsh(emu: Emu, near: Any) -> None:
    network = network_of(near, "10.5.0.0/24", "10.5.0.10", "10.5.0.99")
    near.network.update_network(network, mtu=1538, port_security_enabled=False)
    route(near, network)
    server = boot(near, "one", network.id)
    chain_with_nsh(near, server, "nsh", symmetric=True)
    assert not pings(emu, "users", ORIGIN)
    source = (EXAMPLES / "nsh" / "function.py").read_text()
    command = emu.command("exec", "a/one", "--", "python3", "-c", source, "eth0")
    function = subprocess.Popen(command, env=emu.env, stdout=subprocess.PIPE, text=True)
    try:
        eventually(lambda: pings(emu, "users", ORIGIN))
        assert function.stdout
        lines = [function.stdout.readline() for _ in range(2)]
    finally:
        function.kill()
        function.communicate()
    assert all(line.startswith("eth0 path=") for line in lines)
    assert all(" index=255 ttl=63 type=1 inner=3 bytes=98" in line for line in lines)
