"""From names in properties to ids: a value with a custom constraint may be either."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from sonata._lib.values import dataclass
from sonata.emulator.cloud.orchestration.calls import CallRefused
from sonata.emulator.cloud.orchestration.schema import Property
from sonata.emulator.cloud.orchestration.work import ResourceFailed, Work


@dataclass(frozen=True, slots=True)
class Finder:
    """Where objects of a kind are looked up.

    Args:
        what: their kind, for messages.
        path: of their collection.
        collection: key of the list.
        listing: path of the list when it is another one.
        by_name: whether the name is what the service wants.
    """

    what: str
    service: str
    path: str
    collection: str
    listing: str = ""
    by_name: bool = False


def _network(what: str, collection: str, path: str = "") -> Finder:
    return Finder(what, "network", f"/v2.0/{path or collection.replace('_', '-')}", collection)


def _balancing(what: str, collection: str) -> Finder:
    return Finder(what, "load-balancer", f"/v2.0/lbaas/{collection}", collection)


FINDERS: Mapping[str, Finder] = {
    "neutron.network": _network("network", "networks"),
    "neutron.subnet": _network("subnet", "subnets"),
    "neutron.router": _network("router", "routers"),
    "neutron.port": _network("port", "ports"),
    "neutron.security_group": _network("security_group", "security_groups"),
    "neutron.subnetpool": _network("subnetpool", "subnetpools"),
    "neutron.address_scope": _network("address_scope", "address_scopes"),
    "neutron.qos_policy": _network("policy", "policies", "qos/policies"),
    "neutron.port_pair": _network("port_pair", "port_pairs", "sfc/port_pairs"),
    "neutron.port_pair_group": _network("port_pair_group", "port_pair_groups", "sfc/port_pair_groups"),
    "neutron.flow_classifier": _network("flow_classifier", "flow_classifiers", "sfc/flow_classifiers"),
    "nova.flavor": Finder("flavor", "compute", "/v2.1/flavors", "flavors", "/v2.1/flavors/detail"),
    "nova.server": Finder("server", "compute", "/v2.1/servers", "servers"),
    "nova.keypair": Finder("key pair", "compute", "/v2.1/os-keypairs", "", by_name=True),
    "glance.image": Finder("image", "image", "/v2/images", "images"),
    "cinder.volume": Finder("volume", "volume", "/v3/{project}/volumes", "volumes", "/v3/{project}/volumes/detail"),
    "cinder.snapshot": Finder("snapshot", "volume", "/v3/{project}/snapshots", "snapshots"),
    "cinder.vtype": Finder("volume type", "volume", "/v3/{project}/types", "volume_types"),
    "octavia.loadbalancer": _balancing("load balancer", "loadbalancers"),
    "octavia.listener": _balancing("listener", "listeners"),
    "octavia.pool": _balancing("pool", "pools"),
    "octavia.l7policy": _balancing("l7policy", "l7policies"),
    "octavia.flavor": _balancing("flavor", "flavors"),
    "octavia.flavorprofile": Finder("flavor profile", "load-balancer", "/v2.0/lbaas/flavorprofiles", "flavorprofiles"),
    "keystone.project": Finder("project", "identity", "/v3/projects", "projects"),
    "keystone.domain": Finder("domain", "identity", "/v3/domains", "domains"),
    "keystone.role": Finder("role", "identity", "/v3/roles", "roles"),
    "keystone.group": Finder("group", "identity", "/v3/groups", "groups"),
    "keystone.user": Finder("user", "identity", "/v3/users", "users"),
}


async def image_ready(work: Work, image_id: str) -> None:
    """Wait until an image that is being made can be used.

    Raises:
        ResourceFailed: it cannot.
    """

    async def done() -> bool:
        status = (await work.call("image", "GET", f"/v2/images/{image_id}"))["status"]
        if status in ("killed", "deleted", "error"):
            raise ResourceFailed(f"the image {image_id} with its contents went to status {status}")
        return bool(status == "active")

    await work.until(done)


async def with_ids(work: Work, schema: Mapping[str, Property], values: Mapping[str, Any]) -> dict[str, Any]:
    """Properties in which names of objects have become ids, at any depth.

    Raises:
        ResourceFailed: there is no such object, or several have the name.
    """
    return {key: await _found(work, schema[key], value) if key in schema else value for key, value in values.items()}


async def _found(work: Work, one: Property, value: Any) -> Any:
    if one.kind == "list":
        inner = one.items or Property("any", custom=one.custom)
        return [await _found(work, inner, item) for item in value]
    if isinstance(value, Mapping):
        return await with_ids(work, one.keys, value)
    finder = FINDERS.get(one.custom)
    return await found(work, finder, str(value)) if finder and value not in (None, "") else value


async def found(work: Work, finder: Finder, wanted: str) -> str:
    """The id of an object given by id or name.

    Raises:
        ResourceFailed: there is none, or several.
    """
    base = finder.path.format(project=work.stack.project_id)
    try:
        await work.call(finder.service, "GET", f"{base}/{quote(wanted, safe='')}")
    except CallRefused as error:
        if error.status not in (400, 404) or finder.by_name:
            raise
    else:
        return wanted
    listing = (finder.listing or finder.path).format(project=work.stack.project_id)
    document = await work.call(finder.service, "GET", f"{listing}?name={quote(wanted, safe='')}")
    ids = [one["id"] for one in document[finder.collection] if one.get("name") == wanted]
    if len(ids) == 1:
        return str(ids[0])
    if ids:
        raise ResourceFailed(f"Multiple {finder.what}s were found with name {wanted}.")
    raise ResourceFailed(f"The {finder.what.capitalize()} ({wanted}) could not be found.")
