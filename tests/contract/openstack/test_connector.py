"""The calls of an NFV orchestrator's OpenStack connector, byte for byte as they go over the wire."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
from tests import plain_http
from tests.contract.openstack.conftest import PASSWORD, Site
from tests.waiting import eventually

MICROVERSION = "2.60"
CONNECTIONS = "/v2.0/l2-gateway-connections"
NOBODY = "00000000-0000-0000-0000-000000000000"
Document = dict[str, Any]


class Connector:
    """Logs in as the connector does and keeps the endpoints of the catalog."""

    def __init__(self, site: Site) -> None:
        self._http = plain_http.Client(timeout=30)
        password = {"user": {"name": "admin", "domain": {"id": "default"}, "password": PASSWORD}}
        body = {
            "auth": {
                "identity": {"methods": ["password"], "password": password},
                "scope": {"project": {"name": "admin", "domain": {"id": "default"}}},
            }
        }
        answer = self._http.post(f"{site.url}/access/identity/v3/auth/tokens", json=body)
        assert answer.status_code == 201
        token = answer.json()["token"]
        self.project = token["project"]["id"]
        self._headers = {
            "X-Auth-Token": answer.headers["X-Subject-Token"],
            "OpenStack-API-Version": f"compute {MICROVERSION}",
            "X-OpenStack-Nova-API-Version": MICROVERSION,
        }
        self.endpoints = {
            service["type"]: next(one["url"] for one in service["endpoints"] if one["interface"] == "public")
            for service in token["catalog"]
        }

    def close(self) -> None:
        """End the connection."""
        self._http.close()

    def call(self, service: str, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        """A request to a service of the catalog."""
        headers = {**self._headers, **more.pop("headers", {})}
        return self._http.request(method, self.endpoints[service] + path, json=body, headers=headers, **more)

    def get(self, service: str, path: str, **query: Any) -> Any:
        """What a GET answers, which must succeed."""
        answer = self.call(service, "GET", path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, service: str, path: str, body: Any, status: int = 201) -> Any:
        """What a POST answers, which must have a status."""
        answer = self.call(service, "POST", path, body)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def delete(self, service: str, path: str, status: int = 204) -> None:
        """Delete something; again it is gone."""
        assert self.call(service, "DELETE", path).status_code == status
        assert self.call(service, "DELETE", path).status_code == 404

    def network(self, name: str, **subnet: Any) -> tuple[Document, Document]:
        """A network, and its subnet."""
        network = {"name": name, "admin_state_up": True, "shared": False}
        made = self.post("network", "/v2.0/networks", {"network": network})["network"]
        wish = {"name": f"{name}-subnet", "network_id": made["id"], "ip_version": 4, "cidr": "192.168.7.0/24"}
        body = {"subnet": {**wish, "gateway_ip": None, **subnet}}
        return made, self.post("network", "/v2.0/subnets", body)["subnet"]

    def port(self, network: Document, **wish: Any) -> Document:
        """A port as a NIC of a VNF gets it."""
        body = {"network_id": network["id"], "name": "nic", "admin_state_up": True, **wish}
        return dict(self.post("network", "/v2.0/ports", {"port": body})["port"])

    def image_and_flavor(self) -> Document:
        """What each server needs."""
        images = self.get("image", "/v2/images", limit=200)["images"]
        flavors = self.get("compute", "/flavors/detail", is_public="None")["flavors"]
        return {
            "imageRef": next(one["id"] for one in images if one["name"] == "web"),
            "flavorRef": next(one["id"] for one in flavors if one["name"] == "tiny"),
        }

    def server(self, name: str, networks: Any, hints: Any = None, **more: Any) -> Document:
        """A server that is ACTIVE, found in the list of all."""
        body = {"name": name, **self.image_and_flavor(), "networks": networks, "min_count": 1, "max_count": 1, **more}
        hinted = {"os:scheduler_hints": hints} if hints else {}
        made = self.post("compute", "/servers", {"server": body, **hinted}, 202)["server"]
        return self.until(made["id"], "ACTIVE")

    def find(self, server_id: str) -> Document:
        """A server, the connector's way: all are asked for."""
        servers = self.get("compute", "/servers/detail")["servers"]
        return dict(next(one for one in servers if one["id"] == server_id))

    def until(self, server_id: str, status: str) -> Document:
        """A server as soon as it has a status."""
        eventually(lambda: self.find(server_id)["status"] == status)
        return self.find(server_id)

    def act(self, server_id: str, status: int = 202, **action: Any) -> Any:
        """An action of a server; underscores are dashes."""
        body = {name.replace("os_", "os-"): value for name, value in action.items()}
        return self.post("compute", f"/servers/{server_id}/action", body, status)

    def volume(self, **wish: Any) -> Document:
        """A volume that is available."""
        made = self.post("volumev3", "/volumes", {"volume": {"size": 1, "name": "v", **wish}}, 202)["volume"]
        eventually(lambda: self.volume_status(made["id"]) == "available")
        return dict(made)

    def volume_status(self, volume_id: str) -> str:
        """What a volume does."""
        return str(self.get("volumev3", f"/volumes/{volume_id}")["volume"]["status"])


