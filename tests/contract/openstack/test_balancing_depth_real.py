"""What pools, monitors, policies and providers promise, judged by requests through real load balancers."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.balancers import HAPROXY, provider
from tests.contract.openstack.balancing_world import World, world
from tests.contract.openstack.test_real import pytestmark as of_real
from tests.waiting import eventually, until

__all__ = ["provider", "world"]  # fixtures
pytestmark = [*of_real, pytest.mark.slow, pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")]

BOTH = {"one", "two"}
TIMES = {"delay": 1, "timeout": 1, "max_retries": 1, "max_retries_down": 1}
MEMBER_PORTS = {"HTTP": 8080, "HTTPS": 8443, "PING": 8080, "TCP": 8080, "TLS-HELLO": 8443, "UDP-CONNECT": 5353}
MONITORS = {"haproxy": sorted(set(MEMBER_PORTS) - {"UDP-CONNECT"}), "nftables": sorted(MEMBER_PORTS)}


def listener(port: int, pool: str, protocol: str = "HTTP", **more: Any) -> dict[str, Any]:
    """A listener as a part of a load balancer."""
    return {"protocol": protocol, "protocol_port": port, "default_pool": {"name": pool}, **more}


def test_each_kind_of_monitor_sees_members_go_and_come(world: World, provider: str) -> None:
    pools = []
    for kind in MONITORS[provider]:
        protocol = "UDP" if kind == "UDP-CONNECT" else "TCP"
        pools.append(world.pool(kind, protocol, MEMBER_PORTS[kind], healthmonitor={"type": kind, **TIMES}))
    balancer, ids = world.whole(provider, pools, [listener(80, "HTTP", "TCP")])

    def found(status: str, but: str = "") -> None:
        """Wait until the monitors find the second member so, and the first one well."""
        wanted = {kind: {"one": "ONLINE", "two": "ONLINE" if kind == but else status} for kind in ids}
        until(lambda: {kind: world.statuses(ids[kind]) for kind in ids}, wanted)

    found("ONLINE")
    with world.silenced("two"):
        found("ERROR", but="PING")
        url = f"http://{balancer.vip_address}/"
        assert world.ask("access/client", *[url] * 3) == ["one"] * 3
    found("ONLINE")
    assert set(world.ask("access/client", *[url] * 4)) == BOTH
    with world.paused("two"):
        found("ERROR")
    found("ONLINE")
    world.drop(balancer)


def test_clients_return_to_their_member(world: World) -> None:
    persistence = {
        "source": {"type": "SOURCE_IP"},
        "cookie": {"type": "HTTP_COOKIE"},
        "application": {"type": "APP_COOKIE", "cookie_name": "who"},
    }
    pools = [world.pool(name, "HTTP", 8080, session_persistence=how) for name, how in persistence.items()]
    balancer, _ids = world.whole("haproxy", pools, [listener(80 + n, name) for n, name in enumerate(persistence)])
    urls = [f"http://{balancer.vip_address}:{80 + number}/" for number in range(3)]
    assert len(set(world.ask("access/client", *[urls[0]] * 4))) == 1
    for url in urls[1:]:
        sessions = [world.ask_again(*[url] * 3) for _ in range(4)]
        assert all(len(set(session)) == 1 for session in sessions)
        assert {session[0] for session in sessions} == BOTH
        assert set(world.ask("access/client", *[url] * 4)) == BOTH  # without cookies
    assert set(world.ask("access/client", *[f"{urls[2]}#Cookie=who=two"] * 3)) == {"two"}
    world.drop(balancer)


def test_a_source_returns_to_its_member_in_the_kernel_too(world: World) -> None:
    pools = [
        world.pool("sticky", "TCP", 8080, session_persistence={"type": "SOURCE_IP"}),
        world.pool("ports", "TCP", 8080, lb_algorithm="SOURCE_IP_PORT"),
    ]
    balancer, _ids = world.whole("nftables", pools, [listener(80, "sticky", "TCP"), listener(81, "ports", "TCP")])
    assert len(set(world.ask("access/client", *[f"http://{balancer.vip_address}/"] * 6))) == 1
    assert set(world.ask("access/client", *[f"http://{balancer.vip_address}:81/"] * 24)) == BOTH
    world.drop(balancer)


def test_the_least_busy_member_is_chosen(world: World) -> None:
    pools = [world.pool("idle", "TCP", 8080, lb_algorithm="LEAST_CONNECTIONS")]
    balancer, _ids = world.whole("haproxy", pools, [listener(80, "idle", "TCP")])
    url = f"http://{balancer.vip_address}/"

    def only_held() -> bool:
        return bool(world.lbaas.get_load_balancer_statistics(balancer.id).active_connections == 1)

    assert set(world.ask("access/client", *[url] * 4)) == BOTH
    answered = set()
    with world.held(balancer.vip_address, 80):
        for _ in range(4):
            eventually(only_held)  # an answered request may be a connection for a moment longer
            answered.update(world.ask("access/client", url))
    assert len(answered) == 1
    world.drop(balancer)


@pytest.mark.parametrize(
    ("provider", "pool", "listen"),
    [
        ("nftables", {"lb_algorithm": "LEAST_CONNECTIONS"}, {}),
        ("nftables", {"protocol": "HTTP"}, {"protocol": "HTTP"}),
        ("nftables", {"protocol": "PROXY"}, {}),
        ("nftables", {}, {"connection_limit": 5}),
        ("nftables", {}, {"timeout_client_data": 1}),
        ("nftables", {"healthmonitor": {"type": "SCTP", **TIMES}}, {}),
        ("haproxy", {"lb_algorithm": "SOURCE_IP_PORT"}, {}),
        ("haproxy", {"protocol": "UDP"}, {"protocol": "UDP"}),
        ("haproxy", {"protocol": "SCTP"}, {"protocol": "SCTP"}),
    ],
)
def test_what_a_provider_cannot_do_is_refused(world: World, provider: str, pool: Any, listen: Any) -> None:
    body = {
        "vip_subnet_id": world.subnet,
        "name": "refused",
        "provider": provider,
        "pools": [world.pool("p", **{"protocol": "TCP", "port": 80, **pool})],
        "listeners": [{**listener(80, "p", "TCP"), **listen}],
    }
    answer = world.request("POST", "loadbalancers", {"loadbalancer": body})
    assert (answer.status_code, provider in answer.json()["faultstring"]) == (501, True), answer.text
    assert not list(world.lbaas.load_balancers(vip_subnet_id=world.subnet, name="refused"))


def rule(kind: str, compare: str, value: str, **more: Any) -> dict[str, Any]:
    """A rule as a part of a policy."""
    return {"type": kind, "compare_type": compare, "value": value, **more}


RULES = [
    (rule("HOST_NAME", "EQUAL_TO", "shop.example"), "/#Host=Shop.example", "/#Host=x.shop.example"),
    (rule("HOST_NAME", "ENDS_WITH", ".example"), "/#Host=a.example", "/#Host=a.example.net"),
    (rule("PATH", "STARTS_WITH", "/api"), "/api/x", "/x/api"),
    (rule("PATH", "CONTAINS", "secret"), "/a/secret/b", "/a/b"),
    (rule("PATH", "REGEX", "^/v[0-9]+/"), "/v12/x", "/vx/x"),
    (rule("PATH", "EQUAL_TO", "/open", invert=True), "/closed", "/open"),
    (rule("FILE_TYPE", "EQUAL_TO", "jpg"), "/a/b.jpg", "/a/b.png"),
    (rule("FILE_TYPE", "REGEX", "jpe?g"), "/a.jpeg", "/a.gif"),
    (rule("HEADER", "CONTAINS", "bot", key="User-Agent"), "/#User-Agent=a-bot-1", "/#User-Agent=person"),
    (rule("COOKIE", "EQUAL_TO", "yes", key="beta"), "/#Cookie=a=b; beta=yes", "/#Cookie=beta=no"),
]


def test_rules_of_all_kinds_tell_requests_apart(world: World) -> None:
    pools, listeners = [world.pool("p", "HTTP", 8080)], []
    for number, (wanted, _matching, _other) in enumerate(RULES):
        listeners.append(listener(8000 + number, "p", l7policies=[{"action": "REJECT", "rules": [wanted]}]))
    balancer, _ids = world.whole("haproxy", pools, listeners)
    for number, (wanted, matching, other) in enumerate(RULES):
        base = f"http://{balancer.vip_address}:{8000 + number}"
        answers = world.ask("access/client", f"{base}{matching}", f"{base}{other}")
        assert (answers[0], answers[1] in BOTH) == ("403", True), (wanted, answers)
    world.drop(balancer)


def test_policies_lead_elsewhere(world: World) -> None:
    spare = {**world.pool("spare", "HTTP", 8080), "members": world.pool("p", "HTTP", 8080)["members"][1:]}
    policies = [
        {"action": "REDIRECT_TO_POOL", "redirect_pool": spare, "rules": [rule("PATH", "STARTS_WITH", "/spare")]},
        {
            "action": "REDIRECT_TO_URL",
            "redirect_url": "https://a.example/b",
            "redirect_http_code": 301,
            "rules": [rule("PATH", "STARTS_WITH", "/away")],
        },
        {
            "action": "REDIRECT_PREFIX",
            "redirect_prefix": "https://a.example/p",
            "rules": [rule("PATH", "STARTS_WITH", "/moved")],
        },
    ]
    listeners = [listener(80, "p", l7policies=policies)]
    balancer, _ids = world.whole("haproxy", [world.pool("p", "HTTP", 8080)], listeners)
    base = f"http://{balancer.vip_address}"
    answers = world.ask("access/client", *[f"{base}/spare"] * 2, f"{base}/away", f"{base}/moved/x")
    assert answers == ["two", "two", "301 https://a.example/b", "302 https://a.example/p/moved/x"]
    world.drop(balancer)


def test_members_learn_who_asks(world: World) -> None:
    headers = {f"X-Forwarded-{name}": "true" for name in ("For", "Port", "Proto")}
    pools = [world.pool("plain", "HTTP", 8080), world.pool("v1", "PROXY", 8081), world.pool("v2", "PROXYV2", 8081)]
    listeners = [
        listener(80, "plain", insert_headers=headers),
        *(listener(80 + number, f"v{number}", "TCP") for number in (1, 2)),
    ]
    balancer, _ids = world.whole("haproxy", pools, listeners)
    base, client = f"http://{balancer.vip_address}", world.addresses["client"]
    told = world.ask("access/client", *[f"{base}/header/{name}" for name in headers], f"{base}:81/", f"{base}:82/")
    assert told == [client, "80", "http", f"v1 {client}", f"v2 {client}"]
    world.drop(balancer)


def masters(balancer: Any) -> list[int]:
    """Processes whose folder is a load balancer's, and that were started first there."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            here = balancer.id in (process / "mountinfo").read_text()
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if here and (command.startswith(b"haproxy\0") or b"prober.py\0watch" in command):
            found.append(int(process.name))
    return sorted(found)


def test_a_program_that_dies_is_started_again(world: World, provider: str) -> None:
    balancer, _ids = world.whole(provider, [world.pool("p", "TCP", 8080)], [listener(80, "p", "TCP")])
    before = masters(balancer)
    assert before
    os.kill(before[0], signal.SIGKILL)
    eventually(lambda: bool(masters(balancer)) and not set(masters(balancer)) & set(before))
    assert world.settled(balancer).operating_status == "ONLINE"
    assert set(world.ask("access/client", *[f"http://{balancer.vip_address}/"] * 4)) == BOTH
    world.drop(balancer)
    assert not masters(balancer)
