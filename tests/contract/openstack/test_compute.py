"""The Compute API, judged by openstacksdk."""

from __future__ import annotations

from typing import Any

import pytest
from openstack import exceptions
from tests.contract.openstack.conftest import Site

FAST = 0.02


def boot(cloud: Any, name: str = "vnf", image: str = "host", flavor: str = "tiny", **more: Any) -> Any:
    """A server after its build."""
    more.setdefault("networks", "none")
    wanted = {"image_id": id_of(cloud.image, "images", image), "flavor_id": id_of(cloud.compute, "flavors", flavor)}
    server = cloud.compute.create_server(name=name, **wanted, **more)
    return cloud.compute.wait_for_server(server, interval=FAST, wait=10)


def id_of(service: Any, kind: str, name: str) -> str:
    """The id of what has a name, by one call: the `find_...` of the SDK take longer than the server itself."""
    return next(row["id"] for row in service.get(f"/{kind}").json()[kind] if row["name"] == name)


def network_of(cloud: Any, cidr: str = "10.1.0.0/24", name: str = "inner") -> Any:
    """A network with a subnet."""
    network = cloud.network.create_network(name=name)
    cloud.network.create_subnet(network_id=network.id, cidr=cidr, ip_version=4, name=name)
    return network


def test_a_server_is_created_listed_shown_and_deleted(cloud: Any) -> None:
    network = network_of(cloud)
    server = boot(cloud, networks=[{"uuid": network.id}], metadata={"key": "value"}, description="a VNF")
    assert server.status == "ACTIVE"
    assert server.metadata == {"key": "value"}
    assert server.addresses["inner"][0]["addr"] == "10.1.0.2"
    assert server.flavor["original_name"] == "tiny"
    assert (server.hypervisor_hostname, server.vm_state, server.power_state) == ("access", "active", 1)
    assert [found.id for found in cloud.compute.servers()] == [server.id]
    assert cloud.compute.find_server("vnf").id == server.id
    assert cloud.compute.find_server("nothing") is None
    cloud.compute.delete_server(server)
    cloud.compute.wait_for_delete(server, interval=FAST, wait=10)
    with pytest.raises(exceptions.NotFoundException):
        cloud.compute.get_server(server.id)


def test_a_server_boots_on_ports_in_their_order(cloud: Any, site: Site) -> None:
    network = network_of(cloud)
    ports = [cloud.network.create_port(network_id=network.id, name=f"p{number}") for number in range(3)]
    server = boot(cloud, networks=[{"port": port.id} for port in reversed(ports)])
    attached = list(cloud.compute.server_interfaces(server))
    assert [one.port_id for one in attached] == [port.id for port in reversed(ports)]
    bound = cloud.network.ports(network_id=network.id, device_owner="compute:nova")
    assert {port.device_id for port in bound} == {server.id}
    specs = site.fabric.machines.of(f"access-{server.id}")
    assert [(spec.ifname, spec.id) for spec in specs] == [
        ("eth0", ports[2].id),
        ("eth1", ports[1].id),
        ("eth2", ports[0].id),
    ]


def test_lists_are_filtered_by_name_tag_status_and_id(cloud: Any) -> None:
    one = boot(cloud, "one", tags=["blue", "service"])
    two = boot(cloud, "two", tags=["green"])
    cloud.compute.stop_server(two)
    cloud.compute.wait_for_server(two, status="SHUTOFF", interval=FAST, wait=10)

    def ids(**query: Any) -> list[str]:
        return [server.id for server in cloud.compute.servers(**query)]

    assert ids(name="^one$") == [one.id]
    assert ids(tags="blue") == [one.id]
    assert ids(not_tags="blue") == [two.id]
    assert set(ids(tags_any="blue,green")) == {one.id, two.id}
    assert ids(status="SHUTOFF") == [two.id]
    assert ids(name="nothing") == []
    assert ids() == [two.id, one.id]
    assert ids(sort_key="display_name", sort_dir="asc") == [one.id, two.id]
    assert ids(limit=1) == [two.id, one.id]
    assert [server.id for server in cloud.compute.servers(details=False, limit=1, paginated=False)] == [two.id]


def test_tags_and_metadata_change(cloud: Any) -> None:
    server = boot(cloud)
    cloud.compute.set_server_metadata(server, colour="blue", size="1")
    cloud.compute.delete_server_metadata(server, ["size"])
    assert cloud.compute.get_server(server.id).metadata == {"colour": "blue"}
    cloud.compute.add_tag_to_server(server, "a")
    cloud.compute.add_tag_to_server(server, "b")
    cloud.compute.remove_tag_from_server(server, "a")
    assert cloud.compute.get_server(server.id).tags == ["b"]
    assert cloud.compute.update_server(server, name="renamed").name == "renamed"


