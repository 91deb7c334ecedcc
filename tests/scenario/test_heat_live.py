"""Stacks in a running emulation, made by the stock client: servers boot, signal, are scaled, changed and taken down."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests import plain_http
from tests.scenario.clouds import site
from tests.scenario.emu_command import Emu
from tests.stock_client import Said, StockClient, needs_client

pytestmark = [
    pytest.mark.root,
    pytest.mark.serial,
    pytest.mark.timeout(300),
    needs_client,
    pytest.mark.skipif(importlib.util.find_spec("heatclient") is None, reason="python-heatclient is not installed"),
]

TOPOLOGY = """
apiVersion: sonata/v1
kind: Topology
name: {name}
pops:
  a: {{cpus: 16, memory: 8GiB}}
"""
SERVING = """
  net: {type: OS::Neutron::Net, properties: {name: inner}}
  subnet: {type: OS::Neutron::Subnet, properties: {network: {get_resource: net}, cidr: 10.9.0.0/24}}
  group:
    type: OS::Neutron::SecurityGroup
    properties: {rules: [{protocol: tcp, port_range_min: 8080, port_range_max: 8080}]}
  port:
    type: OS::Neutron::Port
    properties:
      network: {get_resource: net}
      security_groups: [{get_resource: group}]
      fixed_ips: [{subnet: {get_resource: subnet}}]
      qos_policy: LIMITED
  handle: {type: OS::Heat::WaitConditionHandle}
  ready: {type: OS::Heat::WaitCondition, properties: {handle: {get_resource: handle}, timeout: 60}}
  web:
    type: OS::Nova::Server
    properties:
      name: NAME
      image: host
      flavor: FLAVOR
      networks: [{port: {get_resource: port}}]
      user_data_format: FORMAT
      user_data:
        str_replace:
          params: {SIGNAL: {get_attr: [handle, curl_cli]}}
          template: |
            #!/bin/sh
            mkdir /tmp/www && cd /tmp/www && hostname > index.html
            (setsid python3 -m http.server 8080 > /dev/null 2>&1 &)
            SIGNAL --data-binary '{"status": "SUCCESS", "id": "web", "data": "'$(hostname)'"}'
"""


def serving(name: str, flavor: str, user_data_format: str, limited: str = "null") -> str:
    """Resources of a network with a server `web` on it, which signals when it serves its name at port 8080."""
    words = {"NAME": name, "FLAVOR": flavor, "FORMAT": user_data_format, "LIMITED": limited}
    text = SERVING
    for word, value in words.items():
        text = text.replace(f": {word}\n", f": {value}\n")
    return text


SERVICE = """
heat_template_version: 2021-04-16
parameters:
  label: {type: string, default: one, constraints: [{allowed_pattern: "[a-z]+"}]}
  members: {type: number, default: 1}
  flavor: {type: string, default: tiny, constraints: [{custom_constraint: nova.flavor}]}
  image: {type: string, default: host}
resources:
"""
SERVICE += serving("{list_join: ['-', [web, {get_param: label}]]}", "{get_param: flavor}", "SOFTWARE_CONFIG")
SERVICE += """
  router: {type: OS::Neutron::Router, properties: {external_gateway_info: {network: external}}}
  inside:
    type: OS::Neutron::RouterInterface
    properties: {router: {get_resource: router}, subnet: {get_resource: subnet}}
  disk: {type: OS::Cinder::Volume, properties: {size: 1}}
  attached:
    type: OS::Cinder::VolumeAttachment
    properties: {instance_uuid: {get_resource: web}, volume_id: {get_resource: disk}}
  script:
    type: OS::Heat::SoftwareConfig
    properties:
      group: script
      inputs: [{name: word}]
      outputs: [{name: found}]
      config: |
        #!/bin/sh
        echo "$deploy_action $word"
        cat /tmp/www/index.html > $heat_outputs_path.found
        [ "$word" != bad ]
  deployed:
    type: OS::Heat::SoftwareDeployment
    depends_on: ready
    properties:
      config: {get_resource: script}
      server: {get_resource: web}
      input_values: {word: {get_param: label}}
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
  said: {value: {get_attr: [deployed, deploy_stdout]}}
  found: {value: {get_attr: [deployed, found]}}
  told: {value: {get_attr: [ready, data]}}
  address: {value: {get_attr: [floating, floating_ip_address]}}
  members: {value: {get_attr: [many, name]}}
  alarm: {value: {get_attr: [more, alarm_url]}}
  signal: {value: {get_attr: [more, signal_url]}}
