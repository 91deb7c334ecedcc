"""Projects and users."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sonata.emulator.cloud.entities.base import Entity


@dataclass(frozen=True, slots=True, kw_only=True)
class Project(Entity):
    """A project (tenant) of this cloud's own Keystone."""

    enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class User(Entity):
    """A user of this cloud's own Keystone; `project_id` is the default project."""

    enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaLimits(Entity):
    """The limits that differ from the defaults, by name of the quota; its id is the project's, or `default`."""

    limits: Mapping[str, int] = field(default_factory=dict)
