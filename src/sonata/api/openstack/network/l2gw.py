"""Layer 2 gateways and their connections.

Source: networking-l2gw, specification of its API (extensions `l2-gateway` and `l2-gateway-connection`).
"""

from __future__ import annotations

from typing import Any

from sonata.api.openstack.call import Call
from sonata.api.openstack.fields import TEXT, Field, Kind
from sonata.api.openstack.resource import Resource, Values
from sonata.api.openstack.schemas import ID, many, record
from sonata.api.openstack.topic import Truth
from sonata.emulator.cloud.causes import NoSuch
from sonata.emulator.cloud.entities.l2_gateway import L2Device, L2Gateway, L2GatewayConnection

EXTENSIONS = {"l2-gateway": "L2 Gateway", "l2-gateway-connection": "L2 Gateway connection"}

_UNTAGGED: tuple[Any, ...] = (None, "", 0, "0", [])
_LAST_TAG = 4094


def _read_devices(value: Any) -> tuple[L2Device, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"'{value}' is not a list of devices.")
    devices = tuple(map(_read_device, value))
    if len({device.name for device in devices}) < len(devices):
        raise ValueError("a device is named twice.")
    return devices


def _read_device(value: Any) -> L2Device:
    if not isinstance(value, dict) or set(value) - {"device_name", "interfaces", "id"}:
        raise ValueError(f"'{value}' is not an object with device_name and interfaces.")
    interfaces = value.get("interfaces")
    if not isinstance(interfaces, list) or not interfaces:
        raise ValueError("Cannot create a gateway with empty interfaces.")
    names = tuple(map(_read_interface, interfaces))
    if len(set(names)) < len(names):
        raise ValueError("an interface is named twice.")
    return L2Device(name=TEXT.read(value.get("device_name")), interfaces=names)


def _read_interface(value: Any) -> str:
    if not isinstance(value, dict) or set(value) - {"name", "segmentation_id"}:
        raise ValueError(f"'{value}' is not an object with name.")
    if (tag := value.get("segmentation_id")) not in _UNTAGGED:
        raise ValueError(f"'{tag}' is not available: the segmentation id is the connection's.")
    return str(TEXT.read(value.get("name")))


def _read_tag(value: Any) -> int:
    if value in _UNTAGGED:
        return 0
    if isinstance(value, bool | float) or not str(value).isdecimal() or not 1 <= int(value) <= _LAST_TAG:
        raise ValueError(f"'{value}' is not a VLAN from 1 to {_LAST_TAG}.")
    return int(value)


def _show_tag(tag: int) -> str:
    return str(tag) if tag else ""


def _show_devices(devices: tuple[L2Device, ...]) -> list[dict[str, Any]]:
    return [
        {
            "id": device.id,
            "device_name": device.name,
            "interfaces": [{"name": name, "segmentation_id": []} for name in device.interfaces],
        }
        for device in devices
    ]


_INTERFACE = record({"name": ID, "segmentation_id": {"type": "array", "maxItems": 0}}, ["name"])
DEVICES = Kind(
    _read_devices,
    _show_devices,
    many(record({"device_name": ID, "interfaces": many(_INTERFACE)}, ["device_name", "interfaces"])),
)
TAG = Kind(
    _read_tag,
    _show_tag,
    {
        "anyOf": [
            {"type": "integer", "minimum": 0, "maximum": _LAST_TAG},
            {"type": "string", "pattern": "^([0-9]{1,3}|[1-3][0-9]{3})?$"},
            {"type": "null"},
        ]
    },
)
OWNED = (
    Field("id"),
    Field("project_id", TEXT, access="c"),
    Field("tenant_id", TEXT, attr="project_id", access="c"),
)


async def _create(call: Call, values: Values) -> L2Gateway:
    return call.cloud.l2_gateways.create(L2Gateway(**values))


async def _update(call: Call, gateway: L2Gateway, values: Values) -> L2Gateway:
    return call.cloud.l2_gateways.update(gateway.id, **values)


async def _delete(call: Call, gateway: L2Gateway) -> None:
    call.cloud.l2_gateways.delete(gateway.id)


async def _connect(call: Call, values: Values) -> L2GatewayConnection:
    if not call.sees(call.cloud.tables.networks.get(values["network_id"])):
        raise NoSuch("Network", values["network_id"])
    return await call.cloud.l2_gateways.connect(L2GatewayConnection(**values))


async def _disconnect(call: Call, connection: L2GatewayConnection) -> None:
    await call.cloud.l2_gateways.disconnect(connection.id)


L2_GATEWAYS = Resource[L2Gateway](
    member="l2_gateway",
    collection="l2_gateways",
    path="/l2-gateways",
    table=lambda tables: tables.l2_gateways,
    standard=(*OWNED, Field("name", TEXT, access="cu")),
    fields=(Field("devices", DEVICES, access="cu", required=True),),
    create=_create,
    update=_update,
    delete=_delete,
    needs="admin",
    tag_routes=False,
    truth=Truth(
        real=(
            "a device is an endpoint of the topology with `interfaces`, an interface is one of these; whether they are "
            "there is found out when the gateway is connected",
        ),
        refused=(
            "segmentation ids of interfaces: a connection has one (400); other devices of a connected gateway (409)",
        ),
    ),
)
L2_GATEWAY_CONNECTIONS = Resource[L2GatewayConnection](
    member="l2_gateway_connection",
    collection="l2_gateway_connections",
    path="/l2-gateway-connections",
    table=lambda tables: tables.l2_gateway_connections,
    standard=OWNED,
    fields=(
        Field("l2_gateway_id", TEXT, access="c", required=True),
        Field("network_id", TEXT, access="c", required=True),
        Field("segmentation_id", TAG, access="c"),
    ),
    create=_connect,
    delete=_disconnect,
    needs="admin",
    tag_routes=False,
    truth=Truth(
        real=(
            "the network and the gateway's interfaces are one layer 2 network, over all PoPs that the network is in, "
            "until the connection is deleted; what comes from outside is not filtered as a sender",
            "with a `segmentation_id` it is that VLAN of the interfaces, whose frames have no tag in the network; "
            "other VLANs of an interface may be in other networks",
        ),
        refused=(
            "unknown devices and interfaces (404); an interface in two networks, but by VLANs of its own; a VLAN of a "
            "box that chains lead to (409); the external network (400); segmentation ids where the kernel has no "
            "802.1Q (501)",
        ),
    ),
)
