"""Who may use a cloud: its own projects and users. Credentials are checked at the OpenStack surface."""

from __future__ import annotations

import uuid

from sonata.emulator.cloud.entities.identity import Project, User
from sonata.emulator.cloud.tables import Tables

DOMAIN_ID = "default"
DOMAIN_NAME = "Default"
ADMIN = "admin"


class Identity:
    """Projects and users; at first there is `admin` in project `admin`, and project `service`."""

    def __init__(self, tables: Tables) -> None:
        if not len(tables.users):
            _bootstrap(tables)
        self.admin_project = tables.projects.find(ADMIN)
        self.admin = tables.users.find(ADMIN)


def _bootstrap(tables: Tables) -> None:
    project = tables.projects.add(Project(id=_hex_id(), name=ADMIN, description="Bootstrap project"))
    tables.projects.add(Project(id=_hex_id(), name="service", description="Services of this cloud"))
    tables.users.add(User(id=_hex_id(), name=ADMIN, project_id=project.id))


def _hex_id() -> str:
    """A random id in Keystone's form, 32 hexadecimal digits."""
    return uuid.uuid4().hex
