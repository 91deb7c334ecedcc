"""Stacks in a running emulation, made by the stock client: servers boot, signal, are scaled, changed and taken down."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.scenario.clouds import site
from tests.scenario.emu_command import Emu

OPENSTACK = shutil.which("openstack", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
pytestmark = [
    pytest.mark.root,
    pytest.mark.serial,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        OPENSTACK is None or importlib.util.find_spec("heatclient") is None,
        reason="python-openstackclient or python-heatclient is not installed",
    ),
]

TOPOLOGY = """
apiVersion: sonata/v1
kind: Topology
name: {name}
pops:
  a: {{cpus: 16, memory: 8GiB}}
"""
SERVICE = """
heat_template_version: 2021-04-16
parameters:
  label: {type: string, default: one, constraints: [{allowed_pattern: "[a-z]+"}]}
  members: {type: number, default: 1}
  flavor: {type: string, default: tiny, constraints: [{custom_constraint: nova.flavor}]}
  image: {type: string, default: host}
resources:
  net: {type: OS::Neutron::Net, properties: {name: inner}}
  subnet: {type: OS::Neutron::Subnet, properties: {network: {get_resource: net}, cidr: 10.9.0.0/24}}
  router: {type: OS::Neutron::Router, properties: {external_gateway_info: {network: external}}}
  inside:
    type: OS::Neutron::RouterInterface
    properties: {router: {get_resource: router}, subnet: {get_resource: subnet}}
  group:
    type: OS::Neutron::SecurityGroup
    properties: {rules: [{protocol: tcp, port_range_min: 8080, port_range_max: 8080}]}
  port:
    type: OS::Neutron::Port
    properties:
      network: {get_resource: net}
      security_groups: [{get_resource: group}]
      fixed_ips: [{subnet: {get_resource: subnet}}]
  handle: {type: OS::Heat::WaitConditionHandle}
  ready: {type: OS::Heat::WaitCondition, properties: {handle: {get_resource: handle}, timeout: 60}}
  web:
    type: OS::Nova::Server
    properties:
      name: {list_join: ['-', [web, {get_param: label}]]}
      image: host
      flavor: {get_param: flavor}
      networks: [{port: {get_resource: port}}]
      user_data_format: RAW
      user_data:
        str_replace:
          params: {SIGNAL: {get_attr: [handle, curl_cli]}}
          template: |
            #!/bin/sh
            mkdir /tmp/www && cd /tmp/www && hostname > index.html
            (setsid python3 -m http.server 8080 > /dev/null 2>&1 &)
            SIGNAL --data-binary '{"status": "SUCCESS", "id": "web", "data": "'$(hostname)'"}'
  disk: {type: OS::Cinder::Volume, properties: {size: 1}}
  attached:
    type: OS::Cinder::VolumeAttachment
    properties: {instance_uuid: {get_resource: web}, volume_id: {get_resource: disk}}
  floating:
    type: OS::Neutron::FloatingIP
    depends_on: inside
    properties: {floating_network: external, port_id: {get_resource: port}}
  many:
    type: OS::Heat::ResourceGroup
    properties:
      count: {get_param: members}
      resource_def:
        type: OS::Nova::Server
        properties:
          {name: member-%index%, image: {get_param: image}, flavor: tiny, networks: [{network: {get_resource: net}}]}
  scaled:
    type: OS::Heat::AutoScalingGroup
    properties:
      min_size: 1
      max_size: 3
      resource:
        type: OS::Nova::Server
        properties: {image: host, flavor: tiny, networks: [{network: {get_resource: net}}]}
  more:
    type: OS::Heat::ScalingPolicy
    properties:
      {auto_scaling_group_id: {get_resource: scaled}, adjustment_type: change_in_capacity, scaling_adjustment: 1}
outputs:
  told: {value: {get_attr: [ready, data]}}
  address: {value: {get_attr: [floating, floating_ip_address]}}
  members: {value: {get_attr: [many, name]}}
  alarm: {value: {get_attr: [more, alarm_url]}}
