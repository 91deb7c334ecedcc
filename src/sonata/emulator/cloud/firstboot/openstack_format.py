"""Metadata in OpenStack's format: `/openstack/<version>/...`.

Source: Nova user guide "Metadata", and the JSON schema of network_data.json that Nova publishes beside it.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from sonata.emulator.cloud.entities.network import Subnet, interface_of
from sonata.emulator.cloud.firstboot.instance import Instance, Link

VERSIONS = (
    "2012-08-10", "2013-04-04", "2013-10-17", "2015-10-15", "2016-06-30", "2016-10-06", "2017-02-22", "2018-08-27",
    "2020-10-14",
)  # fmt: skip
LATEST = "latest"
RANDOM_SEED_BYTES = 512
_KEYS_SINCE = {"random_seed": "2013-04-04", "project_id": "2015-10-15", "devices": "2016-06-30",
               "dedicated_cpus": "2020-10-14"}  # fmt: skip
_FILES_SINCE = {"vendor_data.json": "2013-10-17", "network_data.json": "2015-10-15", "vendor_data2.json": "2016-10-06"}


def files(instance: Instance, version: str) -> dict[str, bytes]:
    """The files of one version by name."""
    documents = {
        "meta_data.json": meta_data(instance, version),
        "network_data.json": network_data(instance),
        "vendor_data.json": {},
        "vendor_data2.json": {},
    }
    found = {
        name: msgspec.json.encode(document)
        for name, document in documents.items()
        if _reached(version, _FILES_SINCE.get(name, VERSIONS[0]))
    }
    if instance.server.user_data:
        found["user_data"] = instance.user_data
    return found


def meta_data(instance: Instance, version: str = LATEST) -> dict[str, Any]:
    """`meta_data.json`; older versions know fewer keys."""
    server = instance.server
    document: dict[str, Any] = {
        "uuid": server.id,
        "availability_zone": server.availability_zone,
        "hostname": instance.full_name,
        "launch_index": server.launch_index,
        "name": server.name,
        "random_seed": base64.b64encode(secrets.token_bytes(RANDOM_SEED_BYTES)).decode(),
        "project_id": server.project_id,
        "devices": [_device(link) for link in instance.links if link.nic.tag],
        "dedicated_cpus": [],
    }
    if server.metadata:
        document["meta"] = dict(server.metadata)
    if server.public_key and server.key_name:
        kind = "x509" if server.public_key.startswith("-----") else "ssh"
        document["public_keys"] = {server.key_name: server.public_key}
        document["keys"] = [{"name": server.key_name, "type": kind, "data": server.public_key}]
    return {key: value for key, value in document.items() if _reached(version, _KEYS_SINCE.get(key, VERSIONS[0]))}


def network_data(instance: Instance) -> dict[str, Any]:
    """`network_data.json`: links, networks and services, as the data plane has configured them."""
    servers = dict.fromkeys(
        server for link in instance.links for subnet in link.subnets for server in subnet.dns_nameservers
    )
    return {
        "links": [_link(link) for link in instance.links],
        "networks": list(_networks(instance.links)),
        "services": [{"type": "dns", "address": server} for server in servers],
    }


def _reached(version: str, since: str) -> bool:
    return version == LATEST or version >= since


def _device(link: Link) -> dict[str, Any]:
    return {"type": "nic", "bus": "none", "address": "none", "mac": link.port.mac, "tags": [link.nic.tag]}


def _link(link: Link) -> dict[str, Any]:
    return {
        "id": f"tap{link.port.id[:11]}",
        "vif_id": link.port.id,
        "type": "ovs",
        "mtu": link.network.mtu,
        "ethernet_mac_address": link.port.mac,
    }


def _networks(links: Iterable[Link]) -> Iterable[Mapping[str, Any]]:
    pairs = ((link, number) for link in links for number in range(len(link.subnets)))
    for index, (link, number) in enumerate(pairs):
        subnet = link.subnets[number]
        interface = interface_of(subnet, link.port.fixed_ips[number])
        yield {
            "id": f"network{index}",
            "type": f"ipv{interface.version}",
            "link": f"tap{link.port.id[:11]}",
            "ip_address": str(interface.ip),
            "netmask": str(interface.netmask),
            "routes": list(_routes(subnet)),
            "network_id": link.network.id,
            "services": [{"type": "dns", "address": server} for server in subnet.dns_nameservers],
        }


def _routes(subnet: Subnet) -> Iterable[Mapping[str, str]]:
    if subnet.gateway_ip:
        anywhere = "0.0.0.0" if subnet.cidr.version == 4 else "::"  # noqa: S104  # nosec B104
        yield {"network": anywhere, "netmask": anywhere, "gateway": str(subnet.gateway_ip)}
