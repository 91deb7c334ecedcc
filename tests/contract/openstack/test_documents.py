"""Documents have the keys that the published API reference of each service gives them, no fewer and no others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from tests.contract.openstack.conftest import Site
from tests.contract.openstack.test_compute import boot, network_of
from tests.contract.openstack.test_load_balancing import settled
from tests.contract.openstack.test_network import subnet_of
from tests.contract.openstack.test_volumes import volume_of
from tests.fakes.load_balancing import FakeDriver

Document = Mapping[str, Any]

SERVER = """
    OS-DCF:diskConfig OS-EXT-AZ:availability_zone OS-EXT-SRV-ATTR:host OS-EXT-SRV-ATTR:hypervisor_hostname
    OS-EXT-SRV-ATTR:instance_name OS-EXT-STS:power_state OS-EXT-STS:task_state OS-EXT-STS:vm_state
    OS-SRV-USG:launched_at OS-SRV-USG:terminated_at accessIPv4 accessIPv6 addresses config_drive created flavor hostId
    id image key_name links metadata name os-extended-volumes:volumes_attached progress security_groups status
    tenant_id updated user_id
"""
SERVER_47 = f"""
    {SERVER} OS-EXT-SRV-ATTR:hostname OS-EXT-SRV-ATTR:kernel_id OS-EXT-SRV-ATTR:launch_index
    OS-EXT-SRV-ATTR:ramdisk_id OS-EXT-SRV-ATTR:reservation_id OS-EXT-SRV-ATTR:root_device_name
    OS-EXT-SRV-ATTR:user_data description host_status locked tags
"""
SERVER_96 = f"{SERVER_47} locked_reason pinned_availability_zone server_groups trusted_image_certificates"
TOLD_ADMINISTRATORS = """
    OS-EXT-SRV-ATTR:host OS-EXT-SRV-ATTR:hypervisor_hostname OS-EXT-SRV-ATTR:instance_name OS-EXT-SRV-ATTR:kernel_id
    OS-EXT-SRV-ATTR:launch_index OS-EXT-SRV-ATTR:ramdisk_id OS-EXT-SRV-ATTR:reservation_id
    OS-EXT-SRV-ATTR:root_device_name OS-EXT-SRV-ATTR:user_data host_status
