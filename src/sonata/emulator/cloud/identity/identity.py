"""A cloud's own Keystone: one domain, projects, users, groups, roles, credentials, tokens."""

from __future__ import annotations

import uuid

from sonata.emulator.cloud.entities.identity import Project, Role, User
from sonata.emulator.cloud.identity.assignments import SYSTEM, Assignments, Grant
from sonata.emulator.cloud.identity.credentials import Credentials
from sonata.emulator.cloud.identity.directory import Directory, Immutable, hex_id
from sonata.emulator.cloud.identity.roles import STANDARD
from sonata.emulator.cloud.identity.tokens import Tokens
from sonata.emulator.cloud.tables import Tables

DOMAIN_ID = "default"
DOMAIN_NAME = "Default"
ADMIN = "admin"


class Identity:
    """Who may use a cloud; at first there is `admin` in project `admin`, and project `service`.

    Its parts are public: `directory` (projects, users, groups, roles), `assignments`, `credentials`, `tokens`. What
    the bootstrap has made of the user and the project `admin` stays: the emulation itself works as them.
    """

    def __init__(self, tables: Tables) -> None:
        if not len(tables.users):
            _add_people(tables)
        self.admin_project = tables.projects.find(ADMIN)
        self.admin = tables.users.find(ADMIN)
        self.assignments = Assignments(tables)
        if not len(tables.roles):
            _add_roles(tables, self.admin)
        admin_role = tables.roles.find(ADMIN).id
        for target in (("project", self.admin_project.id), ("system", SYSTEM), ("domain", DOMAIN_ID)):
            self.assignments.grant(Grant("user", self.admin.id, *target, admin_role))
        standard = (role.id for role in tables.roles if role.name in STANDARD)
        self.directory = Directory(
            tables, self.assignments, frozenset((self.admin.id, self.admin_project.id, *standard))
        )
        self.credentials = Credentials(tables, self.assignments)
        self.tokens = Tokens(tables, self.assignments)

    def revoke(self, grant: Grant) -> None:
        """Take a role away.

        Raises:
            NotFound: there is no such assignment.
            Immutable: the emulation itself needs it.
        """
        if (grant.actor, grant.target) == (self.admin.id, self.admin_project.id):
            raise Immutable("the user `admin` keeps its roles in the project `admin`: the emulation works as it")
        self.assignments.revoke(grant)


def _add_people(tables: Tables) -> None:
    project = tables.projects.add(Project(id=hex_id(), name=ADMIN, description="Bootstrap project", immutable=True))
    tables.projects.add(Project(id=hex_id(), name="service", description="Services of this cloud"))
    tables.users.add(User(id=hex_id(), name=ADMIN, project_id=project.id))


def _add_roles(tables: Tables, admin: User) -> None:
    for name in STANDARD:
        tables.roles.add(Role(id=uuid.uuid5(uuid.UUID(admin.id), f"role/{name}").hex, name=name, immutable=True))
