"""A PoP with one of everything, and an administrator who takes all of it away again: by plain requests."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from tests import plain_http
from tests.contract.openstack.conftest import PASSWORD, Site
from tests.fakes.load_balancing import FakeDriver

from sonata.emulator.cloud import Cloud

POP = "access"
TOKENS = "/identity/v3/auth/tokens"
STACK = """
heat_template_version: rocky
resources:
  first: {type: OS::Heat::TestResource, properties: {value: one}}
  net: {type: OS::Neutron::Net, properties: {name: of-a-stack}}
outputs:
  told: {value: {get_attr: [first, output]}}
"""
DELETIONS = (
    ("stacks", "/orchestration/v1/{project}/stacks/{name}/{id}"),
    ("servers", "/compute/v2.1/servers/{id}"),
    ("volume_transfers", "/volume/v3/{project}/volume-transfers/{id}"),
    ("volume_attachments", "/volume/v3/{project}/attachments/{id}"),
    ("snapshots", "/volume/v3/{project}/snapshots/{id}"),
    ("volumes", "/volume/v3/{project}/volumes/{id}"),
    ("volume_types", "/volume/v3/{project}/types/{id}"),
    ("load_balancers", "/load-balancer/v2/lbaas/loadbalancers/{id}?cascade=true"),
    ("lb_flavors", "/load-balancer/v2/lbaas/flavors/{id}"),
    ("lb_flavor_profiles", "/load-balancer/v2/lbaas/flavorprofiles/{id}"),
    ("service_graphs", "/network/v2.0/sfc/service_graphs/{id}"),
    ("port_chains", "/network/v2.0/sfc/port_chains/{id}"),
    ("flow_classifiers", "/network/v2.0/sfc/flow_classifiers/{id}"),
    ("port_pair_groups", "/network/v2.0/sfc/port_pair_groups/{id}"),
    ("port_pairs", "/network/v2.0/sfc/port_pairs/{id}"),
    ("floating_ips", "/network/v2.0/floatingips/{id}"),
    ("l2_gateway_connections", "/network/v2.0/l2-gateway-connections/{id}"),
    ("l2_gateways", "/network/v2.0/l2-gateways/{id}"),
    ("routers", "/network/v2.0/routers/{id}"),
    ("rbac_policies", "/network/v2.0/rbac-policies/{id}"),
    ("ports", "/network/v2.0/ports/{id}"),
    ("networks", "/network/v2.0/networks/{id}"),
    ("subnets", "/network/v2.0/subnets/{id}"),
    ("subnet_pools", "/network/v2.0/subnetpools/{id}"),
    ("address_scopes", "/network/v2.0/address-scopes/{id}"),
    ("security_groups", "/network/v2.0/security-groups/{id}"),
    ("address_groups", "/network/v2.0/address-groups/{id}"),
    ("qos_policies", "/network/v2.0/qos/policies/{id}"),
    ("uploads", "/image/v2/images/{id}"),
    ("keypairs", "/compute/v2.1/os-keypairs/{name}?user_id={user_id}"),
    ("server_groups", "/compute/v2.1/os-server-groups/{id}"),
    ("aggregates", "/compute/v2.1/os-aggregates/{number}"),
    ("flavors", "/compute/v2.1/flavors/{id}"),
    ("software_deployments", "/orchestration/v1/{project}/software_deployments/{id}"),
    ("software_configs", "/orchestration/v1/{project}/software_configs/{id}"),
    ("application_credentials", "/identity/v3/users/{user_id}/application_credentials/{id}"),
    ("groups", "/identity/v3/groups/{id}"),
    ("users", "/identity/v3/users/{id}"),
    ("projects", "/identity/v3/projects/{id}"),
    ("roles", "/identity/v3/roles/{id}"),
)
"""Tables and how one of their entities is deleted; those who use something come before it."""


def token_of(site: Site, project: str = "admin") -> dict[str, str]:
    """Headers of an administrator in a project."""
    password = {"user": {"name": "admin", "domain": {"id": "default"}, "password": PASSWORD}}
    scope = {"project": {"name": project, "domain": {"id": "default"}}}
    body = {"auth": {"identity": {"methods": ["password"], "password": password}, "scope": scope}}
    answer = plain_http.post(f"{site.url}/{POP}{TOKENS}", json=body, trust_env=False)
    return {"X-Auth-Token": answer.headers["x-subject-token"], "X-OpenStack-Nova-API-Version": "2.96"}


class World:
    """Makes one of everything in PoP `access`."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.cloud: Cloud = site.clouds[POP]
        self.cloud.load_balancing.changes.drivers = {"haproxy": FakeDriver()}
        self.http = plain_http.Client(base_url=f"{site.url}/{POP}", headers=token_of(site), timeout=30, trust_env=False)
        self.project = next(one.id for one in self.cloud.tables.projects if one.name == "admin")
        self.network = ""
        self.subnet = ""
        self.server = ""

    def make(self, path: str, body: Any, method: str = "POST") -> Any:
        """What a request that succeeds answers; of an object with one key its value."""
        answer = self.http.request(method, path, json=body)
        assert answer.status_code < 300, f"{path}: {answer.status_code} {answer.text}"
        found = answer.json() if answer.content else {}
        return next(iter(found.values())) if len(found) == 1 else found

    def everything(self) -> None:
        """One of everything."""
        self._networks()
        self._server()
        self._volumes()
        self._chaining()
        self._balancer()
        self._people()
        self._rest()

    def _networks(self) -> None:
        net = "/network/v2.0"
        self.network = self.make(f"{net}/networks", {"network": {"name": "inner"}})["id"]
        wish = {"network_id": self.network, "ip_version": 4, "cidr": "10.1.0.0/24"}
        self.subnet = self.make(f"{net}/subnets", {"subnet": wish})["id"]
        external = next(one.id for one in self.cloud.tables.networks if one.name == "external")
        gateway = {"name": "r", "external_gateway_info": {"network_id": external}}
        router = self.make(f"{net}/routers", {"router": gateway})["id"]
        self.make(f"{net}/routers/{router}/add_router_interface", {"subnet_id": self.subnet}, "PUT")
        port = self.make(f"{net}/ports", {"port": {"network_id": self.network}})
        floating = {"floating_network_id": external, "port_id": port["id"]}
        self.make(f"{net}/floatingips", {"floatingip": floating})
        group = self.make(f"{net}/security-groups", {"security_group": {"name": "web"}})["id"]
        rule = {"security_group_id": group, "direction": "ingress", "protocol": "tcp", "port_range_min": 80}
        self.make(f"{net}/security-group-rules", {"security_group_rule": {**rule, "port_range_max": 80}})
        self.make(f"{net}/address-groups", {"address_group": {"name": "a", "addresses": ["192.0.2.0/24"]}})
        policy = self.make(f"{net}/qos/policies", {"policy": {"name": "slow"}})["id"]
        limit = {"bandwidth_limit_rule": {"max_kbps": 1000}}
        self.make(f"{net}/qos/policies/{policy}/bandwidth_limit_rules", limit)
        scope = self.make(f"{net}/address-scopes", {"address_scope": {"name": "s", "ip_version": 4}})["id"]
        pool = {"name": "p", "prefixes": ["172.16.0.0/16"], "default_prefixlen": 24, "address_scope_id": scope}
        self.make(f"{net}/subnetpools", {"subnetpool": pool})
        device = {"device_name": "plant", "interfaces": [{"name": "eth1"}]}
        gateway = self.make(f"{net}/l2-gateways", {"l2_gateway": {"name": "g", "devices": [device]}})["id"]
        joined = {"l2_gateway_id": gateway, "network_id": self.network}
        self.make(f"{net}/l2-gateway-connections", {"l2_gateway_connection": joined})
        shared = {"object_type": "network", "object_id": self.network, "action": "access_as_shared"}
        self.make(f"{net}/rbac-policies", {"rbac_policy": {**shared, "target_tenant": "*"}})

    def _server(self) -> None:
        self.make("/compute/v2.1/os-keypairs", {"keypair": {"name": "key", "public_key": PUBLIC_KEY}})
        image = next(one.id for one in self.cloud.images.list() if one.name == "web")
        flavor = next(one.id for one in self.cloud.tables.flavors if one.name == "tiny")
        wish = {"name": "vnf", "imageRef": image, "flavorRef": flavor, "networks": [{"uuid": self.network}]}
        self.server = self.make("/compute/v2.1/servers", {"server": {**wish, "key_name": "key"}})["id"]
        self.until(lambda: self.cloud.tables.servers.get(self.server).status == "ACTIVE")
        group = {"name": "apart", "policy": "anti-affinity"}
        self.make("/compute/v2.1/os-server-groups", {"server_group": group})
        self.make("/compute/v2.1/os-aggregates", {"aggregate": {"name": "rack"}})

    def _volumes(self) -> None:
        base = f"/volume/v3/{self.project}"
        volumes = [self.make(f"{base}/volumes", {"volume": {"size": 1}})["id"] for _ in range(3)]
        self.until(lambda: all(self.cloud.tables.volumes.get(one).status == "available" for one in volumes))
        self.make(f"{base}/snapshots", {"snapshot": {"volume_id": volumes[0]}})
        attached = {"volumeAttachment": {"volumeId": volumes[1]}}
        self.make(f"/compute/v2.1/servers/{self.server}/os-volume_attachments", attached)
        self.make(f"{base}/volume-transfers", {"transfer": {"volume_id": volumes[2]}})
        self.make(f"{base}/types", {"volume_type": {"name": "fast"}})

    def _chaining(self) -> None:
        sfc = "/network/v2.0/sfc"
        port = next(one.id for one in self.cloud.tables.ports if one.device_id == self.server)
        pair = self.make(f"{sfc}/port_pairs", {"port_pair": {"ingress": port, "egress": port}})["id"]
        group = self.make(f"{sfc}/port_pair_groups", {"port_pair_group": {"port_pairs": [pair]}})["id"]
        classifier = {"protocol": "tcp", "ethertype": "IPv4", "source_ip_prefix": "192.0.2.0/24"}
        found = self.make(f"{sfc}/flow_classifiers", {"flow_classifier": classifier})["id"]
        chain = {"port_pair_groups": [group], "flow_classifiers": [found]}
        first = self.make(f"{sfc}/port_chains", {"port_chain": chain})["id"]
        second = self.make(f"{sfc}/port_chains", {"port_chain": {"port_pair_groups": [group]}})["id"]
        self.make(f"{sfc}/service_graphs", {"service_graph": {"port_chains": {first: [second]}}})

    def _balancer(self) -> None:
        lbaas = "/load-balancer/v2/lbaas"
        balancer = self._settled(f"{lbaas}/loadbalancers", {"loadbalancer": {"vip_subnet_id": self.subnet}})
        wish = {"loadbalancer_id": balancer, "protocol": "HTTP", "protocol_port": 80}
        listener = self._settled(f"{lbaas}/listeners", {"listener": wish})
        wish = {"listener_id": listener, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
        pool = self._settled(f"{lbaas}/pools", {"pool": wish})
        self._settled(f"{lbaas}/pools/{pool}/members", {"member": {"address": "10.1.0.99", "protocol_port": 80}})
        monitor = {"pool_id": pool, "type": "HTTP", "delay": 5, "timeout": 2, "max_retries": 2}
        self._settled(f"{lbaas}/healthmonitors", {"healthmonitor": monitor})
        policy = self._settled(f"{lbaas}/l7policies", {"l7policy": {"listener_id": listener, "action": "REJECT"}})
        rule = {"type": "PATH", "compare_type": "STARTS_WITH", "value": "/x"}
        self._settled(f"{lbaas}/l7policies/{policy}/rules", {"rule": rule})
        profile = {"name": "red", "provider_name": "haproxy", "flavor_data": '{"colour": "red"}'}
        profile_id = self.make(f"{lbaas}/flavorprofiles", {"flavorprofile": profile})["id"]
        self.make(f"{lbaas}/flavors", {"flavor": {"name": "red", "flavor_profile_id": profile_id}})

    def _settled(self, path: str, body: Any) -> str:
        """The id of what was made once its load balancer takes changes again."""
        made: str = self.make(path, body)["id"]
        balancers = self.cloud.tables.load_balancers
        self.until(lambda: all(not one.provisioning_status.startswith("PENDING") for one in balancers))
        return made

    def _people(self) -> None:
        base = "/identity/v3"
        project = self.make(f"{base}/projects", {"project": {"name": "blue"}})["id"]
        user = self.make(f"{base}/users", {"user": {"name": "ada", "password": "difference"}})["id"]
        group = self.make(f"{base}/groups", {"group": {"name": "staff"}})["id"]
        role = self.make(f"{base}/roles", {"role": {"name": "auditor"}})["id"]
        self.make(f"{base}/groups/{group}/users/{user}", None, "PUT")
        self.make(f"{base}/projects/{project}/users/{user}/roles/{role}", None, "PUT")
        own = self.cloud.identity.admin.id
        credential = {"application_credential": {"name": "script"}}
        self.make(f"{base}/users/{own}/application_credentials", credential)

    def _rest(self) -> None:
        image = {"name": "data", "container_format": "bare", "disk_format": "iso"}
        image_id = self.make("/image/v2/images", image)["id"]
        octets = {"Content-Type": "application/octet-stream"}
        self.http.put(f"/image/v2/images/{image_id}/file", content=b"content", headers=octets).raise_for_status()
        self.make("/image/v2/images", {**image, "name": "queued"})
        base = f"/orchestration/v1/{self.project}"
        self.make(f"{base}/stacks", {"stack_name": "stack", "template": STACK})
        self.until(lambda: [one.status for one in self.cloud.tables.stacks] == ["COMPLETE"])
        self.make(f"{base}/software_configs", {"name": "config", "config": "true"})

    def until(self, holds: Any) -> None:
        """Wait for what goes on in the background."""
        deadline = time.monotonic() + 20
        while not holds():
            assert time.monotonic() < deadline, "what goes on in the background does not end"
            time.sleep(0.005)


PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFzYcjYnJzPbDDGb+TU0TlCLkOHVKnPcl2G6yTXVkmCm ada"


class Sweep:
    """An administrator who deletes all that there is, as long as something goes away."""

    def __init__(self, world: World, first: dict[str, set[str]]) -> None:
        self._world = world
        self._first = first
        self.refusals: dict[str, str] = {}

    def run(self) -> list[str]:
        """Delete everything that was not there at first; what is left."""
        deadline = time.monotonic() + 60
        while (left := list(self._left())) and time.monotonic() < deadline:
            for table, path, entity in left:
                self._free(table, entity)
                self._delete(path, entity)
            time.sleep(0.01)
        return [f"{table} {entity.id}: {self.refusals.get(entity.id)}" for table, _path, entity in left]

    def _left(self) -> Iterator[tuple[str, str, Any]]:
        for name, path in DELETIONS:
            for entity in getattr(self._world.cloud.tables, name):
                if entity.id not in self._first[name]:
                    yield name, path, entity

    def _free(self, table: str, entity: Any) -> None:
        """Take away what keeps an entity from being deleted."""
        ask = self._world.http.request
        if table == "uploads" and entity.protected:
            json = [{"op": "replace", "path": "/protected", "value": False}]
            headers = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
            self._world.http.request("PATCH", f"/image/v2/images/{entity.id}", json=json, headers=headers)
        if table == "routers":
            ask("PUT", f"/network/v2.0/routers/{entity.id}", json={"router": {"routes": []}})
            for port in self._world.cloud.tables.ports:
                if port.device_id == entity.id and port.device_owner == "network:router_interface":
                    path = f"/network/v2.0/routers/{entity.id}/remove_router_interface"
                    ask("PUT", path, json={"port_id": port.id})
        if table == "qos_policies":
            for network in self._world.cloud.tables.networks:
                if network.qos_policy == entity.id:
                    ask("PUT", f"/network/v2.0/networks/{network.id}", json={"network": {"qos_policy_id": None}})
        if table == "volumes":
            path = f"/volume/v3/{self._world.project}/volumes/{entity.id}/action"
            ask("POST", path, json={"os-force_delete": {}})
        if table == "snapshots":
            path = f"/volume/v3/{self._world.project}/snapshots/{entity.id}/action"
            ask("POST", path, json={"os-force_delete": {}})
        if table == "aggregates":
            for host in entity.hosts:
                path = f"/compute/v2.1/os-aggregates/{entity.number}/action"
                ask("POST", path, json={"remove_host": {"host": host}})
        if table == "roles" and entity.immutable:
            ask("PATCH", f"/identity/v3/roles/{entity.id}", json={"role": {"options": {"immutable": False}}})
        if table == "projects" and entity.immutable:
            ask("PATCH", f"/identity/v3/projects/{entity.id}", json={"project": {"options": {"immutable": False}}})

    def _delete(self, path: str, entity: Any) -> None:
        values = {name: quote(str(getattr(entity, name)), safe="") for name in NAMED if hasattr(entity, name)}
        answer = self._world.http.delete(path.format(project=self._world.project, **values))
        assert answer.status_code < 500, f"DELETE {answer.request.url}: {answer.text}"
        self.refusals[entity.id] = f"{answer.status_code} {answer.text}"


NAMED = ("id", "name", "number", "user_id")
