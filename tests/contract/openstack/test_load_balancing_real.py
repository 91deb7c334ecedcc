"""Load balancers of a real emulation: both providers pass one suite, judged by requests through the VIP."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.contract.openstack.real_emulation import Emulation, sweep
from tests.contract.openstack.test_compute import boot, network_of
from tests.contract.openstack.test_network import subnet_of
from tests.contract.openstack.test_real import pytestmark, routed

__all__ = ["pytestmark"]  # marks of a real emulation

HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/sbin:/bin")
SERVER = Path(__file__).with_name("member_server.py").read_text()
ASK = """
import socket, sys, urllib.request, urllib.error
class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments): return None
opener = urllib.request.build_opener(Stay)
def ask(url):
    if url.startswith("udp:"):
        near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); near.settimeout(2)
        near.sendto(b"x", (url.split(":")[1], int(url.split(":")[2])))
        return near.recv(99).decode()
    address, _, cookie = url.partition("#")
    try:
        answer = opener.open(urllib.request.Request(address, headers={"Cookie": cookie} if cookie else {}), timeout=3)
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.headers.get('Location', '')}".strip()
    return answer.read().decode().strip()
for url in sys.argv[1:]:
    try: print(ask(url))
    except OSError as error: print(type(error).__name__)
"""


@dataclass
class World:
    """Two members, a client beside them, users outside."""

    emulation: Emulation
    cloud: Any
    subnet: str
    addresses: dict[str, str]

    @property
    def lbaas(self) -> Any:
        """The load balancer proxy."""
        return self.cloud.load_balancer

    def ask(self, machine: str, *urls: str) -> list[str]:
        """What the answers are."""
        return self.emulation.exec(machine, "python3", "-c", ASK, *urls).stdout.split("\n")[:-1]

    def serve(self, name: str) -> None:
        """Start a member's server: HTTP on 8080, echo over UDP on 5353."""
        start = f"setsid python3 -c \"$1\" {name} >/dev/null 2>&1 & until grep -q ':1F90 ' /proc/net/tcp; do :; done"
        self.emulation.exec(f"access/{name}", "sh", "-c", start, "sh", SERVER)

    def silence(self, name: str) -> None:
        """End a member's server."""
        self.emulation.exec(f"access/{name}", "sh", "-c", "kill $(pgrep -f ThreadingHTTPServer)")

    def settled(self, balancer: Any) -> Any:
        """A load balancer after its change."""
        eventually(lambda: not self.lbaas.get_load_balancer(balancer).provisioning_status.startswith("PENDING"))
        found = self.lbaas.get_load_balancer(balancer)
        assert found.provisioning_status == "ACTIVE"
        return found

    def balancer(self, provider: str) -> Any:
        """An empty load balancer."""
        return self.settled(self.lbaas.create_load_balancer(vip_subnet_id=self.subnet, provider=provider))

    def listen(self, balancer: Any, protocol: str, port: int, member_port: int, **pool: Any) -> tuple[Any, Any]:
        """A listener whose pool has both members."""
        listener = self.lbaas.create_listener(protocol=protocol, protocol_port=port, load_balancer_id=balancer.id)
        self.settled(balancer)
        asked = {"lb_algorithm": "ROUND_ROBIN", "protocol": protocol, **pool}
        made = self.lbaas.create_pool(listener_id=listener.id, **asked)
        self.settled(balancer)
        members = [
            {"name": name, "address": self.addresses[name], "protocol_port": member_port} for name in ("one", "two")
        ]
        service = {"service_type": "load-balancer"}
        url = f"/v2/lbaas/pools/{made.id}/members"
        self.cloud.session.put(url, json={"members": members}, endpoint_filter=service)
        self.settled(balancer)
        return listener, made

    def watch(self, balancer: Any, pool: Any, kind: str) -> None:
        """A quick health monitor; all members are ONLINE at return."""
        times = {"delay": 1, "timeout": 1, "max_retries": 1, "max_retries_down": 1}
        self.lbaas.create_health_monitor(pool_id=pool.id, type=kind, **times)
        self.settled(balancer)
        eventually(lambda: self.statuses(pool) == {"one": "ONLINE", "two": "ONLINE"})

    def statuses(self, pool: Any) -> dict[str, str]:
        """Operating statuses of members by name."""
        return {member.name: member.operating_status for member in self.lbaas.members(pool)}


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def world(emulation: Emulation) -> Iterator[World]:
    """A network with two members and a client, and a way in from outside."""
    cloud = emulation.connect("access")
    network = network_of(cloud)
    routed(cloud, network)
    addresses = {}
    for name in ("one", "two", "client"):
        server = boot(cloud, name, networks=[{"uuid": network.id}])
        addresses[name] = server.addresses["inner"][0]["addr"]
    (port,) = cloud.network.ports(device_id=server.id)
    let_in = {"direction": "ingress", "ethertype": "IPv4", "remote_ip_prefix": "10.1.0.0/24"}
    rule = cloud.network.create_security_group_rule(security_group_id=port.security_group_ids[0], **let_in)
    found = World(emulation, cloud, subnet_of(cloud, network), addresses)
    found.serve("one")
    found.serve("two")
    yield found
    for balancer in cloud.load_balancer.load_balancers(provisioning_status="ACTIVE"):
        cloud.load_balancer.delete_load_balancer(balancer, cascade=True)
    eventually(lambda: not list(cloud.load_balancer.load_balancers()))
    cloud.network.delete_security_group_rule(rule)
    sweep(cloud)
    cloud.close()