"""


class Live:
    """A running emulation with one PoP, and the stock client of its cloud."""

    def __init__(self, emu: Emu) -> None:
        self.emu = emu
        emu.topology.write_text(TOPOLOGY.format(name=emu.name))
        emu.up()
        self.cloud = site(emu.record(), "a")
        exports = (line.removeprefix("export ").split("=", 1) for line in emu.ok("openrc", "a").splitlines())
        self._client = StockClient(dict(exports))

    def run(self, *arguments: str) -> Said:
        """A command of the client."""
        return self._client.run("", *arguments)

    def stack(self, verb: str, text: str, *more: str) -> dict[str, Any]:
        """The stack `s` after it was made or changed."""
        template = self.emu.home / "stack.yaml"
        template.write_text(text)
        done = self.run("stack", verb, "--wait", "-t", str(template), *more, "s")
        assert verb != "create" or "ERROR" not in done.err, done.err
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
    assert (made["outputs"]["said"], made["outputs"]["found"]) == ("CREATE one\n", "web-one\n")
    assert live.emu.ok("exec", "a/web-one", "--", "curl", "-s", "localhost:8080") == "web-one\n"
    (web,) = (one for one in live.cloud.compute.servers() if one.name == "web-one")
    assert made["outputs"]["address"] in [one["addr"] for one in web.addresses["inner"]]
    assert len(web.attached_volumes) == 1

    assert len(live.servers()) == 3
    post = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", made["outputs"]["signal"])
    for wanted in (4, 5, 5):  # the third signal meets max_size
        if wanted == 4:  # a server has an address of its own for signals
            assert eventually(lambda: live.emu.ok("exec", "a/web-one", "--", *post) == "200")
        else:
            assert eventually(lambda: plain_http.post(made["outputs"]["alarm"]).status_code == 200)
        assert eventually(lambda wanted=wanted: list(live.servers().values()) == ["ACTIVE"] * wanted)

    changed = live.stack("update", SERVICE, "--parameter", "label=two", "--parameter", "members=2")
    assert changed["status"] == "UPDATE_COMPLETE", changed["reason"]
    assert {"web-two", "member-0", "member-1"} <= live.servers().keys()
    assert changed["outputs"]["said"] == "UPDATE two\n"
    assert live.cloud.compute.get_server(web.id).name == "web-two"  # changed in place

    failing = SERVICE.replace("cidr: 10.9.0.0/24", "cidr: 10.9.0.0/24, name: other")
    live.stack("update", failing, "--rollback", "enabled", "--existing", "--parameter", "image=nowhere")
    # the client waits for UPDATE_FAILED, which comes before the way back
    assert eventually(lambda: live.show()["status"] == "ROLLBACK_COMPLETE"), live.show()
    assert not list(live.cloud.network.subnets(name="other"))
    assert {"web-two", "member-0", "member-1"} <= live.servers().keys()

    stopped = live.stack("update", SERVICE, "--existing", "--rollback", "disabled", "--parameter", "label=bad")
    assert (stopped["status"], "non-zero status code: 1" in stopped["reason"]) == ("UPDATE_FAILED", True)

    gone = live.run("stack", "delete", "--yes", "--wait", "s")
    assert gone.status == 0, gone.err
    assert live.left() == before


KEPT = """
heat_template_version: 2021-04-16
parameters:
  words: {type: json, default: {a: one, b: one}}
resources:
  net: {type: OS::Neutron::Net, properties: {name: inner}}
  subnet: {type: OS::Neutron::Subnet, properties: {network_id: {get_resource: net}, cidr: 10.9.0.0/24}}
  web:
    type: OS::Nova::Server
    properties: {name: web, image: host, flavor: tiny, networks: [{network: {get_resource: net}}],
      user_data_format: SOFTWARE_CONFIG}
    depends_on: subnet
  other:
    type: OS::Nova::Server
    properties: {name: other, image: host, flavor: tiny, networks: [{network: {get_resource: net}}],
      user_data_format: SOFTWARE_CONFIG}
    depends_on: subnet
  disk: {type: OS::Cinder::Volume, properties: {size: 1}}
  attached:
    type: OS::Cinder::VolumeAttachment
    properties: {instance_uuid: {get_resource: web}, volume_id: {get_resource: disk}}
  greeting:
    type: OS::Heat::StructuredConfig
    properties:
      group: json-file
      inputs: [{name: word}]
      config: {/etc/service/greeting.json: {word: {get_input: word}, list: [1, {get_input: word}]}}
  greeted:
    type: OS::Heat::StructuredDeployment
    properties:
      config: {get_resource: greeting}
      server: {get_resource: web}
      input_values: {word: {get_param: [words, a]}}
  script:
    type: OS::Heat::SoftwareConfig
    properties: {group: script, inputs: [{name: word}], config: "#!/bin/sh\\necho $deploy_action $word"}
  everywhere:
    type: OS::Heat::SoftwareDeploymentGroup
    update_policy: {rolling_update: {max_batch_size: 1}}
    properties:
      config: {get_resource: script}
      servers: {web: {get_resource: web}, other: {get_resource: other}}
      input_values: {word: {get_param: [words, b]}}
  phases:
    type: OS::Heat::SoftwareComponent
    properties:
      configs:
        - {actions: [CREATE], tool: script, config: "#!/bin/sh\\necho made > /phase"}
        - {actions: [SUSPEND], tool: script, config: "#!/bin/sh\\necho suspended > /phase"}
  phased:
    type: OS::Heat::SoftwareDeployment
    properties: {config: {get_resource: phases}, server: {get_resource: other}}