"""


class Live:
    """A running emulation with one PoP, and the stock client of its cloud."""

    def __init__(self, emu: Emu) -> None:
        self.emu = emu
        emu.topology.write_text(TOPOLOGY.format(name=emu.name))
        emu.up()
        self.cloud = site(emu.record(), "a")
        exports = (line.removeprefix("export ").split("=", 1) for line in emu.ok("openrc", "a").splitlines())
        self._env = {"PATH": os.environ["PATH"], "HOME": str(emu.home), **dict(exports)}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of the client."""
        command = [str(OPENSTACK), *arguments]
        return subprocess.run(command, env=self._env, capture_output=True, text=True, timeout=100, check=False)

    def stack(self, verb: str, text: str, *more: str) -> dict[str, Any]:
        """The stack `s` after it was made or changed."""
        template = self.emu.home / "stack.yaml"
        template.write_text(text)
        self.run("stack", verb, "--wait", "-t", str(template), *more, "s")
        return self.show()

    def show(self) -> dict[str, Any]:
        """The stack `s`."""
        found: dict[str, Any] = self.cloud.orchestration.get_stack("s").to_dict()
        told = {one["output_key"]: one["output_value"] for one in found["outputs"] or []}
        return {"status": found["status"], "reason": found["status_reason"], "outputs": told}

    def servers(self) -> dict[str, str]:
        """States of all servers by name."""
        return {server.name: server.status for server in self.cloud.compute.servers()}

    def left(self) -> dict[str, list[str]]:
        """What there is in the cloud of all that stacks of these tests make."""
        network, compute, volumes = self.cloud.network, self.cloud.compute, self.cloud.block_storage
        found = {
            "servers": compute.servers(),
            "networks": network.networks(is_router_external=False),
            "routers": network.routers(),
            "ports": network.ports(),
            "floating": network.ips(),
            "groups": (one for one in network.security_groups() if one.name != "default"),
            "volumes": volumes.volumes(),
            "balancers": self.cloud.load_balancer.load_balancers(),
            "policies": network.qos_policies(),
            "chains": network.sfc_port_chains(),
        }
        return {kind: [one.id for one in some] for kind, some in found.items()}


@pytest.fixture
def live(emu: Emu) -> Iterator[Live]:
    running = Live(emu)
    yield running
    running.cloud.close()


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether something becomes true before long."""
    for _ in range(300):
        if holds():
            return True
        time.sleep(0.1)
    return False


def test_a_service_lives_as_its_template_says(live: Live) -> None:
    before = live.left()
    made = live.stack("create", SERVICE)
    assert made["status"] == "CREATE_COMPLETE", made["reason"]
    assert json.loads(made["outputs"]["told"]) == {"web": "web-one"}
    assert made["outputs"]["members"] == ["member-0"]
    assert live.emu.ok("exec", "a/web-one", "--", "curl", "-s", "localhost:8080") == "web-one\n"
    (web,) = (one for one in live.cloud.compute.servers() if one.name == "web-one")
    assert made["outputs"]["address"] in [one["addr"] for one in web.addresses["inner"]]
    assert len(web.attached_volumes) == 1

    assert len(live.servers()) == 3
    for wanted in (4, 5, 5):  # the third signal meets max_size
        assert eventually(lambda: httpx.post(made["outputs"]["alarm"]).status_code == 200)
        assert eventually(lambda wanted=wanted: list(live.servers().values()) == ["ACTIVE"] * wanted)

    changed = live.stack("update", SERVICE, "--parameter", "label=two", "--parameter", "members=2")
    assert changed["status"] == "UPDATE_COMPLETE", changed["reason"]
    assert {"web-two", "member-0", "member-1"} <= live.servers().keys()
    assert live.cloud.compute.get_server(web.id).name == "web-two"  # changed in place

    failing = SERVICE.replace("cidr: 10.9.0.0/24", "cidr: 10.9.0.0/24, name: other")
    failed = live.stack("update", failing, "--rollback", "enabled", "--existing", "--parameter", "image=nowhere")
    assert failed["status"] == "ROLLBACK_COMPLETE", failed["reason"]
    assert not list(live.cloud.network.subnets(name="other"))
    assert {"web-two", "member-0", "member-1"} <= live.servers().keys()

    gone = live.run("stack", "delete", "--yes", "--wait", "s")
    assert gone.returncode == 0, gone.stderr
    assert live.left() == before