@pytest.fixture
def vim(site: Site) -> Iterator[Connector]:
    """The connector at PoP `access`."""
    connector = Connector(site)
    yield connector
    connector.close()


def test_the_first_call_discovers_volumes_and_lists_zones(vim: Connector) -> None:
    root = vim.endpoints["volumev3"].removesuffix(f"/v3/{vim.project}")
    answer = plain_http.get(f"{root}/")
    assert answer.status_code in (200, 300)
    assert [(one["id"], one["status"]) for one in answer.json()["versions"]] == [("v3.0", "CURRENT")]
    (zone,) = vim.get("compute", "/os-availability-zone/detail")["availabilityZoneInfo"]
    assert (zone["zoneName"], zone["zoneState"], list(zone["hosts"])) == ("nova", {"available": True}, ["access"])


def test_tenants(vim: Connector) -> None:
    made = vim.post("identity", "/projects", {"project": {"name": "t", "description": "d", "domain_id": "default"}})
    tenant = made["project"]
    assert [one["id"] for one in vim.get("identity", "/projects", name="t")["projects"]] == [tenant["id"]]
    assert {one["name"] for one in vim.get("identity", "/projects")["projects"]} >= {"admin", "t"}
    vim.delete("identity", f"/projects/{tenant['id']}")


def test_networks_are_filtered_refreshed_and_deleted_with_their_ports(vim: Connector) -> None:
    network, subnet = vim.network(
        "mgmt", allocation_pools=[{"start": "192.168.7.10", "end": "192.168.7.20"}], dns_nameservers=["8.8.8.8"]
    )
    other, _ = vim.network("data")
    assert (subnet["gateway_ip"], subnet["dns_nameservers"], subnet["enable_dhcp"]) == (None, ["8.8.8.8"], True)
    for query in ({"id": network["id"]}, {"name": "mgmt"}):
        assert [one["id"] for one in vim.get("network", "/v2.0/networks", **query)["networks"]] == [network["id"]]
    assert vim.get("network", "/v2.0/networks", id=NOBODY) == {"networks": []}
    mine = vim.get("network", "/v2.0/networks", project_id=vim.project, shared=False)["networks"]
    assert {network["id"], other["id"]} <= {one["id"] for one in mine}
    (shown,) = vim.get("network", "/v2.0/networks", id=network["id"])["networks"]
    assert (shown["status"], shown["subnets"]) == ("ACTIVE", [subnet["id"]])
    assert vim.get("network", f"/v2.0/subnets/{subnet['id']}")["subnet"]["gateway_ip"] is None
    vim.port(network)
    assert vim.call("network", "DELETE", f"/v2.0/networks/{network['id']}").status_code == 409
    for port in vim.get("network", "/v2.0/ports", network_id=network["id"])["ports"]:
        vim.delete("network", f"/v2.0/ports/{port['id']}")
    vim.delete("network", f"/v2.0/networks/{network['id']}")


