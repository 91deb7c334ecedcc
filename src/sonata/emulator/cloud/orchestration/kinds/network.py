"""Types of resources of the Networking API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sonata._lib.values import dataclass
from sonata.emulator.cloud.orchestration.calls import CallRefused
from sonata.emulator.cloud.orchestration.kinds.base import Changed, Kind, NeedsReplacement
from sonata.emulator.cloud.orchestration.kinds.finding import with_ids
from sonata.emulator.cloud.orchestration.kinds.rest import Body, RestKind
from sonata.emulator.cloud.orchestration.schema import type_schemas
from sonata.emulator.cloud.orchestration.work import ResourceFailed, Work

NETWORK = "network"
NO_AGENTS = "this cloud has no agents to choose from"


def _kind(name: str, path: str, member: str, of: type[RestKind] = RestKind, **more: Any) -> RestKind:
    schema = type_schemas()[f"OS::Neutron::{name}"]
    return of(
        schema=schema, service=NETWORK, path=f"/v2.0/{path}", member=member, tagged="tags" in schema.properties, **more
    )


def network_kinds() -> Iterable[Kind]:
    """All types of the service."""
    yield from _layer_two()
    yield from _layer_three()
    yield from _policies()
    yield from _chains()


def _layer_two() -> Iterable[Kind]:
    qos = {"qos_policy": "qos_policy_id"}
    active = frozenset(("ACTIVE",))
    yield _kind("Net", "networks", "network", names=qos, ready=active, refused={"dhcp_agent_ids": NO_AGENTS})
    provider = {key: f"provider:{key}" for key in ("network_type", "physical_network", "segmentation_id")}
    yield _kind("ProviderNet", "networks", "network", names={**provider, "router_external": "router:external"})
    yield _kind(
        "Subnet",
        "subnets",
        "subnet",
        names={"network": "network_id", "subnetpool": "subnetpool_id", "segment": "segment_id"},
        shape=_subnet_body,
    )
    yield _kind("Port", "ports", "port", names={"network": "network_id", **qos}, shape=_port_body, of=PortKind)
    yield _kind("Trunk", "trunks", "trunk", names={"port": "port_id"})


def _layer_three() -> Iterable[Kind]:
    yield _kind(
        "Router",
        "routers",
        "router",
        shape=_router_body,
        refused={"l3_agent_ids": NO_AGENTS},
        ready=frozenset(("ACTIVE",)),
        of=RouterKind,
    )
    yield RouterInterface(schema=type_schemas()["OS::Neutron::RouterInterface"], replaces_first=True)
    yield RouterGateway(schema=type_schemas()["OS::Neutron::RouterGateway"], replaces_first=True)
    yield ExtraRouteSet(schema=type_schemas()["OS::Neutron::ExtraRouteSet"], replaces_first=True)
    yield ExtraRoute(schema=type_schemas()["OS::Neutron::ExtraRoute"], replaces_first=True)
    floating = {"floating_network": "floating_network_id", "floating_subnet": "subnet_id"}
    yield _kind("FloatingIP", "floatingips", "floatingip", names=floating, named=False)
    yield FloatingIpAssociation(schema=type_schemas()["OS::Neutron::FloatingIPAssociation"], replaces_first=True)
    yield RestKind(
        schema=type_schemas()["OS::Neutron::FloatingIPPortForward"],
        service=NETWORK,
        path="/v2.0/floatingips/{floating_ip}/port_forwardings",
        member="port_forwarding",
        names={"internal_port": "internal_port_id", "internal_port_number": "internal_port"},
        not_sent=frozenset(("floating_ip",)),
        named=False,
        replaces_first=True,
    )
    yield _kind("AddressScope", "address-scopes", "address_scope")
    yield _kind("SubnetPool", "subnetpools", "subnetpool", names={"address_scope": "address_scope_id"})


def _policies() -> Iterable[Kind]:
    yield _kind(
        "SecurityGroup", "security-groups", "security_group", not_sent=frozenset(("rules",)), of=SecurityGroupKind
    )
    yield _kind(
        "SecurityGroupRule",
        "security-group-rules",
        "security_group_rule",
        names={"security_group": "security_group_id", "remote_group": "remote_group_id"},
        named=False,
        replaces_first=True,
    )
    yield _kind("RBACPolicy", "rbac-policies", "rbac_policy", named=False)
    yield _kind("QoSPolicy", "qos/policies", "policy")
    for rule, path, member in (
        ("QoSBandwidthLimitRule", "bandwidth_limit_rules", "bandwidth_limit_rule"),
        ("QoSDscpMarkingRule", "dscp_marking_rules", "dscp_marking_rule"),
        ("QoSMinimumBandwidthRule", "minimum_bandwidth_rules", "minimum_bandwidth_rule"),
        ("QoSMinimumPacketRateRule", "minimum_packet_rate_rules", "minimum_packet_rate_rule"),
    ):
        apart = frozenset(("policy",))
        yield _kind(rule, f"qos/policies/{{policy}}/{path}", member, not_sent=apart, replaces_first=True)


def _chains() -> Iterable[Kind]:
    yield _kind("PortPair", "sfc/port_pairs", "port_pair")
    yield _kind("PortPairGroup", "sfc/port_pair_groups", "port_pair_group")
    yield _kind("FlowClassifier", "sfc/flow_classifiers", "flow_classifier")
    yield _kind("PortChain", "sfc/port_chains", "port_chain")


def _subnet_body(body: Body) -> Body:
    # An empty gateway means none; it must be sent as null.
    if body.get("gateway_ip") == "":
        body["gateway_ip"] = None
    return body


def _port_body(body: Body) -> Body:
    if body.pop("no_fixed_ips", False):
        body["fixed_ips"] = []
    if fixed := body.get("fixed_ips"):
        body["fixed_ips"] = [
            {("subnet_id" if key == "subnet" else key): one for key, one in ip.items()} for ip in fixed
        ]
    return {key: value for key, value in body.items() if value not in ("", None) or key in ("name", "dns_name")}


def _router_body(body: Body) -> Body:
    if gateway := body.get("external_gateway_info"):
        info = {("network_id" if key == "network" else key): value for key, value in gateway.items()}
        fixed = info.get("external_fixed_ips")
        if fixed:
            renamed = [{("subnet_id" if key == "subnet" else key): one for key, one in ip.items()} for ip in fixed]
            info["external_fixed_ips"] = renamed
        body["external_gateway_info"] = info
    elif "external_gateway_info" in body:
        body["external_gateway_info"] = {}
    return body


@dataclass(frozen=True, kw_only=True)
class PortKind(RestKind):
    """A port."""

    def goes_first(self, properties: Mapping[str, Any]) -> bool:
        """An address that it shares with its replacement is free only when it is gone."""
        fixed = any(one.get("ip_address") for one in properties.get("fixed_ips") or ())
        return bool(fixed or properties.get("mac_address"))

    async def update(self, work: Work, changed: Changed) -> None:
        """Change it; other addresses need another port where a running server holds this one."""
        try:
            await super().update(work, changed)
        except CallRefused as error:
            if error.status == 409 and "fixed_ips" in changed:
                raise NeedsReplacement from error
            raise

    async def attribute(self, work: Work, name: str) -> Any:
        """Fields of the port, and its network and subnets in full."""
        shown = await self.shown(work)
        if name == "subnets":
            ids = [fixed["subnet_id"] for fixed in shown["fixed_ips"]]
            return [(await work.call(NETWORK, "GET", f"/v2.0/subnets/{one}"))["subnet"] for one in ids]
        if name == "network":
            return (await work.call(NETWORK, "GET", f"/v2.0/networks/{shown['network_id']}"))["network"]
        return shown if name == "show" else shown.get(name)


@dataclass(frozen=True, kw_only=True)
class RouterKind(RestKind):
    """A router; the network of its gateway may be a name."""

    async def body(self, work: Work, values: Mapping[str, Any]) -> Body:
        """As for all, with the id of the gateway's network."""
        body = await super().body(work, values)
        if gateway := body.get("external_gateway_info"):
            network = {"network": gateway["network"]}
            schema = {"network": type_schemas()["OS::Neutron::RouterGateway"].properties["network"]}
            body["external_gateway_info"] = {**gateway, **await with_ids(work, schema, network)}
        return body


