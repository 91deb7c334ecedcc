"""Projects, users, groups and roles: their names are unique, and what is deleted takes along what hangs on it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from sonata.emulator.cloud.entities.base import Entity
from sonata.emulator.cloud.entities.identity import ApplicationCredential, Group, Project, Role, User
from sonata.emulator.cloud.identity.assignments import Assignments
from sonata.emulator.cloud.quotas import Quotas
from sonata.emulator.cloud.tables import Table, Tables
from sonata.errors import Conflict, NotFound, Unauthorised

E = TypeVar("E", bound=Entity)


class Immutable(Unauthorised):
    """An object that has to stay as it is."""


def hex_id() -> str:
    """A random id in Keystone's form, 32 hexadecimal digits."""
    return uuid.uuid4().hex


def found(table: Table[E], entity_id: str) -> E:
    """An entity by id, else the refusal in Keystone's words.

    Raises:
        NotFound: there is none.
    """
    entity = table.peek(entity_id)
    if entity is None:
        raise NotFound(f"Could not find {table.kind.lower()}: {entity_id}.")
    return entity


class Directory:
    """Projects, users, groups and roles of one cloud.

    Args:
        keeps: ids of what this cloud cannot do without.
    """

    def __init__(self, tables: Tables, assignments: Assignments, keeps: frozenset[str]) -> None:
        self._tables = tables
        self._assignments = assignments
        self._keeps = keeps

    def create_project(self, project: Project) -> Project:
        """Create a project.

        Raises:
            Conflict: the name is taken.
        """
        return _added(self._tables.projects, project)

    def update_project(self, project_id: str, **changes: Any) -> Project:
        """Change a project; tokens for a disabled one are worthless at once.

        Raises:
            Immutable: it must stay as it is.
            Conflict: the name is taken.
        """
        project = found(self._tables.projects, project_id)
        thaws = project_id not in self._keeps and changes == {"immutable": False}
        self._refuse_immutable("project", project_id, project.immutable and not thaws)
        return _changed(self._tables.projects, project_id, changes)

    def delete_project(self, project_id: str) -> None:
        """Delete a project with its role assignments, credentials and quotas.

        What other services have of it stays, visible to administrators, as with Keystone.
        """
        project = found(self._tables.projects, project_id)
        self._refuse_immutable("project", project_id, project.immutable or project_id in self._keeps)
        self._tables.projects.remove(project_id)
        self._assignments.forget(project_id)
        Quotas(self._tables).reset(project_id)
        self._drop_credentials(lambda credential: credential.project_id == project_id)
        for user in self._tables.users:
            if user.project_id == project_id:
                self._tables.users.change(user.id, project_id="")

    def create_user(self, user: User) -> User:
        """Create a user.

        Raises:
            Conflict: the name is taken.
        """
        return _added(self._tables.users, user)

    def update_user(self, user_id: str, **changes: Any) -> User:
        """Change a user; with a new password, and when disabled, all earlier tokens are worthless.

        Raises:
            Immutable: it must stay as it is.
            Conflict: the name is taken.
        """
        kept = user_id in self._keeps and not changes.keys() <= {"description", "extra", "project_id"}
        self._refuse_immutable("user", user_id, kept)
        if "password_hash" in changes or changes.get("enabled") is False:
            changes["tokens_after"] = time.time()
        return _changed(self._tables.users, user_id, changes)

    def delete_user(self, user_id: str) -> None:
        """Delete a user with role assignments, credentials and memberships."""
        found(self._tables.users, user_id)
        self._refuse_immutable("user", user_id, user_id in self._keeps)
        self._tables.users.remove(user_id)
        self._assignments.forget(user_id)
        self._drop_credentials(lambda credential: credential.user_id == user_id)
        for group in self._tables.groups:
            if user_id in group.members:
                self._set_members(group, tuple(member for member in group.members if member != user_id))

    def create_group(self, group: Group) -> Group:
        """Create a group.

        Raises:
            Conflict: the name is taken.
        """
        return _added(self._tables.groups, group)

    def update_group(self, group_id: str, **changes: Any) -> Group:
        """Change name or description.

        Raises:
            Conflict: the name is taken.
        """
        return _changed(self._tables.groups, group_id, changes)

    def delete_group(self, group_id: str) -> None:
        """Delete a group; its members lose the roles that they had through it."""
        found(self._tables.groups, group_id)
        self._tables.groups.remove(group_id)
        self._assignments.forget(group_id)

    def join(self, group_id: str, user_id: str) -> None:
        """Make a user a member of a group; idempotent."""
        group = found(self._tables.groups, group_id)
        found(self._tables.users, user_id)
        self._set_members(group, tuple(dict.fromkeys((*group.members, user_id))))

    def leave(self, group_id: str, user_id: str) -> None:
        """Take a user out of a group.

        Raises:
            NotFound: the user is no member.
        """
        group = self.require_member(group_id, user_id)
        self._set_members(group, tuple(member for member in group.members if member != user_id))

    def require_member(self, group_id: str, user_id: str) -> Group:
        """The group, if the user is in it.

        Raises:
            NotFound: the user is no member.
        """
        group = found(self._tables.groups, group_id)
        if user_id not in group.members:
            raise NotFound(f"Could not find user: {user_id}.")
        return group

    def create_role(self, role: Role) -> Role:
        """Create a role.

        Raises:
            Conflict: the name is taken.
        """
        return _added(self._tables.roles, role)

    def update_role(self, role_id: str, **changes: Any) -> Role:
        """Change a role.

        Raises:
            Immutable: it must stay as it is.
            Conflict: the name is taken.
        """
        role = found(self._tables.roles, role_id)
        thaws = role.immutable and role_id not in self._keeps and changes == {"immutable": False}
        self._refuse_immutable("role", role_id, role.immutable and not thaws)
        return _changed(self._tables.roles, role_id, changes)

    def delete_role(self, role_id: str) -> None:
        """Delete a role and its assignments."""
        role = found(self._tables.roles, role_id)
        self._refuse_immutable("role", role_id, role.immutable)
        self._tables.roles.remove(role_id)
        self._assignments.forget(role_id)

    def _refuse_immutable(self, kind: str, entity_id: str, immutable: bool) -> None:
        if immutable:
            raise Immutable(f"Unable to change or delete immutable {kind} resource: {entity_id}.")

    def _set_members(self, group: Group, members: tuple[str, ...]) -> None:
        self._tables.groups.change(group.id, members=members)

    def _drop_credentials(self, doomed: Callable[[ApplicationCredential], bool]) -> None:
        rows = self._tables.application_credentials
        for credential in rows:
            if doomed(credential):
                rows.remove(credential.id)


def _added(table: Table[E], entity: E) -> E:
    _refuse_taken(table, entity.name, "")
    return table.add(entity)


def _changed(table: Table[E], entity_id: str, changes: Mapping[str, Any]) -> E:
    found(table, entity_id)
    if "name" in changes:
        _refuse_taken(table, changes["name"], entity_id)
    return table.change(entity_id, **changes)


def _refuse_taken(table: Table[Any], name: str, but: str) -> None:
    """Keystone compares names without regard to case."""
    if any(row.name.lower() == name.lower() and row.id != but for row in table):
        kind = table.kind.lower()
        raise Conflict(
            f"Conflict occurred attempting to store {kind} - it is not permitted to have two {kind}s with the same "
            f"name in the same domain : {name}."
        )