def test_stop_start_reboot_and_console(cloud: Any, site: Site) -> None:
    server = boot(cloud, image="web")
    assert cloud.compute.get_server_console_output(server, length=1) == {"output": "second line\n"}
    cloud.compute.stop_server(server)
    cloud.compute.wait_for_server(server, status="SHUTOFF", interval=FAST, wait=10)
    with pytest.raises(exceptions.ConflictException, match="vm_state stopped"):
        cloud.compute.stop_server(server)
    cloud.compute.start_server(server)
    cloud.compute.wait_for_server(server, interval=FAST, wait=10)
    cloud.compute.reboot_server(server, "HARD")
    assert len(site.runtime.started) >= 2


def test_a_failed_server_tells_its_fault(cloud: Any) -> None:
    image, flavor = cloud.image.find_image("broken"), cloud.compute.find_flavor("tiny")
    server = cloud.compute.create_server(name="bad", image_id=image.id, flavor_id=flavor.id, networks="none")
    with pytest.raises(exceptions.ResourceFailure):
        cloud.compute.wait_for_server(server, interval=FAST, wait=10)
    assert "exit status 1" in cloud.compute.get_server(server.id).fault["message"]


def test_a_server_that_does_not_fit_is_in_error_and_capacity_is_told(cloud: Any) -> None:
    boot(cloud, flavor="m1.large")
    used = cloud.compute.get("/os-hypervisors/detail", microversion="2.53").json()["hypervisors"][0]
    assert (used["vcpus"], used["vcpus_used"]) == (8, 4)
    assert (used["memory_mb"], used["memory_mb_used"]) == (16384, 8192)
    boot(cloud, flavor="m1.medium")
    flavor = cloud.compute.find_flavor("m1.large")
    server = cloud.compute.create_server(
        name="big", image_id=cloud.image.find_image("host").id, flavor_id=flavor.id, networks="none"
    )
    with pytest.raises(exceptions.ResourceFailure):
        cloud.compute.wait_for_server(server, interval=FAST, wait=10)
    assert "No valid host was found" in cloud.compute.get_server(server.id).fault["message"]
    statistics = cloud.compute.get("/os-hypervisors/statistics").json()["hypervisor_statistics"]
    assert (statistics["vcpus_used"], statistics["running_vms"]) == (6, 2)


def test_interfaces_come_and_go(cloud: Any) -> None:
    network = network_of(cloud)
    server = boot(cloud)
    attached = cloud.compute.create_server_interface(server, net_id=network.id)
    assert attached.fixed_ips[0]["ip_address"] == "10.1.0.2"
    assert cloud.compute.get_server(server.id).addresses["inner"][0]["addr"] == "10.1.0.2"
    cloud.compute.delete_server_interface(attached.port_id, server=server)
    assert list(cloud.compute.server_interfaces(server)) == []
    owners = [port.device_owner for port in cloud.network.ports(network_id=network.id)]
    assert owners == ["network:dhcp"]


def test_several_servers_at_once(cloud: Any) -> None:
    boot(cloud, "many", min_count=2, max_count=3)
    assert sorted(server.name for server in cloud.compute.servers()) == ["many-1", "many-2", "many-3"]


def test_flavors_are_made_and_removed(cloud: Any) -> None:
    flavor = cloud.compute.create_flavor(name="odd", ram=100, vcpus=2, disk=1, description="odd size")
    cloud.compute.create_flavor_extra_specs(flavor, {"quota:cpu_quota": "50000"})
    found = cloud.compute.find_flavor("odd", get_extra_specs=True)
    assert (found.ram, found.vcpus, found.disk, found.extra_specs) == (100, 2, 1, {"quota:cpu_quota": "50000"})
    with pytest.raises(exceptions.ConflictException):
        cloud.compute.create_flavor(name="odd", ram=100, vcpus=2, disk=1)
    server = boot(cloud, flavor="odd")
    cloud.compute.delete_flavor(flavor)
    assert cloud.compute.find_flavor("odd") is None
    assert cloud.compute.get_server(server.id).flavor["original_name"] == "odd"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": ""}, "name"),
        ({"imageRef": "nope"}, "Image nope could not be found"),
        ({"flavorRef": "nope"}, "Flavor nope could not be found"),
        ({"networks": [{"uuid": "nope"}]}, "Network nope could not be found"),
        ({"networks": [{"port": "nope"}]}, "Port nope could not be found"),
        ({"networks": 7}, "networks"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"min_count": 3, "max_count": 2}, "min_count"),
        ({"personality": [{"path": "/etc/motd", "contents": "aGk="}]}, "personality"),
        ({"tags": ["a/b"]}, "tag"),
        ({"availability_zone": "mars"}, "zone"),
        ({"user_data": 7}, "user_data"),
        ({"block_device_mapping_v2": [7]}, "block_device"),
        ({"security_groups": [{"name": "nope"}]}, "nope"),
    ],
)
def test_a_wrong_request_is_refused_with_the_reason(cloud: Any, change: dict[str, Any], reason: str) -> None:
    body = {
        "name": "vnf",
        "imageRef": cloud.image.find_image("host").id,
        "flavorRef": cloud.compute.find_flavor("tiny").id,
        "networks": "none",
    }
    answer = cloud.compute.post("/servers", json={"server": {**body, **change}}, microversion="2.96")
    assert answer.status_code == 400
    assert reason in answer.json()["badRequest"]["message"]
    assert list(cloud.compute.servers()) == []