@dataclass(frozen=True, kw_only=True)
class _OnRouter(Kind):
    """Something about a router that is no object of its own."""

    async def on_router(self, work: Work, verb: str, body: Any) -> Any:
        """PUT to a router; one that is gone has nothing left of it."""
        router, _, _rest = work.physical_id.partition(":")
        path = f"/v2.0/routers/{router}" + (f"/{verb}" if verb else "")
        try:
            return await work.call(NETWORK, "PUT", path, body)
        except CallRefused as error:
            if error.status != 404:
                raise
            return {}


@dataclass(frozen=True, kw_only=True)
class RouterInterface(_OnRouter):
    """A leg of a router in a subnet; its id is the router's and what it leads to."""

    async def create(self, work: Work) -> None:
        """Add the interface."""
        found = await with_ids(work, self.properties, work.properties)
        body = {f"{key}_id": found[key] for key in ("subnet", "port") if found.get(key)}
        await work.call(NETWORK, "PUT", f"/v2.0/routers/{found['router']}/add_router_interface", body)
        ((key, value),) = body.items()
        work.made(f"{found['router']}:{key}={value}")

    async def delete(self, work: Work) -> None:
        """Remove the interface."""
        if work.physical_id:
            key, _, value = work.physical_id.partition(":")[2].partition("=")
            await self.on_router(work, "remove_router_interface", {key: value})


