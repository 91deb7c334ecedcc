"""Load balancers made with all their parts in one request: all of them, or nothing.

Source: Load Balancer API v2 reference, creating a fully populated load balancer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from sonata.api.openstack.call import Call
from sonata.api.openstack.fields import Field, Kind, or_none, read_fields
from sonata.api.openstack.load_balancing.resources import (
    BALANCERS,
    HEALTH_MONITORS,
    LISTENERS,
    MEMBERS,
    POLICIES,
    POOLS,
    RULES,
    creating_balancer,
    ids,
)
from sonata.api.openstack.reply import Reply, json_reply
from sonata.api.openstack.resource import Resource, Service, Values
from sonata.api.openstack.schemas import many
from sonata.emulator.cloud import Cloud
from sonata.emulator.cloud.entities.base import Entity
from sonata.emulator.cloud.entities.load_balancing import L7Policy, Listener, LoadBalancer, Pool
from sonata.emulator.cloud.load_balancing.tree import Tree
from sonata.errors import InvalidInput

Body = Mapping[str, Any]
Document = dict[str, Any]


def _read_bodies(value: Any) -> tuple[dict[str, Any], ...]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise ValueError("it is not a list of objects.")
    return tuple(value)


BODIES = or_none(Kind(_read_bodies, schema=many({"type": "object"})), ())


class _Planting:
    """Adds the parts of one load balancer; its pools are known by name to listeners and policies."""

    def __init__(self, call: Call, balancer: LoadBalancer) -> None:
        self._call = call
        self._balancer = balancer
        self._pools: dict[str, Pool] = {}

    async def plant(self, pools: Iterable[Body], listeners: Iterable[Body]) -> None:
        """Add pools, then the listeners that use them."""
        for pool in pools:
            await self._pool(pool)
        for listener in listeners:
            await self._listener(listener)

    async def _pool(self, body: Body) -> Pool:
        own, members, monitor = _taken(body, "members", "healthmonitor")
        if not own.get("name") or own["name"] in self._pools:
            raise InvalidInput("Pools need names of their own when a load balancer is created with its parts.")
        pool: Pool = await self._made(POOLS, {**own, "loadbalancer_id": self._balancer.id})
        self._pools[pool.name] = pool
        for member in _bodies("members", members):
            await self._made(MEMBERS, member, pool_id=pool.id)
        if monitor:
            await self._made(HEALTH_MONITORS, {**_object("healthmonitor", monitor), "pool_id": pool.id})
        return pool

    async def _listener(self, body: Body) -> None:
        own, pool, policies = _taken(body, "default_pool", "l7policies")
        default = {"default_pool_id": await self._known_or_new("default_pool", pool)} if pool else {}
        listener = await self._made(LISTENERS, {**own, **default, "loadbalancer_id": self._balancer.id})
        for policy in _bodies("l7policies", policies):
            await self._policy(listener, policy)

    async def _policy(self, listener: Listener, body: Body) -> None:
        own, pool, rules = _taken(body, "redirect_pool", "rules")
        target = {"redirect_pool_id": await self._known_or_new("redirect_pool", pool)} if pool else {}
        policy = await self._made(POLICIES, {**own, **target, "listener_id": listener.id})
        for rule in _bodies("rules", rules):
            await self._made(RULES, rule, l7policy_id=policy.id)

    async def _known_or_new(self, name: str, value: Any) -> str:
        """A pool that is named alone is one of the others; else it is made here."""
        body = _object(name, value)
        if set(body) != {"name"}:
            return (await self._pool(body)).id
        if body["name"] not in self._pools:
            raise InvalidInput(f"Missing details for Pool object: {body['name']}")
        return self._pools[body["name"]].id

    async def _made(self, resource: Resource[Any], body: Body, **params: str) -> Any:
        values = read_fields(resource.all_fields, body, "c")
        if resource.create is None:
            raise InvalidInput(f"{resource.collection} are not created here")
        return await resource.create(replace(self._call, params={**self._call.params, **params}), values)


def _taken(body: Body, *names: str) -> tuple[Document, Any, Any]:
    """An object without two of its values, and these."""
    first, second = names
    return {name: value for name, value in body.items() if name not in names}, body.get(first), body.get(second)


def _object(name: str, value: Any) -> Document:
    if not isinstance(value, dict):
        raise InvalidInput(f"Invalid input for field/attribute {name}. Value: '{value}' is not an object.")
    return value


def _bodies(name: str, value: Any) -> Iterable[Body]:
    try:
        return _read_bodies(value or [])
    except ValueError as error:
        raise InvalidInput(f"Invalid input for field/attribute {name}: {error}") from None


async def _create(call: Call, values: Values) -> LoadBalancer:
    pools, listeners = values.pop("new_pools", ()), values.pop("new_listeners", ())
    with creating_balancer(call, values) as balancer:
        await _Planting(call, balancer).plant(pools, listeners)
    return balancer


def _planted(name: str, parts: Callable[[Tree], Iterable[Entity]]) -> Field:
    """Parts of a load balancer: whole ones when it is created, their ids from then on."""

    def ids_of(cloud: Cloud, balancer: LoadBalancer) -> Any:
        return ids(parts(Tree(cloud.tables, balancer.id, whole=True)))

    return Field(name, BODIES, attr=f"new_{name}", access="c", computed=ids_of)


TREES = replace(
    BALANCERS,
    create=_create,
    fields=(*BALANCERS.fields, _planted("listeners", Tree.listeners), _planted("pools", Tree.pools)),
)
"""Load balancers, whose creation takes their parts too."""


class TreeService(Service[LoadBalancer]):
    """Answers a creation with parts in full."""

    def __init__(self, base: str) -> None:
        super().__init__(replace(TREES, base=base))

    async def create(self, call: Call) -> Reply:
        """POST of one, with or without parts."""
        body = await call.member("loadbalancer")
        made = await self._create(call, body)
        parts = _Showing(call, made).whole() if body.get("listeners") or body.get("pools") else {}
        return json_reply({"loadbalancer": {**self.document(call, made), **parts}}, 201)


class _Showing:
    """The documents of a whole load balancer."""

    def __init__(self, call: Call, balancer: LoadBalancer) -> None:
        self._call = call
        self._tree = Tree(call.cloud.tables, balancer.id)

    def whole(self) -> Document:
        """Listeners and pools in full."""
        return {
            "listeners": [self._listener(one) for one in self._tree.listeners()],
            "pools": [self._pool(one) for one in self._tree.pools()],
        }

    def _listener(self, listener: Listener) -> Document:
        pool = next((one for one in self._tree.pools() if one.id == listener.default_pool_id), None)
        policies = [self._policy(one) for one in self._tree.policies(listener.id)]
        own = self._document(LISTENERS, listener)
        return {**own, "l7policies": policies, "default_pool": self._pool(pool) if pool else None}

    def _policy(self, policy: L7Policy) -> Document:
        rules = [self._document(RULES, rule) for rule in self._tree.rules(policy.id)]
        return {**self._document(POLICIES, policy), "rules": rules}

    def _pool(self, pool: Pool) -> Document:
        monitor = self._tree.monitor(pool.id)
        members = [self._document(MEMBERS, member) for member in self._tree.members(pool.id)]
        shown = self._document(HEALTH_MONITORS, monitor) if monitor else None
        return {**self._document(POOLS, pool), "members": members, "healthmonitor": shown}

    def _document(self, resource: Resource[Any], entity: Entity) -> Document:
        return Service(resource).document(self._call, entity)
