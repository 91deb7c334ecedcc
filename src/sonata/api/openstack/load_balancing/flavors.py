"""Flavors and flavor profiles of load balancers, and availability zones.

Source: Load Balancer API v2 reference.
"""

from __future__ import annotations

import json
from typing import Any

from sonata.api.openstack.call import Call
from sonata.api.openstack.fields import FLAG, Field, Kind
from sonata.api.openstack.load_balancing.kinds import LINE, with_default
from sonata.api.openstack.resource import Resource, Values
from sonata.api.openstack.topic import Truth
from sonata.emulator.cloud.entities.load_balancing import FlavorProfile, LbFlavor
from sonata.errors import Conflict, InvalidInput

BASE = "/v2/lbaas"
IDENTITY: tuple[Field, ...] = (
    Field("id"),
    Field("name", LINE, access="cu", required=True),
    Field("project_id", LINE, hidden=True),
)


def _read_data(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"'{value}' is not a JSON object.") from None
    if not isinstance(document, dict) or len(text) > 4096:
        raise ValueError(f"'{text[:80]}' is not a JSON object of at most 4096 characters.")
    return text


def _check_data(call: Call, provider: str, data: str) -> None:
    """Refuse settings that the provider does not know."""
    known = call.cloud.load_balancing.changes.driver(provider).flavor_capabilities
    for name in json.loads(data):
        if name not in known:
            raise InvalidInput(f"Provider '{provider}' does not support flavor data `{name}`.")


async def _create_profile(call: Call, values: Values) -> FlavorProfile:
    values.pop("project_id")
    _check_data(call, values["provider_name"], values["flavor_data"])
    return call.cloud.tables.lb_flavor_profiles.add(FlavorProfile(**values))


async def _update_profile(call: Call, profile: FlavorProfile, values: Values) -> FlavorProfile:
    _check_data(
        call, values.get("provider_name", profile.provider_name), values.get("flavor_data", profile.flavor_data)
    )
    if any(flavor.flavor_profile_id == profile.id for flavor in call.cloud.tables.lb_flavors):
        raise Conflict(f"Flavor profile {profile.id} is in use and cannot be modified.")
    return call.cloud.tables.lb_flavor_profiles.change(profile.id, **values)


async def _delete_profile(call: Call, profile: FlavorProfile) -> None:
    if any(flavor.flavor_profile_id == profile.id for flavor in call.cloud.tables.lb_flavors):
        raise Conflict(f"Flavor profile {profile.id} is in use and cannot be modified.")
    call.cloud.tables.lb_flavor_profiles.remove(profile.id)


PROFILES = Resource[FlavorProfile](
    member="flavorprofile",
    collection="flavorprofiles",
    path="/flavorprofiles",
    base=BASE,
    table=lambda tables: tables.lb_flavor_profiles,
    standard=IDENTITY,
    tag_routes=False,
    needs="admin",
    fields=(
        Field("provider_name", LINE, access="cu", required=True),
        Field("flavor_data", Kind(_read_data, schema={"type": "string"}), access="cu", required=True),
    ),
    create=_create_profile,
    update=_update_profile,
    delete=_delete_profile,
    truth=Truth(
        real=("what a provider can be told; unknown settings are refused (400)",),
    ),
)


async def _create_flavor(call: Call, values: Values) -> LbFlavor:
    values.pop("project_id")
    if any(flavor.name == values["name"] for flavor in call.cloud.tables.lb_flavors):
        raise Conflict(f"A flavor of {values['name']} already exists.")
    call.cloud.tables.lb_flavor_profiles.get(values["flavor_profile_id"])
    return call.cloud.tables.lb_flavors.add(LbFlavor(**values))


async def _update_flavor(call: Call, flavor: LbFlavor, values: Values) -> LbFlavor:
    return call.cloud.tables.lb_flavors.change(flavor.id, **values)


async def _delete_flavor(call: Call, flavor: LbFlavor) -> None:
    if any(balancer.flavor_id == flavor.id for balancer in call.cloud.tables.load_balancers):
        raise Conflict(f"Flavor {flavor.id} is in use and cannot be modified.")
    call.cloud.tables.lb_flavors.remove(flavor.id)


FLAVORS = Resource[LbFlavor](
    member="flavor",
    collection="flavors",
    path="/flavors",
    base=BASE,
    table=lambda tables: tables.lb_flavors,
    standard=IDENTITY,
    tag_routes=False,
    needs="admin",
    fields=(
        Field("description", with_default(LINE, ""), access="cu"),
        Field("enabled", with_default(FLAG, True), access="cu"),
        Field("flavor_profile_id", LINE, access="c", required=True),
    ),
    create=_create_flavor,
    update=_update_flavor,
    delete=_delete_flavor,
    truth=Truth(real=("a flavor chooses a provider and its settings",)),
)


def known_zones() -> list[dict[str, Any]]:
    """The availability zones: one, as Nova's."""
    return [{"name": "nova", "description": "The PoP", "enabled": True, "availability_zone_profile_id": ""}]
