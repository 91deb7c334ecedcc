"""Load balancers of a real emulation: both providers pass one suite, judged by requests through the VIP."""

from __future__ import annotations

import pytest
from tests.balancers import HAPROXY, provider
from tests.contract.openstack.balancing_world import World, world
from tests.contract.openstack.real_emulation import on_real_emulation
from tests.waiting import eventually

__all__ = ["provider", "world"]  # fixtures
pytestmark = on_real_emulation


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
    with world.silenced("two"):
        eventually(lambda: world.statuses(pool)["two"] == "ERROR")
        assert world.lbaas.get_load_balancer(balancer).operating_status == "DEGRADED"
        assert world.ask("users", *[outside] * 3) == ["one"] * 3
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
    with world.silenced("one"):
        eventually(lambda: world.statuses(pool)["one"] == "ERROR")
        assert world.ask("access/client", *[url] * 3) == ["two"] * 3
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
    assert world.ask("access/client", f"{base}/header/X-Forwarded-For") == [world.addresses["client"]]
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
