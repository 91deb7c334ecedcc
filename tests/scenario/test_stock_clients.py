"""Every command of the stock OpenStack clients that matters, against a running emulation, judged by its true effects.

The commands run in this process, a few as processes of their own. Each test leaves its PoP as it was.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sonata.sdk.emulator_client import EmulatorClient
from tests.machines import needs_engine, needs_root
from tests.scenario.busybox import needs_busybox, packed_root
from tests.scenario.emu_command import Emu
from tests.stock_client import StockClient, needs_client

pytestmark = [
    pytest.mark.root,
    pytest.mark.serial,
    pytest.mark.timeout(300),
    needs_client,
    needs_root,
    needs_engine,
]
PATIENCE_S = 30
TOPOLOGY = """
apiVersion: sonata/v1
kind: Topology
name: {name}
pops:
  a: {{cpus: 16, memory: 16GiB, hosts: 2}}
  b: {{cpus: 8, memory: 8GiB}}
links:
  - {{name: ab, between: [a, b]}}
endpoints:
  users: {{attach: a, image: host}}
"""
STACK = """
heat_template_version: 2021-04-16
parameters:
  note: {type: string, default: first}
  flavor: {type: string, default: tiny}
resources:
  net: {type: OS::Neutron::Net, properties: {name: stacked}}
  sub: {type: OS::Neutron::Subnet, properties: {network: {get_resource: net}, cidr: 10.77.0.0/24}}
  port: {type: OS::Neutron::Port, depends_on: sub, properties: {network: {get_resource: net}}}
  vm:
    type: OS::Nova::Server
    properties:
      name: stacked
      image: host
      flavor: {get_param: flavor}
      metadata: {note: {get_param: note}}
      networks: [{port: {get_resource: port}}]
outputs:
  address: {value: {get_attr: [vm, first_address]}}
"""


@dataclass
class World:
    """A running emulation and the stock client at PoP `a`, and at PoP `b`."""

    emulator: EmulatorClient
    openstack: StockClient
    other: StockClient
    login: dict[str, str]
    folder: Path
    at_the_end: list[str] = field(default_factory=list)

    def make(self, line: str, undo: str = "") -> Any:
        """Create something; `undo` is the command that removes it at the end of the test."""
        made = self.openstack.json(line)
        if undo:
            self.at_the_end.append(undo)
        return made

    def tidy(self) -> None:
        """Remove what the test has made, the latest first."""
        failed = [said.err for line in reversed(self.at_the_end) if (said := self.openstack.run(line)).status]
        self.at_the_end.clear()
        assert not failed, failed

    def network(self, name: str, cidr: str) -> None:
        """A network and its subnet of the same name."""
        self.make(f"network create {name}", f"network delete {name}")
        self.make(f"subnet create {name} --network {name} --subnet-range {cidr}")

    def server(self, name: str, nics: str, image: str = "host", more: str = "") -> Any:
        """A server that is ACTIVE."""
        line = f"server create {name} --image {image} --flavor tiny {nics} {more} --wait"
        made = self.make(line, f"server delete --wait {name}")
        assert made["status"] == "ACTIVE"
        return made

    def execute(self, machine: str, *command: str) -> tuple[int, str]:
        """Run a command as `emu exec` does, without a process for it; its exit status and output."""
        status, out, err = self.emulator.exec(machine, command)
        return status, (out or err).decode()

    def inside(self, server: str, *command: str) -> str:
        """What a command that must succeed in a server of PoP `a` prints."""
        status, told = self.execute(f"a/{server}", *command)
        assert status == 0, told
        return told

    def pings(self, machine: str, address: str) -> bool:
        """Whether an address answers a machine."""
        return self.execute(machine, "ping", "-c", "1", "-W", "1", address)[0] == 0

    def serve(self, server: str, port: int) -> None:
        """Have a server answer HTTP requests with its name."""
        script = (
            f"mkdir -p /tmp/www && echo {server} >/tmp/www/index.html && "
            f"(setsid python3 -m http.server -d /tmp/www {port} >/dev/null 2>&1 &) && "
            f"until grep -q ':{port:04X} ' /proc/net/tcp; do sleep 0.05; done"
        )
        self.inside(server, "sh", "-c", script)

    def fetch(self, machine: str, url: str) -> str:
        """What a URL answers a machine, empty when nothing does."""
        return self.execute(machine, "curl", "-s", "-m", "2", url)[1].strip()

    def until(self, line: str, key: str, value: Any) -> Any:
        """Ask until an answer has a value."""
        deadline = time.monotonic() + PATIENCE_S
        while (shown := self.openstack.json(line))[key] != value:
            assert time.monotonic() < deadline, shown
        return shown


def openrc(emu: Emu, pop: str) -> dict[str, str]:
    """The variables that `emu openrc` prints."""
    lines = emu.ok("openrc", pop, "--name", emu.name).splitlines()
    return dict(line.removeprefix("export ").split("=", 1) for line in lines)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two PoPs."""
    folder = tmp_path_factory.mktemp("clients")
    emu = Emu(folder)
    emu.topology.write_text(TOPOLOGY.format(name=emu.name))
    try:
        emu.up()
        logins = {pop: openrc(emu, pop) for pop in ("a", "b")}
        with EmulatorClient.of(emu.record()) as emulator:
            yield World(emulator, StockClient(logins["a"]), StockClient(logins["b"]), logins["a"], folder)
    finally:
        emu.close()