@dataclass(frozen=True, kw_only=True)
class RouterGateway(_OnRouter):
    """The gateway of a router."""

    async def create(self, work: Work) -> None:
        """Set the gateway."""
        found = await with_ids(work, self.properties, work.properties)
        info = {"router": {"external_gateway_info": {"network_id": found["network"]}}}
        await work.call(NETWORK, "PUT", f"/v2.0/routers/{found['router_id']}", info)
        work.made(f"{found['router_id']}:{found['network']}")

    async def delete(self, work: Work) -> None:
        """Remove the gateway."""
        if work.physical_id:
            await self.on_router(work, "", {"router": {"external_gateway_info": {}}})


@dataclass(frozen=True, kw_only=True)
class ExtraRoute(_OnRouter):
    """One static route of a router."""

    async def create(self, work: Work) -> None:
        """Add the route."""
        found = await with_ids(work, self.properties, work.properties)
        route = {key: found[key] for key in ("destination", "nexthop")}
        await work.call(NETWORK, "PUT", f"/v2.0/routers/{found['router_id']}/add_extraroutes", _routes(route))
        work.remember(route=route)
        work.made(f"{found['router_id']}:{route['destination']}:{route['nexthop']}")

    async def delete(self, work: Work) -> None:
        """Remove the route."""
        if work.physical_id:
            await self.on_router(work, "remove_extraroutes", _routes(work.row.data["route"]))


@dataclass(frozen=True, kw_only=True)
class ExtraRouteSet(_OnRouter):
    """Several static routes of a router; only they are added and removed."""

    async def create(self, work: Work) -> None:
        """Add the routes.

        Raises:
            ResourceFailed: the router has one of them already.
        """
        found = await with_ids(work, self.properties, work.properties)
        work.made(str(found["router"]))
        await self._change(work, set(), _as_set(work.properties["routes"]))

    async def update(self, work: Work, changed: Changed) -> None:
        """Remove and add what differs."""
        await self._change(work, _as_set(work.row.properties["routes"]), _as_set(work.properties["routes"]))

    async def delete(self, work: Work) -> None:
        """Remove the routes."""
        if work.physical_id:
            await self.on_router(work, "remove_extraroutes", _routes(*work.row.properties["routes"]))

    async def _change(self, work: Work, before: set[Route], after: set[Route]) -> None:
        router = (await work.call(NETWORK, "GET", f"/v2.0/routers/{work.physical_id}"))["router"]
        if there := _as_set(router["routes"]) & (after - before):
            destination, nexthop = min(there)
            raise ResourceFailed(f"the router has the route to {destination} by {nexthop} already")
        if gone := before - after:
            await self.on_router(work, "remove_extraroutes", _routes(*map(_as_route, gone)))
        if new := after - before:
            await work.call(
                NETWORK, "PUT", f"/v2.0/routers/{work.physical_id}/add_extraroutes", _routes(*map(_as_route, new))
            )