@pytest.fixture(params=["haproxy", "nftables"])
def provider(request: pytest.FixtureRequest) -> str:
    """Each provider."""
    if request.param == "haproxy" and HAPROXY is None:
        pytest.skip("haproxy is not installed")
    return str(request.param)


def test_requests_are_spread(world: World, provider: str) -> None:
    balancer = world.balancer(provider)
    world.listen(balancer, "TCP", 80, 8080)
    url = f"http://{balancer.vip_address}/"
    assert sorted(world.ask("access/client", *[url] * 4)) == ["one", "one", "two", "two"]
    world.lbaas.delete_load_balancer(balancer, cascade=True)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_requests_are_spread_and_a_dead_member_gets_none(world: World, provider: str) -> None:
    balancer = world.balancer(provider)
    listener, pool = world.listen(balancer, "TCP", 80, 8080)
    world.watch(balancer, pool, "HTTP")
    url = f"http://{balancer.vip_address}/"
    assert sorted(world.ask("access/client", *[url] * 4)) == ["one", "one", "two", "two"]
    external = world.cloud.network.find_network("external")
    floating = world.cloud.network.create_ip(floating_network_id=external.id, port_id=balancer.vip_port_id)
    outside = f"http://{floating.floating_ip_address}/"
    assert sorted(world.ask("users", *[outside] * 4)) == ["one", "one", "two", "two"]
    eventually(lambda: world.lbaas.get_listener_statistics(listener.id).total_connections >= 8)
    assert world.lbaas.get_load_balancer_statistics(balancer.id).bytes_out > 0
    world.silence("two")
    eventually(lambda: world.statuses(pool)["two"] == "ERROR")
    assert world.lbaas.get_load_balancer(balancer).operating_status == "DEGRADED"
    assert world.ask("users", *[outside] * 3) == ["one"] * 3
    world.serve("two")
    eventually(lambda: world.statuses(pool)["two"] == "ONLINE")
    assert set(world.ask("users", *[outside] * 4)) == {"one", "two"}
    world.lbaas.failover_load_balancer(balancer.id)
    world.settled(balancer)
    assert set(world.ask("users", *[outside] * 4)) == {"one", "two"}
    world.lbaas.update_listener(listener, allowed_cidrs=[f"{world.addresses['client']}/32"])
    world.settled(balancer)
    assert world.ask("users", outside)[0] not in ("one", "two")
    assert world.ask("access/client", url)[0] in ("one", "two")
    world.lbaas.delete_load_balancer(balancer, cascade=True)
    eventually(lambda: balancer.id not in {one.id for one in world.lbaas.load_balancers()})
    assert world.ask("access/client", url)[0] not in ("one", "two")