@pytest.fixture
def world(running: World) -> Iterator[World]:
    """The emulation; what a test made in it is removed."""
    yield running
    running.tidy()


def all_succeed(world: World, commands: str) -> None:
    """Run commands, one a line."""
    for line in commands.strip().splitlines():
        world.openstack.ok(line.strip())


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline


@needs_busybox
def test_an_archive_is_uploaded_shared_booted_and_read_back(world: World) -> None:
    packed = packed_root(world.folder, ("sh", "sleep", "cat", "ip", "echo"), {"hello": "from the archive\n"})
    init = "--property 'os_command_line=init=/bin/sh -- -c \"echo it runs; exec sleep 1000000\"'"
    line = f"image create up --file {packed} --disk-format raw --container-format bare --tag t {init}"
    made = world.make(line, "image delete up")
    assert (made["status"], made["size"], made["tags"]) == ("active", packed.stat().st_size, ["t"])
    world.server("archived", "--nic none", image="up")
    assert world.inside("archived", "cat", "/hello") == "from the archive\n"
    eventually(lambda: "it runs" in world.openstack.ok("console log show archived"))
    all_succeed(
        world,
        """
        image set up --property x=y --min-ram 64
        image unset up --property x
        image list --long
        image show up
        project create guest
        image set up --shared
        image add project up guest
        image member list up
        image remove project up guest
        project delete guest
        """,
    )
    boot = "--image up --flavor tiny --nic none"
    world.openstack.ok("image set up --property os_command_line='init=/no/such'")
    world.at_the_end.append("server delete --wait broken")
    assert "Error creating server" in world.openstack.fails(f"server create broken {boot} --wait")
    world.openstack.ok("image set up --property os_command_line='init=/bin/echo -- done'")
    world.at_the_end.append("server delete --wait brief")
    world.openstack.ok(f"server create brief {boot}")
    # It is active while its program runs, which is not for long.
    eventually(lambda: world.openstack.json("server show brief")["status"] == "ERROR")
    assert "as soon as it was started" in str(world.openstack.json("server show brief")["fault"])
    world.openstack.ok(f"image save up --file {world.folder / 'back.tar'}")
    assert (world.folder / "back.tar").read_bytes() == packed.read_bytes()
    assert "nothing" in world.openstack.fails("image show nothing")


