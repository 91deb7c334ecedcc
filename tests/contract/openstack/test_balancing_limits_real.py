"""Limits and timeouts of listeners, judged by connections through a real load balancer."""

from __future__ import annotations

from typing import Any

import pytest
from tests.balancers import HAPROXY, provider
from tests.contract.openstack.balancing_world import World, world
from tests.contract.openstack.real_emulation import on_real_emulation
from tests.contract.openstack.test_balancing_depth_real import TIMES, listener
from tests.waiting import eventually, until

__all__ = ["provider", "world"]  # fixtures
pytestmark = [
    *on_real_emulation,
    pytest.mark.slow,
    pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed"),
]

SILENT = """
import socket, sys
near = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3)
try: print("closed" if near.recv(1) == b"" else "answered")
except TimeoutError: print("open")
"""


def silent(world: World, address: str, port: int) -> str:
    """What becomes of a client that connects and says nothing: it is let go, or still connected after a while."""
    done = world.emulation.exec("access/client", "python3", "-c", SILENT, address, str(port))
    return done.stdout.strip()


def connected(world: World) -> bool:
    """Whether somebody is connected with a member's HTTP server."""
    look = "grep -q ':1F90 [0-9A-F:]* 01 ' /proc/net/tcp && echo yes || true"
    found = [world.emulation.exec(f"access/{name}", "sh", "-c", look).stdout for name in ("one", "two")]
    return "yes\n" in found


def test_no_more_clients_than_the_limit_are_served_at_a_time(world: World) -> None:
    pools = [world.pool("p", "TCP", 8080)]
    limited = listener(80, "p", "TCP", connection_limit=1)
    balancer, _ids = world.whole("haproxy", pools, [limited, listener(81, "p", "TCP")])
    address = balancer.vip_address
    with world.held(address, 80):
        assert world.ask("access/client", f"http://{address}:80/", f"http://{address}:81/")[0] == "TimeoutError"
        assert world.ask("access/client", f"http://{address}:81/")[0] in ("one", "two")
    eventually(lambda: world.ask("access/client", f"http://{address}:80/")[0] in ("one", "two"))
    world.drop(balancer)


def test_silent_clients_and_late_members_are_given_up(world: World) -> None:
    pools = [world.pool("tcp", "TCP", 8080), world.pool("http", "HTTP", 8080)]
    listeners = [
        listener(80, "tcp", "TCP"),
        listener(81, "tcp", "TCP", timeout_client_data=500),
        listener(82, "http"),
        listener(83, "http", timeout_member_data=500),
    ]
    balancer, _ids = world.whole("haproxy", pools, listeners)
    address = balancer.vip_address
    assert [silent(world, address, port) for port in (80, 81)] == ["open", "closed"]
    found = world.ask("access/client", f"http://{address}:82/late", f"http://{address}:83/late")
    assert (found[0] in ("one", "two"), found[1]) == (True, "504")
    world.drop(balancer)


def test_members_that_do_not_answer_calls_are_given_up(world: World) -> None:
    members = [{"name": "two", "address": world.addresses["two"], "protocol_port": 8080}]
    pools = [{**world.pool("p", "HTTP", 8080), "members": members}]
    listeners = [listener(80, "p", timeout_member_connect=400), listener(81, "p", timeout_member_connect=20_000)]
    balancer, _ids = world.whole("haproxy", pools, listeners)
    address = balancer.vip_address
    with world.paused("two"):
        found = world.ask("access/client", f"http://{address}:80/", f"http://{address}:81/")
    assert found == ["503", "TimeoutError"]
    eventually(lambda: world.ask("access/client", f"http://{address}:80/") == ["two"])
    world.drop(balancer)


def test_members_are_called_when_the_client_has_spoken(world: World) -> None:
    pools: list[Any] = [world.pool("p", "TCP", 8080)]
    inspected = listener(81, "p", "TCP", timeout_tcp_inspect=60_000, timeout_client_data=120_000)
    balancer, _ids = world.whole("haproxy", pools, [listener(80, "p", "TCP"), inspected])
    address = balancer.vip_address
    with world.held(address, 81):
        assert not connected(world)
        assert world.ask("access/client", f"http://{address}:81/")[0] in ("one", "two")
    eventually(lambda: not connected(world))
    with world.held(address, 80):
        eventually(lambda: connected(world))
    world.drop(balancer)


def counted(world: World, path: str) -> tuple[int, int]:
    """Connections that stand, and all that were made."""
    stats = world.request("GET", f"{path}/stats").json()["stats"]
    return stats["active_connections"], stats["total_connections"]


def test_what_is_counted_and_told_is_what_happens(world: World, provider: str) -> None:
    pools = [world.pool("p", "TCP", 8080, healthmonitor={"type": "TCP", **TIMES}), world.pool("q", "TCP", 8080)]
    balancer, ids = world.whole(provider, pools, [listener(80, "p", "TCP"), listener(81, "q", "TCP")])
    tree = f"loadbalancers/{balancer.id}"
    near, far = (next(world.lbaas.listeners(protocol_port=port)) for port in (80, 81))

    def told() -> dict[str, str]:
        """Operating statuses in the tree: of the load balancer, its listeners, pools, and the members of the first."""
        whole = world.request("GET", f"{tree}/status").json()["statuses"]["loadbalancer"]
        found = {"lb": whole["operating_status"]}
        for one in whole["listeners"]:
            (pool,) = one["pools"]
            key = "p" if pool["id"] == ids["p"] else "q"
            found |= {f"{key} listener": one["operating_status"], key: pool["operating_status"]}
            found |= {member["name"]: member["operating_status"] for member in pool["members"] if key == "p"}
        return found

    others = {"q": "ONLINE", "p listener": "ONLINE", "q listener": "ONLINE"}
    well = {"lb": "ONLINE", "p": "ONLINE", "one": "ONLINE", "two": "ONLINE", **others}
    pool_q = told()["q"]  # without a monitor nobody knows
    until(told, {**well, "q": pool_q})
    for port, times in ((80, 3), (81, 2)):
        world.ask("access/client", *[f"http://{balancer.vip_address}:{port}/"] * times)
    until(lambda: counted(world, f"listeners/{near.id}")[1], 3)
    until(lambda: counted(world, f"listeners/{far.id}")[1], 2)
    until(lambda: counted(world, tree)[1], 5)
    with world.held(balancer.vip_address, 81):
        until(lambda: counted(world, f"listeners/{far.id}"), (1, 3))
    with world.silenced("two"):
        degraded = {"one": "ONLINE", "two": "ERROR", "p": "DEGRADED"}
        until(lambda: {key: told()[key] for key in degraded}, degraded)
        assert told()["lb"] == "DEGRADED"
    until(told, {**well, "q": pool_q})
    world.drop(balancer)