"""
OWNED = "id name description project_id tenant_id created_at updated_at revision_number tags"
BALANCED = "id name project_id admin_state_up created_at updated_at provisioning_status operating_status tags"
KEYS = {
    "server 2.1": SERVER,
    "server 2.47": SERVER_47,
    "server 2.61": SERVER_47,
    "server 2.96": SERVER_96,
    "server flavor 2.1": "id links",
    "server flavor 2.96": "disk ephemeral extra_specs original_name ram swap vcpus",
    "server address": "addr version OS-EXT-IPS-MAC:mac_addr OS-EXT-IPS:type",
    "flavor 2.1": """
        OS-FLV-DISABLED:disabled OS-FLV-EXT-DATA:ephemeral os-flavor-access:is_public rxtx_factor disk id links name
        ram swap vcpus
    """,
    "flavor 2.61": """
        OS-FLV-DISABLED:disabled OS-FLV-EXT-DATA:ephemeral os-flavor-access:is_public rxtx_factor disk id links name
        ram swap vcpus description extra_specs
    """,
    "hypervisor 2.53": """
        cpu_info current_workload disk_available_least free_disk_gb free_ram_mb host_ip hypervisor_hostname
        hypervisor_type hypervisor_version id local_gb local_gb_used memory_mb memory_mb_used running_vms servers
        service state status vcpus vcpus_used
    """,
    "hypervisor 2.88": """
        host_ip hypervisor_hostname hypervisor_type hypervisor_version id servers service state status uptime
    """,
    "network": f"""
        {OWNED} admin_state_up availability_zone_hints availability_zones dns_domain ipv4_address_scope
        ipv6_address_scope mtu port_security_enabled provider:network_type provider:physical_network
        provider:segmentation_id qos_policy_id router:external shared status subnets l2_adjacency is_default
        vlan_transparent
    """,
    "subnet": f"""
        {OWNED} allocation_pools cidr dns_nameservers dns_publish_fixed_ip enable_dhcp gateway_ip host_routes
        ip_version ipv6_address_mode ipv6_ra_mode network_id segment_id service_types subnetpool_id router:external
    """,
    "port": f"""
        {OWNED} admin_state_up allowed_address_pairs binding:host_id binding:profile binding:vif_details
        binding:vif_type binding:vnic_type data_plane_status device_id device_owner dns_assignment dns_domain dns_name
        extra_dhcp_opts fixed_ips ip_allocation mac_address network_id port_security_enabled propagate_uplink_status
        qos_network_policy_id qos_policy_id security_groups status numa_affinity_policy resource_request
    """,
    "router": f"""
        {OWNED} admin_state_up availability_zone_hints availability_zones distributed external_gateway_info flavor_id
        ha routes status
    """,
    "floating IP": """
        id description project_id tenant_id created_at updated_at revision_number tags dns_domain dns_name
        fixed_ip_address floating_ip_address floating_network_id port_details port_forwardings port_id router_id status
        qos_policy_id
    """,
    "layer 2 gateway": "id name devices project_id tenant_id",
    "layer 2 gateway connection": "id l2_gateway_id network_id segmentation_id project_id tenant_id",
    "security group": f"{OWNED} security_group_rules shared stateful",
    "security group rule": """
        id description project_id tenant_id created_at updated_at revision_number tags direction ethertype
        port_range_max port_range_min protocol remote_group_id remote_ip_prefix remote_address_group_id
        security_group_id normalized_cidr belongs_to_default_sg
    """,
    "image": """
        checksum container_format created_at disk_format file id min_disk min_ram name os_hash_algo os_hash_value
        os_hidden owner protected schema self size status tags updated_at virtual_size visibility
    """,
    "volume 3.0": """
        attachments availability_zone bootable consistencygroup_id created_at description encrypted id links metadata
        migration_status multiattach name os-vol-host-attr:host os-vol-mig-status-attr:migstat
        os-vol-mig-status-attr:name_id os-vol-tenant-attr:tenant_id replication_status size snapshot_id source_volid
        status updated_at user_id volume_type
    """,
    "volume 3.70": """
        attachments availability_zone bootable cluster_name consistencygroup_id consumes_quota created_at description
        encrypted group_id id links metadata migration_status multiattach name os-vol-host-attr:host
        os-vol-mig-status-attr:migstat os-vol-mig-status-attr:name_id os-vol-tenant-attr:tenant_id provider_id
        replication_status service_uuid shared_targets size snapshot_id source_volid status updated_at user_id
        volume_type volume_type_id
    """,
    "stack": """
        capabilities creation_time deletion_time description disable_rollback id links notification_topics outputs
        parameters parent stack_name stack_owner stack_status stack_status_reason stack_user_project_id tags
        template_description timeout_mins updated_time
    """,
    "stack event": """
        event_time id links logical_resource_id physical_resource_id resource_name resource_status
        resource_status_reason
    """,
    "stack resource": """
        attributes creation_time description links logical_resource_id physical_resource_id required_by resource_name
        resource_status resource_status_reason resource_type updated_time
    """,
    "load balancer": f"""
        {BALANCED} additional_vips availability_zone description flavor_id listeners pools provider vip_address
        vip_network_id vip_port_id vip_qos_policy_id vip_sg_ids vip_subnet_id vip_vnic_type
    """,
    "listener": f"""
        {BALANCED} allowed_cidrs alpn_protocols client_authentication client_ca_tls_container_ref
        client_crl_container_ref connection_limit default_pool_id default_tls_container_ref description
        hsts_include_subdomains hsts_max_age hsts_preload insert_headers l7policies loadbalancers protocol
        protocol_port sni_container_refs timeout_client_data timeout_member_connect timeout_member_data
        timeout_tcp_inspect tls_ciphers tls_versions
    """,
    "pool": f"""
        {BALANCED} alpn_protocols ca_tls_container_ref crl_container_ref description healthmonitor_id lb_algorithm
        listeners loadbalancers members protocol session_persistence tls_ciphers tls_container_ref tls_enabled
        tls_versions
    """,
    "member": f"""
        {BALANCED} address backup monitor_address monitor_port protocol_port subnet_id vnic_type weight
    """,
    "health monitor": f"""
        {BALANCED} delay domain_name expected_codes http_method http_version max_retries max_retries_down pools timeout
        type url_path
    """,
}


def server(cloud: Any, version: str) -> Document:
    made = boot(cloud, networks=[{"uuid": network_of(cloud).id}])
    return dict(cloud.compute.get(f"/servers/{made.id}", microversion=version).json()["server"])


def server_flavor(cloud: Any, version: str) -> Document:
    return dict(server(cloud, version)["flavor"])


def server_address(cloud: Any, _version: str) -> Document:
    (address,) = server(cloud, "2.96")["addresses"]["inner"]
    return dict(address)


def flavor(cloud: Any, version: str) -> Document:
    found = cloud.compute.find_flavor("tiny").id
    return dict(cloud.compute.get(f"/flavors/{found}", microversion=version).json()["flavor"])


def hypervisor(cloud: Any, version: str) -> Document:
    boot(cloud)
    found = cloud.compute.get("/os-hypervisors/detail?with_servers=True", microversion=version).json()
    return dict(found["hypervisors"][0])


def neutron(cloud: Any, path: str, kind: str) -> Document:
    """A document of the network service."""
    return dict(cloud.network.get(path).json()[kind])


def network(cloud: Any, _version: str) -> Document:
    return neutron(cloud, f"/networks/{network_of(cloud).id}", "network")


def subnet(cloud: Any, _version: str) -> Document:
    return neutron(cloud, f"/subnets/{subnet_of(cloud, network_of(cloud))}", "subnet")


def port(cloud: Any, _version: str) -> Document:
    made = cloud.network.create_port(network_id=network_of(cloud).id)
    return neutron(cloud, f"/ports/{made.id}", "port")


def router(cloud: Any, _version: str) -> Document:
    return neutron(cloud, f"/routers/{cloud.network.create_router(name='r').id}", "router")


def floating_ip(cloud: Any, _version: str) -> Document:
    external = cloud.network.find_network("external")
    made = cloud.network.create_ip(floating_network_id=external.id)
    return neutron(cloud, f"/floatingips/{made.id}", "floatingip")


def gateway_of(cloud: Any) -> str:
    device = {"device_name": "plant", "interfaces": [{"name": "eth1"}]}
    answer = cloud.network.post("/l2-gateways", json={"l2_gateway": {"name": "g", "devices": [device]}})
    return str(answer.json()["l2_gateway"]["id"])


def layer_2_gateway(cloud: Any, _version: str) -> Document:
    return neutron(cloud, f"/l2-gateways/{gateway_of(cloud)}", "l2_gateway")


def layer_2_gateway_connection(cloud: Any, _version: str) -> Document:
    wish = {"l2_gateway_id": gateway_of(cloud), "network_id": network_of(cloud).id}
    made = cloud.network.post("/l2-gateway-connections", json={"l2_gateway_connection": wish}).json()
    found = made["l2_gateway_connection"]["id"]
    return neutron(cloud, f"/l2-gateway-connections/{found}", "l2_gateway_connection")


def security_group(cloud: Any, _version: str) -> Document:
    made = cloud.network.create_security_group(name="g")
    return neutron(cloud, f"/security-groups/{made.id}", "security_group")


def security_group_rule(cloud: Any, version: str) -> Document:
    return dict(security_group(cloud, version)["security_group_rules"][0])


def image(cloud: Any, _version: str) -> Document:
    made = cloud.image.upload_image(name="i", data=b"x", container_format="bare", disk_format="raw")
    return dict(cloud.image.get(f"/images/{made.id}").json())


def volume(cloud: Any, version: str) -> Document:
    made = volume_of(cloud)
    return dict(cloud.block_storage.get(f"/volumes/{made.id}", microversion=version).json()["volume"])


def heat(cloud: Any, path: str, key: str) -> Any:
    """What Heat says of a stack of one resource."""
    template = {"heat_template_version": "rocky", "resources": {"net": {"type": "OS::Neutron::Net"}}}
    made = cloud.orchestration.create_stack(name="tree", template=template)
    cloud.orchestration.wait_for_status(made, "CREATE_COMPLETE", ["CREATE_FAILED"], interval=0.02, wait=10)
    return cloud.orchestration.get(f"/stacks/tree/{made.id}{path}").json()[key]


def stack(cloud: Any, _version: str) -> Document:
    return dict(heat(cloud, "", "stack"))


def stack_event(cloud: Any, _version: str) -> Document:
    return dict(heat(cloud, "/events", "events")[0])


def stack_resource(cloud: Any, _version: str) -> Document:
    return dict(heat(cloud, "/resources/net", "resource"))


def octavia(cloud: Any, wanted: str, kind: str) -> Document:
    """A document of a load balancer with one of everything."""
    lbaas, at = cloud.load_balancer, subnet_of(cloud, network_of(cloud))
    balancer = settled(lbaas, lbaas.create_load_balancer(vip_subnet_id=at))
    front = lbaas.create_listener(protocol="HTTP", protocol_port=80, loadbalancer_id=balancer.id)
    settled(lbaas, balancer)
    back = lbaas.create_pool(protocol="HTTP", lb_algorithm="ROUND_ROBIN", listener_id=front.id)
    settled(lbaas, balancer)
    one = lbaas.create_member(back, address="10.1.0.100", protocol_port=80)
    settled(lbaas, balancer)
    monitor = lbaas.create_health_monitor(pool_id=back.id, type="HTTP", delay=5, timeout=2, max_retries=2)
    settled(lbaas, balancer)
    ids = {"lb": balancer.id, "listener": front.id, "pool": back.id, "member": one.id, "monitor": monitor.id}
    return dict(lbaas.get(f"/lbaas/{wanted.format(**ids)}").json()[kind])


def load_balancer(cloud: Any, _version: str) -> Document:
    return octavia(cloud, "loadbalancers/{lb}", "loadbalancer")


def listener(cloud: Any, _version: str) -> Document:
    return octavia(cloud, "listeners/{listener}", "listener")


def pool(cloud: Any, _version: str) -> Document:
    return octavia(cloud, "pools/{pool}", "pool")


def member(cloud: Any, _version: str) -> Document:
    return octavia(cloud, "pools/{pool}/members/{member}", "member")


def health_monitor(cloud: Any, _version: str) -> Document:
    return octavia(cloud, "healthmonitors/{monitor}", "healthmonitor")


@pytest.mark.parametrize("kind", KEYS)
def test_the_keys_are_those_of_the_reference(site: Site, cloud: Any, kind: str) -> None:
    site.clouds["access"].load_balancing.changes.drivers = {"haproxy": FakeDriver()}
    name, _, version = kind.rpartition(" ") if kind[-1].isdigit() else (kind, "", "")
    show: Callable[[Any, str], Document] = globals()[name.lower().replace(" ", "_")]
    shown = set(show(cloud, version))
    documented = set(KEYS[kind].split())
    assert (documented - shown, shown - documented) == (set(), set())


@pytest.mark.parametrize(("version", "further"), [("2.1", ()), ("2.61", ()), ("2.96", ("OS-EXT-SRV-ATTR:hostname",))])
def test_hosts_are_told_administrators_alone(site: Site, cloud: Any, version: str, further: tuple[str, ...]) -> None:
    project = cloud.identity.create_project(name="blue")
    member = cloud.identity.create_user(name="ada", password="secret", default_project_id=project.id)
    role = cloud.identity.find_role("member")
    cloud.identity.assign_project_role_to_user(project, member, role)
    ada = site.connect(username="ada", password="secret", project_name="blue")
    made = boot(ada)
    shown = set(ada.compute.get(f"/servers/{made.id}", microversion=version).json()["server"])
    (listed,) = ada.compute.get("/servers/detail", microversion=version).json()["servers"]
    ada.close()
    everything = set(KEYS[f"server {version}"].split())
    hidden = {*TOLD_ADMINISTRATORS.split(), "OS-EXT-SRV-ATTR:hostname"} - set(further)
    assert shown == set(listed) == everything - hidden
