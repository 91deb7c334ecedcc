"""Flavors of the Compute API."""

from __future__ import annotations

from typing import Any

from sonata.api.openstack.call import Call, Microversion
from sonata.api.openstack.compute import bodies
from sonata.api.openstack.fields import FLAG, TEXT, Field, Kind, integer, or_none, read_fields, schema_of
from sonata.api.openstack.listing import Document, filtered, ordered, page
from sonata.api.openstack.reply import ACCEPTED, Reply, json_reply
from sonata.api.openstack.routing import Routes
from sonata.api.openstack.schemas import TEXTS, record
from sonata.api.openstack.topic import Topic, Truth
from sonata.emulator.cloud.entities.compute import Flavor
from sonata.errors import InvalidInput, NotFound

DESCRIBED, EXTRA_SPECS_SHOWN, SWAP_IS_NUMBER = (2, 55), (2, 61), (2, 75)
HUGE = 2**31 - 1


def _read_factor(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"'{value}' is not a number.")
    return float(value)


FLAVOR_FIELDS = (
    Field("name", TEXT, access="c", required=True),
    Field("id", or_none(TEXT), access="c"),
    Field("ram", integer(1, HUGE), attr="ram_mib", access="c", required=True),
    Field("vcpus", integer(1, HUGE), access="c", required=True),
    Field("disk", integer(0, HUGE), attr="disk_gib", access="c", required=True),
    Field("OS-FLV-EXT-DATA:ephemeral", integer(0, HUGE), attr="ephemeral_gib", access="c"),
    Field("swap", integer(0, HUGE), attr="swap_mib", access="c"),
    Field("rxtx_factor", Kind(_read_factor), access="c"),
    Field("os-flavor-access:is_public", FLAG, attr="is_public", access="c"),
    Field("description", or_none(TEXT, ""), access="cu"),
)
FLAVOR_CREATE, FLAVOR_UPDATE = (record({"flavor": schema_of(FLAVOR_FIELDS, mode)}, ["flavor"]) for mode in "cu")


TOPIC = Topic(
    "flavors",
    Truth(
        real=(
            "processors, memory, disk and processes are limited as the flavor says, as root (all but the disk also "
            "with a delegated cgroup); `sonata emu show` tells what is not enforced",
            "`disk` is the size of the file system that takes what a server writes over its image: when it is full, of "
            "bytes or of files (65536 for each GiB), writing fails with `No space left on device`",
            "`sonata:engine=vm` (virtual machines), `hw:cpu_policy=dedicated`, `quota:cpu_quota`, `quota:cpu_period`, "
            "`quota:cpu_shares`; private flavors and their projects",
        ),
        simplified=(
            "servers have huge pages in `/dev/hugepages`, besides the flavor's memory",
            "a flavor whose `disk` is 0, in Nova the size of the image, leaves 1 GiB to be written over it",
            "a resize to another `disk` starts the server anew; a disk on which more is written than a smaller one "
            "takes keeps its size",
            "`swap`, `ephemeral` and other extra specs are kept and shown: no server has such disks",
        ),
        refused=(
            "`hw:mem_page_size` (`large`, `2MB`, `1GB`) without as many pages reserved on this machine (`sysctl "
            "vm.nr_hugepages=N`): no host is found",
            "all but the description is fixed once made (400)",
        ),
    ),
)


def register(routes: Routes) -> None:
    """Add the routes of flavors."""
    routes.about(TOPIC)
    routes.add("GET", "/v2.1/flavors", _list)
    routes.add("GET", "/v2.1/flavors/detail", _detail)
    routes.add("POST", "/v2.1/flavors", _create, body=FLAVOR_CREATE)
    routes.add("GET", "/v2.1/flavors/{id}", _show)
    routes.add("PUT", "/v2.1/flavors/{id}", _update, body=FLAVOR_UPDATE)
    routes.add("DELETE", "/v2.1/flavors/{id}", _delete)
    routes.add("GET", "/v2.1/flavors/{id}/os-extra_specs", _specs)
    routes.add("POST", "/v2.1/flavors/{id}/os-extra_specs", _add_specs, body=bodies.EXTRA_SPECS)
    routes.add("GET", "/v2.1/flavors/{id}/os-extra_specs/{key}", _spec)
    routes.add("PUT", "/v2.1/flavors/{id}/os-extra_specs/{key}", _set_spec, body=TEXTS)
    routes.add("DELETE", "/v2.1/flavors/{id}/os-extra_specs/{key}", _remove_spec)
    routes.add("GET", "/v2.1/flavors/{id}/os-flavor-access", _access, needs="admin")
    routes.add("POST", "/v2.1/flavors/{id}/action", _action, needs="admin", body=bodies.FLAVOR_ACCESS)


