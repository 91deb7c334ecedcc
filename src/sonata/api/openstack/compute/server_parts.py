"""What belongs to a server in the Compute API: metadata, tags, interfaces."""

from __future__ import annotations

from sonata.api.openstack.call import Call
from sonata.api.openstack.compute import bodies
from sonata.api.openstack.compute.servers import find_server, read_nic, read_tags, read_texts
from sonata.api.openstack.listing import Document
from sonata.api.openstack.network.resources import UP, shown_addresses
from sonata.api.openstack.reply import ACCEPTED, NO_CONTENT, Reply, json_reply
from sonata.api.openstack.routing import Routes
from sonata.api.openstack.topic import Topic, Truth
from sonata.emulator.cloud.entities.compute import Server
from sonata.emulator.cloud.entities.network import Port, SecurityGroup
from sonata.emulator.cloud.entities.security import INGRESS, SecurityGroupRule
from sonata.emulator.cloud.network.protocols import ANYWHERE
from sonata.errors import InvalidInput, NotFound

TOPIC = Topic(
    "metadata, tags, interfaces",
    Truth(
        real=("interfaces are attached and detached while the server runs; security groups are those of its ports",),
    ),
)


def register(routes: Routes) -> None:
    """Add the routes below a server."""
    routes.about(TOPIC)
    routes.add("GET", "/v2.1/servers/{id}/metadata", _metadata)
    routes.add("POST", "/v2.1/servers/{id}/metadata", _add_metadata, body=bodies.METADATA)
    routes.add("PUT", "/v2.1/servers/{id}/metadata", _replace_metadata, body=bodies.METADATA)
    routes.add("GET", "/v2.1/servers/{id}/metadata/{key}", _metadatum)
    routes.add("PUT", "/v2.1/servers/{id}/metadata/{key}", _set_metadatum, body=bodies.METADATUM)
    routes.add("DELETE", "/v2.1/servers/{id}/metadata/{key}", _remove_metadatum)
    routes.add("GET", "/v2.1/servers/{id}/tags", _tags)
    routes.add("PUT", "/v2.1/servers/{id}/tags", _replace_tags, body=bodies.TAGS)
    routes.add("DELETE", "/v2.1/servers/{id}/tags", _clear_tags)
    routes.add("GET", "/v2.1/servers/{id}/tags/{tag}", _has_tag)
    routes.add("PUT", "/v2.1/servers/{id}/tags/{tag}", _add_tag)
    routes.add("DELETE", "/v2.1/servers/{id}/tags/{tag}", _remove_tag)
    routes.add("GET", "/v2.1/servers/{id}/os-interface", _interfaces)
    routes.add("POST", "/v2.1/servers/{id}/os-interface", _attach, body=bodies.INTERFACE)
    routes.add("GET", "/v2.1/servers/{id}/os-interface/{port}", _interface)
    routes.add("DELETE", "/v2.1/servers/{id}/os-interface/{port}", _detach)
    routes.add("GET", "/v2.1/servers/{id}/os-security-groups", _security_groups)


# metadata


async def _metadata(call: Call) -> Reply:
    return json_reply({"metadata": dict(find_server(call).metadata)})


async def _add_metadata(call: Call) -> Reply:
    server, added = find_server(call), read_texts("metadata", await call.member("metadata"))
    return _with_metadata(call, server, {**server.metadata, **added})


async def _replace_metadata(call: Call) -> Reply:
    return _with_metadata(call, find_server(call), read_texts("metadata", await call.member("metadata")))


def _with_metadata(call: Call, server: Server, metadata: dict[str, str]) -> Reply:
    call.cloud.tables.servers.change(server.id, metadata=metadata)
    return json_reply({"metadata": metadata})


async def _metadatum(call: Call) -> Reply:
    key = call.params["key"]
    return json_reply({"meta": {key: _existing(find_server(call), key)}})


async def _set_metadatum(call: Call) -> Reply:
    server, meta = find_server(call), read_texts("meta", await call.member("meta"))
    if set(meta) != {call.params["key"]}:
        raise InvalidInput("Request body and URI mismatch")
    call.cloud.tables.servers.change(server.id, metadata={**server.metadata, **meta})
    return json_reply({"meta": meta})


async def _remove_metadatum(call: Call) -> Reply:
    server, key = find_server(call), call.params["key"]
    _existing(server, key)
    kept = {other: value for other, value in server.metadata.items() if other != key}
    call.cloud.tables.servers.change(server.id, metadata=kept)
    return NO_CONTENT


def _existing(server: Server, key: str) -> str:
    if key not in server.metadata:
        raise NotFound("Metadata item was not found")
    return server.metadata[key]


# tags


async def _tags(call: Call) -> Reply:
    return json_reply({"tags": list(find_server(call).tags)})