def test_packets_reach_a_server_by_its_floating_ip_once_a_rule_lets_them(world: World) -> None:
    world.network("front", "10.5.0.0/24")
    world.make("router create edge", "router delete edge")
    all_succeed(world, "router add subnet edge front\n router set edge --external-gateway external")
    world.at_the_end.append("router remove subnet edge front")
    world.make("security group create web --description d", "security group delete web")
    world.server("first", "--network front --security-group web", more="--property k=v")
    floating = world.make("floating ip create external")["floating_ip_address"]
    world.at_the_end.append(f"floating ip delete {floating}")
    world.openstack.ok(f"server add floating ip first {floating}")
    assert floating in str(world.openstack.json("server show first")["addresses"])
    assert not world.pings("users", floating)
    (rule,) = [world.make("security group rule create web --protocol icmp")["id"]]
    assert world.pings("users", floating)
    assert rule in {row["ID"] for row in world.openstack.json("security group rule list web")}
    world.openstack.ok(f"security group rule delete {rule}")
    assert not world.pings("users", floating)
    world.openstack.ok(f"server remove floating ip first {floating}")
    _forward_a_port(world, floating)
    all_succeed(
        world,
        """
        network list --long
        network show front
        network set front --description d
        subnet list --long
        subnet set front --dns-nameserver 9.9.9.9
        subnet show front
        router list --long
        router show edge
        port list --long
        port list --server first
        floating ip list --long
        security group list
        security group show web
        security group set web --description e
        server list --long
        """,
    )
    assert "nothing" in world.openstack.fails("port show nothing")


def _forward_a_port(world: World, floating: str) -> None:
    """A port of a floating IP leads to the server's HTTP server."""
    (port,) = world.openstack.json("port list --server first")
    address = port["Fixed IP Addresses"][0]["ip_address"]
    world.serve("first", 8080)
    world.openstack.ok("security group rule create web --protocol tcp --dst-port 8080")
    forwarding = world.make(
        f"floating ip port forwarding create {floating} --internal-ip-address {address} --port {port['ID']} "
        "--internal-protocol-port 8080 --external-protocol-port 80 --protocol tcp"
    )["id"]
    assert world.fetch("users", f"http://{floating}/") == "first"
    all_succeed(
        world,
        f"""
        floating ip port forwarding list {floating}
        floating ip port forwarding show {floating} {forwarding}
        floating ip port forwarding set {floating} {forwarding} --external-protocol-port 81
        """,
    )
    assert world.fetch("users", f"http://{floating}:81/") == "first"
    world.openstack.ok(f"floating ip port forwarding delete {floating} {forwarding}")
    assert world.fetch("users", f"http://{floating}:81/") == ""


def test_each_pop_is_an_openstack_of_its_own(world: World) -> None:
    world.network("mine", "10.4.0.0/24")
    assert "mine" in world.openstack.ok("network list")
    assert "mine" not in world.other.ok("network list")
    token = {"OS_TOKEN": world.openstack.json("token issue")["id"], "OS_AUTH_TYPE": "token"}
    kept = ("OS_AUTH_URL", "OS_PROJECT_NAME", "OS_PROJECT_DOMAIN_NAME", "OS_IDENTITY_API_VERSION")
    here = {**{key: world.login[key] for key in kept}, **token}
    there = {**here, "OS_AUTH_URL": here["OS_AUTH_URL"].replace("/a/", "/b/")}
    assert "mine" in StockClient(here).ok("network list")
    assert "401" in StockClient(there).fails("network list")


def test_interfaces_come_and_go_while_a_server_runs(world: World) -> None:
    world.network("one", "10.6.1.0/24")
    world.network("two", "10.6.2.0/24")
    world.make("port create extra --network two --fixed-ip subnet=two,ip-address=10.6.2.77", "port delete extra")
    world.server("changing", "--network one")
    world.openstack.ok("server add port changing extra")
    assert "10.6.2.77" in world.inside("changing", "ip", "addr")
    world.openstack.ok("server remove port changing extra")
    assert "10.6.2.77" not in world.inside("changing", "ip", "addr")
    world.openstack.ok("server add network changing two")
    assert "10.6.2." in world.inside("changing", "ip", "addr")
    world.openstack.ok("server remove network changing two")
    assert "10.6.2." not in world.inside("changing", "ip", "addr")
    world.openstack.ok("server add fixed ip changing two")
    assert "10.6.2." in world.inside("changing", "ip", "addr")