def flavor_document(call: Call, flavor: Flavor) -> Document:
    """A flavor as Nova shows it in the call's microversion."""
    document: Document = {
        "id": flavor.id,
        "name": flavor.name,
        "ram": flavor.ram_mib,
        "vcpus": flavor.vcpus,
        "disk": flavor.disk_gib,
        "swap": _swap(flavor, call.microversion),
        "OS-FLV-EXT-DATA:ephemeral": flavor.ephemeral_gib,
        "OS-FLV-DISABLED:disabled": False,
        "os-flavor-access:is_public": flavor.is_public,
        "rxtx_factor": flavor.rxtx_factor,
        "links": flavor_links(call, flavor),
    }
    if call.microversion >= DESCRIBED:
        document["description"] = flavor.description or None
    if call.microversion >= EXTRA_SPECS_SHOWN:
        document["extra_specs"] = dict(flavor.extra_specs)
    return document


def embedded_flavor(flavor: Flavor) -> Document:
    """A flavor inside of a server, from microversion 2.47 on."""
    return {
        "vcpus": flavor.vcpus,
        "ram": flavor.ram_mib,
        "disk": flavor.disk_gib,
        "ephemeral": flavor.ephemeral_gib,
        "swap": flavor.swap_mib,
        "original_name": flavor.name,
        "extra_specs": dict(flavor.extra_specs),
    }


def flavor_links(call: Call, flavor: Flavor) -> list[dict[str, str]]:
    """The two links that Nova gives to everything."""
    return [
        {"rel": "self", "href": call.url("compute", f"/v2.1/flavors/{flavor.id}")},
        {"rel": "bookmark", "href": call.url("compute", f"/flavors/{flavor.id}")},
    ]


def _swap(flavor: Flavor, version: Microversion) -> int | str:
    return flavor.swap_mib if version >= SWAP_IS_NUMBER or flavor.swap_mib else ""


def _found(call: Call) -> tuple[list[Document], bool]:
    # Only administrators may ask for private flavors; others see those that are for their project in any case.
    wanted = call.first("is_public", "True").lower() if call.token.is_admin else "none"
    public = {"true": True, "1": True, "false": False, "0": False}.get(wanted)
    flavors = [
        flavor for flavor in call.cloud.tables.flavors if public in (None, flavor.is_public) and usable(call, flavor)
    ]
    query = [(key, value) for key, value in call.query if key not in ("is_public", "minRam", "minDisk")]
    documents = filtered((flavor_document(call, flavor) for flavor in flavors if _large_enough(call, flavor)), query)
    return page(ordered(documents, query), query)


def _large_enough(call: Call, flavor: Flavor) -> bool:
    return flavor.ram_mib >= _number(call, "minRam") and flavor.disk_gib >= _number(call, "minDisk")


def _number(call: Call, name: str) -> int:
    text = call.first(name, "0")
    if not text.isdigit():
        raise InvalidInput(f"Invalid {name} filter [{text}]")
    return int(text)


def _listed(call: Call, documents: list[Document], more: bool) -> Reply:
    body: Document = {"flavors": documents}
    if more and documents:
        following = call.request.url.include_query_params(marker=documents[-1]["id"])
        body["flavors_links"] = [{"rel": "next", "href": str(following)}]
    return json_reply(body)


async def _list(call: Call) -> Reply:
    documents, more = _found(call)
    names = ("id", "name", "links", "description")
    return _listed(call, [{name: one[name] for name in names if name in one} for one in documents], more)


async def _detail(call: Call) -> Reply:
    return _listed(call, *_found(call))