@pytest.mark.slow
def test_a_source_meets_the_same_member_and_weight_zero_drains(world: World, provider: str) -> None:
    balancer = world.balancer(provider)
    _listener, pool = world.listen(balancer, "TCP", 80, 8080, lb_algorithm="SOURCE_IP")
    url = f"http://{balancer.vip_address}/"
    answers = world.ask("access/client", *[url] * 4)
    assert len(set(answers)) == 1
    chosen = next(member for member in world.lbaas.members(pool) if member.name == answers[0])
    world.lbaas.update_member(chosen, pool, weight=0)
    world.settled(balancer)
    eventually(lambda: world.statuses(pool)[chosen.name] == "DRAINING")
    (other,) = {"one", "two"} - {chosen.name}
    assert world.ask("access/client", *[url] * 2) == [other] * 2
    world.lbaas.delete_load_balancer(balancer, cascade=True)


@pytest.mark.slow
def test_datagrams_are_spread(world: World) -> None:
    balancer = world.balancer("nftables")
    _listener, pool = world.listen(balancer, "UDP", 53, 5353)
    world.watch(balancer, pool, "UDP-CONNECT")
    url = f"udp:{balancer.vip_address}:53"
    assert set(world.ask("access/client", *[url] * 4)) == {"one", "two"}
    world.silence("one")
    eventually(lambda: world.statuses(pool)["one"] == "ERROR")
    assert world.ask("access/client", *[url] * 3) == ["two"] * 3
    world.serve("one")
    world.lbaas.delete_load_balancer(balancer, cascade=True)


@pytest.mark.slow
@pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")
def test_requests_are_judged_by_policies(world: World) -> None:
    balancer = world.balancer("haproxy")
    listener, _pool = world.listen(
        balancer, "HTTP", 80, 8080, session_persistence={"type": "APP_COOKIE", "cookie_name": "who"}
    )
    for action, target, path in (
        ("REJECT", {}, "/secret"),
        ("REDIRECT_TO_URL", {"redirect_url": "http://elsewhere.example/"}, "/away"),
    ):
        policy = world.lbaas.create_l7_policy(listener_id=listener.id, action=action, **target)
        world.settled(balancer)
        world.lbaas.create_l7_rule(policy, type="PATH", compare_type="STARTS_WITH", value=path)
        world.settled(balancer)
    base = f"http://{balancer.vip_address}"
    asked = (f"{base}/secret", f"{base}/away", f"{base}/")
    assert world.ask("access/client", *asked)[:2] == ["403", "302 http://elsewhere.example/"]
    world.lbaas.update_listener(listener, insert_headers={"X-Forwarded-For": "true"})
    world.settled(balancer)
    assert world.ask("access/client", f"{base}/forwarded") == [world.addresses["client"]]
    world.lbaas.delete_load_balancer(balancer, cascade=True)


@pytest.mark.slow
@pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")
def test_a_change_breaks_no_connection(world: World) -> None:
    balancer = world.balancer("haproxy")
    listener, _pool = world.listen(balancer, "HTTP", 80, 8080)
    hold = f"""
import http.client, time, os
c = http.client.HTTPConnection({balancer.vip_address!r}, timeout=20)
c.request("GET", "/slow"); r = c.getresponse()
open("/tmp/open", "w").close()
print(len(r.read()))
"""
    script = 'rm -f /tmp/open /tmp/got; setsid python3 -c "$1" >/tmp/got 2>&1 & until test -e /tmp/open; do :; done'
    world.emulation.exec("access/client", "sh", "-c", script, "sh", hold)
    world.lbaas.update_listener(listener, connection_limit=100)
    world.settled(balancer)
    eventually(lambda: world.emulation.exec("access/client", "cat", "/tmp/got").stdout.strip() == "40")
    world.lbaas.delete_load_balancer(balancer, cascade=True)
