"""The life of servers beyond start and stop, judged by openstacksdk."""

from __future__ import annotations

import os
from typing import Any

import pytest
from openstack import exceptions
from tests.contract.openstack.conftest import Site
from tests.contract.openstack.test_compute import FAST, boot, network_of


def until(cloud: Any, server: Any, status: str) -> Any:
    return cloud.compute.wait_for_server(cloud.compute.get_server(server.id), status=status, interval=FAST, wait=10)


def act(cloud: Any, server: Any, version: str = "2.96", **action: Any) -> Any:
    """An action by its name on the wire."""
    body = {name.replace("_", "-", 1) if name.startswith("os_") else name: value for name, value in action.items()}
    return cloud.compute.post(f"/servers/{server.id}/action", json=body, microversion=version)


def test_a_server_is_paused_suspended_and_locked(cloud: Any, site: Site) -> None:
    server = boot(cloud, image="web", networks=[{"uuid": network_of(cloud).id}])
    compute = cloud.compute
    compute.pause_server(server)
    paused = until(cloud, server, "PAUSED")
    assert (paused.vm_state, paused.power_state, paused.task_state) == ("paused", 3, None)
    assert site.runtime.paused == {f"access-{server.id}"}
    assert len(site.fabric.machines.held) == 1
    refused = act(cloud, server, pause=None)
    assert refused.status_code == 409
    assert refused.json()["conflictingRequest"]["message"] == (
        f"Cannot 'pause' instance {server.id} while it is in vm_state paused"
    )
    compute.unpause_server(server)
    assert until(cloud, server, "ACTIVE").power_state == 1
    assert (site.runtime.paused, site.fabric.machines.held) == (set(), set())
    compute.suspend_server(server)
    assert until(cloud, server, "SUSPENDED").power_state == 4
    compute.resume_server(server)
    until(cloud, server, "ACTIVE")
    compute.lock_server(server, locked_reason="mine")
    locked = compute.get_server(server.id)
    assert (locked.is_locked, locked.locked_reason) == (True, "mine")
    compute.unlock_server(server)
    assert not compute.get_server(server.id).is_locked


def test_a_resize_is_confirmed_or_reverted(cloud: Any, site: Site) -> None:
    server = boot(cloud, image="web", flavor="tiny")
    small = cloud.compute.find_flavor("small")
    machine = site.runtime.running[f"access-{server.id}"]
    for end, memory in (("revert", 64), ("confirm", 256)):
        cloud.compute.resize_server(server, small)
        resized = until(cloud, server, "VERIFY_RESIZE")
        assert (resized.vm_state, resized.power_state, resized.flavor["original_name"]) == ("resized", 1, "small")
        assert machine.spec.limits.memory_bytes == 256 * 1024**2
        statistics = cloud.compute.get("/os-hypervisors/statistics").json()["hypervisor_statistics"]
        assert statistics["memory_mb_used"] == 64 + 256
        getattr(cloud.compute, f"{end}_server_resize")(server)
        until(cloud, server, "ACTIVE")
        assert machine.spec.limits.memory_bytes == memory * 1024**2
        statistics = cloud.compute.get("/os-hypervisors/statistics").json()["hypervisor_statistics"]
        assert statistics["memory_mb_used"] == memory
    assert len(site.runtime.started) == 1
    kinds = [(one["migration_type"], one["status"]) for one in migrations(cloud)]
    assert kinds == [("resize", "confirmed"), ("resize", "reverted")]
    assert act(cloud, server, resize={"flavorRef": small.id}).status_code == 400