def test_a_network_whose_subnet_fails_is_removed_again(vim: Connector) -> None:
    made = vim.post("network", "/v2.0/networks", {"network": {"name": "n", "admin_state_up": True}})["network"]
    body = {"subnet": {"network_id": made["id"], "ip_version": 4, "cidr": "10.0.0.0/24", "gateway_ip": "nowhere"}}
    assert vim.call("network", "POST", "/v2.0/subnets", body).status_code == 400
    vim.delete("network", f"/v2.0/networks/{made['id']}")


def test_underlay_networks_have_vlans_of_the_physical_network(vim: Connector) -> None:
    def create(**provider: Any) -> httpx.Response:
        network = {"name": "sriov", "admin_state_up": True, "shared": False, "port_security_enabled": False}
        network.update({f"provider:{key}": value for key, value in provider.items()})
        return vim.call("network", "POST", "/v2.0/networks", {"network": network})

    made = create(physical_network="physnet1", network_type="vlan", segmentation_id=2001).json()["network"]
    (shown,) = vim.get("network", "/v2.0/networks", id=made["id"])["networks"]
    told = {key: shown[f"provider:{key}"] for key in ("physical_network", "network_type", "segmentation_id")}
    assert told == {"physical_network": "physnet1", "network_type": "vlan", "segmentation_id": 2001}
    assert create(network_type="vlan").json()["network"]["provider:segmentation_id"] == 1
    assert create(network_type="flat", physical_network="physnet1").status_code == 201
    for kind, answer in {
        "VlanIdInUse": create(physical_network="physnet1", network_type="vlan", segmentation_id=2001),
        "FlatNetworkInUse": create(network_type="flat", physical_network="physnet1"),
    }.items():
        assert (answer.status_code, answer.json()["NeutronError"]["type"]) == (409, kind)
    wrong: list[Document] = [
        {"network_type": "vlan", "physical_network": "nowhere"},
        {"network_type": "vlan", "segmentation_id": 4095},
        {"network_type": "vxlan", "physical_network": "physnet1"},
        {"network_type": "flat"},
        {"network_type": "flat", "physical_network": "physnet1", "segmentation_id": 5},
    ]
    assert [create(**one).status_code for one in wrong] == [400] * len(wrong)
    for kind in ("direct", "direct-physical"):
        assert vim.port(made, **{"binding:vnic_type": kind})["binding:vnic_type"] == kind
    assert create(network_type="vxlan").json()["network"]["provider:segmentation_id"] == 1


def test_a_network_is_joined_to_a_layer_2_gateway(vim: Connector, site: Site) -> None:
    aliases = {one["alias"] for one in vim.get("network", "/v2.0/extensions")["extensions"]}
    assert aliases >= {"l2-gateway", "l2-gateway-connection"}
    device = {"device_name": "plant", "interfaces": [{"name": "eth1"}]}
    made = vim.post("network", "/v2.0/l2-gateways", {"l2_gateway": {"name": "wall", "devices": [device]}})["l2_gateway"]
    (gateway,) = vim.get("network", "/v2.0/l2-gateways", name="wall")["l2_gateways"]
    assert gateway == made
    assert [one["device_name"] for one in gateway["devices"]] == ["plant"]
    network, _ = vim.network("data")
    wish = {"l2_gateway_id": gateway["id"], "network_id": network["id"], "segmentation_id": ""}
    connection = vim.post("network", CONNECTIONS, {"l2_gateway_connection": wish})["l2_gateway_connection"]
    assert vim.get("network", CONNECTIONS)["l2_gateway_connections"] == [connection]
    assert [one.networks for one in site.fabric.networks.patches.values()] == [(network["id"], "outlet-plant-eth1")]
    vim.delete("network", f"{CONNECTIONS}/{connection['id']}")
    assert not site.fabric.networks.patches
    vim.delete("network", f"/v2.0/networks/{network['id']}")
    vim.delete("network", f"/v2.0/l2-gateways/{gateway['id']}")