@pytest.mark.slow
def test_a_server_lives_through_everything(world: World) -> None:
    world.network("life", "10.7.0.0/24")
    assert "PRIVATE KEY" in world.openstack.ok("keypair create key")
    world.at_the_end.append("keypair delete key")
    group = world.make("server group create apart --policy anti-affinity", "server group delete apart")["id"]
    world.make("security group create more", "security group delete more")
    world.server("cat", "--network life", more=f"--key-name key --hint group={group} --property k=v --tag t")
    assert world.openstack.json("server group show apart")["members"]
    watcher = world.server("watcher", "--network life", more=f"--hint group={group}")
    assert watcher["OS-EXT-SRV-ATTR:host"] != world.openstack.json("server show cat")["OS-EXT-SRV-ATTR:host"]
    address = world.openstack.json("server show cat")["addresses"]["life"][0]
    for stopping, starting in (("stop", "start"), ("pause", "unpause"), ("suspend", "resume")):
        assert world.pings("a/watcher", address)
        world.openstack.ok(f"server {stopping} cat")
        eventually(lambda: not world.pings("a/watcher", address))
        world.openstack.ok(f"server {starting} cat")
        world.until("server show cat", "status", "ACTIVE")
    world.inside("cat", "sh", "-c", "echo kept >/root/note")
    for line in ("reboot", "reboot --hard", "shelve", "unshelve"):
        action, *options = line.split()
        world.openstack.ok(f"server {action} {' '.join(options)} cat --wait")
    world.until("server show cat", "status", "ACTIVE")
    assert world.inside("cat", "cat", "/root/note") == "kept\n"
    _resize(world)
    world.make("server image create cat --name shot --wait", "image delete shot")
    world.openstack.ok("server rebuild cat --image shot --wait")
    assert world.inside("cat", "cat", "/root/note") == "kept\n"
    world.openstack.ok("server rebuild cat --image host --wait")
    assert world.execute("a/cat", "test", "-e", "/root/note")[0] == 1
    world.openstack.ok("server rescue cat")
    world.until("server show cat", "status", "RESCUE")
    world.openstack.ok("server unrescue cat")
    world.until("server show cat", "status", "ACTIVE")
    all_succeed(
        world,
        """
        server lock cat
        server unlock cat
        server set cat --name cat --property k2=v --tag t2
        server unset cat --property k2 --tag t2
        server add security group cat more
        server remove security group cat more
        server list --name cat --status ACTIVE
        server event list cat
        server migration list
        server volume list cat
        usage list
        usage show
        keypair list
        keypair show key
        keypair show key --public-key
        server group list --long
        """,
    )
    assert world.openstack.json("console url show cat --serial")["url"].startswith("ws")
    assert "novnc" in world.openstack.fails("console url show cat --novnc")


def _resize(world: World) -> None:
    """Larger for good, smaller and back."""
    for flavor, end, left in (("small", "confirm", "small"), ("tiny", "revert", "small")):
        world.openstack.ok(f"server resize cat --flavor {flavor} --wait")
        world.openstack.ok(f"server resize {end} cat")
        world.until("server show cat", "status", "ACTIVE")
        assert world.openstack.json("server show cat")["flavor"]["original_name"] == left


