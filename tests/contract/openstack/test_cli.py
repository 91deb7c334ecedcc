"""The stock `openstack` command against a PoP. Each costs seconds, so there are few; the SDK covers the rest."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.contract.openstack.conftest import Site
from tests.contract.openstack.test_compute import network_of

COMMAND = shutil.which("openstack", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
SFC_PLUGIN = importlib.util.find_spec("neutronclient") is not None
pytestmark = pytest.mark.skipif(COMMAND is None, reason="python-openstackclient is not installed")


class Shell:
    """Runs `openstack` with the environment of an openrc file and nothing else."""

    def __init__(self, site: Site, **changes: str) -> None:
        self._env = {**site.openrc(**changes), "PATH": os.environ["PATH"], "HOME": "/nonexistent"}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command, its output as text."""
        command = [str(COMMAND), *arguments]
        return subprocess.run(command, env=self._env, capture_output=True, text=True, timeout=60, check=False)

    def json(self, *arguments: str) -> Any:
        """What a command that succeeds prints as JSON."""
        done = self.run(*arguments, "-f", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def test_a_server_from_login_to_deletion(site: Site) -> None:
    shell = Shell(site)
    cloud = site.connect()
    network_of(cloud)
    cloud.close()
    assert shell.json("token", "issue")["id"]
    made = shell.json("server", "create", "--image", "host", "--flavor", "tiny", "--network", "inner", "--wait", "vnf")
    assert (made["status"], made["addresses"]) == ("ACTIVE", {"inner": ["10.1.0.2"]})
    (listed,) = shell.json("server", "list")
    assert (listed["Name"], listed["Image"], listed["Flavor"]) == ("vnf", "host", "tiny")
    assert {network["Name"] for network in shell.json("network", "list")} == {"external", "inner"}
    assert shell.run("server", "delete", "--wait", "vnf").returncode == 0
    assert shell.json("server", "list") == []


def test_a_wrong_name_is_told(site: Site) -> None:
    done = Shell(site).run("server", "show", "nothing")
    assert done.returncode != 0
    assert "nothing" in done.stderr


@pytest.mark.skipif(not SFC_PLUGIN, reason="python-neutronclient, which brings `openstack sfc`, is not installed")
def test_chains_are_listed_where_the_plugin_is_installed(site: Site) -> None:
    cloud = site.connect()
    cloud.network.create_sfc_flow_classifier(name="web", protocol="tcp")
    cloud.network.create_sfc_port_chain(name="chain", port_pair_groups=[])
    cloud.close()
    shell = Shell(site)
    assert [chain["Name"] for chain in shell.json("sfc", "port", "chain", "list")] == ["chain"]
    assert [found["Name"] for found in shell.json("sfc", "flow", "classifier", "list")] == ["web"]
