"""The stock `openstack` command against a PoP."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.contract.openstack.conftest import Site
from tests.contract.openstack.test_compute import network_of
from tests.stock_client import StockClient, needs_client

COMMAND = shutil.which("openstack", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
SFC_PLUGIN = importlib.util.find_spec("neutronclient") is not None
pytestmark = needs_client


def test_a_server_from_login_to_deletion(site: Site) -> None:
    openstack = StockClient(site.openrc())
    cloud = site.connect()
    network_of(cloud)
    cloud.close()
    assert openstack.json("token issue")["id"]
    made = openstack.json("server create --image host --flavor tiny --network inner --wait vnf")
    assert (made["status"], made["addresses"]) == ("ACTIVE", {"inner": ["10.1.0.2"]})
    (listed,) = openstack.json("server list")
    assert (listed["Name"], listed["Image"], listed["Flavor"]) == ("vnf", "host", "tiny")
    assert {network["Name"] for network in openstack.json("network list")} == {"external", "inner"}
    openstack.ok("server delete --wait vnf")
    assert openstack.json("server list") == []


def test_a_wrong_name_is_told_by_the_command_itself(site: Site) -> None:
    environment = {**site.openrc(), "PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    command = [str(COMMAND), "server", "show", "nothing"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "nothing" in done.stderr


@pytest.mark.skipif(not SFC_PLUGIN, reason="python-neutronclient, which brings `openstack sfc`, is not installed")
def test_chains_are_listed_where_the_plugin_is_installed(site: Site) -> None:
    cloud = site.connect()
    cloud.network.create_sfc_flow_classifier(name="web", protocol="tcp")
    network = cloud.network.create_network(name="inner")
    cloud.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.1.0.0/24")
    for name in ("left", "right"):
        cloud.network.create_port(name=name, network_id=network.id, port_security_enabled=False)
    cloud.close()
    openstack = StockClient(site.openrc())
    openstack.ok("server create --image host --flavor tiny --port left --port right --wait vnf")
    for name in ("left", "right"):
        openstack.ok(f"sfc port pair create --ingress {name} --egress {name} {name}")
        openstack.ok(f"sfc port pair group create --port-pair {name} {name}")
    openstack.ok("sfc port chain create --port-pair-group left --chain-parameters correlation=mpls chain")
    openstack.ok("sfc port chain create --port-pair-group right branch")
    assert [chain["Name"] for chain in openstack.json("sfc port chain list")] == ["chain", "branch"]
    assert [found["Name"] for found in openstack.json("sfc flow classifier list")] == ["web"]
    openstack.ok("sfc service graph create --branching-point chain:branch tree")
    (listed,) = openstack.json("sfc service graph list")
    assert (listed["Name"], len(listed["Branching Points"])) == ("tree", 1)
    openstack.ok("sfc service graph set --description d tree")
    openstack.ok("sfc service graph delete tree")
    assert openstack.json("sfc service graph list") == []
    openstack.ok("sfc port pair create --ingress left --egress right --service-function-parameters correlation=nsh fw")
    openstack.ok("sfc port pair group create --port-pair fw fws")
    openstack.ok("sfc port chain create --port-pair-group fws --chain-parameters correlation=nsh wrapped")
    assert site.fabric.steering.chains == {}
    shown = openstack.json("sfc port chain show wrapped")
    assert "nsh" in str(shown["Chain Parameters"])