def test_volumes_are_attached_filled_and_copied(world: World) -> None:
    world.server("holder", "--nic none")
    world.make("volume create --size 1 disk", "volume delete disk")
    world.openstack.ok("server add volume holder disk")
    assert world.until("volume show disk", "status", "in-use")["attachments"]
    world.inside("holder", "sh", "-c", "echo kept >/mnt/vdb/note")
    world.openstack.ok("server remove volume holder disk")
    world.until("volume show disk", "status", "available")
    assert world.execute("a/holder", "test", "-e", "/mnt/vdb/note")[0] == 1
    world.make("volume snapshot create --volume disk moment", "volume snapshot delete moment")
    world.until("volume snapshot show moment", "status", "available")
    world.make("volume create --snapshot moment copy", "volume delete copy")
    world.until("volume show copy", "status", "available")
    world.openstack.ok("server add volume holder copy")
    world.until("volume show copy", "status", "in-use")
    assert world.inside("holder", "cat", "/mnt/vdb/note") == "kept\n"
    world.openstack.ok("server remove volume holder copy")
    world.until("volume show copy", "status", "available")
    world.make("volume type create fast", "volume type delete fast")
    all_succeed(
        world,
        """
        volume list --long
        volume set disk --size 2 --property a=b
        volume unset disk --property a
        volume snapshot list
        volume snapshot set moment --description d
        volume type list --long
        volume type set fast --property a=b
        volume type show fast
        volume transfer request list
        volume service list
        server volume list holder
        """,
    )
    transfer = world.make("volume transfer request create copy")
    world.openstack.ok(f"volume transfer request accept {transfer['id']} --auth-key {transfer['auth_key']}")


def test_a_stack_is_created_changed_and_deleted(world: World) -> None:
    template = world.folder / "stack.yaml"
    template.write_text(STACK)
    said = world.openstack.ok(f"stack create tree -t {template} --wait")
    assert "CREATE_COMPLETE" in said
    world.at_the_end.append("stack delete tree --wait --yes")
    address = world.openstack.json("stack output show tree address")["output_value"]
    assert address in world.inside("stacked", "ip", "addr")
    shown = world.openstack.json("server show stacked")
    assert "UPDATE_COMPLETE" in world.openstack.ok(f"stack update tree -t {template} --parameter note=second --wait")
    changed = world.openstack.json("server show stacked")
    assert (changed["id"], changed["properties"]) == (shown["id"], {"note": "second"})
    rows = world.openstack.json("stack resource list tree")
    assert {row["resource_name"]: row["resource_status"] for row in rows}["vm"] == "UPDATE_COMPLETE"
    all_succeed(
        world,
        f"""
        stack list
        stack show tree
        stack resource show tree vm
        stack event list tree
        stack output list tree
        stack output show tree --all
        stack template show tree
        stack environment show tree
        stack file list tree
        stack failures list tree
        stack check tree --wait
        stack suspend tree --wait
        stack resume tree --wait
        orchestration resource type list
        orchestration resource type show OS::Nova::Server
        orchestration template version list
        orchestration template function list heat_template_version.2021-04-16
        orchestration template validate -t {template}
        orchestration build info
        """,
    )
    world.tidy()
    assert world.openstack.json("stack list") == []
    assert "stacked" in world.openstack.fails("server show stacked")


@pytest.mark.skipif(importlib.util.find_spec("neutronclient") is None, reason="python-neutronclient is not installed")
def test_a_chain_steers_packets_until_it_is_deleted(world: World) -> None:
    world.network("chained", "10.8.0.0/24")
    for name in ("in", "out", "source"):
        world.make(f"port create {name} --network chained --disable-port-security", f"port delete {name}")
    target = world.make("port create target --network chained --disable-port-security", "port delete target")
    address = target["fixed_ips"][0]["ip_address"]
    world.server("function", "--port in --port out")
    world.server("client", "--port source")
    world.server("goal", "--port target")
    assert world.pings("a/client", address)
    world.make("sfc port pair create pair --ingress in --egress out", "sfc port pair delete pair")
    world.make("sfc port pair group create group --port-pair pair", "sfc port pair group delete group")
    match = f"--protocol icmp --ethertype IPv4 --destination-ip-prefix {address}/32 --logical-source-port source"
    world.make(f"sfc flow classifier create flows {match}", "sfc flow classifier delete flows")
    world.make("sfc port chain create chain --port-pair-group group --flow-classifier flows")
    assert not world.pings("a/client", address)  # the function forwards nothing
    all_succeed(
        world,
        """
        sfc port pair list
        sfc port pair show pair
        sfc port pair set pair --description d
        sfc port pair group list
        sfc port pair group show group
        sfc port pair group set group --description d
        sfc flow classifier list
        sfc flow classifier show flows
        sfc flow classifier set flows --description d
        sfc port chain list
        sfc port chain show chain
        sfc port chain set chain --description d
        sfc port chain delete chain
        """,
    )
    assert world.pings("a/client", address)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("octaviaclient") is None, reason="python-octaviaclient is not installed")
