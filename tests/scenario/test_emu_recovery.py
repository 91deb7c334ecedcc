"""A keeper is killed with SIGKILL: what its clouds held comes back with the next start, and goes with `down`."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from sonata.sdk.emulation_records import EmulationRecord
from tests import plain_http
from tests.scenario.clouds import FAST, boot, let_in, network_of, route, site
from tests.scenario.emu_command import ORIGIN, Emu, kill, settle, wait_for_line
from tests.scenario.test_emu_wan import through_proxy

pytestmark = [pytest.mark.root, pytest.mark.serial]


def wan(record: EmulationRecord) -> httpx.Client:
    headers = {"Authorization": f"Bearer {record.wan_token}"}
    return plain_http.Client(base_url=f"{record.url}/emulator/v1", headers=headers, trust_env=False)


def power_on(cloud: Any, *names: str) -> None:
    """`os-start`, and wait until the servers run."""
    for name in names:
        cloud.compute.start_server(cloud.compute.find_server(name))
    for name in names:
        cloud.compute.wait_for_server(cloud.compute.find_server(name), interval=FAST, wait=30)


def chain_through(cloud: Any, server: Any) -> None:
    """Lead what the users send to the origin through a server."""
    net = cloud.network
    (port,) = net.ports(device_id=server.id)
    pair = net.create_sfc_port_pair(ingress=port.id, egress=port.id)
    group = net.create_sfc_port_pair_group(port_pairs=[pair.id])
    classifier = net.create_sfc_flow_classifier(
        source_ip_prefix="100.64.0.10/32", destination_ip_prefix=f"{ORIGIN}/32", protocol="icmp"
    )
    net.create_sfc_port_chain(
        port_pair_groups=[group.id], flow_classifiers=[classifier.id], chain_parameters={"symmetric": False}
    )


def ids(cloud: Any) -> dict[str, set[str]]:
    """The ids of everything in a cloud, by kind."""
    net = cloud.network
    listings = {
        "projects": cloud.identity.projects(),
        "users": cloud.identity.users(),
        "flavors": cloud.compute.flavors(),
        "images": cloud.image.images(),
        "servers": cloud.compute.servers(),
        "networks": net.networks(),
        "subnets": net.subnets(),
        "ports": net.ports(),
        "routers": net.routers(),
        "ips": net.ips(),
        "groups": net.security_groups(),
        "pairs": net.sfc_port_pairs(),
        "pair groups": net.sfc_port_pair_groups(),
        "classifiers": net.sfc_flow_classifiers(),
        "chains": net.sfc_port_chains(),
    }
    return {kind: {found.id for found in listing} for kind, listing in listings.items()}


def pings(emu: Emu, machine: str, address: str) -> bool:
    return emu.run("exec", machine, "--", "ping", "-c", "1", "-W", "1", address).returncode == 0


def received(emu: Emu, machine: str) -> int:
    """IP packets that a machine has received; ARP does not count."""
    names, values = (
        line.split() for line in emu.ok("exec", machine, "--", "head", "-2", "/proc/net/snmp").splitlines()
    )
    return int(dict(zip(names, values, strict=True))["InReceives"])


@pytest.fixture
def near(emu: Emu) -> Iterator[Any]:
    emu.up()
    cloud = site(emu.record(), "a")
    yield cloud
    cloud.close()


def test_clouds_come_back_with_ids_credentials_and_working_paths(emu: Emu, near: Any) -> None:
    network = network_of(near, "10.5.0.0/24", "10.5.0.10", "10.5.0.99")
    route(near, network)
    one, two = boot(near, "one", network.id), boot(near, "two", network.id)
    address = two.addresses["inner"][0]["addr"]
    (port,) = near.network.ports(device_id=one.id)
    external = near.network.find_network("external")
    floating = near.network.create_ip(floating_network_id=external.id, port_id=port.id).floating_ip_address
    chain_through(near, two)
    for protocol in ("icmp", "tcp"):
        let_in(near, protocol)
    near.compute.create_flavor(name="own", vcpus=1, ram=32, disk=0)
    before, record, token = ids(near), emu.record(), near.authorize()
    assert pings(emu, "a/one", address)
    emu.ok("exec", "a/one", "--", "sh", "-c", "echo kept > /root/note; echo before >> /proc/1/fd/1")
    settle()
    kill(emu)

    footprint = emu.up()
    assert secrets_of(emu.record()) == secrets_of(record)
    assert near.authorize() == token
    assert ids(near) == before  # the same connection with the same token
    assert {server.status for server in near.compute.servers()} == {"SHUTOFF"}
    assert not pings(emu, "users", floating)
    power_on(near, "one", "two")
    assert emu.ok("exec", "a/one", "--", "cat", "/root/note") == "kept\n"
    emu.ok("exec", "a/one", "--", "sh", "-c", "echo after >> /proc/1/fd/1")
    assert near.compute.get_server_console_output(one)["output"].split() == ["before", "after"]
    assert pings(emu, "a/one", address)
    assert pings(emu, "users", floating)
    assert through_proxy(record, floating, 9)[0] == 4  # nobody listens, but the way is there
    seen = received(emu, "a/two")
    pings(emu, "users", ORIGIN)
    assert received(emu, "a/two") > seen
    assert boot(near, "three", network.id).addresses["inner"][0]["addr"] not in (address, "10.5.0.10")

    emu.ok("down")
    assert footprint.leftovers() == []


def secrets_of(record: EmulationRecord) -> tuple[str, ...]:
    return (record.url, record.proxy, record.token, record.wan_token, record.admin_password, record.proxy_token)


def test_connections_come_back(emu: Emu, near: Any) -> None:
    far = site(emu.record(), "c")
    nets = {"a": network_of(near, "10.5.0.0/24", "10.5.0.10", "10.5.0.99")}
    nets["c"] = network_of(far, "10.5.0.0/24", "10.5.0.100", "10.5.0.199")
    boot(near, "one", nets["a"].id)
    address = boot(far, "two", nets["c"].id).addresses["inner"][0]["addr"]
    let_in(far, "icmp")
    wanted = {"tag": "svc/link", "members": {pop: network.id for pop, network in nets.items()}}
    with wan(emu.record()) as client:
        made = client.post("/wan/connections", json=wanted).json()
    assert pings(emu, "a/one", address)
    settle()
    kill(emu)

    emu.up()
    with wan(emu.record()) as client:
        assert client.get("/wan/connections").json() == [made]
    power_on(near, "one")
    power_on(far, "two")
    assert pings(emu, "a/one", address)
    far.close()


@pytest.mark.slow
def test_killed_again_and_again_and_changed_meanwhile(emu: Emu, near: Any) -> None:
    gone = site(emu.record(), "b")
    gone.network.create_network(name="lost")
    kept = near.network.create_network(name="kept")
    settle()
    kill(emu)
    emu.up()
    second = near.network.create_network(name="second")
    settle()
    kill(emu)
    text = emu.topology.read_text()
    links = "\n".join(
        line for line in text.splitlines() if "between: [a, b]" not in line and "between: [b, c]" not in line
    )
    emu.topology.write_text(
        links.replace("  b: {}\n", "").replace("links:\n", "links:\n  - {name: ac, between: [a, c]}\n")
    )
    emu.up()
    assert {kept.id, second.id} <= {network.id for network in near.network.networks()}
    assert "PoP b is gone" in emu.ok("logs")
    assert {path.name for path in emu.state_files() if path.name.startswith("pop-")} == {"pop-a.json", "pop-c.json"}
    gone.close()


def test_a_damaged_document_is_set_aside_and_the_site_starts_empty(emu: Emu, near: Any) -> None:
    near.network.create_network(name="lost")
    settle()
    kill(emu)
    (document,) = [path for path in emu.state_files() if path.name == "pop-a.json"]
    assert document.stat().st_mode & 0o777 == 0o600
    document.write_text(document.read_text()[:-40])
    emu.up()
    assert [network.name for network in near.network.networks()] == ["external"]
    assert document.with_name("pop-a.json.damaged").exists()
    assert "set aside" in emu.ok("logs")
    emu.ok("down")
    assert emu.state_files() == []


@pytest.mark.slow
def test_a_taken_address_is_replaced_and_a_failed_start_loses_nothing(emu: Emu, near: Any) -> None:
    network = near.network.create_network(name="kept")
    record = emu.record()
    settle()
    kill(emu)
    host, _, port = record.url.removeprefix("http://").rpartition(":")
    with socket.create_server((host, int(port))):
        refused = emu.run("up", str(emu.topology), "--listen", f"{host}:{port}", "--detach")
        assert refused.returncode == 6
        assert emu.json("ls")[0]["state"] == "dead"
        told = emu.run("up", str(emu.topology), "--listen", "127.0.0.1:0", "--detach")
        assert told.returncode == 0, told.stderr
        assert f"{host}:{port} is taken" in told.stderr
    again = site(emu.record(), "a")
    assert emu.record().admin_password == record.admin_password
    assert again.network.find_network("kept").id == network.id
    again.close()


def test_down_after_a_kill_removes_everything(emu: Emu) -> None:
    footprint = emu.up()
    cloud = site(emu.record(), "a")
    cloud.network.create_network(name="lost")
    settle()
    kill(emu)
    assert emu.state_files()
    cloud.close()
    emu.ok("down")
    assert footprint.leftovers() == []


@pytest.mark.slow
def test_a_foreground_whose_keeper_is_killed_keeps_the_clouds(emu: Emu) -> None:
    process = emu.foreground()
    wait_for_line(process, "is ready")
    cloud = site(emu.record(), "a")
    network = cloud.network.create_network(name="kept")
    settle()
    kill(emu)
    assert process.wait(30) == 1
    emu.up()
    assert cloud.network.find_network("kept").id == network.id
    cloud.close()


def test_servers_of_the_topology_are_started_again_with_their_ids(emu: Emu) -> None:
    emu.topology.write_text(emu.topology.read_text() + "servers:\n  alice: {pop: a}\n")
    emu.up()
    cloud = site(emu.record(), "a")
    before = ids(cloud)
    settle()
    kill(emu)
    emu.up()
    assert ids(cloud) == before
    assert pings(emu, "a/alice", ORIGIN)
    cloud.close()