outputs:
  said: {value: {get_attr: [everywhere, deploy_stdouts]}}
"""


def test_what_servers_and_volumes_hold_comes_back_with_a_snapshot(live: Live) -> None:
    before = live.left()
    images = {image.id for image in live.cloud.image.images()}
    made = live.stack("create", KEPT)
    assert made["status"] == "CREATE_COMPLETE", made["reason"]
    assert made["outputs"]["said"] == {"web": "CREATE one\n", "other": "CREATE one\n"}
    greeting = json.loads(live.emu.ok("exec", "a/web", "--", "cat", "/etc/service/greeting.json"))
    assert greeting == {"word": "one", "list": [1, "one"]}
    assert live.emu.ok("exec", "a/other", "--", "cat", "/phase") == "made\n"

    live.emu.ok("exec", "a/web", "--", "sh", "-c", "echo before > /root/mark; echo before > /mnt/vdb/mark")
    taken = json.loads(live.run("stack", "snapshot", "create", "--name", "now", "-f", "json", "s").out)
    assert eventually(lambda: live.show()["status"] == "SNAPSHOT_COMPLETE"), live.show()
    live.emu.ok("exec", "a/web", "--", "sh", "-c", "echo after > /root/mark; echo after > /mnt/vdb/mark")
    words = ("--parameter", 'words={"a": "two", "b": "two"}')
    changed = live.stack("update", KEPT, *words)
    assert changed["status"] == "UPDATE_COMPLETE", changed["reason"]
    assert changed["outputs"]["said"] == {"web": "UPDATE two\n", "other": "UPDATE two\n"}
    assert '"two"' in live.emu.ok("exec", "a/web", "--", "cat", "/etc/service/greeting.json")

    assert live.run("stack", "snapshot", "restore", "s", taken["ID"]).status == 0
    assert eventually(lambda: not live.show()["status"].endswith("IN_PROGRESS"))
    assert live.show()["status"] == "RESTORE_COMPLETE", live.show()
    assert live.emu.ok("exec", "a/web", "--", "cat", "/root/mark", "/mnt/vdb/mark") == "before\nbefore\n"
    assert live.emu.ok("exec", "a/other", "--", "cat", "/phase") == "made\n"

    gone = live.run("stack", "delete", "--yes", "--wait", "s")
    assert gone.status == 0, gone.err
    assert live.left() == before
    assert {image.id for image in live.cloud.image.images()} == images


@pytest.mark.slow
def test_a_configuration_is_deployed_without_a_stack(live: Live) -> None:
    live.stack("create", KEPT.partition("  disk:")[0])
    script = live.emu.home / "script"
    script.write_text('#!/bin/sh\necho "$word on $(hostname)"; echo found > $heat_outputs_path.place; exit $code\n')
    inputs = live.emu.home / "definition.yaml"
    inputs.write_text("inputs: [{name: word}, {name: code, default: 0}]\noutputs: [{name: place}]\n")
    (web,) = (one for one in live.cloud.compute.servers() if one.name == "web")
    wish = ("--config-file", str(script), "--definition-file", str(inputs), "--group", "script", "-f", "json", "c")
    config = json.loads(live.run("software", "config", "create", *wish).out)

    def deployed(*values: str) -> dict[str, Any]:
        given = [part for value in values for part in ("--input-value", value)]
        where = ("--config", config["id"], "--server", web.id, "--signal-transport", "NO_SIGNAL")
        made = json.loads(live.run("software", "deployment", "create", *where, *given, "-f", "json", "d").out)
        show = ("software", "deployment", "show", "--long", "-f", "json", made["id"])
        assert eventually(lambda: json.loads(live.run(*show).out)["status"] != "IN_PROGRESS")
        found: dict[str, Any] = json.loads(live.run(*show).out)
        return found

    done = deployed("word=hello")
    assert (done["status"], done["output_values"]["deploy_stdout"]) == ("COMPLETE", "hello on web\n")
    assert done["output_values"]["place"] == "found\n"
    failed = deployed("word=bye", "code=3")
    assert (failed["status"], "non-zero status code: 3" in failed["status_reason"]) == ("FAILED", True)


BALANCED = """
heat_template_version: 2021-04-16
parameters: {weight: {type: number, default: 1}, kbps: {type: number, default: 20000}}
resources:
"""
BALANCED += serving("web", "tiny", "RAW", "{get_resource: qos}")
BALANCED += """
  qos: {type: OS::Neutron::QoSPolicy, properties: {name: slow}}
  limit:
    type: OS::Neutron::QoSBandwidthLimitRule
    properties: {policy: {get_resource: qos}, max_kbps: {get_param: kbps}, max_burst_kbps: 16000}
  client:
    type: OS::Nova::Server
    properties: {name: client, image: host, flavor: tiny, networks: [{network: {get_resource: net}}]}
    depends_on: subnet
  lb: {type: OS::Octavia::LoadBalancer, properties: {vip_subnet: {get_resource: subnet}}}
  listener:
    type: OS::Octavia::Listener
    properties: {loadbalancer: {get_resource: lb}, protocol: HTTP, protocol_port: 80}
  pool:
    type: OS::Octavia::Pool
    properties: {listener: {get_resource: listener}, lb_algorithm: ROUND_ROBIN, protocol: HTTP}
  monitor:
    type: OS::Octavia::HealthMonitor
    properties: {pool: {get_resource: pool}, type: HTTP, delay: 1, timeout: 1, max_retries: 2, url_path: /}
  member:
    type: OS::Octavia::PoolMember
    properties:
      pool: {get_resource: pool}
      address: {get_attr: [web, first_address]}
      protocol_port: 8080
      weight: {get_param: weight}
      subnet: {get_resource: subnet}
  ingress: {type: OS::Neutron::Port, depends_on: subnet, properties: {network: {get_resource: net}}}
  egress: {type: OS::Neutron::Port, depends_on: subnet, properties: {network: {get_resource: net}}}
  vnf:
    type: OS::Nova::Server
    properties:
      {image: host, flavor: tiny, networks: [{port: {get_resource: ingress}}, {port: {get_resource: egress}}]}
  pair:
    type: OS::Neutron::PortPair
    properties: {ingress: {get_resource: ingress}, egress: {get_resource: egress}}
  pairs: {type: OS::Neutron::PortPairGroup, properties: {port_pairs: [{get_resource: pair}]}}
  classifier:
    type: OS::Neutron::FlowClassifier
    properties:
      logical_source_port: {get_resource: port}
      ethertype: IPv4
      protocol: tcp
      destination_port_range_min: 5000
      destination_port_range_max: 5000
      source_ip_prefix: 10.9.0.0/24
  chain:
    type: OS::Neutron::PortChain
    depends_on: vnf
    properties: {port_pair_groups: [{get_resource: pairs}], flow_classifiers: [{get_resource: classifier}]}