def _find(call: Call) -> Flavor:
    flavor = call.cloud.tables.flavors.peek(call.params["id"])
    if flavor is None or not usable(call, flavor):
        raise NotFound(f"Flavor {call.params['id']} could not be found.")
    return flavor


async def _show(call: Call) -> Reply:
    return json_reply({"flavor": flavor_document(call, _find(call))})


async def _create(call: Call) -> Reply:
    call.require_admin("os_compute_api:os-flavor-manage:create")
    values = read_fields(FLAVOR_FIELDS, await call.member("flavor"), "c")
    if not values.get("id") or values["id"] == "auto":
        values.pop("id", None)
    own = () if values.get("is_public", True) else (call.project_id,)
    flavor = await call.cloud.flavors.create(Flavor(**values, projects=own))
    return json_reply({"flavor": flavor_document(call, flavor)})


async def _update(call: Call) -> Reply:
    call.require_admin("os_compute_api:os-flavor-manage:update")
    values = read_fields(FLAVOR_FIELDS, await call.member("flavor"), "u")
    flavor = call.cloud.tables.flavors.change(_find(call).id, **values)
    return json_reply({"flavor": flavor_document(call, flavor)})


async def _delete(call: Call) -> Reply:
    call.require_admin("os_compute_api:os-flavor-manage:delete")
    await call.cloud.flavors.delete(_find(call).id)
    return ACCEPTED


async def _specs(call: Call) -> Reply:
    return json_reply({"extra_specs": dict(_find(call).extra_specs)})


async def _add_specs(call: Call) -> Reply:
    call.require_admin("os_compute_api:os-flavor-extra-specs:create")
    specs = _texts(await call.member("extra_specs"))
    flavor = call.cloud.flavors.add_extra_specs(_find(call).id, specs)
    return json_reply({"extra_specs": dict(flavor.extra_specs)})


async def _spec(call: Call) -> Reply:
    key = call.params["key"]
    specs = _find(call).extra_specs
    if key not in specs:
        raise NotFound(f"Flavor {call.params['id']} has no extra specs with key {key}.")
    return json_reply({key: specs[key]})


async def _set_spec(call: Call) -> Reply:
    call.require_admin("os_compute_api:os-flavor-extra-specs:update")
    key = call.params["key"]
    body = await call.json()
    if set(body) != {key}:
        raise InvalidInput("Request body and URI mismatch")
    call.cloud.flavors.add_extra_specs(_find(call).id, _texts(body))
    return json_reply(body)


async def _remove_spec(call: Call) -> Reply:
    call.require_admin("os_compute_api:os-flavor-extra-specs:delete")
    call.cloud.flavors.remove_extra_spec(_find(call).id, call.params["key"])
    return Reply()


def usable(call: Call, flavor: Flavor) -> bool:
    """Whether the caller may know of a flavor and use it: a private one is for the projects on its list."""
    return flavor.is_public or call.token.is_admin or call.project_id in flavor.projects


def _access_list(flavor: Flavor) -> Reply:
    return json_reply({"flavor_access": [{"flavor_id": flavor.id, "tenant_id": one} for one in flavor.projects]})


async def _access(call: Call) -> Reply:
    flavor = _find(call)
    if flavor.is_public:
        raise NotFound("Access list not available for public flavors.")
    return _access_list(flavor)


async def _action(call: Call) -> Reply:
    flavor, body = _find(call), await call.json()
    ((name, asked),) = body.items() if len(body) == 1 else (("", None),)
    change = {"addTenantAccess": call.cloud.flavors.open_to, "removeTenantAccess": call.cloud.flavors.close_to}.get(
        name
    )
    if change is None or not isinstance(asked, dict) or not isinstance(asked.get("tenant"), str):
        raise InvalidInput(f"There is no such action: {name}")
    if asked["tenant"] not in call.cloud.tables.projects:
        raise InvalidInput(f"Project ID {asked['tenant']} is not a valid project.")
    return _access_list(change(flavor, asked["tenant"]))


def _texts(specs: dict[str, Any]) -> dict[str, str]:
    if wrong := [key for key, value in specs.items() if not isinstance(value, str | int | float)]:
        raise InvalidInput(f"Invalid input for extra_specs {wrong[0]}: a string is needed")
    return {key: str(value) for key, value in specs.items()}