Route = tuple[str, str]


def _as_set(routes: Iterable[Mapping[str, str]]) -> set[Route]:
    return {(one["destination"], one["nexthop"]) for one in routes}


def _as_route(route: Route) -> dict[str, str]:
    return dict(zip(("destination", "nexthop"), route, strict=True))


def _routes(*routes: Mapping[str, str]) -> Body:
    return {"router": {"routes": [dict(one) for one in routes]}}


@dataclass(frozen=True, kw_only=True)
class FloatingIpAssociation(Kind):
    """That a floating IP leads to a port."""

    async def create(self, work: Work) -> None:
        """Associate."""
        found = await with_ids(work, self.properties, work.properties)
        body = {key: found[key] for key in ("port_id", "fixed_ip_address") if found.get(key)}
        work.made(str(found["floatingip_id"]))
        await work.call(NETWORK, "PUT", f"/v2.0/floatingips/{work.physical_id}", {"floatingip": body})

    async def update(self, work: Work, changed: Changed) -> None:
        """Another floating IP is another association."""
        if "floatingip_id" in changed:
            raise NeedsReplacement
        await self.create(work)

    async def delete(self, work: Work) -> None:
        """Dissociate."""
        if work.physical_id:
            try:
                body = {"floatingip": {"port_id": None}}
                await work.call(NETWORK, "PUT", f"/v2.0/floatingips/{work.physical_id}", body)
            except CallRefused as error:
                if error.status != 404:
                    raise


@dataclass(frozen=True, kw_only=True)
class SecurityGroupKind(RestKind):
    """A security group with its rules."""

    async def create(self, work: Work) -> None:
        """Make the group, then its rules."""
        await super().create(work)
        await self._add_rules(work)

    async def update(self, work: Work, changed: Changed) -> None:
        """Change the group; other rules take the place of all rules."""
        await super().update(work, changed)
        if "rules" in changed:
            for rule in (await self.shown(work)).get("security_group_rules", ()):
                await work.call(NETWORK, "DELETE", f"/v2.0/security-group-rules/{rule['id']}")
            for ethertype in ("IPv4", "IPv6"):
                await self._add(work, {"direction": "egress", "ethertype": ethertype})
            await self._add_rules(work)

    async def _add_rules(self, work: Work) -> None:
        wanted = await with_ids(work, self.properties, {"rules": work.properties.get("rules", [])})
        directed = [rule for rule in wanted["rules"] if rule.get("direction") == "egress"]
        if directed:
            # Rules for egress take the place of those that let everything out.
            for rule in (await self.shown(work)).get("security_group_rules", ()):
                if rule["direction"] == "egress":
                    await work.call(NETWORK, "DELETE", f"/v2.0/security-group-rules/{rule['id']}")
        for rule in wanted["rules"]:
            body = {key: value for key, value in rule.items() if key != "remote_mode"}
            if rule.get("remote_mode") == "remote_group_id":
                body.setdefault("remote_group_id", work.physical_id)
            await self._add(work, body)

    async def _add(self, work: Work, body: Body) -> None:
        rule = {**body, "security_group_id": work.physical_id}
        await work.call(NETWORK, "POST", "/v2.0/security-group-rules", {"security_group_rule": rule})
