"""Security groups by name.

Packets are not filtered yet: groups exist so that clients which name them work, and their rules say that everything
may pass. Ports report `port_security_enabled: false`.
"""

from __future__ import annotations

from typing import Any

from sonata.emulator.cloud.causes import NoSuch
from sonata.emulator.cloud.entities.network import SecurityGroup
from sonata.emulator.cloud.quotas import Quotas
from sonata.emulator.cloud.tables import Tables
from sonata.errors import Conflict

DEFAULT_GROUP = "default"


class SecurityGroups:
    """The security groups of one cloud; each project has one named `default`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._groups = tables.security_groups

    def create(self, group: SecurityGroup) -> SecurityGroup:
        """Create a group.

        Raises:
            Conflict: it would be a second `default`.
        """
        if group.name == DEFAULT_GROUP and self._named(DEFAULT_GROUP, group.project_id):
            raise Conflict("Default security group already exists.")
        Quotas(self._tables).require(group.project_id, "security_group")
        return self._groups.add(group)

    def update(self, group_id: str, **changes: Any) -> SecurityGroup:
        """Change name or description."""
        return self._groups.change(group_id, **changes)

    def delete(self, group_id: str) -> None:
        """Delete a group.

        Raises:
            Conflict: it is `default`, or ports are in it.
        """
        group = self._groups.get(group_id)
        if group.name == DEFAULT_GROUP:
            raise Conflict("Insufficient rights for removing default security group.")
        if any(group_id in port.security_groups for port in self._tables.ports):
            raise Conflict(f"Security Group {group_id} in use.")
        self._groups.remove(group_id)

    def of_port(self, wanted: tuple[str, ...] | None, project_id: str) -> tuple[str, ...]:
        """The groups of a port: those wanted, else the project's default.

        Raises:
            NoSuch: a group does not exist.
        """
        if wanted is not None:
            return tuple(self._groups.get(group_id).id for group_id in wanted)
        return (self.default(project_id).id,)

    def default(self, project_id: str) -> SecurityGroup:
        """The project's group `default`, made when it is not there."""
        group = SecurityGroup(name=DEFAULT_GROUP, project_id=project_id, description="Default security group")
        return self._named(DEFAULT_GROUP, project_id) or self._groups.add(group)

    def find(self, name_or_id: str, project_id: str) -> SecurityGroup:
        """A project's group by id or name.

        Raises:
            NoSuch: there is none.
        """
        found = self._groups.peek(name_or_id) or self._named(name_or_id, project_id)
        if found is None:
            raise NoSuch("SecurityGroup", name_or_id)
        return found

    def _named(self, name: str, project_id: str) -> SecurityGroup | None:
        return next((group for group in self._groups if (group.name, group.project_id) == (name, project_id)), None)
