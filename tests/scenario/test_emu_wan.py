"""The wide area as an orchestrator uses it: networks of two sites joined, bounds kept, and the way to management."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address

import httpx
import openstack
import pytest

from sonata.sdk.emulation_records import EmulationRecord
from tests import plain_http
from tests.scenario.clouds import let_in, site
from tests.scenario.emu_command import ORIGIN, Emu, kill, settle
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.serial]

TROUBLE = """
apiVersion: sonata/v1
kind: Scenario
name: trouble
events:
- {at: 0s, link: bc, up: false, for: 300ms}
- {at: 600ms, link: bc, set: {rate: 40Mbit}, for: 300ms}
"""
SERVER = ["/usr/bin/perl", "-MIO::Socket::INET", "-e"]
GREETER = (
    "my $l = IO::Socket::INET->new(Listen => 5, LocalPort => 8080, ReuseAddr => 1); "
    'while (my $c = $l->accept) { print $c "hello"; close $c }'
)


def boot(cloud: openstack.connection.Connection, name: str, first: str, last: str) -> tuple[str, str]:
    """A network with a pool of its own and a server on it; returns the network's id and the server's address."""
    network = cloud.network.create_network(name="joined")
    cloud.network.create_subnet(
        network_id=network.id,
        ip_version=4,
        cidr="10.5.0.0/24",
        gateway_ip=None,
        allocation_pools=[{"start": first, "end": last}],
    )
    image, flavor = cloud.image.find_image("host"), cloud.compute.find_flavor("tiny")
    server = cloud.compute.create_server(
        name=name, image_id=image.id, flavor_id=flavor.id, networks=[{"uuid": network.id}]
    )
    server = cloud.compute.wait_for_server(server, interval=0.05, wait=30)
    return network.id, server.addresses["joined"][0]["addr"]


@pytest.fixture
def wan(emu: Emu) -> Iterator[httpx.Client]:
    """The wide area of the running line, opened with the token of wide area managers."""
    emu.up()
    record = emu.record()
    headers = {"Authorization": f"Bearer {record.wan_token}"}
    with plain_http.Client(base_url=f"{record.url}/emulator/v1", headers=headers, trust_env=False) as client:
        yield client


def test_a_connection_joins_networks_of_two_sites_until_it_is_removed(emu: Emu, wan: httpx.Client) -> None:
    near, _ = boot(site(emu.record(), "a"), "near", "10.5.0.10", "10.5.0.99")
    core = site(emu.record(), "c")
    far, address = boot(core, "far", "10.5.0.100", "10.5.0.199")
    let_in(core, "icmp")
    ping = ["exec", "a/near", "--", "ping", "-i", "0.2", "-c", "2", address]
    assert emu.run(*ping, "-w", "1").returncode == 1

    wanted = {"tag": "svc/link", "members": {"a": near, "c": far}, "rate_bps": 60e6, "max_delay_s": 0.05}
    made = wan.post("/wan/connections", json=wanted)
    assert made.status_code == 201
    assert wan.post("/wan/connections", json=wanted).json()["id"] == made.json()["id"]
    told = emu.ok(*ping, "-w", "10")
    assert float(re.search(r"mdev = ([\d.]+)/", told)[1]) >= 20.0  # type: ignore[index]

    assert [found["tag"] for found in wan.get("/wan/connections", params={"tag_prefix": "svc/"}).json()] == ["svc/link"]
    assert wan.get("/wan/connections", params={"tag_prefix": "other/"}).json() == []
    assert wan.delete(f"/wan/connections/{made.json()['id']}").status_code == 204
    assert emu.run(*ping, "-w", "1").returncode == 1


def test_promises_are_kept_moved_or_told(emu: Emu, wan: httpx.Client) -> None:
    record = emu.record()
    members = {pop: site(record, pop).network.create_network(name="n").id for pop in ("b", "c")}
    wanted = {"tag": "gold", "members": members, "rate_bps": 60e6, "max_rate_bps": 80e6}
    made = wan.post("/wan/connections", json=wanted).json()
    assert (made["state"], made["links"]) == ("active", ["bc"])
    assert {link["name"]: link["mechanism"] for link in emu.json("link", "ls")}["bc"] == "veth+htb"
    (link,) = (link for link in wan.get("/wan/links").json() if link["name"] == "bc")
    assert [way["available_bps"] for way in link["directions"]] == [40e6, 40e6]

    refused = emu.run("link", "set", "b", "c", "--rate", "50Mbit")
    assert refused.returncode == 6
    assert "`gold`" in refused.stderr
    emu.ok("link", "set", "b", "c", "--rate", "50Mbit", "--force")
    (now,) = wan.get("/wan/connections", params={"endpoint": "origin"}).json()
    assert (now["state"], "50Mbit of the 60Mbit promised" in now["reason"]) == ("degraded", True)
    emu.ok("link", "set", "b", "c", "--down")
    assert wan.get(f"/wan/connections/{made['id']}").json()["state"] == "down"
    emu.ok("link", "set", "b", "c", "--up", "--rate", "100Mbit")
    assert wan.get(f"/wan/connections/{made['id']}").json()["state"] == "active"

    changed = wan.patch(f"/wan/connections/{made['id']}", json={"rate_bps": 70e6})
    assert (changed.status_code, changed.json()["rate_bps"]) == (200, 70e6)
    assert wan.patch(f"/wan/connections/{made['id']}", json={"rate_bps": 90e6, "max_rate_bps": None}).status_code == 200
    assert wan.patch(f"/wan/connections/{made['id']}", json={"rate_bps": 190e6}).status_code == 409
    assert wan.get("/wan/connections", params={"pop": "x"}).status_code == 404


def test_a_person_joins_networks_by_name_and_sees_what_is_left(emu: Emu) -> None:
    emu.up()
    record = emu.record()
    ids = {pop: site(record, pop).network.create_network(name="inner").id for pop in ("a", "b", "c")}
    site(record, "b").network.create_network(name="inner")
    listed = {(row["pop"], row["name"]): row["connection"] for row in emu.json("wan", "networks")}
    assert listed[("a", "inner")] is None
    assert ("a", "external") not in listed

    ambiguous = emu.run("wan", "connect", "gold", "b/inner", "c/inner")
    assert ambiguous.returncode == 2
    assert ids["b"] in ambiguous.stderr
    unknown = emu.run("wan", "connect", "gold", "b/outer", "c/inner")
    assert (unknown.returncode, "`b` has no network `outer`" in unknown.stderr) == (5, True)
    told = emu.ok(
        *("wan", "connect", "gold", f"b/{ids['b']}", "c/inner"),
        *("--rate", "60Mbit", "--most", "80Mbit"),
        "--delay=5ms",
    )
    assert re.search(r"^state +active$", told, re.MULTILINE)
    assert {row["pop"]: row["connection"] for row in emu.json("wan", "networks") if row["id"] in ids.values()} == {
        "a": None,
        "b": "gold",
        "c": "gold",
    }
    (there, back) = [line.split() for line in emu.ok("wan", "links").splitlines() if line.startswith("bc")]
    assert there[:7] == ["bc", "b", "c", "0ns", "100Mbit", "60Mbit", "40Mbit"]
    assert back[:3] == ["bc", "c", "b"]
    way = emu.run("wan", "path", "users", "c")
    assert [line.split()[0] for line in way.stdout.splitlines()[1:]] == ["ab", "bc"]
    assert "a to c: 10ms, 40Mbit left" in way.stderr

    assert emu.run("wan", "set", "gold").returncode == 2
    assert emu.run("wan", "set", "gold", "--rate", "200Mbit", "--most", "none").returncode == 1
    changed = emu.json("wan", "set", "gold", "a/inner", "c/inner", "--rate", "30Mbit", "--delay", "none")
    assert (changed["links"], changed["rate_bps"], changed["max_delay_s"]) == (["ab", "bc"], 30e6, None)
    assert [row["tag"] for row in emu.json("wan", "ls", "--endpoint", "users")] == ["gold"]
    assert emu.json("wan", "ls", "--site", "b") == []
    emu.ok("link", "set", "ab", "--down")
    assert "no path between `a` and `c`" in emu.ok("wan", "ls")
    assert emu.run("wan", "path", "a", "c").returncode == 6
    assert emu.run("wan", "rm", "gold", "silver").returncode == 5
    emu.ok("wan", "rm", "gold")
    assert emu.json("wan", "ls") == []


@pytest.mark.slow
def test_reservations_live_through_changed_files_a_killed_keeper_and_scenarios(emu: Emu) -> None:
    emu.up()
    for pop in ("b", "c"):
        site(emu.record(), pop).network.create_network(name="inner")
    emu.ok("wan", "connect", "gold", "b/inner", "c/inner", "--rate", "60Mbit")
    file = emu.home / "changed.yaml"
    line = emu.topology.read_text()

    file.write_text(line.replace("rate: 100Mbit", "rate: 50Mbit"))
    for asked in ((), ("--dry-run",)):
        refused = emu.run("up", str(file), *asked)
        assert refused.returncode == 6
        assert "`gold`" in refused.stderr
    file.write_text(line.replace("rate: 100Mbit", "rate: 70Mbit, price: 2"))
    emu.ok("up", str(file))
    assert held(emu) == ("active", 0.12, "veth+htb")
    saved = emu.run("save", "--with-servers")
    assert "connection `gold` is left out" in saved.stderr
    assert "price: 2" in saved.stdout

    settle()
    kill(emu)
    emu.ok("up", str(file), "--listen", "127.0.0.1:0", "--detach")
    assert held(emu) == ("active", 0.12, "veth+htb")

    trouble = emu.home / "trouble.yaml"
    trouble.write_text(TROUBLE)
    emu.ok("scenario", "run", str(trouble))
    states = [event["detail"]["state"] for event in emu.json("events", "--kind", "connection.state")]
    assert states == ["down", "active", "degraded", "active"]
    assert held(emu) == ("active", 0.12, "veth+htb")


def held(emu: Emu) -> tuple[str, float, str]:
    """State and price of the one connection, and how its link is held."""
    (connection,) = emu.json("wan", "ls")
    mechanisms = {link["name"]: link["mechanism"] for link in emu.json("link", "ls")}
    return connection["state"], round(connection["price_per_hour"], 6), mechanisms["bc"]


def test_the_graph_and_the_bounds(emu: Emu, wan: httpx.Client) -> None:
    graph = wan.get("/wan/graph").json()
    assert graph["pops"] == ["a", "b", "c"]
    assert {edge["name"]: (edge["delay_s"], edge["rate_bps"]) for edge in graph["edges"]} == {
        "ab": (0.01, None),
        "bc": (0.0, 100e6),
    }
    assert {end["name"]: (end["pop"], end["address"]) for end in graph["endpoints"]} == {
        "users": ("a", "100.64.0.10"),
        "origin": ("c", ORIGIN),
    }
    record = emu.record()
    members = {pop: site(record, pop).network.create_network(name="n").id for pop in ("a", "c")}
    for bound in ({"max_delay_s": 0.005}, {"rate_bps": 200e6}):
        refused = wan.post("/wan/connections", json={"tag": "t", "members": members, **bound})
        assert refused.status_code == 409
        assert refused.headers["content-type"] == "application/problem+json"
    assert "bc" in refused.json()["detail"]
    assert wan.post("/wan/connections", json={"tag": "t", "members": {**members, "x": "y"}}).status_code == 404
    assert wan.post("/wan/connections", json={"tag": "t", "members": {**members, "b": "y"}}).status_code == 404
    assert wan.post("/wan/connections", json={"tag": "t"}).status_code == 400
    assert wan.get("/wan/connections").json() == []


def test_the_wide_area_token_opens_nothing_else(wan: httpx.Client) -> None:
    for path in ("/links", "/machines", "/topology", "/status"):
        refused = wan.get(path)
        assert (refused.status_code, refused.json()["code"]) == (401, "SONATA-0006")
    assert wan.post("/exec", json={"name": "users", "argv": ["true"]}).status_code == 401
    assert wan.get("/wan/graph", headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_the_proxy_reaches_management_addresses_and_nothing_else(emu: Emu) -> None:
    program = f"command: [{', '.join(repr(part) for part in SERVER)}, '{GREETER}']"
    emu.topology.write_text(emu.topology.read_text().replace("command: [sleep, infinity]", program))
    emu.up()
    record = emu.record()
    eventually(lambda: through_proxy(record, ORIGIN, 8080) == (0, b"hello"))
    assert through_proxy(record, ORIGIN, 8081)[0] == 4
    assert through_proxy(record, "100.64.9.10", 8080)[0] == 2
    assert through_proxy(record, "127.0.0.1", int(record.url.rpartition(":")[2]))[0] == 2
    with pytest.raises(PermissionError):
        through_proxy(record, ORIGIN, 8080, password="wrong")


def through_proxy(record: EmulationRecord, address: str, port: int, password: str = "") -> tuple[int, bytes]:
    """What the proxy answered (RFC 1928), and what came from behind it."""
    reply, proxy = dialled(record, address, port, password)
    with proxy:
        received = b""
        while reply == 0 and (piece := proxy.recv(100)):
            received += piece
        return reply, received


def dialled(record: EmulationRecord, address: str, port: int, password: str = "") -> tuple[int, socket.socket]:
    """What the proxy answered, and the connection, which is the caller's."""
    host, _, proxy_port = record.proxy.rpartition(":")
    proxy = socket.create_connection((host, int(proxy_port)), timeout=20)
    try:
        proxy.sendall(b"\x05\x01\x02")
        assert proxy.recv(2) == b"\x05\x02"
        secret = (password or record.proxy_token).encode()
        proxy.sendall(b"\x01\x06sonata" + bytes([len(secret)]) + secret)
        if proxy.recv(2) != b"\x01\x00":
            raise PermissionError
        proxy.sendall(b"\x05\x01\x00\x01" + IPv4Address(address).packed + struct.pack("!H", port))
        return proxy.recv(10)[1], proxy
    except BaseException:
        proxy.close()
        raise