@pytest.mark.skipif(shutil.which("haproxy", path="/usr/sbin:/usr/bin") is None, reason="haproxy is not installed")
def test_a_load_balancer_spreads_requests(world: World) -> None:
    world.network("pool", "10.9.0.0/24")
    world.make("security group create open", "security group delete open")
    world.openstack.ok("security group rule create open --protocol tcp")
    for name in ("red", "blue", "asker"):
        world.server(name, "--network pool --security-group open")
    made = world.make(
        "loadbalancer create --name lb --vip-subnet-id pool --wait", "loadbalancer delete --cascade --wait lb"
    )
    assert (made["provisioning_status"], made["operating_status"]) == ("ACTIVE", "ONLINE")
    world.make("loadbalancer listener create --name li --protocol HTTP --protocol-port 80 --wait lb")
    how = "--protocol HTTP --lb-algorithm ROUND_ROBIN"
    world.make(f"loadbalancer pool create --name po {how} --listener li --wait")
    for name in ("red", "blue"):
        world.serve(name, 8080)
        address = world.openstack.json(f"server show {name}")["addresses"]["pool"][0]
        world.make(f"loadbalancer member create --name {name} --address {address} --protocol-port 8080 --wait po")
    vip = f"http://{made['vip_address']}/"
    assert {world.fetch("a/asker", vip) for _ in range(4)} == {"red", "blue"}
    all_succeed(
        world,
        """
        loadbalancer healthmonitor create --name hm --type HTTP --delay 5 --timeout 3 --max-retries 2 --wait po
        loadbalancer l7policy create --name l7 --action REDIRECT_TO_POOL --redirect-pool po --wait li
        loadbalancer l7rule create --type PATH --compare-type STARTS_WITH --value /x --wait l7
        loadbalancer list
        loadbalancer show lb
        loadbalancer listener list
        loadbalancer listener show li
        loadbalancer pool list
        loadbalancer pool show po
        loadbalancer member list po
        loadbalancer member show po red
        loadbalancer healthmonitor list
        loadbalancer healthmonitor show hm
        loadbalancer l7policy list
        loadbalancer l7rule list l7
        loadbalancer provider list
        loadbalancer flavor list
        loadbalancer availabilityzone list
        loadbalancer quota show admin
        loadbalancer stats show lb
        loadbalancer status show lb
        loadbalancer member set --weight 0 --wait po red
        """,
    )
    assert {world.fetch("a/asker", vip) for _ in range(3)} == {"blue"}


@pytest.mark.slow
def test_what_networking_has_besides(world: World) -> None:
    world.network("wide", "10.10.0.0/24")
    world.make("network qos policy create slow", "network qos policy delete slow")
    world.make("project create tenant", "project delete tenant")
    world.make("address scope create scope --ip-version 4", "address scope delete scope")
    world.make("subnet pool create prefixes --pool-prefix 10.200.0.0/16 --address-scope scope")
    world.at_the_end.append("subnet pool delete prefixes")
    world.make("network create roomy", "network delete roomy")
    wire = "--provider-network-type vlan --provider-physical-network physnet1 --provider-segment 7"
    world.make(f"network create tagged {wire}", "network delete tagged")
    world.make("subnet create tagged --network tagged --subnet-range 10.11.0.0/24")
    world.server("left", "--network tagged")
    right = world.server("right", "--network tagged")["addresses"]["tagged"][0]
    assert world.pings("a/left", right)
    assert "VLAN 7" in world.openstack.fails(f"network create again {wire}")
    shared = world.make("network rbac create --type network --action access_as_shared --target-project tenant wide")[
        "id"
    ]
    rule = world.make("network qos rule create slow --type bandwidth-limit --max-kbps 1000 --egress")["id"]
    subnet = world.make("subnet create drawn --network roomy --subnet-pool prefixes --prefix-length 24")
    assert subnet["cidr"].startswith("10.200.")
    all_succeed(
        world,
        f"""
        network qos policy list
        network qos policy show slow
        network qos rule list slow
        network qos rule set slow {rule} --max-kbps 2000
        network qos rule type list
        network qos rule type show bandwidth_limit
        network set wide --qos-policy slow
        network set wide --no-qos-policy
        network qos rule delete slow {rule}
        subnet pool list --long
        subnet pool show prefixes
        subnet pool set prefixes --default-prefix-length 26
        address scope list
        address scope show scope
        network rbac list
        network rbac show {shared}
        network rbac delete {shared}
        address group create group --address 10.0.0.0/8
        address group list
        address group show group
        address group delete group
        network agent list
        ip availability list
        ip availability show wide
        network service provider list
        network flavor list
        """,
    )


