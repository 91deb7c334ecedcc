"""Who asks for what is being done, and by which request; set by the surface for the time of a request.

Work that a request leaves to the background keeps it, since tasks inherit the context that they are made in.
"""

from __future__ import annotations

from contextvars import ContextVar

from sonata._lib.values import dataclass


@dataclass(frozen=True, slots=True)
class Asker:
    """A caller; empty where the emulation itself acts."""

    request_id: str = ""
    user_id: str = ""
    project_id: str = ""
    is_admin: bool = True


NOBODY = Asker()
ASKER: ContextVar[Asker] = ContextVar("asker", default=NOBODY)