def migrations(cloud: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cloud.compute.get("/os-migrations", microversion="2.80").json()["migrations"]
    return found


def test_a_server_is_shelved_and_taken_back(cloud: Any) -> None:
    server = boot(cloud, image="web", flavor="small", networks=[{"uuid": network_of(cloud).id}])
    address = server.addresses["inner"][0]["addr"]
    cloud.compute.shelve_server(server)
    shelved = until(cloud, server, "SHELVED_OFFLOADED")
    assert (shelved.vm_state, shelved.power_state, shelved.compute_host) == ("shelved_offloaded", 4, None)
    assert cloud.compute.get("/os-hypervisors/statistics").json()["hypervisor_statistics"]["vcpus_used"] == 0
    cloud.compute.unshelve_server(server)
    assert until(cloud, server, "ACTIVE").addresses["inner"][0]["addr"] == address


def test_a_rebuild_keeps_id_and_ports(cloud: Any, site: Site) -> None:
    server = boot(cloud, networks=[{"uuid": network_of(cloud).id}])
    cloud.compute.rebuild_server(server, image=cloud.image.find_image("web"), name="anew", metadata={"a": "b"})
    anew = until(cloud, server, "ACTIVE")
    assert (anew.name, anew.metadata, anew.addresses) == ("anew", {"a": "b"}, server.addresses)
    assert anew.image.id == cloud.image.find_image("web").id
    assert site.runtime.running[f"access-{server.id}"].spec.argv == ("/bin/web",)


def test_rescue_gives_a_machine_with_the_disk_in_it(cloud: Any, site: Site) -> None:
    server = boot(cloud, image="web")
    cloud.compute.rescue_server(server, image=cloud.image.find_image("host").id)
    assert until(cloud, server, "RESCUE").vm_state == "rescued"
    assert site.runtime.running == {}
    cloud.compute.unrescue_server(server)
    until(cloud, server, "ACTIVE")
    assert f"access-{server.id}" in site.runtime.running


def test_an_image_is_made_of_a_server(cloud: Any) -> None:
    server = boot(cloud, image="web")
    image = cloud.compute.create_server_image(server, "shot", metadata={"why": "test"}, wait=True, timeout=10)
    assert (image.status, image.visibility, image.properties["image_type"]) == ("active", "private", "snapshot")
    assert boot(cloud, "copy", image="shot").status == "ACTIVE"
    assert act(cloud, server, createImage={}).status_code == 400
    old = act(cloud, server, "2.1", createImage={"name": "old"})
    assert "/images/" in old.headers["location"]


def test_state_password_and_what_is_refused(cloud: Any) -> None:
    server = boot(cloud, image="web")
    assert act(cloud, server, changePassword={"adminPass": "secret"}).status_code == 202
    cloud.compute.reset_server_state(server, "error")
    assert cloud.compute.get_server(server.id).status == "ERROR"
    cloud.compute.reset_server_state(server, "active")
    assert act(cloud, server, restore=None).status_code == 409
    assert act(cloud, server, migrate=None).status_code == 202
    assert until(cloud, server, "ACTIVE").fault is not None
    assert act(cloud, server, evacuate={}).status_code == 400
    assert act(cloud, server, nonsense=None).status_code == 400
    assert act(cloud, server, forceDelete=None).status_code == 202
    cloud.compute.wait_for_delete(server, interval=FAST, wait=10)


def test_no_password_is_made_up_and_none_is_ignored(cloud: Any) -> None:
    server = boot(cloud, image="web")
    image = server.image.id
    made = {"name": "one", "imageRef": image, "flavorRef": cloud.compute.find_flavor("tiny").id, "networks": "none"}
    answer = cloud.compute.post("/servers", json={"server": made}, microversion="2.60")
    assert (answer.status_code, "adminPass" in answer.json()["server"]) == (202, False)
    rebuilt = act(cloud, server, rebuild={"imageRef": image})
    assert (rebuilt.status_code, "adminPass" in rebuilt.json()["server"]) == (202, False)
    until(cloud, server, "ACTIVE")
    assert act(cloud, server, rescue=None).json() == {}
    until(cloud, server, "RESCUE")
    asked = {"server": {**made, "adminPass": "secret"}}
    refused = cloud.compute.post("/servers", json=asked, microversion="2.60")
    assert (refused.status_code, "changePassword" in refused.text) == (400, True)
    assert act(cloud, server, rebuild={"imageRef": image, "adminPass": "secret"}).status_code == 400
    assert act(cloud, server, rescue={"adminPass": "secret"}).status_code == 400


def test_what_was_done_is_logged(cloud: Any) -> None:
    server = boot(cloud)
    answer = act(cloud, server, **{"os-stop": None})
    until(cloud, server, "SHUTOFF")
    actions = list(cloud.compute.server_actions(server))
    assert [one.action for one in actions] == ["stop", "create"]
    assert actions[0].request_id == answer.headers["x-openstack-request-id"]
    detail = cloud.compute.get(
        f"/servers/{server.id}/os-instance-actions/{actions[0].request_id}", microversion="2.84"
    ).json()["instanceAction"]
    assert [(event["event"], event["result"]) for event in detail["events"]] == [("compute_stop_instance", "Success")]


def test_consoles_are_serial_ones(cloud: Any) -> None:
    server = boot(cloud, image="web")
    console = cloud.compute.create_server_remote_console(server, protocol="serial", type="serial")
    assert console.url.startswith("ws://")
    token = console.url.partition("token=")[2]
    shown = cloud.compute.get(f"/os-console-auth-tokens/{token}", microversion="2.31").json()["console"]
    assert shown["instance_uuid"] == server.id
    for protocol, kind in (("vnc", "novnc"), ("spice", "spice-html5")):
        with pytest.raises(exceptions.BadRequestException, match="Unavailable console type"):
            cloud.compute.create_server_remote_console(server, protocol=protocol, type=kind)
    assert cloud.compute.get("/os-console-auth-tokens/nothing", microversion="2.31").status_code == 404


def test_diagnostics_and_usage(cloud: Any) -> None:
    server = boot(cloud, image="web", networks=[{"uuid": network_of(cloud).id}])
    found = cloud.compute.get_server_diagnostics(server)
    assert found.memory_details == {"maximum": 64, "used": 1}
    assert found.nic_details[0]["rx_packets"] == 1
    usage = cloud.compute.get_usage(cloud.session.get_project_id())
    assert usage.server_usages[0]["instance_id"] == server.id


def test_a_private_flavor_is_for_the_projects_on_its_list(cloud: Any) -> None:
    flavor = cloud.compute.create_flavor(name="own", ram=64, vcpus=1, disk=0, is_public=False)
    project = cloud.session.get_project_id()
    service = cloud.identity.find_project("service").id
    assert [one["tenant_id"] for one in cloud.compute.get_flavor_access(flavor)] == [project]
    cloud.compute.flavor_add_tenant_access(flavor, service)
    assert {one["tenant_id"] for one in cloud.compute.get_flavor_access(flavor)} == {project, service}
    with pytest.raises(exceptions.ConflictException):
        cloud.compute.flavor_add_tenant_access(flavor, service)
    cloud.compute.flavor_remove_tenant_access(flavor, service)
    assert [one["tenant_id"] for one in cloud.compute.get_flavor_access(flavor)] == [project]
    assert cloud.compute.get("/flavors/1/os-flavor-access").status_code == 404


def test_dedicated_processors_run_out(cloud: Any) -> None:
    flavor = cloud.compute.create_flavor(name="pinned", ram=64, vcpus=1, disk=0)
    cloud.compute.create_flavor_extra_specs(flavor, {"hw:cpu_policy": "dedicated"})
    processors = len(os.sched_getaffinity(0))
    for number in range(min(processors, 8)):
        boot(cloud, f"p{number}", image="web", flavor="pinned")
    if processors <= 8:
        with pytest.raises(exceptions.ResourceFailure):
            boot(cloud, "late", image="web", flavor="pinned")


def test_groups_services_and_aggregates_decide_on_hosts(cloud: Any) -> None:
    compute = cloud.compute
    group = compute.create_server_group(name="apart", policy="anti-affinity")
    first = boot(cloud, "first", scheduler_hints={"group": group.id})
    assert compute.get_server_group(group.id).member_ids == [first.id]
    with pytest.raises(exceptions.ResourceFailure):
        boot(cloud, "second", scheduler_hints={"group": group.id})
    second = compute.find_server("second", details=True)
    assert "ServerGroupAntiAffinityFilter" in compute.get_server(second.id).fault["message"]
    (service,) = compute.services()
    compute.disable_service(service, disabled_reason="works")
    with pytest.raises(exceptions.ResourceFailure):
        boot(cloud, "third")
    third = compute.find_server("third", details=True)
    assert "ComputeFilter" in compute.get_server(third.id).fault["message"]
    compute.enable_service(service)
    aggregate = compute.create_aggregate(name="fast")
    compute.set_aggregate_metadata(aggregate, {"ssd": "true"})
    flavor = compute.create_flavor(name="ssd", ram=64, vcpus=1, disk=0)
    compute.create_flavor_extra_specs(flavor, {"aggregate_instance_extra_specs:ssd": "true"})
    with pytest.raises(exceptions.ResourceFailure):
        boot(cloud, "fourth", flavor="ssd")
    compute.add_host_to_aggregate(aggregate, "access")
    assert boot(cloud, "fifth", flavor="ssd").compute_host == "access"


def test_interfaces_have_tags_and_come_in_every_fitting_state(cloud: Any) -> None:
    network = network_of(cloud)
    server = boot(cloud, image="web", networks=[{"uuid": network.id, "tag": "north"}])

    def tags() -> list[str | None]:
        answer = cloud.compute.get(f"/servers/{server.id}/os-interface", microversion="2.70").json()
        return [one["tag"] for one in answer["interfaceAttachments"]]

    assert tags() == ["north"]
    cloud.compute.pause_server(server)
    until(cloud, server, "PAUSED")
    added = cloud.compute.create_server_interface(server, net_id=network.id, tag="south")
    assert tags() == ["north", "south"]
    cloud.compute.unpause_server(server)
    until(cloud, server, "ACTIVE")
    cloud.compute.delete_server_interface(added.port_id, server=server)
    cloud.compute.suspend_server(server)
    until(cloud, server, "SUSPENDED")
    with pytest.raises(exceptions.ConflictException, match="vm_state suspended"):
        cloud.compute.create_server_interface(server, net_id=network.id)


def test_access_addresses_are_told(cloud: Any) -> None:
    server = boot(cloud, access_ipv4="192.0.2.7")
    assert cloud.compute.get_server(server.id).access_ipv4 == "192.0.2.7"
    changed = cloud.compute.update_server(server, access_ipv4="", access_ipv6="2001:db8::1")
    assert (changed.access_ipv4, changed.access_ipv6) == ("", "2001:db8::1")
    refused = cloud.compute.put(f"/servers/{server.id}", json={"server": {"accessIPv6": "192.0.2.7"}})
    assert refused.status_code == 400


@pytest.mark.parametrize(
    ("version", "attribute", "value"),
    [
        ("2.1", "os:scheduler_hints", {"group": "beside, not inside"}),
        ("2.1", "description", "since 2.19"),
        ("2.1", "personality", [{"path": "/etc/motd", "contents": "eA=="}]),
        ("2.96", "hostname", "another"),
        ("2.96", "trusted_image_certificates", ["0b5d2c72-12cc-4ba6-a8d7-3ff5cc1d8cb8"]),
    ],
)
def test_what_is_not_done_is_not_ignored(cloud: Any, version: str, attribute: str, value: Any) -> None:
    flavor, image = cloud.compute.find_flavor("tiny").id, cloud.image.find_image("host").id
    wish = {"name": "one", "imageRef": image, "flavorRef": flavor, "networks": "none", attribute: value}
    if version == "2.1":
        del wish["networks"]
    refused = cloud.compute.post("/servers", json={"server": wish}, microversion=version)
    assert (refused.status_code, attribute in refused.text) == (400, True)