def test_vlans_of_an_interface_are_joined_to_networks_of_their_own(vim: Connector, site: Site) -> None:
    device = {"device_name": "plant", "interfaces": [{"name": "eth1"}]}
    gateway = vim.post("network", "/v2.0/l2-gateways", {"l2_gateway": {"name": "wall", "devices": [device]}})
    names = ("one", "two", "three", "four")
    networks = [vim.network(name, cidr=f"10.{number}.0.0/24")[0]["id"] for number, name in enumerate(names, 1)]

    def connect(network: str, tag: Any) -> Any:
        wish = {"l2_gateway_id": gateway["l2_gateway"]["id"], "network_id": network, "segmentation_id": tag}
        return vim.call("network", "POST", CONNECTIONS, {"l2_gateway_connection": wish})

    made = [connect(network, tag).json() for network, tag in zip(networks, ("100", 4094), strict=False)]
    assert [one["l2_gateway_connection"]["segmentation_id"] for one in made] == ["100", "4094"]
    patches = site.fabric.networks.patches.values()
    assert [(one.networks[0], one.tag) for one in patches] == [(networks[0], 100), (networks[1], 4094)]
    for tag in (100, "", None):
        refused = connect(networks[2], tag)
        assert refused.status_code == 409
        assert refused.json()["NeutronError"]["type"] == "L2GatewaySegmentationIDExists"
    wrong: list[Any] = [4095, -1, "-1", "x", True, 1.5, [7], {}]
    assert [connect(networks[2], tag).status_code for tag in wrong] == [400] * len(wrong)


def test_layer_2_gateways_are_refused_what_is_not_there(vim: Connector, site: Site) -> None:
    def gateway(device: str, *interfaces: str, **more: Any) -> str:
        named = [{"name": name, **more} for name in interfaces]
        body = {"l2_gateway": {"name": "g", "devices": [{"device_name": device, "interfaces": named}]}}
        answer = vim.call("network", "POST", "/v2.0/l2-gateways", body)
        return str(answer.json()["l2_gateway"]["id"] if answer.status_code == 201 else answer.status_code)

    def refusal(gateway_id: str, network_id: str, **more: Any) -> tuple[int, str]:
        wish = {"l2_gateway_id": gateway_id, "network_id": network_id, **more}
        answer = vim.call("network", "POST", CONNECTIONS, {"l2_gateway_connection": wish})
        error = answer.json().get("NeutronError", {})
        return answer.status_code, error.get("type", "")

    one, two = vim.network("one")[0]["id"], vim.network("two", cidr="10.9.0.0/24")[0]["id"]
    (external,) = vim.get("network", "/v2.0/networks", **{"router:external": True})["networks"]
    first, both = gateway("plant", "eth1"), gateway("plant", "eth1", "eth2")
    assert [gateway("plant"), gateway("plant", "eth1", segmentation_id=[7])] == ["400", "400"]
    assert refusal(gateway("nothing", "eth1"), one) == (404, "L2GatewayDeviceNotFound")
    assert refusal(gateway("plant", "eth9"), one) == (404, "L2GatewayInterfaceNotFound")
    assert refusal(NOBODY, one) == (404, "L2GatewayNotFound")
    assert refusal(first, NOBODY) == (404, "NetworkNotFound")
    assert refusal(first, external["id"])[0] == refusal(first, one, segmentation_id="4095")[0] == 400
    site.fabric.networks.fail_next = "no room"
    assert refusal(both, two)[0] >= 500
    assert vim.get("network", CONNECTIONS)["l2_gateway_connections"] == []
    assert not site.fabric.networks.patches
    assert refusal(first, one)[0] == 201
    assert refusal(first, one) == (409, "L2GatewayConnectionExists")
    assert refusal(both, two) == (409, "L2GatewaySegmentationIDExists")
    for path, kind in ((f"l2-gateways/{first}", "L2GatewayInUse"), (f"networks/{one}", "NetworkInUse")):
        answer = vim.call("network", "DELETE", f"/v2.0/{path}")
        assert (answer.status_code, answer.json()["NeutronError"]["type"]) == (409, kind)


