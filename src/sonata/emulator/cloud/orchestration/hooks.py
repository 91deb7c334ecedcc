"""Hooks, which hold a resource up until a client lets it go on, and what the environment does not let updates do."""

from __future__ import annotations

from sonata.emulator.cloud.entities.orchestration import Definition, StackResource
from sonata.emulator.cloud.orchestration.journal import Journal
from sonata.emulator.cloud.orchestration.work import Work
from sonata.emulator.cloud.tables import Table, Tables
from sonata.errors import InvalidInput, SonataError
from sonata.formats.hot.environment import HOOKS, read_environment


class ResourceActionRestricted(SonataError):
    """The environment forbids what an update would have to do."""


class Hooks:
    """What the environment of a stack says of holding its resources up."""

    def __init__(self, tables: Tables, journal: Journal, definition: Definition) -> None:
        self._rows = tables.stack_resources
        self._journal = journal
        self._environment = read_environment(definition.environment, definition.files)

    def holds(self, name: str, hook: str) -> bool:
        """Whether a resource is to be held up."""
        return hook in self._environment.hooks(name)

    async def wait(self, work: Work, action: str, hook: str) -> None:
        """Wait until a client clears a hook of a resource.

        Raises:
            Stopped, StepTimeout: the operation ends before.
        """
        row = self._rows.change(work.resource_id, data={**work.row.data, hook: True})
        self._journal.note(row, f"{action} paused until Hook {hook} is cleared")
        try:
            await work.until(lambda: hook not in work.row.data)
        except SonataError:
            self._journal.note(_without(self._rows, work.row, hook), "Failure occurred while waiting.")
            raise

    def require_allowed(self, name: str, action: str) -> None:
        """Refuse what may not be done to a resource.

        Raises:
            ResourceActionRestricted: it may not.
        """
        if action in self._environment.restricted(name):
            raise ResourceActionRestricted(f"{action} is restricted for resource.")


def clear_hook(tables: Tables, journal: Journal, row: StackResource, hook: str) -> None:
    """Let a resource go on.

    Raises:
        InvalidInput: there is no such hook, or it does not hold the resource up.
    """
    if hook not in HOOKS:
        raise InvalidInput(f'Invalid hook type "{hook}" for {row.type} "{row.name}"')
    if hook not in row.data:
        raise InvalidInput(f'The "{hook}" hook is not defined on {row.type} "{row.name}"')
    journal.note(_without(tables.stack_resources, row, hook), f"Hook {hook} is cleared")


def _without(rows: Table[StackResource], row: StackResource, hook: str) -> StackResource:
    return rows.change(row.id, data={key: value for key, value in row.data.items() if key != hook})
