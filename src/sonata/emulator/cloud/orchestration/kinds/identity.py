"""Types of resources of the Identity API; their owner must be one who may make them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sonata._lib.values import dataclass
from sonata.emulator.cloud.orchestration.calls import CallRefused
from sonata.emulator.cloud.orchestration.kinds.base import Changed, Kind
from sonata.emulator.cloud.orchestration.kinds.finding import FINDERS, found, with_ids
from sonata.emulator.cloud.orchestration.kinds.rest import RestKind
from sonata.emulator.cloud.orchestration.schema import Property, type_schemas
from sonata.emulator.cloud.orchestration.work import ResourceFailed, Work

IDENTITY = "identity"
Grant = tuple[str, str]
"""Where a role is granted, `projects/ID` or `domains/ID`, and the role."""


def identity_kinds() -> Iterable[Kind]:
    """Projects, users, groups, roles, and who has which role where."""
    schemas = type_schemas()
    ids = {"domain": "domain_id", "parent": "parent_id", "default_project": "default_project_id"}
    for name in ("Project", "Role", "User", "Group"):
        member = name.lower()
        acts = name in ("User", "Group")
        yield (ActorKind if acts else RestKind)(
            schema=schemas[f"OS::Keystone::{name}"],
            service=IDENTITY,
            path=f"/v3/{member}s",
            member=member,
            names=ids,
            method="PATCH",
            not_sent=frozenset(("roles", "groups")) if acts else frozenset(),
        )
        if acts:
            yield RoleAssignment(schema=schemas[f"OS::Keystone::{name}RoleAssignment"], actor=member)


@dataclass(frozen=True, kw_only=True)
class ActorKind(RestKind):
    """A user or a group, with its roles, and the groups of a user."""

    async def create(self, work: Work) -> None:
        """Make it, then put it into its groups and grant it its roles."""
        await super().create(work)
        for group in await _groups(work, self.properties, work.properties):
            await self._in_group(work, "PUT", group)
        await _grant(work, self.member, work.physical_id, set(), await _grants(work, work.properties))

    async def update(self, work: Work, changed: Changed) -> None:
        """Change it, its groups and its roles."""
        await super().update(work, changed)
        old, new = work.row.properties, work.properties
        if "groups" in changed:
            before = await _groups(work, self.properties, old)
            await self._regroup(work, before, await _groups(work, self.properties, new))
        if "roles" in changed:
            await _grant(work, self.member, work.physical_id, await _grants(work, old), await _grants(work, new))

    async def _regroup(self, work: Work, before: set[str], after: set[str]) -> None:
        for group in before - after:
            await self._in_group(work, "DELETE", group)
        for group in after - before:
            await self._in_group(work, "PUT", group)

    async def _in_group(self, work: Work, method: str, group: str) -> None:
        await work.call(IDENTITY, method, f"/v3/groups/{group}/users/{work.physical_id}")


@dataclass(frozen=True, kw_only=True)
class RoleAssignment(Kind):
    """Roles of a user or a group.

    Args:
        actor: `user` or `group`.
    """

    actor: str

    async def create(self, work: Work) -> None:
        """Grant the roles."""
        actor = await self._actor(work)
        work.made(actor)
        await _grant(work, self.actor, actor, set(), await _grants(work, work.properties))

    async def update(self, work: Work, changed: Changed) -> None:
        """Grant and revoke what differs."""
        before, after = await _grants(work, work.row.properties), await _grants(work, work.properties)
        await _grant(work, self.actor, work.physical_id, before, after)

    async def delete(self, work: Work) -> None:
        """Revoke the roles."""
        if work.physical_id:
            try:
                before = await _grants(work, work.properties)
            except ResourceFailed:
                return  # with a project or a role its grants went, too
            await _grant(work, self.actor, work.physical_id, before, set())

    async def _actor(self, work: Work) -> str:
        return await found(work, FINDERS[f"keystone.{self.actor}"], str(work.properties[self.actor]))


async def _groups(work: Work, schema: Mapping[str, Property], properties: Mapping[str, Any]) -> set[str]:
    return set((await with_ids(work, schema, {"groups": properties.get("groups") or []}))["groups"])


async def _grants(work: Work, properties: Mapping[str, Any]) -> set[Grant]:
    """The grants that properties tell.

    Raises:
        ResourceFailed: one is of a project and of a domain, or of none.
    """
    grants: set[Grant] = set()
    for one in properties.get("roles") or ():
        targets = [kind for kind in ("project", "domain") if one.get(kind)]
        if len(targets) != 1:
            raise ResourceFailed(f"Either project or domain must be specified for role {one['role']}")
        (kind,) = targets
        target = await found(work, FINDERS[f"keystone.{kind}"], one[kind])
        grants.add((f"{kind}s/{target}", await found(work, FINDERS["keystone.role"], one["role"])))
    return grants


async def _grant(work: Work, actor: str, actor_id: str, before: set[Grant], after: set[Grant]) -> None:
    for method, grants in (("DELETE", before - after), ("PUT", after - before)):
        for where, role in sorted(grants):
            try:
                await work.call(IDENTITY, method, f"/v3/{where}/{actor}s/{actor_id}/roles/{role}")
            except CallRefused as error:
                if method != "DELETE" or error.status != 404:
                    raise
