"""Projects, users, groups, roles and what binds them, as the Identity API v3 names them; limits of projects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.base import Entity

ActorKind = Literal["user", "group"]
TargetKind = Literal["project", "domain", "system"]
ScopeKind = Literal["unscoped", "project", "domain", "system"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Project(Entity):
    """A project (tenant) of this cloud's own Keystone.

    Args:
        immutable: whether it can neither be changed nor deleted while this is set.
        extra: what clients have added to it.
    """

    enabled: bool = True
    immutable: bool = False
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class User(Entity):
    """A user of this cloud's own Keystone; `project_id` is the default project.

    Args:
        password_hash: argon2id; empty when no password of its own lets the user in.
        tokens_after: Unix time in seconds; tokens issued earlier are worthless.
        extra: what clients have added to it, `email` for one.
    """

    enabled: bool = True
    password_hash: str = field(default="", repr=False)
    tokens_after: float = 0.0
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group(Entity):
    """Users that are given roles together."""

    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Role(Entity):
    """A role; what `admin`, `member` and `reader` may do is fixed, others mean what policies make of them: nothing."""

    immutable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment(Entity):
    """A role that a user or a group has in a project, in the domain, or in the system; `id` is made of all four."""

    actor_kind: ActorKind
    actor: str
    target_kind: TargetKind
    target: str
    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationCredential(Entity):
    """A secret that stands for a user in one project, with some of the user's roles.

    Args:
        secret_hash: argon2id.
        roles: ids.
        expires_at: Unix time in seconds, None for never.
        unrestricted: whether it may make further credentials.
    """

    user_id: str
    secret_hash: str = field(repr=False)
    roles: tuple[str, ...]
    expires_at: float | None = None
    unrestricted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenKey(Entity):
    """What tokens are encrypted and signed with (Fernet)."""

    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation(Entity):
    """A token that was revoked, by its audit id; worth remembering until the token would have expired."""

    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaLimits(Entity):
    """The limits that differ from the defaults, by name of the quota; its id is the project's, or `default`."""

    limits: Mapping[str, int] = field(default_factory=dict)
