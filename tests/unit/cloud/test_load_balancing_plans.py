"""From plans to the files and rules of the providers, and back from their answers."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sonata.emulator.cloud.load_balancing.nftables_rules as nftables_rules
from sonata.emulator.cloud.load_balancing.haproxy import parse_statistics
from sonata.emulator.cloud.load_balancing.haproxy_config import expected_codes, quoted, render
from sonata.emulator.cloud.load_balancing.nftables_rules import eligible, spread
from sonata.ports.load_balancing import Backend, Check, Frontend, Persistence, Plan, Policy, Rule, Target

HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/sbin:/bin")
ONE = Target("m1", IPv4Address("10.0.0.5"), 8080)
TWO = Target("m2", IPv4Address("10.0.0.6"), 8080, weight=3)
SPARE = Target("m3", IPv4Address("10.0.0.7"), 8080, backup=True)
CHECK = Check("HTTP", 5, 2, 2, 3, "HEAD", "/ready", "200,204", "1.1", "web.example")
WEB = Backend("web", "HTTP", "ROUND_ROBIN", (ONE, TWO, SPARE), CHECK, Persistence("HTTP_COOKIE"))
API = Backend("api", "HTTP", "LEAST_CONNECTIONS", (ONE,), None, Persistence("APP_COOKIE", "sid", 60))
POLICIES = (
    Policy("p1", "REDIRECT_TO_POOL", (Rule("PATH", "STARTS_WITH", "/api"),), "api"),
    Policy(
        "p2",
        "REJECT",
        (Rule("HEADER", "REGEX", "^(bot|spider)$", "User-Agent"), Rule("COOKIE", "EQUAL_TO", "no", "ok")),
    ),
    Policy(
        "p3", "REDIRECT_TO_URL", (Rule("HOST_NAME", "ENDS_WITH", ".old", invert=True),), "https://new/100%?a=$b", 301
    ),
    Policy("p4", "REDIRECT_PREFIX", (Rule("FILE_TYPE", "EQUAL_TO", "jpg"),), "http://images"),
    Policy("p5", "REJECT", ()),
)
HTTP = Frontend(
    "front",
    "HTTP",
    80,
    "web",
    connection_limit=10,
    allowed=(IPv4Network("10.0.0.0/8"),),
    headers={"X-Forwarded-For": "true", "X-Forwarded-Port": "true", "X-Forwarded-Proto": "false"},
    policies=POLICIES,
)
PLAN = Plan("lb", IPv4Address("10.0.0.2"), ("port",), (HTTP,), (WEB, API))


def section(text: str, head: str) -> list[str]:
    """The lines of one section."""
    body = text.split(f"\n{head}\n")[1].split("\n\n")[0]
    return [line.strip() for line in body.splitlines()]


def test_a_listener_becomes_a_frontend() -> None:
    lines = section(render(PLAN, drops_privileges=True), "frontend front")
    assert {"mode http", "bind 10.0.0.2:80", "maxconn 10", "option forwardfor", "default_backend web:front"} <= {*lines}
    assert "tcp-request connection reject if !{ src 10.0.0.0/8 }" in lines
    assert not any("X-Forwarded-Proto" in line for line in lines)


def test_refusals_and_redirections_come_before_the_choice_of_a_pool() -> None:
    lines = section(render(PLAN, drops_privileges=True), "frontend front")
    actions = [line.split(" if ")[0] for line in lines if " if p" in line or " if !p" in line]
    assert actions == [
        "http-request deny",
        'http-request redirect code 301 location "https://new/100%%?a=\\$b"',
        'http-request redirect code 302 prefix "http://images"',
        "use_backend api:front",
    ]
    assert not any("p5" in line for line in lines)


def test_members_become_servers() -> None:
    lines = section(render(PLAN, drops_privileges=True), "backend web:front")
    assert "server m2 10.0.0.6:8080 weight 3 check inter 5s fall 3 rise 2 cookie m2" in lines
    assert any(line.startswith("server m3") and line.endswith("backup") for line in lines)
    assert r'http-check expect rstatus "^(200|204)\$"' in lines


def test_a_pool_without_a_listener_is_probed_all_the_same() -> None:
    text = render(replace(PLAN, frontends=()), drops_privileges=True)
    assert "backend web:none" in text
    assert "frontend" not in text


def test_what_is_administratively_down_has_no_frontend() -> None:
    assert "frontend" not in render(replace(PLAN, enabled=False), drops_privileges=True)


def test_workers_are_root_only_where_there_is_no_other_user() -> None:
    assert "uid 1000" in render(PLAN, drops_privileges=True)
    assert "uid" not in render(PLAN, drops_privileges=False)


@pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")
@pytest.mark.parametrize("kind", ["HTTP", "HTTPS", "TCP", "TLS-HELLO", "PING"])
@pytest.mark.parametrize("persistence", ["SOURCE_IP", "HTTP_COOKIE", "APP_COOKIE"])
def test_haproxy_takes_the_file(tmp_path: Path, kind: str, persistence: str) -> None:
    web = replace(WEB, check=replace(CHECK, type=kind), persistence=Persistence(persistence, "sid", 30))
    stream = Backend("stream", "PROXYV2", "SOURCE_IP", (replace(ONE, monitor_port=9, enabled=False),))
    front = Frontend("front2", "TCP", 81, "stream", inspect_ms=5)
    text = render(replace(PLAN, frontends=(HTTP, front), backends=(web, API, stream)), drops_privileges=True)
    (tmp_path / "ping").write_text("#!/bin/sh\n")
    (tmp_path / "ping").chmod(0o755)
    (tmp_path / "servers.state").touch()
    file = tmp_path / "haproxy.cfg"
    file.write_text(text.replace("/run/balancer", str(tmp_path)))
    done = subprocess.run(
        [str(HAPROXY), "-c", "-f", str(file)], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 0, done.stderr


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1))
def test_a_quoted_word_stays_one_word(word: str) -> None:
    inner = quoted(word)[1:-1]
    plain, at = "", 0
    while at < len(inner):
        assert inner[at] not in '"$'
        at += inner[at] == "\\"
        plain += inner[at]
        at += 1
    assert plain == word


def test_expected_codes_are_lists_or_ranges() -> None:
    assert expected_codes("200-202") == ["200", "201", "202"]
    assert expected_codes("200, 302") == ["200", "302"]


STATISTICS = """# pxname,svname,scur,stot,bin,bout,ereq,status,weight,check_status,
front,FRONTEND,1,7,100,200,3,OPEN,,,
web:front,m1,0,0,0,0,,UP,1,L7OK,
web:front,m2,0,0,0,0,,DOWN,1,L4CON,
web:front,m3,0,0,0,0,,UP,0,L7OK,
web:front,m4,0,0,0,0,,no check,1,,
web:front,m5,0,0,0,0,,MAINT,1,,
web:front,m6,0,0,0,0,,UP,1,* INI,
web:front,BACKEND,0,0,0,0,,UP,1,,
"""


def test_statistics_are_read() -> None:
    report = parse_statistics(STATISTICS)
    numbers = report.frontends["front"]
    assert (numbers.active_connections, numbers.total_connections, numbers.request_errors) == (1, 7, 3)
    statuses = [report.targets["web", f"m{number}"] for number in range(1, 7)]
    assert statuses == ["ONLINE", "ERROR", "DRAINING", "NO_MONITOR", "OFFLINE", "OFFLINE"]


@given(st.lists(st.integers(1, 256), min_size=1, max_size=8))
def test_slots_are_in_proportion_to_weights(weights: list[int]) -> None:
    targets = [replace(ONE, id=str(number), weight=weight) for number, weight in enumerate(weights)]
    slots = Counter(target.id for target in spread(targets))
    assert len(slots) == len(targets)
    assert sum(slots.values()) <= nftables_rules.FINENESS + len(targets)
    for target in targets:
        exact = target.weight * sum(slots.values()) / sum(weights)
        assert abs(slots[target.id] - exact) <= 1 + len(targets) * exact / 256


def test_backups_step_in_when_all_others_are_down() -> None:
    health = {("web", "m1"): "ERROR", ("web", "m2"): "ERROR"}
    assert eligible(WEB, {}) == [ONE, TWO]
    assert eligible(WEB, {("web", "m1"): "ERROR"}) == [TWO]
    assert eligible(WEB, health) == [SPARE]


def test_rules_of_nftables() -> None:
    backend = Backend("dns", "UDP", "SOURCE_IP_PORT", (ONE, replace(TWO, weight=1)))
    plan = Plan("lb", PLAN.vip, ("port",), (Frontend("f", "UDP", 53, "dns", allowed=HTTP.allowed),), (backend,))
    text = nftables_rules.render(plan, {})
    assert "dnat ip to jhash ip saddr . udp sport mod 2 map { 0 : 10.0.0.5 . 8080, 1 : 10.0.0.6 . 8080 }" in text
    assert "udp dport 53 ip saddr != { 10.0.0.0/8 } drop" in text
    assert "dnat ip" not in nftables_rules.render(plan, {("dns", "m1"): "ERROR", ("dns", "m2"): "ERROR"})