def test_flavors_by_id_name_and_data(vim: Connector) -> None:
    taken = {one["name"] for one in vim.get("compute", "/flavors/detail", is_public="None")["flavors"]}
    assert "vdu-flv" not in taken
    body = {"flavor": {"name": "vdu-flv", "ram": 96, "vcpus": 1, "disk": 1, "swap": 0, "rxtx_factor": 1.0}}
    body["flavor"].update({"OS-FLV-EXT-DATA:ephemeral": 0, "os-flavor-access:is_public": True, "id": None})
    flavor = vim.post("compute", "/flavors", body, 200)["flavor"]
    specs = {"hw:cpu_policy": "dedicated", "hw:numa_nodes": "1", "hw:mem_page_size": "any", "quota:cpu_quota": "50000"}
    path = f"/flavors/{flavor['id']}/os-extra_specs"
    assert vim.post("compute", path, {"extra_specs": specs}, 200) == {"extra_specs": specs}
    assert vim.call("compute", "POST", "/flavors", body).status_code == 409
    found = {}
    for one in vim.get("compute", "/flavors/detail", is_public="None")["flavors"]:  # one call each, as it does
        found[one["name"]] = vim.get("compute", f"/flavors/{one['id']}/os-extra_specs")["extra_specs"]
    assert found["vdu-flv"] == specs
    assert found["tiny"] == {}
    (by_name,) = [one for one in vim.get("compute", "/flavors")["flavors"] if one["name"] == "vdu-flv"]
    shown = vim.get("compute", f"/flavors/{by_name['id']}")["flavor"]
    assert (shown["ram"], shown["vcpus"], shown["disk"], shown["swap"]) == (96, 1, 1, "")
    vim.delete("compute", f"/flavors/{flavor['id']}", 202)


def test_images_are_uploaded_patched_and_described_by_their_schema(vim: Connector) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    wish = {"name": "vnf", "container_format": "bare", "disk_format": "raw", "visibility": "private", "os_x": "y"}
    image = vim.post("image", "/v2/images", wish)
    data = {"Content-Type": "application/octet-stream"}
    uploaded = vim.call("image", "PUT", f"/v2/images/{image['id']}/file", headers=data, content=b"some bytes")
    assert uploaded.status_code == 204
    patch = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
    change = [{"op": "add", "path": "/location", "value": "http://there/vnf"}]
    path = f"/v2/images/{image['id']}"
    assert vim.call("image", "PATCH", path, change, headers=patch).status_code in (200, 403)
    change = [{"op": "add", "path": "/vendor", "value": "me"}]
    assert vim.call("image", "PATCH", path, change, headers=patch).json()["vendor"] == "me"
    schema = vim.get("image", "/v2/schemas/image")
    listed = vim.get("image", "/v2/images", limit=200)["images"]
    for one in listed:
        jsonschema.validate(one, schema)
    assert {one["name"]: one["status"] for one in listed}["vnf"] == "active"
    vim.delete("image", path)


def test_affinity_groups(vim: Connector) -> None:
    body = {"server_group": {"name": "apart", "policies": ["anti-affinity"]}}
    group = vim.post("compute", "/os-server-groups", body, 200)["server_group"]
    assert (group["policies"], group["members"]) == (["anti-affinity"], [])
    server = vim.server("one", "none", {"group": group["id"]})
    (listed,) = vim.get("compute", "/os-server-groups")["server_groups"]
    assert (listed["id"], listed["members"]) == (group["id"], [server["id"]])
    assert vim.get("compute", f"/os-server-groups/{group['id']}")["server_group"] == listed
    vim.delete("compute", f"/os-server-groups/{group['id']}")


