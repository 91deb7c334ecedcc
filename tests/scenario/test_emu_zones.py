"""One OpenStack over two PoPs, for real: packets take the link, and a server moves with its connections."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.scenario.clouds import let_in, site
from tests.scenario.emu_command import Emu
from tests.scenario.test_emu_recovery import FAST, kill, network_of, pings, power_on, route, settle, wan
from tests.scenario.test_emu_rootless import ordinary as ordinary  # a fixture
from tests.scenario.test_emu_wan import dialled

pytestmark = [pytest.mark.root, pytest.mark.serial]

ZONES = """
apiVersion: sonata/v1
kind: Topology
name: {name}
pops:
  core: {{}}
  edge: {{managed_by: core}}
  other: {{}}
links:
  - {{name: backhaul, between: [core, edge], delay: 10ms}}
  - {{name: far, between: [core, other]}}
endpoints:
  users: {{attach: core}}
"""
ROUND_TRIP_S = 0.02
ECHO = (
    "my $l = IO::Socket::INET->new(Listen => 5, LocalPort => 7, ReuseAddr => 1); "
    "while (my $c = $l->accept) { while (sysread $c, my $d, 4096) { syswrite $c, $d } }"
)

ASK_METADATA = (
    'my $s = IO::Socket::INET->new(PeerAddr => "169.254.169.254:80", Timeout => 2) or exit 1; '
    'print $s "GET /openstack/latest/meta_data.json HTTP/1.0\\r\\n\\r\\n"; $/ = undef; $_ = <$s>; '
    'print /"uuid": *"([^"]+)"/ ? "$1\\n" : exit 1;'
)


def one_line(text: str) -> str:
    (line,) = text.splitlines()
    return line


def boot(cloud: Any, name: str, network: Any, zone: str | None = None) -> Any:
    image, flavor = cloud.image.find_image("host"), cloud.compute.find_flavor("tiny")
    server = cloud.compute.create_server(
        name=name,
        image_id=image.id,
        flavor_id=flavor.id,
        networks=[{"uuid": network.id}],
        availability_zone=zone,
    )
    return cloud.compute.wait_for_server(server, interval=FAST, wait=60)


def address_of(server: Any) -> str:
    return str(server.addresses["inner"][0]["addr"])


def round_trip_s(emu: Emu, machine: str, address: str) -> float:
    told = emu.ok("exec", machine, "--", "ping", "-n", "-c", "4", "-i", "0.1", "-W", "2", address)
    assert "4 received" in told, told
    return min(float(value) for value in re.findall(r"time=([\d.]+) ms", told)) / 1000


def migrate(cloud: Any, server: Any, host: str | None = None, **more: Any) -> Any:
    """A live migration that succeeds."""
    body = {"os-migrateLive": {"host": host, "block_migration": "auto", **more}}
    answer = cloud.compute.post(f"/servers/{server.id}/action", json=body, microversion="2.30")
    assert answer.status_code == 202, answer.text
    return settled(cloud, server)


def settled(cloud: Any, server: Any) -> Any:
    deadline = time.monotonic() + 60
    while (found := cloud.compute.get_server(server.id)).task_state and time.monotonic() < deadline:
        time.sleep(FAST)
    return found


class Stream:
    """A TCP connection to a server that gives everything back, talked over without end from a thread of its own."""

    def __init__(self, client: socket.socket) -> None:
        self.rounds = 0
        self.failure = ""
        self._client = client
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._talk)
        self._thread.start()

    def _talk(self) -> None:
        message = b"x" * 4000
        try:
            while not self._over.is_set():
                self._client.sendall(message)
                got = b""
                while len(got) < len(message) and (more := self._client.recv(4096)):
                    got += more
                if got != message:
                    raise OSError("the connection was closed")
                self.rounds += 1
        except OSError as error:
            self.failure = str(error)

    def goes_on(self) -> bool:
        """Whether another message makes its round, soon."""
        before, deadline = self.rounds, time.monotonic() + 20
        while self.rounds < before + 2 and not self.failure and time.monotonic() < deadline:
            time.sleep(0.01)
        return not self.failure and self.rounds >= before + 2

    def close(self) -> None:
        self._over.set()
        self._thread.join(20)
        self._client.close()


def echoing(emu: Emu, machine: str, address: str) -> Stream:
    """Have a server give back what it gets on port 7, and talk to it."""
    perl = f"setsid /usr/bin/perl -MIO::Socket::INET -e '{ECHO}' >/dev/null 2>&1 </dev/null &"
    emu.ok("exec", machine, "--", "/bin/sh", "-c", perl)
    for _ in range(100):
        status, client = dialled(emu.record(), address, 7)
        if status == 0:
            client.settimeout(20)
            return Stream(client)
        client.close()
        time.sleep(FAST)
    raise AssertionError(f"nothing listens at {address}")


def floating_ip(cloud: Any, server: Any) -> str:
    (port,) = cloud.network.ports(device_id=server.id)
    external = cloud.network.find_network("external")
    return str(cloud.network.create_ip(floating_network_id=external.id, port_id=port.id).floating_ip_address)


def machines(emu: Emu) -> dict[str, str]:
    """The PoP of each machine."""
    return {machine["name"]: machine["pop"] for machine in emu.json("show")["machines"]}


def last_event(cloud: Any, server: Any) -> str:
    """Details of the last step of what was asked of a server last."""
    (action, *_) = cloud.compute.server_actions(server)
    found = cloud.compute.get(f"/servers/{server.id}/os-instance-actions/{action.request_id}", microversion="2.84")
    return str(found.json()["instanceAction"]["events"][0]["details"])


def start(emu: Emu) -> Any:
    """An emulation of the zones, and its site."""
    emu.topology.write_text(ZONES.format(name=emu.name))
    emu.up()
    return site(emu.record(), "core")


@pytest.fixture
def cloud(emu: Emu) -> Iterator[Any]:
    made = start(emu)
    yield made
    made.close()


def test_a_server_moves_over_the_link_with_its_connections(emu: Emu, cloud: Any) -> None:
    assert [row["pop"] for row in emu.json("show")["pops"]] == ["core", "other"]
    assert "zone `edge` of `core`" in emu.run("openrc", "edge").stderr
    assert [zone.name for zone in cloud.compute.availability_zones(details=True)] == ["nova", "edge"]
    network = network_of(cloud, "10.5.0.0/24", "10.5.0.10", "10.5.0.99")
    route(cloud, network)
    one, two = boot(cloud, "one", network), boot(cloud, "two", network, "edge")
    assert machines(emu) == {"users": "core", "core/one": "core", "core/two": "edge"}
    for protocol in ("icmp", "tcp"):
        let_in(cloud, protocol)
    assert ROUND_TRIP_S <= round_trip_s(emu, "core/one", address_of(two)) < 5 * ROUND_TRIP_S
    floating = floating_ip(cloud, one)
    assert round_trip_s(emu, "users", floating) < ROUND_TRIP_S

    stream = echoing(emu, "core/one", floating)
    assert stream.goes_on()
    moved = migrate(cloud, one, "edge")
    assert (moved.status, moved.compute_host, moved.availability_zone) == ("ACTIVE", "edge", "edge")
    assert stream.goes_on(), stream.failure
    assert machines(emu)["core/one"] == "edge"
    assert "the server stood still for" in last_event(cloud, one)
    assert round_trip_s(emu, "users", floating) >= ROUND_TRIP_S
    assert round_trip_s(emu, "core/one", address_of(two)) < ROUND_TRIP_S
    assert emu.run("exec", "edge/one", "--", "ping", "-c", "1", "100.64.0.10").returncode == 0

    # Its security group filters there, too, and a rule that goes ends what it allowed.
    (rule,) = cloud.network.security_group_rules(protocol="icmp", direction="ingress")
    cloud.network.delete_security_group_rule(rule)
    assert not pings(emu, "users", floating)
    let_in(cloud, "icmp")
    assert pings(emu, "users", floating)

    moved = migrate(cloud, one)
    assert moved.compute_host == "core"
    assert stream.goes_on(), stream.failure
    assert round_trip_s(emu, "users", floating) < ROUND_TRIP_S
    stream.close()
    found = cloud.compute.get("/os-migrations", microversion="2.80").json()["migrations"]
    assert {(one["status"], one["migration_type"]) for one in found} == {("completed", "live-migration")}

    footprint = emu.footprint()
    emu.ok("down")
    assert footprint.leftovers() == []


def test_a_direct_port_keeps_its_running_server_where_it_is(emu: Emu, cloud: Any) -> None:
    network = network_of(cloud, "10.5.0.0/24", "10.5.0.10", "10.5.0.99")
    port = cloud.network.create_port(network_id=network.id, binding_vnic_type="macvtap")
    image, flavor = cloud.image.find_image("host"), cloud.compute.find_flavor("tiny")
    made = cloud.compute.create_server(
        name="direct", image_id=image.id, flavor_id=flavor.id, networks=[{"port": port.id}]
    )
    direct = cloud.compute.wait_for_server(made, interval=FAST, wait=60)
    other = boot(cloud, "other", network)
    let_in(cloud, "icmp")
    kept = migrate(cloud, direct, "edge")
    assert (kept.status, kept.compute_host) == ("ACTIVE", "core")
    assert "eth0 is a function of a network card" in last_event(cloud, direct)
    assert pings(emu, "core/direct", address_of(other))
    assert pings(emu, "core/other", address_of(direct))
    cloud.compute.migrate_server(direct)
    moved = settled(cloud, direct)
    assert (moved.status, moved.compute_host) == ("VERIFY_RESIZE", "edge")
    assert round_trip_s(emu, "core/direct", address_of(other)) >= ROUND_TRIP_S


@pytest.mark.slow
def test_servers_come_back_in_their_zone_and_take_part_in_connections(emu: Emu, cloud: Any) -> None:
    record = emu.record()
    network = network_of(cloud, "10.5.0.0/24", "10.5.0.10", "10.5.0.99")
    one, two = boot(cloud, "one", network), boot(cloud, "two", network, "edge")
    other = site(record, "other")
    far_network = network_of(other, "10.5.0.0/24", "10.5.0.100", "10.5.0.199")
    far = boot(other, "far", far_network)
    for each in (cloud, other):
        let_in(each, "icmp")
    with wan(record) as client:
        wrong = {"tag": "x", "members": {"edge": network.id, "other": far_network.id}}
        refused = client.post("/wan/connections", json=wrong)
        assert refused.status_code == 404
        assert "availability zone of `core`" in refused.text
        wanted = {"tag": "svc/link", "members": {"core": network.id, "other": far_network.id}}
        assert client.post("/wan/connections", json=wanted).status_code == 201
    assert round_trip_s(emu, "core/two", address_of(far)) >= ROUND_TRIP_S
    assert pings(emu, "other/far", address_of(two))
    settle()
    kill(emu)

    emu.up()
    assert machines(emu)["core/two"] == "edge"
    power_on(cloud, "one", "two")
    power_on(other, "far")
    assert round_trip_s(emu, "core/one", address_of(two)) >= ROUND_TRIP_S
    assert pings(emu, "other/far", address_of(two))
    assert one.id != two.id
    other.close()


def received(emu: Emu, machine: str) -> int:
    """IP packets that a machine has received; ARP does not count."""
    names, values = (
        line.split() for line in emu.ok("exec", machine, "--", "grep", "^Ip:", "/proc/net/snmp").splitlines()
    )
    return int(dict(zip(names, values, strict=True))["InReceives"])


def test_a_chain_leads_over_the_link_to_a_function_in_another_zone(emu: Emu, cloud: Any) -> None:
    net, network = cloud.network, network_of(cloud, "10.5.0.0/24", "10.5.0.10", "10.5.0.99")
    one, two = boot(cloud, "one", network), boot(cloud, "two", network)
    function = boot(cloud, "function", network)
    assert migrate(cloud, function, "edge").compute_host == "edge"
    let_in(cloud, "icmp")
    ports = {server.name: next(iter(net.ports(device_id=server.id))) for server in (one, function)}
    net.update_port(ports["function"], port_security_enabled=False, security_groups=[])
    emu.ok("exec", "core/function", "--", "/bin/sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    assert round_trip_s(emu, "core/one", address_of(two)) < ROUND_TRIP_S
    end = ports["function"].id
    pair = net.create_sfc_port_pair(ingress=end, egress=end)
    group = net.create_sfc_port_pair_group(port_pairs=[pair.id])
    classifier = net.create_sfc_flow_classifier(protocol="icmp", logical_source_port=ports["one"].id)
    chain = net.create_sfc_port_chain(port_pair_groups=[group.id], flow_classifiers=[classifier.id])
    before = received(emu, "core/function")
    assert ROUND_TRIP_S <= round_trip_s(emu, "core/one", address_of(two)) < 5 * ROUND_TRIP_S
    through = received(emu, "core/function") - before
    assert through >= 4
    # The sender's groups hold there, too.
    rules = list(net.security_group_rules(direction="egress", ethertype="IPv4"))
    for rule in rules:
        net.delete_security_group_rule(rule)
    assert not pings(emu, "core/one", address_of(two))
    assert received(emu, "core/function") - before == through
    group_id = rules[0].security_group_id
    net.create_security_group_rule(security_group_id=group_id, direction="egress", protocol="icmp")
    # A function that moves to its sender takes the chain along.
    moved = migrate(cloud, function, "core")
    assert moved.compute_host == "core", last_event(cloud, function)
    assert round_trip_s(emu, "core/one", address_of(two)) < ROUND_TRIP_S
    assert received(emu, "core/function") - before >= through + 4
    net.delete_sfc_port_chain(chain, ignore_missing=False)
    told = received(emu, "core/function")
    assert pings(emu, "core/one", address_of(two))
    assert received(emu, "core/function") == told


@pytest.mark.slow
def test_agents_of_a_zone_are_dead_while_it_is_cut_off(emu: Emu, cloud: Any) -> None:
    network = cloud.network.create_network(name="inner", availability_zone_hints=["edge"])
    cloud.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.5.0.0/24")
    server = boot(cloud, "one", network)
    metadata = ("exec", "core/one", "--", "/usr/bin/perl", "-MIO::Socket::INET", "-e", ASK_METADATA)
    assert one_line(emu.ok(*metadata)) == server.id
    assert all(agent.is_alive for agent in cloud.network.agents())
    emu.ok("link", "set", "core", "edge", "--down")
    assert {agent.host for agent in cloud.network.agents() if not agent.is_alive} == {"edge"}
    states = {zone.name: zone.state for zone in cloud.network.availability_zones(resource="network")}
    assert states == {"nova": "available", "edge": "unavailable"}
    # It is served from there, indeed.
    assert emu.run(*metadata).returncode != 0
    emu.ok("link", "set", "core", "edge", "--up")
    assert all(agent.is_alive for agent in cloud.network.agents())
    assert one_line(emu.ok(*metadata)) == server.id


@pytest.mark.slow
def test_an_ordinary_user_migrates_servers_too(ordinary: Emu) -> None:
    cloud = start(ordinary)
    network = network_of(cloud, "10.5.0.0/24", "10.5.0.10", "10.5.0.99")
    route(cloud, network)
    server = boot(cloud, "one", network)
    for protocol in ("icmp", "tcp"):
        let_in(cloud, protocol)
    floating = floating_ip(cloud, server)
    stream = echoing(ordinary, "core/one", floating)
    assert stream.goes_on()
    assert migrate(cloud, server, "edge").compute_host == "edge"
    assert "stood still for" in last_event(cloud, server)
    assert stream.goes_on(), stream.failure
    stream.close()
    assert round_trip_s(ordinary, "users", floating) >= ROUND_TRIP_S
    cloud.close()
    footprint = ordinary.footprint()
    ordinary.ok("down")
    assert footprint.leftovers() == []
