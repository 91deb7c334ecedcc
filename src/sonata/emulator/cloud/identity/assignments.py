"""Who has which role where."""

from __future__ import annotations

from collections.abc import Iterator

from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.identity import ActorKind, Assignment, TargetKind
from sonata.emulator.cloud.identity.roles import with_implied
from sonata.emulator.cloud.tables import Tables
from sonata.errors import NotFound

SYSTEM = "system"
"""Id of the only target of its kind."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A role of a user or a group in a project, in the domain, or in the system; ids all of them."""

    actor_kind: ActorKind
    actor: str
    target_kind: TargetKind
    target: str
    role: str

    @property
    def id(self) -> str:
        """Its id as an assignment."""
        return ":".join((self.actor_kind, self.actor, self.target_kind, self.target, self.role))


class Assignments:
    """The role assignments of one cloud."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._rows = tables.assignments

    def grant(self, grant: Grant) -> None:
        """Give a role; idempotent."""
        if grant.id not in self._rows:
            self._rows.add(
                Assignment(
                    id=grant.id,
                    actor_kind=grant.actor_kind,
                    actor=grant.actor,
                    target_kind=grant.target_kind,
                    target=grant.target,
                    role=grant.role,
                )
            )

    def require(self, grant: Grant) -> None:
        """Refuse what nobody has granted.

        Raises:
            NotFound: there is no such assignment.
        """
        if grant.id not in self._rows:
            raise NotFound(
                f"Could not find role assignment with role: {grant.role}, user or group: {grant.actor}, project, "
                f"domain, or system: {grant.target}."
            )

    def revoke(self, grant: Grant) -> None:
        """Take a role away.

        Raises:
            NotFound: there is no such assignment.
        """
        self.require(grant)
        self._rows.remove(grant.id)

    def forget(self, entity_id: str) -> None:
        """Remove all assignments that name a user, group, project or role which is gone."""
        for row in self._rows:
            if entity_id in (row.actor, row.target, row.role):
                self._rows.remove(row.id)

    def roles_of(self, user_id: str, kind: TargetKind, target: str) -> tuple[str, ...]:
        """Ids of the roles that a user has somewhere, also through groups; without those implied."""
        found = (row.role for row in self._of_user(user_id) if (row.target_kind, row.target) == (kind, target))
        return tuple(dict.fromkeys(found))

    def effective(self, user_id: str, kind: TargetKind, target: str) -> tuple[str, ...]:
        """Names of the roles that a user has somewhere, also through groups, with those implied."""
        return self.names(self.roles_of(user_id, kind, target))

    def names(self, role_ids: tuple[str, ...]) -> tuple[str, ...]:
        """Names of roles with those implied."""
        roles = self._tables.roles
        return with_implied(role.name for role_id in role_ids if (role := roles.peek(role_id)))

    def targets_of(self, user_id: str, kind: TargetKind) -> frozenset[str]:
        """Where a user has any role."""
        return frozenset(row.target for row in self._of_user(user_id) if row.target_kind == kind)

    def _of_user(self, user_id: str) -> Iterator[Assignment]:
        actors = {user_id, *(group.id for group in self._tables.groups if user_id in group.members)}
        return (row for row in self._rows if row.actor in actors)
