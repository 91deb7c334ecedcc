"""All routes of the Load Balancer API v2, under both of its prefixes.

Source: OpenStack Load Balancer API v2 reference.
"""

from __future__ import annotations

from dataclasses import asdict, replace

import sonata.api.openstack.load_balancing.quotas as quotas
from sonata.api.openstack.call import Call
from sonata.api.openstack.fields import read_fields, schema_of
from sonata.api.openstack.listing import filtered
from sonata.api.openstack.load_balancing.flavors import FLAVORS, PROFILES, known_zones
from sonata.api.openstack.load_balancing.resources import MEMBERS, PARTS, kept, member_of, seen
from sonata.api.openstack.load_balancing.statuses import status_tree
from sonata.api.openstack.load_balancing.trees import TreeService
from sonata.api.openstack.reply import ACCEPTED, Reply, json_reply
from sonata.api.openstack.resource import Service
from sonata.api.openstack.routing import Routes
from sonata.api.openstack.schemas import many, record
from sonata.api.openstack.topic import Topic, Truth
from sonata.emulator.cloud.causes import NoSuch
from sonata.emulator.cloud.entities.load_balancing import Listener, LoadBalancer
from sonata.emulator.cloud.load_balancing.tree import Tree
from sonata.errors import InvalidInput, Unsupported
from sonata.ports.load_balancing import Driver

PREFIXES = ("/v2", "/v2.0")
NEWEST_MINOR = 26
ALL_MEMBERS = record({"members": many(schema_of(MEMBERS.all_fields, "c"))}, ["members"])


def load_balancing_routes() -> Routes:
    """All routes of the service."""
    routes = Routes()
    routes.add("GET", "/", _versions, public=True)
    for prefix in PREFIXES:
        routes.add("GET", prefix, _versions, public=True)
        base = f"{prefix}/lbaas"
        TreeService(base).register(routes)
        for resource in (*PARTS, PROFILES, FLAVORS):
            Service(replace(resource, base=base)).register(routes)
        _add_actions(routes, base)
        quotas.register(routes, base)
        _add_providers(routes, base)
        routes.add("GET", f"{prefix}/octavia/amphorae", _amphorae, needs="admin")
        for method, rest in (("GET", ""), ("GET", "/stats"), ("PUT", "/failover"), ("PUT", "/config")):
            routes.add(method, f"{prefix}/octavia/amphorae/{{id}}{rest}", _no_amphora, needs="admin")
    return routes


def _add_actions(routes: Routes, base: str) -> None:
    routes.about(
        Topic(
            "status, statistics, failover",
            Truth(
                real=(
                    "from HAProxy's statistics socket or the kernel's counters, at most a second old; failover "
                    "builds the appliance anew",
                ),
                simplified=(
                    "one appliance, not a pair; as with every provider but Octavia's own there are no amphorae: their "
                    "list is empty",
                ),
            ),
        )
    )
    for path in ("status", "statuses"):
        routes.add("GET", f"{base}/loadbalancers/{{id}}/{path}", _statuses)
    routes.add("GET", f"{base}/loadbalancers/{{id}}/stats", _statistics)
    routes.add("GET", f"{base}/listeners/{{id}}/stats", _listener_statistics)
    routes.add("PUT", f"{base}/loadbalancers/{{id}}/failover", _failover, needs="admin")
    routes.add("PUT", f"{base}/pools/{{pool_id}}/members", _replace_members, body=ALL_MEMBERS)


def _add_providers(routes: Routes, base: str) -> None:
    routes.about(
        Topic(
            "providers, availability zones",
            Truth(
                real=("`haproxy` (the default) and `nftables`, with what each can be told by a flavor",),
                simplified=("one availability zone, `nova`; profiles of zones are an empty list",),
            ),
        )
    )
    routes.add("GET", f"{base}/providers", _providers)
    routes.add("GET", f"{base}/providers/{{name}}/flavor_capabilities", _flavor_capabilities, needs="admin")
    routes.add("GET", f"{base}/providers/{{name}}/availability_zone_capabilities", _zone_capabilities, needs="admin")
    routes.add("GET", f"{base}/availabilityzones", _zones)
    routes.add("GET", f"{base}/availabilityzones/{{name}}", _zone)
    routes.add("GET", f"{base}/availabilityzoneprofiles", _zone_profiles)