def test_administration(world: World) -> None:
    world.make("project create blue", "project delete blue")
    world.make("user create ada --project blue --password secret", "user delete ada")
    world.make("aggregate create rack --zone z1", "aggregate delete rack")
    world.make("flavor create odd --vcpus 1 --ram 96 --disk 1 --property hw:x=y", "flavor delete odd")
    host = world.openstack.json("hypervisor list")[0]["Hypervisor Hostname"]
    all_succeed(
        world,
        f"""
        token issue
        catalog list
        catalog show nova
        versions show
        project list --long
        project show blue
        project set blue --description d
        user list --long
        user show ada
        role list
        role add --user ada --project blue member
        role assignment list --names
        role remove --user ada --project blue member
        service list --long
        service show nova
        endpoint list
        region list
        domain list
        group list
        extension list
        extension show qos
        flavor list --all --long
        flavor set odd --property a=b --description d
        flavor unset odd --property a
        flavor show odd
        quota show
        quota show --default
        quota list --compute
        quota list --network
        quota list --volume
        quota set blue --instances 3 --networks 2 --volumes 4
        quota delete blue
        limits show --absolute
        limits show --rate
        hypervisor list --long
        hypervisor show {host}
        hypervisor stats show
        availability zone list --long
        compute service list
        compute service set --disable --disable-reason why {host} nova-compute
        compute service set --enable {host} nova-compute
        aggregate add host rack {host}
        aggregate list --long
        aggregate show rack
        aggregate set rack --property a=b
        aggregate remove host rack {host}
        """,
    )
    versions = world.openstack.json("versions show")
    assert {row["Service Type"] for row in versions} >= {"compute", "image", "network", "identity", "orchestration"}
    listed = {row["Service Type"] for row in world.openstack.json("endpoint list")}
    assert listed >= {"compute", "image", "network", "identity", "orchestration", "load-balancer"}


@pytest.mark.skipif(importlib.util.find_spec("glanceclient") is None, reason="python-glanceclient is not installed")
def test_the_image_clients_own_command(world: World) -> None:
    said = _process(world, "glanceclient", "image-list")
    assert "host" in said


@pytest.mark.slow
def test_commands_as_processes_of_their_own(world: World) -> None:
    assert json.loads(_process(world, "openstackclient", "token", "issue", "-f", "json"))["id"]
    create = ("server", "create", "own", "--image", "host", "--flavor", "tiny", "--nic", "none", "--wait")
    assert json.loads(_process(world, "openstackclient", *create, "-f", "json"))["status"] == "ACTIVE"
    assert "own" in _process(world, "openstackclient", "server", "list")
    _process(world, "openstackclient", "server", "delete", "--wait", "own")
    issued = world.openstack.json("token issue")["id"]
    _process(world, "openstackclient", "token", "revoke", issued)


def _process(world: World, package: str, *arguments: str) -> str:
    """What the command of a client's package prints, which must succeed, in a process of its own."""
    command = [sys.executable, "-c", f"import sys; from {package}.shell import main; sys.exit(main())", *arguments]
    env = {**world.login, "PATH": os.environ["PATH"], "HOME": str(world.folder)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