outputs:
  vip: {value: {get_attr: [lb, vip_address]}}
"""


@pytest.mark.slow
def test_balancers_chains_and_limits_are_made_changed_and_taken_down(live: Live) -> None:
    before = live.left()
    made = live.stack("create", BALANCED)
    assert made["status"] == "CREATE_COMPLETE", made["reason"]
    ask = ("exec", "a/client", "--", "curl", "-s", "-m", "5", f"http://{made['outputs']['vip']}")
    assert eventually(lambda: live.emu.run(*ask).stdout == "web\n")
    assert {kind: len(found) for kind, found in live.left().items() if kind in ("balancers", "policies", "chains")} == {
        "balancers": 1,
        "policies": 1,
        "chains": 1,
    }
    changed = live.stack("update", BALANCED, "--existing", "--parameter", "weight=2", "--parameter", "kbps=30000")
    assert changed["status"] == "UPDATE_COMPLETE", changed["reason"]
    (pool,) = live.cloud.load_balancer.pools()
    assert [member.weight for member in live.cloud.load_balancer.members(pool)] == [2]
    assert eventually(lambda: live.emu.run(*ask).stdout == "web\n")
    gone = live.run("stack", "delete", "--yes", "--wait", "s")
    assert gone.status == 0, gone.err
    assert live.left() == before
