"""A real emulation that tests of several modules share, and the marks of such tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

import openstack
import pytest

from sonata.sdk.emulation_records import load
from sonata.sdk.emulator_client import EmulatorClient

on_real_emulation = [
    pytest.mark.root,
    pytest.mark.serial,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: starts an emulation with namespaces"),
]
"""Marks of a module whose tests run on it."""
FAST = 0.02
NAME = "openstack-contract"
TOPOLOGY = """
apiVersion: sonata/v1
kind: Topology
name: openstack-contract
pops:
  access: {cpus: 8, memory: 8GiB}
  core: {cpus: 8, memory: 8GiB}
links:
  - {name: backbone, between: [access, core]}
endpoints:
  users: {attach: access, image: host}
  origin: {attach: core, image: host}
  plant: {attach: access, image: host, interfaces: {eth1: 10.1.0.200/24}}
"""


class Emulation:
    """A running emulation, reached by its command line alone."""

    def __init__(self, home: Path) -> None:
        self.environment = {**os.environ, "SONATA_HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}

    def sonata(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `sonata emu ...`."""
        command = [sys.executable, "-c", "from sonata.cli.main import main; main()", "emu", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)

    def exec(self, machine: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in an endpoint or server, as `sonata emu exec` does."""
        status, out, err = self._client.exec(machine, command)
        return subprocess.CompletedProcess(command, status, out.decode(), err.decode())

    @cached_property
    def _client(self) -> EmulatorClient:
        with patch.dict(os.environ, self.environment):
            return EmulatorClient.of(load(NAME))

    def namespaces(self) -> int:
        """How many network namespaces its keeper holds."""
        with patch.dict(os.environ, self.environment):
            record = load(NAME)
        assert record is not None
        names = (os.readlink(one) for one in Path(f"/proc/{record.process.pid}/fd").iterdir() if one.is_symlink())
        return len({name for name in names if name.startswith("net:")})

    def pings(self, machine: str, address: str, within_s: int = 1) -> bool:
        """Whether an address answers; one that did not before is looked for again only after some seconds (arp(7))."""
        return self.exec(machine, "ping", "-c", "1", "-w", str(within_s), address).returncode == 0

    def connect(self, pop: str) -> Any:
        """openstacksdk with what `openrc` prints."""
        lines = self.sonata("openrc", pop, "--name", NAME).stdout.splitlines()
        rc = dict(line.removeprefix("export ").split("=", 1) for line in lines)
        return openstack.connect(
            load_yaml_config=False,
            load_envvars=False,
            auth_url=rc["OS_AUTH_URL"],
            username=rc["OS_USERNAME"],
            password=rc["OS_PASSWORD"],
            project_name=rc["OS_PROJECT_NAME"],
            user_domain_name=rc["OS_USER_DOMAIN_NAME"],
            project_domain_name=rc["OS_PROJECT_DOMAIN_NAME"],
        )


@pytest.fixture(scope="package")
def emulation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulation]:
    """Two PoPs with users at one and an origin at the other, for all tests that remove what they make."""
    folder = tmp_path_factory.mktemp("emulation")
    topology = folder / "topology.yaml"
    topology.write_text(TOPOLOGY)
    running = Emulation(folder / "home")
    try:
        up = running.sonata("up", str(topology), "--name", NAME, "--listen", "127.0.0.1:0", "--detach")
        if up.returncode != 0:
            pytest.fail(up.stderr)
        yield running
    finally:
        down = running.sonata("down", "--name", NAME)
        assert down.returncode == 0, down.stderr


@pytest.fixture
def access(emulation: Emulation) -> Iterator[Any]:
    """openstacksdk at PoP `access`; what a test made there is removed."""
    cloud = emulation.connect("access")
    yield cloud
    sweep(cloud)
    cloud.close()


def sweep(cloud: Any) -> None:
    """Remove servers, networks and what belongs to them."""
    net = cloud.network
    for chain in net.sfc_port_chains():
        net.delete_sfc_port_chain(chain)
    for server in list(cloud.compute.servers()):
        cloud.compute.delete_server(server)
        cloud.compute.wait_for_delete(server, interval=FAST, wait=20)
    for address in net.ips():
        net.delete_ip(address)
    for kind in ("l2_gateway_connections", "l2_gateways"):
        path = f"/{kind.replace('_', '-')}"
        for one in net.get(path).json()[kind]:
            net.delete(f"{path}/{one['id']}")
    for router in net.routers():
        for port in net.ports(device_id=router.id, device_owner="network:router_interface"):
            net.remove_interface_from_router(router, port_id=port.id)
        net.delete_router(router)
    for group in net.sfc_port_pair_groups():
        net.delete_sfc_port_pair_group(group)
    for pair in net.sfc_port_pairs():
        net.delete_sfc_port_pair(pair)
    for classifier in net.sfc_flow_classifiers():
        net.delete_sfc_flow_classifier(classifier)
    for network in net.networks(is_router_external=False):
        for port in net.ports(network_id=network.id):
            net.delete_port(port)
        net.delete_network(network, ignore_missing=False)