def test_a_vm_with_all_that_it_may_have(vim: Connector, site: Site) -> None:
    network, _ = vim.network("mgmt")
    groups = vim.get("network", "/v2.0/security-groups", tenant_id=vim.project)["security_groups"]
    default = next(one["id"] for one in groups if one["name"] == "default")
    first = vim.port(network, security_groups=[default], mac_address="fa:16:3e:00:00:07")
    wish = {"fixed_ips": [{"ip_address": "192.168.7.77"}], "binding:vnic_type": "direct", "binding:profile": {}}
    second = vim.port(network, **wish)
    assert (second["binding:vnic_type"], second["fixed_ips"][0]["ip_address"]) == ("direct", "192.168.7.77")
    data = vim.volume(name="data")
    vim.post("volumev3", f"/volumes/{data['id']}/action", {"os-set_bootable": {"bootable": True}}, 200)
    assert vim.get("volumev3", f"/volumes/{data['id']}")["volume"]["bootable"] == "true"
    server = vim.server(
        "vm",
        [{"port": first["id"], "tag": "eth-mgmt"}, {"port": second["id"]}],
        user_data=base64.b64encode(b"#!/bin/sh\n").decode(),
        config_drive=True,
        availability_zone="nova",
        security_groups=[{"name": "default"}],
        block_device_mapping=[{"device_name": "vdb", "volume_id": data["id"]}],
    )
    assert server["addresses"]["mgmt"][0]["OS-EXT-IPS-MAC:mac_addr"] == "fa:16:3e:00:00:07"
    assert (server["config_drive"], server["OS-EXT-AZ:availability_zone"]) == ("True", "nova")
    names = {one["id"]: one["name"] for one in vim.get("compute", "/flavors")["flavors"]}
    assert server["flavor"]["original_name"] in names.values()
    ports = vim.get("network", "/v2.0/ports", device_id=server["id"])["ports"]
    assert {port["id"] for port in ports} == {first["id"], second["id"]}
    for port in ports:
        assert vim.get("network", f"/v2.0/networks/{port['network_id']}")["network"]["status"] == "ACTIVE"
        assert vim.get("network", "/v2.0/floatingips", port_id=port["id"]) == {"floatingips": []}
        body = {"port": {"port_security_enabled": False, "security_groups": []}}
        assert vim.call("network", "PUT", f"/v2.0/ports/{port['id']}", body).status_code == 200
    assert vim.volume_status(data["id"]) == "in-use"
    for port in ports:
        vim.delete("network", f"/v2.0/ports/{port['id']}")
    assert vim.call("compute", "DELETE", f"/servers/{server['id']}").status_code == 204
    eventually(lambda: vim.volume_status(data["id"]) == "available")
    assert vim.call("volumev3", "DELETE", f"/volumes/{data['id']}").status_code == 202
    eventually(lambda: vim.get("volumev3", "/volumes")["volumes"] == [])
    assert vim.call("compute", "DELETE", f"/servers/{NOBODY}").status_code == 404
    assert vim.call("volumev3", "DELETE", f"/volumes/{NOBODY}").status_code == 404


def test_a_persistent_root_disk_outlives_its_vm(vim: Connector) -> None:
    wish = vim.image_and_flavor()
    root = vim.volume(imageRef=wish["imageRef"], name="root")
    assert vim.get("volumev3", f"/volumes/{root['id']}")["volume"]["bootable"] == "true"
    disks = [{"device_name": "vda", "volume_id": root["id"]}]
    server = vim.server("vm", "none", imageRef="", block_device_mapping=disks)
    assert (server["image"], vim.volume_status(root["id"])) == ("", "in-use")
    body = {"server": {"name": "two", **wish, "networks": "none", "block_device_mapping": disks}}
    refused = vim.call("compute", "POST", "/servers", body)
    assert (refused.status_code, "root device" in refused.text) == (400, True)
    assert vim.call("compute", "DELETE", f"/servers/{server['id']}").status_code == 204
    eventually(lambda: vim.volume_status(root["id"]) == "available")