async def _versions(call: Call) -> Reply:
    """The versions; each minor one adds to those before."""
    link = {"rel": "self", "href": call.url("load-balancer", "/v2")}
    versions = [
        {
            "id": f"v2.{minor}",
            "status": "CURRENT" if minor == NEWEST_MINOR else "SUPPORTED",
            "updated": "2021-04-02T00:00:00Z",
            "links": [link],
        }
        for minor in range(NEWEST_MINOR + 1)
    ]
    return json_reply({"versions": versions})


def _balancer(call: Call) -> LoadBalancer:
    return seen(call, call.cloud.tables.load_balancers, call.params["id"])


async def _statuses(call: Call) -> Reply:
    """The tree of statuses, asked of the provider at this moment where nothing is pending."""
    balancer = _balancer(call)
    return json_reply({"statuses": status_tree(Tree(call.cloud.tables, balancer.id))})


async def _statistics(call: Call) -> Reply:
    found = await call.cloud.load_balancing.balancers.statistics(_balancer(call).id)
    return json_reply({"stats": asdict(found)})


async def _listener_statistics(call: Call) -> Reply:
    listener: Listener = seen(call, call.cloud.tables.listeners, call.params["id"])
    found = await call.cloud.load_balancing.balancers.listener_statistics(listener.id)
    return json_reply({"stats": asdict(found)})


async def _failover(call: Call) -> Reply:
    await call.cloud.load_balancing.balancers.failover(_balancer(call).id)
    return ACCEPTED


async def _replace_members(call: Call) -> Reply:
    """Bring all members of a pool to a list in one step."""
    bodies = (await call.json()).get("members")
    if not isinstance(bodies, list) or not all(isinstance(body, dict) for body in bodies):
        raise InvalidInput("Invalid input: the body needs a list `members` of objects")
    additive = call.first("additive_only").lower() in ("true", "1")
    read = [read_fields(MEMBERS.all_fields, body, "c") for body in bodies]
    fixed = ("address", "protocol_port", "subnet_id", "project_id")
    wanted = [
        (member_of(call, values), {name: value for name, value in kept(values).items() if name not in fixed})
        for values in read
    ]
    pool = seen(call, call.cloud.tables.pools, call.params["pool_id"])
    call.cloud.load_balancing.members.replace_all(pool.id, wanted, additive=additive)
    return ACCEPTED


def _driver(call: Call) -> Driver:
    return call.cloud.load_balancing.changes.driver(call.params["name"])


async def _providers(call: Call) -> Reply:
    drivers = call.cloud.load_balancing.changes.drivers.values()
    documents = [{"name": driver.name, "description": driver.description} for driver in drivers]
    return json_reply({"providers": filtered(documents, call.query)})


async def _flavor_capabilities(call: Call) -> Reply:
    known = _driver(call).flavor_capabilities
    found = [{"name": name, "description": text} for name, text in known.items()]
    return json_reply({"flavor_capabilities": filtered(found, call.query)})


async def _zone_capabilities(call: Call) -> Reply:
    """Zones tell no provider here anything, and Octavia says of such a provider that it cannot be asked."""
    raise Unsupported(
        f"Provider '{_driver(call).name}' does not support a requested action: This provider does not support getting "
        "the supported availability zone metadata."
    )


async def _zones(call: Call) -> Reply:
    return json_reply({"availability_zones": filtered(known_zones(), call.query)})


async def _zone(call: Call) -> Reply:
    for zone in known_zones():
        if zone["name"] == call.params["name"]:
            return json_reply({"availability_zone": zone})
    raise NoSuch("Availability Zone", call.params["name"])


async def _zone_profiles(call: Call) -> Reply:
    """There is none: the one zone needs no settings."""
    return json_reply({"availability_zone_profiles": []})


async def _amphorae(call: Call) -> Reply:
    """None: amphorae are virtual machines of a provider of their own, which this cloud does not have."""
    return json_reply({"amphorae": []})


async def _no_amphora(call: Call) -> Reply:
    raise NoSuch("Amphora", call.params["id"])
