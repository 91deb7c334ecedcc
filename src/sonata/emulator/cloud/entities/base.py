"""What every object of a cloud has."""

from __future__ import annotations

import time
import uuid
from dataclasses import field

from sonata._lib.values import dataclass


def new_id() -> str:
    """A random UUID, as OpenStack names its objects."""
    return str(uuid.uuid4())


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """What every object has.

    Args:
        created_at: Unix time in seconds, as `updated_at`.
        revision: counts the changes.
    """

    id: str = field(default_factory=new_id)
    project_id: str = ""
    name: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    created_at: float = field(default_factory=time.time)
    updated_at: float = field(default_factory=time.time)
    revision: int = 0