def test_a_floating_ip_is_found_made_given_and_kept_from_others(vim: Connector) -> None:
    network, subnet = vim.network("mgmt", gateway_ip="192.168.7.1")
    external = vim.get("network", "/v2.0/networks", **{"router:external": True})["networks"][0]
    gateway = {"router": {"name": "r", "external_gateway_info": {"network_id": external["id"]}}}
    router = vim.post("network", "/v2.0/routers", gateway)["router"]
    leg = vim.call("network", "PUT", f"/v2.0/routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
    assert leg.status_code == 200
    port = vim.port(network)
    vim.server("vm", [{"port": port["id"]}])
    assert vim.get("network", "/v2.0/floatingips", tenant_id=vim.project) == {"floatingips": []}
    assert vim.call("network", "GET", "/v2.0/floatingips/None").status_code == 404
    body = {"floatingip": {"floating_network_id": external["id"], "tenant_id": vim.project}}
    floating = vim.post("network", "/v2.0/floatingips", body)["floatingip"]
    assert (floating["port_id"], floating["status"]) == (None, "DOWN")
    path = f"/v2.0/floatingips/{floating['id']}"
    assert vim.call("network", "PUT", path, {"floatingip": {"port_id": port["id"]}}).status_code == 200
    shown = vim.get("network", path)["floatingip"]
    assert (shown["port_id"], shown["router_id"], shown["status"]) == (port["id"], router["id"], "ACTIVE")
    (found,) = vim.get("network", "/v2.0/floatingips", port_id=port["id"])["floatingips"]
    assert found["floating_ip_address"] == floating["floating_ip_address"]
    vim.delete("network", path)


def test_actions_of_a_vm(vim: Connector) -> None:
    server = vim.server("vm", "none")["id"]
    for action, status in {"os_stop": "SHUTOFF", "os_start": "ACTIVE", "pause": "PAUSED", "unpause": "ACTIVE"}.items():
        vim.act(server, **{action: None})
        vim.until(server, status)
    vim.act(server, suspend=None)
    vim.until(server, "SUSPENDED")
    vim.act(server, resume=None)
    vim.until(server, "ACTIVE")
    for kind in ("SOFT", "HARD"):
        vim.act(server, reboot={"type": kind})
        vim.until(server, "ACTIVE")
    vim.act(server, rebuild={"imageRef": vim.image_and_flavor()["imageRef"]})
    vim.until(server, "ACTIVE")
    asked = {"remote_console": {"protocol": "serial", "type": "serial"}}
    console = vim.post("compute", f"/servers/{server}/remote-consoles", asked, 200)["remote_console"]
    assert (console["protocol"], console["type"], console["url"][:2]) == ("serial", "serial", "ws")
    for protocol in ("vnc", "telnet", {"serial": 1}, ["serial"], None):
        wrong = {"remote_console": {"protocol": protocol, "type": "novnc"}}
        assert vim.call("compute", "POST", f"/servers/{server}/remote-consoles", wrong).status_code == 400
    old = {"OpenStack-API-Version": "compute 2.5", "X-OpenStack-Nova-API-Version": "2.5"}
    body = {"os-getSerialConsole": {"type": "serial"}}
    answer = vim.call("compute", "POST", f"/servers/{server}/action", body, headers=old)
    assert answer.json()["console"]["type"] == "serial"


def test_an_image_is_made_of_a_vm(vim: Connector) -> None:
    server = vim.server("vm", "none")["id"]
    image = vim.act(server, createImage={"name": "shot", "metadata": {}})["image_id"]
    eventually(lambda: vim.get("image", f"/v2/images/{image}")["status"] == "active")


def test_a_vm_is_resized_for_good(vim: Connector) -> None:
    server = vim.server("vm", "none")["id"]
    flavors = {one["name"]: one["id"] for one in vim.get("compute", "/flavors")["flavors"]}
    vim.act(server, resize={"flavorRef": flavors["small"]})
    vim.until(server, "VERIFY_RESIZE")
    assert vim.call("compute", "POST", f"/servers/{server}/action", {"confirmResize": None}).status_code == 204
    assert vim.until(server, "ACTIVE")["flavor"]["original_name"] == "small"


def test_hosts_are_told_and_a_vm_that_can_go_nowhere_stays(vim: Connector) -> None:
    server, host = vim.server("vm", "none"), "access"
    assert server["OS-EXT-SRV-ATTR:hypervisor_hostname"] == host
    assert vim.get("compute", "/os-aggregates") == {"aggregates": []}
    query = {"hypervisor_hostname_pattern": host, "with_servers": True}
    (found,) = vim.get("compute", "/os-hypervisors", **query)["hypervisors"]
    assert [one["uuid"] for one in found["servers"]] == [server["id"]]
    shown = vim.get("compute", f"/os-hypervisors/{found['id']}")["hypervisor"]
    assert {"free_ram_mb", "disk_available_least", "vcpus", "vcpus_used"} <= shown.keys()
    assert shown["vcpus_used"] == 1
    (detail,) = vim.get("compute", "/os-hypervisors/detail")["hypervisors"]
    assert detail["hypervisor_hostname"] == host
    action = {"os-migrateLive": {"host": None, "block_migration": "auto"}}
    answer = vim.call("compute", "POST", f"/servers/{server['id']}/action", action)
    assert answer.status_code == 202
    assert vim.until(server["id"], "ACTIVE")["OS-EXT-SRV-ATTR:host"] == host


def chain_of(vim: Connector, network: Document) -> Mapping[str, Document]:
    """A classification, a service function instance, a service function and a path."""
    ingress, egress, source = (vim.port(network, port_security_enabled=False) for _ in range(3))
    made: dict[str, Document] = {}

    def make(kind: str, **wish: Any) -> str:
        body = {kind: {"name": f"my-{kind}", "description": "d", **wish}}
        made[kind] = vim.post("network", f"/v2.0/sfc/{kind}s", body)[kind]
        return str(made[kind]["id"])

    flows = {"ethertype": "IPv4", "protocol": "tcp", "source_ip_prefix": "192.168.7.0/24"}
    ports = {"destination_port_range_min": 80, "destination_port_range_max": 80}
    classifier = make("flow_classifier", **flows, **ports, logical_source_port=source["id"])
    parameters = {"correlation": None}
    pair = make("port_pair", ingress=ingress["id"], egress=egress["id"], service_function_parameters=parameters)
    group = make("port_pair_group", port_pairs=[pair])
    make(
        "port_chain", port_pair_groups=[group], flow_classifiers=[classifier], chain_parameters={"correlation": "mpls"}
    )
    return made


SFC_KEYS = {
    "flow_classifier": "logical_source_port logical_destination_port ethertype protocol l7_parameters",
    "port_pair": "ingress egress service_function_parameters",
    "port_pair_group": "port_pairs port_pair_group_parameters",
    "port_chain": "flow_classifiers port_pair_groups chain_parameters chain_id",
}


def test_chains_are_made_listed_and_deleted(vim: Connector) -> None:
    network, _ = vim.network("n")
    made = chain_of(vim, network)
    for kind, keys in SFC_KEYS.items():
        path, one = f"/v2.0/sfc/{kind}s", made[kind]
        for query in ({"id": one["id"]}, {"name": f"my-{kind}"}):
            assert vim.get("network", path, **query)[f"{kind}s"] == [one]
        assert vim.get("network", path, id=NOBODY) == {f"{kind}s": []}
        assert {"id", "name", "description", "project_id", "tenant_id", *keys.split()} <= one.keys()
    for kind in ("port_chain", "port_pair_group", "port_pair", "flow_classifier"):
        vim.delete("network", f"/v2.0/sfc/{kind}s/{made[kind]['id']}")
