"""Firewalls that share flows as a pool tells: judged by which of them forwards the packets of each connection."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from tests.contract.openstack.balancing_world import World
from tests.contract.openstack.real_emulation import Emulation, on_real_emulation, sweep
from tests.contract.openstack.test_compute import boot, network_of
from tests.contract.openstack.test_network import subnet_of
from tests.contract.openstack.test_real import routed
from tests.waiting import eventually

pytestmark = [*on_real_emulation, pytest.mark.slow]

USER, ORIGIN = "100.64.0.10", "100.64.1.10"
FLOWS = 12
TIMES = {"delay": 1, "timeout": 1, "max_retries": 1, "max_retries_down": 1}
NOTES = f"""
echo 1 >/proc/sys/net/ipv4/ip_forward
nft 'table ip notes {{
  set there {{ type inet_service; flags dynamic; }}
  set back {{ type inet_service; flags dynamic; }}
  chain noting {{
    type filter hook forward priority 0;
    ip saddr {USER} tcp dport 7777 add @there {{ tcp sport }}
    ip daddr {USER} tcp sport 7777 add @back {{ tcp dport }}
  }}
}}'
"""
PROBED = (
    "setsid python3 -m http.server 8080 >/dev/null 2>&1 & until grep -q ':1F90 ' /proc/net/tcp; do sleep 0.05; done"
)
ECHO = """
import socketserver
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(64): self.request.sendall(data)
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads, request_queue_size = True, True, 64
Server(("", 7777), Echo).serve_forever()
"""
TALK = """
import os, socket, sys
os.mkfifo("/tmp/ask"); os.mkfifo("/tmp/told")
flows = []
while True:
    with open("/tmp/ask") as ask: words = ask.read().split()
    if words[0] == "open":
        flows.append([socket.create_connection(("100.64.1.10", 7777), timeout=5) for _ in range(int(words[1]))])
    if words[0] == "end": break
    for near in flows[int(words[-1])]:
        near.sendall(b"question")
        assert near.recv(8) == b"question"
    with open("/tmp/told", "w") as told: told.write(" ".join(str(n.getsockname()[1]) for n in flows[int(words[-1])]))
"""


@dataclass
class Firewalls:
    """Two firewalls between users and origin, each a member of a pool and a port pair of a group."""

    emulation: Emulation
    cloud: Any
    pool: Any
    balancer: Any

    def open(self, number: int) -> None:
        """Open a number of connections that go by this number from now on."""
        assert len(self._told(f"open {FLOWS} {number}")) == FLOWS

    def seen(self, number: int) -> dict[str, set[int]]:
        """Speak on connections; the user's ports by the firewall that sees both directions of them now."""
        for name in ("fw1", "fw2"):
            self.emulation.exec(f"access/{name}", "nft", "flush set ip notes there; flush set ip notes back")
        ports = self._told(f"speak {number}")
        found = {}
        for name in ("fw1", "fw2"):
            there, back = self._noted(name, "there"), self._noted(name, "back")
            assert there == back, f"{name} sees one direction alone"
            found[name] = there
        assert sorted(port for seen in found.values() for port in seen) == sorted(ports)
        return found

    def statuses(self) -> dict[str, str]:
        """Operating statuses of the members."""
        return {member.name: member.operating_status for member in self.cloud.load_balancer.members(self.pool)}

    def fall_ill(self, name: str) -> None:
        """Have a firewall's monitor find it ill."""
        self.emulation.exec(f"access/{name}", "sh", "-c", "kill $(pgrep -f http.server)")
        eventually(lambda: self.statuses()[name] == "ERROR")

    def recover(self, name: str) -> None:
        """Have it found well again."""
        self.emulation.exec(f"access/{name}", "sh", "-c", PROBED)
        eventually(lambda: self.statuses()[name] == "ONLINE")

    def weigh(self, name: str, weight: int) -> None:
        """Give a firewall another weight."""
        (member,) = self.cloud.load_balancer.members(self.pool, name=name)
        self.cloud.load_balancer.update_member(member, self.pool, weight=weight)
        eventually(lambda: self.cloud.load_balancer.get_load_balancer(self.balancer).provisioning_status == "ACTIVE")

    def _told(self, command: str) -> set[int]:
        script = 'echo "$1" >/tmp/ask; cat /tmp/told'
        return set(map(int, self.emulation.exec("users", "sh", "-c", script, "sh", command).stdout.split()))

    def _noted(self, name: str, direction: str) -> set[int]:
        asked = ("nft", "-j", "list", "set", "ip", "notes", direction)
        answer = json.loads(self.emulation.exec(f"access/{name}", *asked).stdout)
        return set(answer["nftables"][1]["set"].get("elem", ()))


