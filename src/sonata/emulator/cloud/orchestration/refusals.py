"""What the service refuses, under the names that Heat gives it."""

from __future__ import annotations

from sonata.errors import Conflict, InvalidInput, NotFound


class EntityNotFound(NotFound):
    """A stack, resource, event, ... does not exist, or not for this project."""

    def __init__(self, entity: str, name: str) -> None:
        super().__init__(f"The {entity} ({name}) could not be found.")


class StackExists(Conflict):
    """The project has a stack of this name."""


class ActionInProgress(Conflict):
    """Something is going on with a stack."""


class NotSupported(InvalidInput):
    """Something that a stack or a resource does not do, or not in its state."""

    def __init__(self, feature: str) -> None:
        super().__init__(f"{feature} is not supported.")
