"""Who polls the detailed list of servers sees each change at once, whatever is kept for the next poll."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.contract.openstack.conftest import Site
from tests.contract.openstack.test_compute import boot, network_of
from tests.contract.openstack.test_server_life import until
from tests.contract.openstack.test_volumes import settled, volume_of


def _metadata(cloud: Any, server: Any) -> None:
    cloud.compute.set_server_metadata(server, key="value")


def _tag(cloud: Any, server: Any) -> None:
    cloud.compute.add_tag_to_server(server, "red")


def _lock(cloud: Any, server: Any) -> None:
    cloud.compute.lock_server(server, locked_reason="maintenance")


def _name(cloud: Any, server: Any) -> None:
    cloud.compute.update_server(server, name="other")


def _flavor(cloud: Any, server: Any) -> None:
    cloud.compute.resize_server(server, cloud.compute.find_flavor("small"))
    until(cloud, server, "VERIFY_RESIZE")


def _status(cloud: Any, server: Any) -> None:
    cloud.compute.stop_server(server)
    until(cloud, server, "SHUTOFF")


def _volume(cloud: Any, server: Any) -> None:
    volume = volume_of(cloud)
    cloud.compute.create_volume_attachment(server, volume_id=volume.id)
    settled(cloud, volume, "in-use")


def _interface(cloud: Any, server: Any) -> None:
    cloud.compute.create_server_interface(server, net_id=network_of(cloud, "10.2.0.0/24", "second").id)


def _address(cloud: Any, server: Any) -> None:
    cloud.network.update_port(_port(cloud, server), fixed_ips=[{"ip_address": "10.1.0.77"}])


def _network_name(cloud: Any, _server: Any) -> None:
    cloud.network.update_network(cloud.network.find_network("inner"), name="renamed")


def _group(cloud: Any, server: Any) -> None:
    group = cloud.network.create_security_group(name="web")
    cloud.network.update_port(_port(cloud, server), security_groups=[group.id])


def _group_name(cloud: Any, server: Any) -> None:
    _group(cloud, server)
    cloud.compute.get("/servers/detail", microversion="2.96")
    cloud.network.update_security_group(cloud.network.find_security_group("web"), name="wide")


def _floating_address(cloud: Any, server: Any) -> None:
    external = next(iter(cloud.network.networks(is_router_external=True)))
    router = cloud.network.create_router(external_gateway_info={"network_id": external.id})
    subnet = cloud.network.find_subnet("inner")
    cloud.network.put(f"/routers/{router.id}/add_router_interface", json={"subnet_id": subnet.id})
    cloud.network.create_ip(floating_network_id=external.id, port_id=_port(cloud, server).id)


def _host_is_off(cloud: Any, server: Any) -> None:
    service = next(one for one in cloud.compute.services() if one.host == server.compute_host)
    cloud.compute.disable_service(service)


def _port(cloud: Any, server: Any) -> Any:
    return next(iter(cloud.network.ports(device_id=server.id)))


@pytest.mark.parametrize(
    "change",
    [
        _metadata,
        _tag,
        _lock,
        _name,
        _flavor,
        _status,
        _volume,
        _interface,
        _address,
        _network_name,
        _group,
        _group_name,
        _floating_address,
        _host_is_off,
    ],
)
def test_a_change_is_seen_by_the_next_poll(cloud: Any, change: Callable[[Any, Any], None]) -> None:
    server = boot(cloud, networks=[{"uuid": network_of(cloud).id}])
    still = boot(cloud, name="still")
    before = _polled(cloud)
    assert _polled(cloud) == before
    change(cloud, cloud.compute.get_server(server.id))
    after = _polled(cloud)
    assert after[server.id] != before[server.id]
    assert after == {one: _shown(cloud, one) for one in (server.id, still.id)}


def test_a_poll_sees_who_comes_and_goes_and_shows_each_asker_what_is_theirs(cloud: Any, site: Site) -> None:
    first = boot(cloud)
    assert set(_polled(cloud)) == {first.id}
    second = boot(cloud)
    assert set(_polled(cloud)) == {first.id, second.id}
    cloud.compute.delete_server(first)
    cloud.compute.wait_for_delete(first, interval=0.02, wait=10)
    assert set(_polled(cloud)) == {second.id}
    other = site.connect("core")
    assert _polled(other) == {}
    other.close()
    assert "tags" not in _polled(cloud, "2.1")[second.id]
    assert _polled(cloud)[second.id]["tags"] == []


def test_a_server_group_is_seen_by_the_next_poll(cloud: Any) -> None:
    before = boot(cloud)
    assert _polled(cloud)[before.id]["server_groups"] == []
    group = cloud.compute.create_server_group(name="apart", policy="soft-anti-affinity")
    grouped = boot(cloud, scheduler_hints={"group": group.id})
    assert _polled(cloud)[grouped.id]["server_groups"] == [group.id]
    cloud.compute.delete_server_group(group)
    assert _polled(cloud)[grouped.id]["server_groups"] == []


def _polled(cloud: Any, microversion: str = "2.96") -> dict[str, Any]:
    """The documents of the detailed list by server."""
    answer = cloud.compute.get("/servers/detail", microversion=microversion).json()
    return {one["id"]: one for one in answer["servers"]}


def _shown(cloud: Any, server_id: str) -> Any:
    """A server's document, made anew for this answer."""
    return cloud.compute.get(f"/servers/{server_id}", microversion="2.96").json()["server"]