def chained(net: Any, ports: Sequence[Any], pool_id: str) -> None:
    """Lead the user's connections through whichever firewall the pool tells."""
    pairs = [net.create_sfc_port_pair(ingress=port.id, egress=port.id).id for port in ports]
    group = net.create_sfc_port_pair_group(
        port_pairs=pairs, port_pair_group_parameters={"lb_pool_id": pool_id, "lb_fields": []}
    )
    to_origin = {"source_ip_prefix": f"{USER}/32", "destination_ip_prefix": f"{ORIGIN}/32", "protocol": "tcp"}
    classifier = net.create_sfc_flow_classifier(**to_origin)
    groups, classifiers = [group.id], [classifier.id]
    symmetric = {"symmetric": True}
    net.create_sfc_port_chain(port_pair_groups=groups, flow_classifiers=classifiers, chain_parameters=symmetric)


@pytest.fixture
def firewalls(emulation: Emulation) -> Iterator[Firewalls]:
    """Both run, and are well; connections are echoed at the origin."""
    cloud = emulation.connect("access")
    network = network_of(cloud)
    routed(cloud, network)
    ports, addresses = [], {}
    for name in ("fw1", "fw2"):
        port = cloud.network.create_port(network_id=network.id, port_security_enabled=False)
        boot(cloud, name, networks=[{"port": port.id}])
        emulation.exec(f"access/{name}", "sh", "-c", NOTES + PROBED)
        ports.append(port)
        addresses[name] = port.fixed_ips[0]["ip_address"]
    world = World(emulation, cloud, subnet_of(cloud, network), addresses)
    members = [{"name": name, "address": address, "protocol_port": 8080} for name, address in addresses.items()]
    pool = {"name": "firewalls", "protocol": "TCP", "lb_algorithm": "ROUND_ROBIN", "members": members}
    balancer, ids = world.whole("nftables", [{**pool, "healthmonitor": {"type": "TCP", **TIMES}}], [])
    found = Firewalls(emulation, cloud, ids["firewalls"], balancer)
    chained(cloud.network, ports, ids["firewalls"])
    emulation.exec("origin", "sh", "-c", 'setsid python3 -c "$1" >/dev/null 2>&1 &', "sh", ECHO)
    talking = 'setsid python3 -c "$1" >/dev/null 2>&1 & until test -p /tmp/told; do sleep 0.05; done'
    emulation.exec("users", "sh", "-c", talking, "sh", TALK)
    eventually(lambda: set(found.statuses().values()) == {"ONLINE"})
    yield found
    emulation.exec("users", "sh", "-c", "echo end >/tmp/ask; rm /tmp/ask /tmp/told")
    emulation.exec("origin", "sh", "-c", "kill $(pgrep -f socketserver)")
    world.drop(balancer)
    sweep(cloud)
    cloud.close()


def test_flows_stay_with_their_firewall_and_those_of_a_dead_one_move(firewalls: Firewalls) -> None:
    firewalls.open(0)
    spread = firewalls.seen(0)
    assert all(spread.values())
    firewalls.fall_ill("fw2")
    eventually(lambda: not firewalls.seen(0)["fw2"])
    moved = firewalls.seen(0)
    firewalls.recover("fw2")
    assert firewalls.seen(0) == moved  # what is established stays
    firewalls.open(1)
    assert firewalls.seen(1)["fw2"]
    firewalls.weigh("fw1", 0)
    assert firewalls.seen(0) == moved
    firewalls.open(2)
    assert not firewalls.seen(2)["fw1"]
