"""The Load Balancer API v2 over a provider in memory, by openstacksdk and `openstack loadbalancer`."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from typing import Any

import pytest
from openstack import exceptions
from tests.contract.openstack.conftest import Site
from tests.contract.openstack.test_compute import FAST, boot, network_of
from tests.contract.openstack.test_network import subnet_of
from tests.fakes.load_balancing import FakeDriver
from tests.stock_client import StockClient, needs_client
from tests.waiting import eventually

PLUGIN = importlib.util.find_spec("octaviaclient") is not None
SERVICE = {"endpoint_filter": {"service_type": "load-balancer"}, "raise_exc": False}


@pytest.fixture
def driver(site: Site) -> FakeDriver:
    """The provider of PoP `access`."""
    fake = FakeDriver()
    site.clouds["access"].load_balancing.changes.drivers = {"haproxy": fake}
    return fake


@pytest.fixture
def lbaas(driver: FakeDriver, cloud: Any) -> Iterator[Any]:
    """The load balancer proxy of openstacksdk, and a network `inner`."""
    cloud.inner = network_of(cloud)
    cloud.subnet = subnet_of(cloud, cloud.inner)
    yield cloud.load_balancer
    driver.held = False


def settled(lbaas: Any, balancer: Any) -> Any:
    """A load balancer after what goes on with it."""
    eventually(lambda: not lbaas.get_load_balancer(balancer).provisioning_status.startswith("PENDING"))
    return lbaas.get_load_balancer(balancer)


def balancer_of(lbaas: Any, cloud: Any, **values: Any) -> Any:
    """An ACTIVE load balancer."""
    return settled(lbaas, lbaas.create_load_balancer(vip_subnet_id=cloud.subnet, **values))


def web(lbaas: Any, cloud: Any, members: int = 1) -> tuple[Any, Any, Any]:
    """A load balancer with a listener and its pool."""
    balancer = balancer_of(lbaas, cloud, name="lb")
    listener = lbaas.create_listener(name="l", protocol="HTTP", protocol_port=80, loadbalancer_id=balancer.id)
    settled(lbaas, balancer)
    pool = lbaas.create_pool(name="p", protocol="HTTP", lb_algorithm="ROUND_ROBIN", listener_id=listener.id)
    settled(lbaas, balancer)
    for number in range(members):
        lbaas.create_member(pool, name=f"m{number}", address=f"10.1.0.{100 + number}", protocol_port=80)
        settled(lbaas, balancer)
    return balancer, listener, pool


def test_a_load_balancer_from_creation_to_cascading_deletion(lbaas: Any, cloud: Any, driver: FakeDriver) -> None:
    balancer, listener, pool = web(lbaas, cloud, members=2)
    monitor = lbaas.create_health_monitor(pool_id=pool.id, type="HTTP", delay=5, timeout=2, max_retries=2)
    found = settled(lbaas, balancer)
    assert (found.provisioning_status, found.operating_status, found.provider) == ("ACTIVE", "ONLINE", "haproxy")
    assert found.listeners == [{"id": listener.id}]
    port = cloud.network.get_port(found.vip_port_id)
    assert (port.device_owner, port.fixed_ips[0]["ip_address"]) == ("Octavia", found.vip_address)
    with pytest.raises(exceptions.ConflictException):
        cloud.network.delete_port(port, ignore_missing=False)
    plan = driver.plans[balancer.id]
    assert [len(backend.targets) for backend in plan.backends] == [2]
    assert plan.backends[0].check
    assert lbaas.get_pool(pool).health_monitor_id == monitor.id
    assert lbaas.get_load_balancer_statistics(balancer.id).total_connections == 2
    with pytest.raises(exceptions.BadRequestException, match="has children"):
        lbaas.delete_load_balancer(balancer)
    lbaas.delete_load_balancer(balancer, cascade=True)
    eventually(lambda: not list(lbaas.load_balancers()))
    left = [*lbaas.pools(), *lbaas.listeners(), *driver.plans]
    assert left == []
    eventually(lambda: not list(cloud.network.ports(network_id=cloud.inner.id)))


def test_nothing_else_changes_while_a_change_is_pending(lbaas: Any, cloud: Any, driver: FakeDriver) -> None:
    balancer = balancer_of(lbaas, cloud)
    driver.held = True
    pool = lbaas.create_pool(protocol="TCP", lb_algorithm="SOURCE_IP", loadbalancer_id=balancer.id)
    assert lbaas.get_load_balancer(balancer).provisioning_status == "PENDING_UPDATE"
    assert lbaas.get_pool(pool).provisioning_status == "PENDING_CREATE"
    with pytest.raises(exceptions.ConflictException, match="is immutable and cannot be updated"):
        lbaas.update_load_balancer(balancer, name="other")
    driver.held = False
    assert settled(lbaas, balancer).provisioning_status == "ACTIVE"
    assert lbaas.get_pool(pool).provisioning_status == "ACTIVE"


def test_a_failure_is_told_and_failover_repairs_it(lbaas: Any, cloud: Any, driver: FakeDriver) -> None:
    balancer = balancer_of(lbaas, cloud)
    driver.broken = True
    lbaas.update_load_balancer(balancer, description="breaks")
    assert settled(lbaas, balancer).provisioning_status == "ERROR"
    with pytest.raises(exceptions.ConflictException):
        lbaas.update_load_balancer(balancer, description="still broken")
    driver.broken = False
    lbaas.failover_load_balancer(balancer.id)
    assert settled(lbaas, balancer).provisioning_status == "ACTIVE"


def test_sick_members_show_up_the_tree(lbaas: Any, cloud: Any, driver: FakeDriver) -> None:
    balancer, _listener, pool = web(lbaas, cloud, members=2)
    assert {member.operating_status for member in lbaas.members(pool)} == {"NO_MONITOR"}
    lbaas.create_health_monitor(pool_id=pool.id, type="TCP", delay=5, timeout=2, max_retries=2)
    settled(lbaas, balancer)
    driver.sick = {"10.1.0.100"}
    lbaas.get_load_balancer_statistics(balancer.id)  # asks the provider now
    tree = cloud.session.get(f"/v2/lbaas/loadbalancers/{balancer.id}/status", **SERVICE).json()["statuses"]
    top = tree["loadbalancer"]
    (shown,) = top["listeners"][0]["pools"]
    assert (top["operating_status"], shown["operating_status"]) == ("DEGRADED", "DEGRADED")
    assert [member["operating_status"] for member in shown["members"]] == ["ERROR", "ONLINE"]
    driver.sick = {"10.1.0.100", "10.1.0.101"}
    lbaas.get_load_balancer_statistics(balancer.id)
    assert lbaas.get_load_balancer(balancer).operating_status == "ERROR"


def test_members_are_replaced_in_one_step(lbaas: Any, cloud: Any, driver: FakeDriver) -> None:
    balancer, _listener, pool = web(lbaas, cloud, members=2)
    kept = next(member for member in lbaas.members(pool) if member.address == "10.1.0.100")
    before = driver.deployments
    wanted = [
        {"address": "10.1.0.100", "protocol_port": 80, "weight": 7, "request_sriov": False},
        {"address": "10.1.0.200", "protocol_port": 80},
    ]
    url = f"/v2/lbaas/pools/{pool.id}/members"
    assert cloud.session.put(url, json={"members": wanted}, **SERVICE).status_code == 202
    settled(lbaas, balancer)
    found = {member.address: member for member in lbaas.members(pool)}
    assert set(found) == {"10.1.0.100", "10.1.0.200"}
    assert (found["10.1.0.100"].id, found["10.1.0.100"].weight) == (kept.id, 7)
    assert driver.deployments == before + 1
    more = {"members": [{"address": "10.1.0.201", "protocol_port": 80}]}
    cloud.session.put(f"{url}?additive_only=true", json=more, **SERVICE)
    settled(lbaas, balancer)
    assert len(list(lbaas.members(pool))) == 3


def test_policies_keep_their_order(lbaas: Any, cloud: Any, driver: FakeDriver) -> None:
    balancer, listener, _pool = web(lbaas, cloud)
    for name, position in (("a", None), ("b", None), ("c", 1)):
        asked = {"position": position} if position else {}
        policy = lbaas.create_l7_policy(name=name, listener_id=listener.id, action="REJECT", **asked)
        settled(lbaas, balancer)
    assert [(p.name, p.position) for p in sorted(lbaas.l7_policies(), key=lambda p: p.position)] == [
        ("c", 1),
        ("a", 2),
        ("b", 3),
    ]
    rule = lbaas.create_l7_rule(policy, type="HEADER", compare_type="REGEX", key="X-A", value="^b")
    settled(lbaas, balancer)
    (first, *_others) = driver.plans[balancer.id].frontends[0].policies
    assert [(one.type, one.key, one.value) for one in first.rules] == [("HEADER", "X-A", "^b")]
    lbaas.update_l7_policy(policy, action="REDIRECT_TO_URL", redirect_url="http://a.example/")
    settled(lbaas, balancer)
    assert driver.plans[balancer.id].frontends[0].policies[0].code == 302
    lbaas.delete_l7_rule(rule, policy)
    settled(lbaas, balancer)
    lbaas.delete_l7_policy(policy)
    settled(lbaas, balancer)
    assert [p.position for p in lbaas.l7_policies()] == [1, 2]


def whole(cloud: Any, **changes: Any) -> dict[str, Any]:
    """A load balancer with two pools, two members, a monitor, a listener, a policy and a rule."""
    monitor = {"type": "HTTP", "delay": 5, "timeout": 2, "max_retries": 2}
    members = [{"address": f"10.1.0.{number}", "protocol_port": 80} for number in (100, 101)]
    common = {"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
    policy = {
        "action": "REDIRECT_TO_POOL",
        "redirect_pool": {"name": "spare", **common},
        "rules": [{"type": "PATH", "compare_type": "STARTS_WITH", "value": "/a"}],
    }
    listener = {"name": "l", "protocol": "HTTP", "protocol_port": 80, "l7policies": [policy]}
    return {
        "name": "whole",
        "vip_subnet_id": cloud.subnet,
        "pools": [{"name": "p", **common, "members": members, "healthmonitor": monitor}],
        "listeners": [{**listener, "default_pool": {"name": "p"}}],
        **changes,
    }


def create_whole(cloud: Any, body: dict[str, Any]) -> Any:
    """The answer to one request for all of it."""
    return cloud.session.post("/v2/lbaas/loadbalancers", json={"loadbalancer": body}, **SERVICE)


def test_a_load_balancer_is_made_with_all_its_parts(lbaas: Any, cloud: Any, driver: FakeDriver) -> None:
    answer = create_whole(cloud, whole(cloud))
    assert answer.status_code == 201, answer.text
    told = answer.json()["loadbalancer"]
    assert told["provisioning_status"] == "PENDING_CREATE"
    (listener,) = told["listeners"]
    assert [pool["name"] for pool in told["pools"]] == ["p", "spare"]
    assert len(listener["default_pool"]["members"]) == 2
    assert listener["default_pool"]["healthmonitor"]["type"] == "HTTP"
    assert listener["l7policies"][0]["rules"][0]["value"] == "/a"
    settled(lbaas, told["id"])
    assert driver.deployments == 1
    (frontend,) = driver.plans[told["id"]].frontends
    assert frontend.policies[0].target == told["pools"][1]["id"]
    states = {one.provisioning_status for kind in (lbaas.listeners, lbaas.pools, lbaas.l7_policies) for one in kind()}
    assert states == {"ACTIVE"}
    shown = cloud.session.get(f"/v2/lbaas/loadbalancers/{told['id']}", **SERVICE).json()["loadbalancer"]
    assert shown["listeners"] == [{"id": listener["id"]}]


@pytest.mark.parametrize(
    ("limit", "changes", "status", "words"),
    [
        ({}, {"listeners": [{"protocol": "HTTP", "protocol_port": 0}]}, 400, "protocol_port"),
        ({}, {"listeners": [{"protocol": "UDP", "protocol_port": 5}]}, 501, "does not support"),
        ({}, {"pools": [{"protocol": "HTTP", "lb_algorithm": "SOURCE_IP"}]}, 400, "names"),
        ({}, {"pools": []}, 400, "Missing details for Pool object: p"),
        ({}, {"listeners": ["one"]}, 400, "listeners"),
        ({"members": 1}, {}, 403, "Quota has been met for resources: member"),
        ({"listeners": 0}, {}, 403, "Quota has been met for resources: listener"),
    ],
)
def test_of_a_load_balancer_with_a_wrong_part_nothing_is_left(
    lbaas: Any, cloud: Any, driver: FakeDriver, limit: Any, changes: Any, status: int, words: str
) -> None:
    if limit:
        lbaas.update_quota(cloud.current_project_id, **limit)
    answer = create_whole(cloud, whole(cloud, **changes))
    assert (answer.status_code, words in answer.json()["faultstring"]) == (status, True), answer.text
    left = [*lbaas.load_balancers(), *lbaas.listeners(), *lbaas.pools(), *lbaas.health_monitors()]
    assert left == []
    assert not list(cloud.network.ports(device_owner="Octavia"))
    assert driver.plans == {}


REFUSED = [
    ("listeners", {"protocol": "HTTP", "protocol_port": 80}, 409, "already using protocol HTTP"),
    ("listeners", {"protocol": "TCP", "protocol_port": 80}, 409, "already using"),
    ("listeners", {"protocol": "UDP", "protocol_port": 80}, 501, "Provider 'haproxy' does not support"),
    ("listeners", {"protocol": "TERMINATED_HTTPS", "protocol_port": 81}, 400, "certificate container reference"),
    ("listeners", {"protocol": "HTTP", "protocol_port": 0}, 400, "protocol_port"),
    ("listeners", {"protocol": "HTTP", "protocol_port": 81, "insert_headers": {"X-A": "true"}}, 400, "X-A"),
    ("listeners", {"protocol": "HTTP", "protocol_port": 81, "colour": 1}, 400, "colour"),
    ("pools", {"protocol": "HTTP", "lb_algorithm": "FASTEST"}, 400, "lb_algorithm"),
    (
        "pools",
        {"protocol": "TCP", "lb_algorithm": "SOURCE_IP", "session_persistence": {"type": "HTTP_COOKIE"}},
        400,
        "HTTP_COOKIE",
    ),
    ("pools", {"protocol": "HTTP", "lb_algorithm": "SOURCE_IP", "tls_enabled": True}, 400, "key manager"),
]


def test_what_cannot_be_is_refused_in_octavias_words(lbaas: Any, cloud: Any, driver: FakeDriver) -> None:
    balancer, listener, pool = web(lbaas, cloud)
    before = driver.deployments

    def refused(path: str, member: str, body: dict[str, Any]) -> tuple[int, str]:
        answer = cloud.session.post(f"/v2/lbaas/{path}", json={member: body}, **SERVICE)
        fault = answer.json()
        assert set(fault) == {"faultcode", "faultstring", "debuginfo"}
        assert answer.headers["x-openstack-request-id"].startswith("req-")
        return answer.status_code, fault["faultstring"]

    for path, body, status, words in REFUSED:
        found, told = refused(path, path[:-1], {"loadbalancer_id": balancer.id, **body})
        assert (found, words in told) == (status, True), told
    status, told = refused(f"pools/{pool.id}/members", "member", {"address": "10.1.0.100", "protocol_port": 80})
    assert (status, told) == (409, "Another member on this pool is already using ip 10.1.0.100 on protocol_port 80")
    control = {"listener_id": listener.id, "action": "REDIRECT_TO_URL", "redirect_url": "http://a/\n  option x"}
    assert refused("l7policies", "l7policy", control)[0] == 400
    unknown = {"loadbalancer_id": "nothing", "protocol": "HTTP", "protocol_port": 1}
    assert refused("listeners", "listener", unknown) == (404, "Load Balancer nothing not found.")
    assert refused("loadbalancers", "loadbalancer", {"name": "x"})[0] == 400
    assert refused("loadbalancers", "loadbalancer", {"vip_subnet_id": cloud.subnet, "provider": "f5"})[1].endswith(
        "Provider 'f5' is not enabled."
    )
    assert driver.deployments == before
    assert len(list(lbaas.listeners())) == 1


def test_a_port_that_was_there_before_stays(lbaas: Any, cloud: Any) -> None:
    port = cloud.network.create_port(network_id=cloud.inner.id, fixed_ips=[{"ip_address": "10.1.0.77"}])
    balancer = settled(lbaas, lbaas.create_load_balancer(vip_port_id=port.id))
    assert balancer.vip_address == "10.1.0.77"
    lbaas.delete_load_balancer(balancer)
    eventually(lambda: not list(lbaas.load_balancers()))
    eventually(lambda: cloud.network.get_port(port.id).device_id == "")


def test_lists_are_filtered_sorted_and_paged(lbaas: Any, cloud: Any) -> None:
    for name in ("a", "b", "c"):
        balancer_of(lbaas, cloud, name=name, tags=[name, "all"])
    assert [one.name for one in lbaas.load_balancers(name="b")] == ["b"]
    assert [one.name for one in lbaas.load_balancers(tags=["all", "c"])] == ["c"]
    first = cloud.session.get("/v2/lbaas/loadbalancers?limit=2&sort_key=name&sort_dir=desc", **SERVICE).json()
    assert [one["name"] for one in first["loadbalancers"]] == ["c", "b"]
    (link,) = first["loadbalancers_links"]
    assert link["rel"] == "next"
    assert len(list(lbaas.load_balancers(limit=2))) == 3


def test_quotas_are_enforced(lbaas: Any, cloud: Any) -> None:
    project = cloud.current_project_id
    lbaas.update_quota(project, load_balancers=1)
    assert lbaas.get_quota(project).load_balancers == 1
    balancer_of(lbaas, cloud)
    with pytest.raises(exceptions.ForbiddenException, match="Quota has been met for resources: load_balancer"):
        lbaas.create_load_balancer(vip_subnet_id=cloud.subnet)
    assert len(list(cloud.network.ports(device_owner="Octavia"))) == 1
    lbaas.delete_quota(project)
    assert lbaas.get_quota_default().load_balancers == 1000


def test_flavors_choose_a_provider_and_its_settings(lbaas: Any, cloud: Any, driver: FakeDriver) -> None:
    assert [provider.name for provider in lbaas.providers()] == ["haproxy"]
    profile = lbaas.create_flavor_profile(name="p", provider_name="haproxy", flavor_data='{"colour": "red"}')
    flavor = lbaas.create_flavor(name="red", flavor_profile_id=profile.id, is_enabled=True)
    balancer = balancer_of(lbaas, cloud, flavor_id=flavor.id)
    assert driver.plans[balancer.id].flavor == {"colour": "red"}
    with pytest.raises(exceptions.ConflictException):
        lbaas.delete_flavor(flavor)
    with pytest.raises(exceptions.BadRequestException, match="flavor data"):
        lbaas.create_flavor_profile(name="q", provider_name="haproxy", flavor_data='{"size": 1}')
    assert [zone.name for zone in lbaas.availability_zones()] == ["nova"]
    assert list(lbaas.amphorae()) == []
    with pytest.raises(exceptions.NotFoundException, match="Amphora"):
        lbaas.get_amphora(balancer.id)


@needs_client
@pytest.mark.skipif(not PLUGIN, reason="python-octaviaclient is not installed")
def test_the_stock_commands_pass(site: Site, lbaas: Any) -> None:
    client = StockClient(site.openrc())

    def run(*arguments: str) -> str:
        return client.ok("loadbalancer", *arguments)

    made = json.loads(run("create", "--name", "lb", "--vip-network-id", "inner", "--wait", "-f", "json"))
    assert (made["provisioning_status"], made["operating_status"]) == ("ACTIVE", "ONLINE")
    run("listener", "create", "--name", "l", "--protocol", "HTTP", "--protocol-port", "80", "--wait", "lb")
    run(
        "pool",
        "create",
        "--name",
        "p",
        "--protocol",
        "HTTP",
        "--lb-algorithm",
        "ROUND_ROBIN",
        "--listener",
        "l",
        "--wait",
    )
    run("member", "create", "--name", "m", "--address", "10.1.0.9", "--protocol-port", "80", "--wait", "p")
    run("member", "set", "--weight", "0", "--wait", "p", "m")
    times = ("--delay", "5", "--timeout", "3", "--max-retries", "2")
    run("healthmonitor", "create", "--name", "h", "--type", "HTTP", *times, "--url-path", "/up", "--wait", "p")
    run("l7policy", "create", "--name", "r", "--action", "REDIRECT_TO_POOL", "--redirect-pool", "p", "--wait", "l")
    run("l7rule", "create", "--type", "PATH", "--compare-type", "STARTS_WITH", "--value", "/a", "--wait", "r")
    for noun in ("", "listener", "pool", "healthmonitor", "l7policy", "provider", "flavor", "amphora"):
        run(*filter(None, (noun, "list")))
    run("member", "list", "p")
    run("l7rule", "list", "r")
    for noun, name in (("", "lb"), ("listener", "l"), ("pool", "p"), ("healthmonitor", "h"), ("l7policy", "r")):
        run(*filter(None, (noun, "show", name)))
    run("stats", "show", "lb")
    run("status", "show", "lb")
    run("listener", "stats", "show", "l")
    run("quota", "list")
    run("set", "--name", "other", "--tag", "t", "--wait", "lb")
    run("failover", "--wait", "other")
    run("healthmonitor", "delete", "--wait", "h")
    run("delete", "--cascade", "--wait", "other")
    assert json.loads(run("list", "-f", "json")) == []


@pytest.mark.parametrize("change", [{"device_owner": ""}, {"device_id": ""}, {"device_id": "lb-another"}])
def test_the_port_of_a_virtual_address_stays_with_its_balancer(
    lbaas: Any, cloud: Any, driver: FakeDriver, change: dict[str, str]
) -> None:
    balancer = balancer_of(lbaas, cloud)
    cloud.network.update_port(balancer.vip_port_id, name="renamed")
    with pytest.raises(exceptions.ConflictException, match=f"load balancer {balancer.id}"):
        cloud.network.update_port(balancer.vip_port_id, **change)
    with pytest.raises(exceptions.ConflictException):
        cloud.network.delete_port(balancer.vip_port_id)
    lbaas.delete_load_balancer(balancer)
    eventually(lambda: not list(cloud.network.ports(name="renamed")))


def test_a_port_that_went_from_a_server_to_a_balancer_outlives_the_server(
    lbaas: Any, cloud: Any, driver: FakeDriver
) -> None:
    server = boot(cloud, networks=[{"uuid": cloud.inner.id}])
    cloud.compute.stop_server(server)
    cloud.compute.wait_for_server(server, status="SHUTOFF", interval=FAST)
    (port,) = cloud.network.ports(device_id=server.id)
    cloud.network.update_port(port, device_id="", device_owner="")
    balancer = settled(lbaas, lbaas.create_load_balancer(vip_port_id=port.id))
    cloud.compute.delete_server(server)
    cloud.compute.wait_for_delete(server, interval=FAST)
    assert cloud.network.get_port(port).device_id == f"lb-{balancer.id}"
    lbaas.delete_load_balancer(balancer)
    eventually(lambda: cloud.network.get_port(port).device_id == "")