@pytest.mark.parametrize("change", [{"ram": 0}, {"vcpus": "x"}, {"rxtx_factor": []}, {"nmae": "x"}, {"disk": None}])
def test_a_wrong_flavor_is_refused(cloud: Any, change: dict[str, Any]) -> None:
    flavor = {"name": "odd", "ram": 1, "vcpus": 1, "disk": 0, **change}
    assert cloud.compute.post("/flavors", json={"flavor": flavor}).status_code == 400


def test_the_boot_device_may_name_the_image(cloud: Any) -> None:
    image = cloud.image.find_image("host").id
    device = {"boot_index": 0, "uuid": image, "source_type": "image", "destination_type": "local"}
    body = {"name": "vnf", "flavorRef": "1", "networks": "none", "block_device_mapping_v2": [device]}
    assert cloud.compute.post("/servers", json={"server": body}).status_code == 202
    volume = {**device, "source_type": "snapshot", "destination_type": "volume"}
    answer = cloud.compute.post("/servers", json={"server": {**body, "block_device_mapping_v2": [volume]}})
    assert answer.status_code == 400


def test_microversions(cloud: Any) -> None:
    server = boot(cloud)

    def shown(version: str) -> dict[str, Any]:
        answer = cloud.compute.get(f"/servers/{server.id}", microversion=version)
        assert answer.headers["OpenStack-API-Version"] == f"compute {version}"
        found: dict[str, Any] = answer.json()["server"]
        return found

    assert "id" in shown("2.46")["flavor"]
    assert "original_name" in shown("2.47")["flavor"]
    assert "tags" not in shown("2.25")
    assert shown("2.26")["tags"] == []
    assert cloud.compute.get("/servers", microversion="2.97").status_code == 406
    assert cloud.compute.get("/servers", headers={"OpenStack-API-Version": "compute x.y"}).status_code == 400


def test_documents_are_complete(cloud: Any) -> None:
    boot(cloud)
    server = cloud.compute.get("/servers/detail", microversion="2.1").json()["servers"][0]
    assert set(server) == {
        "OS-DCF:diskConfig",
        "OS-EXT-AZ:availability_zone",
        "OS-EXT-SRV-ATTR:host",
        "OS-EXT-SRV-ATTR:hypervisor_hostname",
        "OS-EXT-SRV-ATTR:instance_name",
        "OS-EXT-STS:power_state",
        "OS-EXT-STS:task_state",
        "OS-EXT-STS:vm_state",
        "OS-SRV-USG:launched_at",
        "OS-SRV-USG:terminated_at",
        "accessIPv4",
        "accessIPv6",
        "addresses",
        "config_drive",
        "created",
        "flavor",
        "hostId",
        "id",
        "image",
        "key_name",
        "links",
        "metadata",
        "name",
        "os-extended-volumes:volumes_attached",
        "progress",
        "security_groups",
        "status",
        "tenant_id",
        "updated",
        "user_id",
    }


def test_limits_quotas_zones_and_hypervisors(cloud: Any) -> None:
    boot(cloud)
    limits = cloud.compute.get_limits().absolute
    assert (limits.instances_used, limits.total_cores_used) == (1, 1)
    project = cloud.session.get_project_id()
    assert cloud.compute.get_quota_set(project).cores == -1
    assert [zone.name for zone in cloud.compute.availability_zones(details=True)] == ["nova"]
    (hypervisor,) = cloud.compute.hypervisors(details=True)
    assert hypervisor.name == "access"
    assert cloud.compute.get_hypervisor(hypervisor.id).name == "access"
    with pytest.raises(exceptions.NotFoundException):
        list(cloud.compute.hypervisors(hypervisor_hostname_pattern="mars"))
    assert [service.binary for service in cloud.compute.services()] == ["nova-compute"]
