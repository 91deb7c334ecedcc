"""Two members of load balancers on servers of a real emulation, and clients of theirs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from tests.contract.openstack.real_emulation import Emulation, sweep
from tests.contract.openstack.test_compute import boot, network_of
from tests.contract.openstack.test_network import subnet_of
from tests.contract.openstack.test_real import routed
from tests.waiting import eventually, until

SERVER = Path(__file__).with_name("member_server.py").read_text()
ASK = """
import http.client, http.cookiejar, socket, sys, urllib.request, urllib.error
class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments): return None
jar = [urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())] if sys.argv[1] == "jar" else []
opener = urllib.request.build_opener(Stay, *jar)
def ask(url):
    if url.startswith("udp:"):
        near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); near.settimeout(2)
        near.sendto(b"x", (url.split(":")[1], int(url.split(":")[2])))
        return near.recv(99).decode()
    address, _, header = url.partition("#")
    name, _, value = header.partition("=")
    try:
        answer = opener.open(urllib.request.Request(address, headers={name: value} if name else {}), timeout=3)
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.headers.get('Location', '')}".strip()
    return answer.read().decode().strip()
for url in sys.argv[2:]:
    try: print(ask(url))
    except (OSError, http.client.HTTPException) as error: print(type(error).__name__)
"""
HOLD = """
import http.client, socket, sys, time
near = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=20)
open("/tmp/held", "w").close()
time.sleep(60)
"""


def certificate() -> str:
    """A key and a certificate of its own making, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "member")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now + timedelta(1))
    known = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    return (key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + known).decode()


@dataclass
class World:
    """Two members, a client beside them, users outside."""

    emulation: Emulation
    cloud: Any
    subnet: str
    addresses: dict[str, str]
    pem: str = field(default_factory=certificate)

    @property
    def lbaas(self) -> Any:
        """The load balancer proxy."""
        return self.cloud.load_balancer

    def ask(self, machine: str, *urls: str) -> list[str]:
        """What the answers are."""
        return self.emulation.exec(machine, "python3", "-c", ASK, "", *urls).stdout.split("\n")[:-1]

    def ask_again(self, *urls: str) -> list[str]:
        """What the answers are for a client that keeps its cookies."""
        return self.emulation.exec("access/client", "python3", "-c", ASK, "jar", *urls).stdout.split("\n")[:-1]

    @contextmanager
    def held(self, address: str, port: int) -> Iterator[None]:
        """A connection of the client that stays open."""
        script = (
            'rm -f /tmp/held; setsid python3 -c "$@" >/dev/null 2>&1 & until test -e /tmp/held; do sleep 0.05; done'
        )
        self.emulation.exec("access/client", "sh", "-c", script, "sh", HOLD, address, str(port))
        try:
            yield
        finally:
            self.emulation.exec("access/client", "sh", "-c", "kill $(pgrep -f create_connection)")

    def serve(self, name: str) -> None:
        """Start a member's server: HTTP on 8080, echo over UDP on 5353."""
        listens = "until grep -q ':1F90 ' /proc/net/tcp; do sleep 0.05; done"
        start = f'setsid python3 -c "$1" {name} "$2" >/dev/null 2>&1 & {listens}'
        self.emulation.exec(f"access/{name}", "sh", "-c", start, "sh", SERVER, self.pem)

    @contextmanager
    def silenced(self, name: str) -> Iterator[None]:
        """A member without its server."""
        self.emulation.exec(f"access/{name}", "sh", "-c", "kill $(pgrep -f ThreadingHTTPServer)")
        try:
            yield
        finally:
            self.serve(name)

    @contextmanager
    def paused(self, name: str) -> Iterator[None]:
        """A member that neither answers nor hangs up."""
        compute = self.cloud.compute
        server = compute.find_server(name)
        compute.pause_server(server)
        try:
            until(lambda: compute.get_server(server).status, "PAUSED")
            yield
        finally:
            compute.unpause_server(server)
            until(lambda: compute.get_server(server).status, "ACTIVE")

    def settled(self, balancer: Any) -> Any:
        """A load balancer after its change."""
        eventually(lambda: not self.lbaas.get_load_balancer(balancer).provisioning_status.startswith("PENDING"))
        found = self.lbaas.get_load_balancer(balancer)
        assert found.provisioning_status == "ACTIVE"
        return found

    def balancer(self, provider: str) -> Any:
        """An empty load balancer."""
        return self.settled(self.lbaas.create_load_balancer(vip_subnet_id=self.subnet, provider=provider))

    def whole(self, provider: str, pools: list[Any], listeners: list[Any]) -> tuple[Any, dict[str, str]]:
        """A load balancer made in one request; its pools' ids by name."""
        body = {"vip_subnet_id": self.subnet, "provider": provider, "pools": pools, "listeners": listeners}
        made = self.request("POST", "loadbalancers", {"loadbalancer": body}).json()
        assert "loadbalancer" in made, made
        found = self.settled(made["loadbalancer"]["id"])
        return found, {pool["name"]: pool["id"] for pool in made["loadbalancer"]["pools"]}

    def pool(self, name: str, protocol: str, port: int, **more: Any) -> dict[str, Any]:
        """A pool with both members, as a part of a load balancer."""
        members = [{"name": one, "address": self.addresses[one], "protocol_port": port} for one in ("one", "two")]
        return {"name": name, "protocol": protocol, "lb_algorithm": "ROUND_ROBIN", "members": members, **more}

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """A plain request."""
        how = {"endpoint_filter": {"service_type": "load-balancer"}, "raise_exc": False}
        return self.cloud.session.request(f"/v2/lbaas/{path}", method, json=body, **how)

    def drop(self, balancer: Any) -> None:
        """Delete a load balancer with all its parts."""
        self.lbaas.delete_load_balancer(balancer, cascade=True)
        eventually(lambda: self.lbaas.find_load_balancer(balancer.id) is None)

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
    for balancer in cloud.load_balancer.load_balancers():
        if not balancer.provisioning_status.startswith("PENDING"):
            cloud.load_balancer.delete_load_balancer(balancer, cascade=True)
    eventually(lambda: not list(cloud.load_balancer.load_balancers()))
    cloud.network.delete_security_group_rule(rule)
    sweep(cloud)
    cloud.close()