async def _replace_tags(call: Call) -> Reply:
    server, tags = find_server(call), read_tags((await call.json()).get("tags"))
    call.cloud.tables.servers.change(server.id, tags=tags)
    return json_reply({"tags": list(tags)})


async def _clear_tags(call: Call) -> Reply:
    call.cloud.tables.servers.change(find_server(call).id, tags=())
    return NO_CONTENT


async def _has_tag(call: Call) -> Reply:
    _tagged(call)
    return NO_CONTENT


async def _add_tag(call: Call) -> Reply:
    server, tag = find_server(call), call.params["tag"]
    if tag in server.tags:
        return NO_CONTENT
    call.cloud.tables.servers.change(server.id, tags=read_tags([*server.tags, tag]))
    return Reply(status=201)


async def _remove_tag(call: Call) -> Reply:
    server = _tagged(call)
    kept = tuple(tag for tag in server.tags if tag != call.params["tag"])
    call.cloud.tables.servers.change(server.id, tags=kept)
    return NO_CONTENT


def _tagged(call: Call) -> Server:
    server = find_server(call)
    if call.params["tag"] not in server.tags:
        raise NotFound(f"Server {server.id} has no tag '{call.params['tag']}'")
    return server


# interfaces


def _interface_document(call: Call, server: Server, port: Port) -> Document:
    document: Document = {
        "port_id": port.id,
        "net_id": port.network_id,
        "mac_addr": port.mac,
        "port_state": UP[port.plugged],
        "fixed_ips": shown_addresses(port.fixed_ips),
    }
    tag = next((nic.tag for nic in server.nics if nic.port_id == port.id), "")
    return {**document, "tag": tag or None} if call.microversion >= (2, 70) else document


def _ports(call: Call, server: Server) -> list[Port]:
    ports = call.cloud.tables.ports
    return [ports.get(nic.port_id) for nic in server.nics if nic.port_id in ports]


async def _interfaces(call: Call) -> Reply:
    server = find_server(call)
    ports = _ports(call, server)
    return json_reply({"interfaceAttachments": [_interface_document(call, server, port) for port in ports]})


async def _interface(call: Call) -> Reply:
    server = find_server(call)
    for port in _ports(call, server):
        if port.id == call.params["port"]:
            return json_reply({"interfaceAttachment": _interface_document(call, server, port)})
    raise NotFound(f"Instance {call.params['id']} does not have port {call.params['port']}")


async def _attach(call: Call) -> Reply:
    server, asked = find_server(call), await call.member("interfaceAttachment")
    fixed_ips = asked.get("fixed_ips") or [{}]
    if not isinstance(fixed_ips, list) or not isinstance(fixed_ips[0], dict):
        raise InvalidInput("Invalid input for field/attribute fixed_ips: a list of objects is needed")
    wish = {"port": asked.get("port_id"), "uuid": asked.get("net_id"), "fixed_ip": fixed_ips[0].get("ip_address")}
    wish["tag"] = asked.get("tag")
    nic = await call.cloud.nics.attach(server.id, read_nic(call, wish))
    port = call.cloud.tables.ports.get(nic.port_id)
    return json_reply({"interfaceAttachment": _interface_document(call, find_server(call), port)})


async def _detach(call: Call) -> Reply:
    await call.cloud.nics.detach(find_server(call).id, call.params["port"])
    return ACCEPTED


async def _security_groups(call: Call) -> Reply:
    server, cloud = find_server(call), call.cloud
    ids = dict.fromkeys(one for port in cloud.ports.of_device(server.id) for one in port.security_groups)
    groups = [group for group_id in ids if (group := cloud.tables.security_groups.peek(group_id))]
    return json_reply({"security_groups": [_security_group(call, group) for group in groups]})


def _security_group(call: Call, group: SecurityGroup) -> Document:
    """A group as Nova tells it, in its own words for rules: ingress only."""
    rules = [rule for rule in call.cloud.security_groups.rules_of(group.id) if rule.direction == INGRESS]
    return {
        "id": group.id,
        "name": group.name,
        "description": group.description,
        "tenant_id": group.project_id,
        "rules": [_nova_rule(call, group, rule) for rule in rules],
    }


def _nova_rule(call: Call, group: SecurityGroup, rule: SecurityGroupRule) -> Document:
    remote = call.cloud.tables.security_groups.peek(rule.remote_group_id)
    return {
        "id": rule.id,
        "parent_group_id": group.id,
        "ip_protocol": rule.protocol,
        "from_port": -1 if rule.port_range_min is None else rule.port_range_min,
        "to_port": -1 if rule.port_range_max is None else rule.port_range_max,
        "ip_range": {} if remote else {"cidr": str(rule.remote_ip_prefix or ANYWHERE[rule.ethertype])},
        "group": {"name": remote.name, "tenant_id": remote.project_id} if remote else {},
    }
