"""Bringing a stack to what it is to become, resource by resource along the graph; and taking it down again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sonata.emulator.cloud.entities.orchestration import Stack, StackResource, State
from sonata.emulator.cloud.orchestration.blueprint import Blueprint
from sonata.emulator.cloud.orchestration.catalogue import kind_named
from sonata.emulator.cloud.orchestration.kinds.base import Kind, NeedsReplacement
from sonata.emulator.cloud.orchestration.kinds.nested import StackKind
from sonata.emulator.cloud.orchestration.properties import changed, checked
from sonata.emulator.cloud.orchestration.traversal import Traversal, Way
from sonata.errors import InvalidInput, SonataError


class Deployment(Traversal):
    """One change of a stack."""

    def __init__(self, way: Way) -> None:
        super().__init__(way)
        self._images: Mapping[str, str] = {}

    async def deploy(self, blueprint: Blueprint, images: Mapping[str, str] | None = None) -> None:
        """Make, change and replace resources until the stack is what the blueprint says.

        Args:
            blueprint: what it is to become.
            images: with what contents, by the resources' names.

        Raises:
            Failed: the first resource that failed; those after it were not touched.
        """
        self._images = images or {}
        for name in blueprint.resources:
            if self._views.row(self._stack.id, name) is None:
                self._tables.stack_resources.add(_new_row(self._stack, blueprint, name))
        before = {row.name: row.physical_id for row in self._views.rows(self._stack.id)}
        await self._each(blueprint.graph, lambda name: self._bring(blueprint, name))
        await self._fill(blueprint, before)

    async def clean(self, blueprint: Blueprint | None) -> None:
        """Delete the resources that have no place in a blueprint, those that nobody needs first; all for None.

        Raises:
            Failed: the first that could not be deleted.
        """
        rows = [row for row in self._tables.stack_resources if row.stack_id == self._stack.id]
        wanted = blueprint.resources if blueprint else {}
        gone = {row.id: row for row in rows if row.obsolete or row.name not in wanted}
        graph = {
            row.id: frozenset(other.id for other in gone.values() if row.name in other.needs and other.id != row.id)
            for row in gone.values()
        }
        await self._each(graph, lambda row_id: self._delete(gone[row_id]))

    async def adopt(self, blueprint: Blueprint, exported: Mapping[str, Any]) -> None:
        """Take objects over.

        Args:
            blueprint: what the stack is made of.
            exported: of each resource by its name, what a stack that let it go has told of it.

        Raises:
            Failed: the first resource of which no id is told, or that cannot be one of its type.
        """
        for name in blueprint.resources:
            self._tables.stack_resources.add(_new_row(self._stack, blueprint, name))
        await self._each(blueprint.graph, lambda name: self._adopt(blueprint, name, exported.get(name)))

    def let_go(self) -> None:
        """Have no part in any object any more: nothing is deleted with the resources."""
        for row in self._tables.stack_resources:
            if row.stack_id == self._stack.id:
                self._tables.stack_resources.change(row.id, keep=True)

    async def _bring(self, blueprint: Blueprint, name: str) -> None:
        """Bring one resource to what the blueprint says."""
        row = self._views.row(self._stack.id, name)
        if row is None:
            return
        definition = blueprint.resources[name]
        kind = kind_named(blueprint.kind_of(definition), blueprint.files)
        action = "CREATE" if row.action == "INIT" else "UPDATE"
        if action == "CREATE":
            await self._pause(row, action, "pre-create")
            row = self._journal.resource(row.id, action, State.IN_PROGRESS)
        values = await self._prepare(blueprint, row, kind, action)
        if action == "CREATE":
            await self._create(row, kind, values, definition.external_id)
        else:
            await self._change(blueprint, row, kind, values)

    async def _prepare(self, blueprint: Blueprint, row: StackResource, kind: Kind, action: str) -> dict[str, Any]:
        """The properties of a resource; what else the blueprint says of it is kept with it."""
        definition = blueprint.resources[row.name]
        evaluation = self._views.evaluation(self._stack, blueprint)
        try:
            values = await self._values(blueprint, row.name, kind)
            metadata = await evaluation.resolve(definition.metadata)
            policy = checked("update_policy", kind.update_policies, await evaluation.resolve(definition.update_policy))
        except SonataError as error:
            raise self._failed(row, action, error) from error
        keep = definition.deletion_policy == "Retain" or definition.external_id is not None
        needs = tuple(sorted(blueprint.graph[row.name]))
        known = {"needs": needs, "keep": keep, "description": definition.description, "type": definition.type}
        known |= {"snapshot": definition.deletion_policy == "Snapshot", "update_policy": policy}
        if metadata:
            known["metadata"] = metadata
        self._tables.stack_resources.change(row.id, **known)
        return values

    async def _adopt(self, blueprint: Blueprint, name: str, exported: Any) -> None:
        """Take over what stands for one resource."""
        row = self._views.row(self._stack.id, name)
        if row is None:
            return
        kind = kind_named(blueprint.kind_of(blueprint.resources[name]), blueprint.files)
        self._journal.resource(row.id, "ADOPT", State.IN_PROGRESS)
        values = await self._prepare(blueprint, row, kind, "ADOPT")
        self._tables.stack_resources.change(row.id, properties=values)
        data = exported if isinstance(exported, Mapping) else {}
        await self._attempt(row, "ADOPT", lambda: kind.adopt(self._work(row, values), data))
        self._journal.resource(row.id, "ADOPT", State.COMPLETE)

    async def _values(self, blueprint: Blueprint, name: str, kind: Kind) -> dict[str, Any]:
        evaluation = self._views.evaluation(self._stack, blueprint)
        path = ("resources", name, "properties")
        values = await evaluation.resolve(blueprint.resources[name].properties, *path)
        return {} if kind.open_ended else checked(".".join(path), kind.properties, values)

    async def _create(self, row: StackResource, kind: Kind, values: Mapping[str, Any], external_id: Any = None) -> None:
        self._tables.stack_resources.change(row.id, properties=values)
        if external_id is not None:
            self._tables.stack_resources.change(row.id, physical_id=str(external_id))
        else:
            await self._attempt(row, "CREATE", lambda: kind.create(self._work(row, values)))
        self._journal.resource(row.id, "CREATE", State.COMPLETE)
        await self._pause(row, "CREATE", "post-create")

    async def _change(self, blueprint: Blueprint, row: StackResource, kind: Kind, values: Mapping[str, Any]) -> None:
        different = changed(row.properties, values)
        if row.name in self._images and row.properties.get(kind.contents) != values.get(kind.contents):
            different -= {kind.contents}
            self._tables.stack_resources.change(
                row.id, properties={**row.properties, kind.contents: values[kind.contents]}
            )
        is_other = row.kind != blueprint.kind_of(blueprint.resources[row.name])
        if is_other or row.broken or await self._is_lost(row, kind):
            await self._pause(row, "UPDATE", "pre-update")
            await self._replace(blueprint, row, kind, values)
        elif different or row.status == State.FAILED or (isinstance(kind, StackKind) and self._stack.previous):
            fixed = [name for name in different if kind.properties[name].immutable]
            if fixed:
                error = InvalidInput(f"Update to property {fixed[0]} of {row.name} ({row.type}) is not allowed")
                raise self._failed(row, "UPDATE", error)
            await self._pause(row, "UPDATE", "pre-update")
            await self._update(blueprint, row, kind, values, different)

    async def _is_lost(self, row: StackResource, kind: Kind) -> bool:
        """Whether a resource has failed so that another object is needed; a check that fails needs one always."""
        if row.status != State.FAILED:
            return False
        if row.action == "CHECK" and not isinstance(kind, StackKind):
            return True
        try:
            return await kind.is_lost(self._work(row, row.properties))
        except SonataError as error:
            raise self._failed(row, "UPDATE", error) from error

    async def _update(
        self, blueprint: Blueprint, row: StackResource, kind: Kind, values: Mapping[str, Any], different: frozenset[str]
    ) -> None:
        if kind.is_replaced(values, different):
            await self._replace(blueprint, row, kind, values)
            return
        self._journal.resource(row.id, "UPDATE", State.IN_PROGRESS)

        async def update() -> None:
            self._hooks.require_allowed(row.name, "update")
            await kind.update(self._work(row, values), different)

        try:
            await self._attempt(row, "UPDATE", update)
        except NeedsReplacement:
            await self._replace(blueprint, row, kind, values)
        else:
            self._journal.resource(row.id, "UPDATE", State.COMPLETE, properties=values)
            await self._pause(row, "UPDATE", "post-update")

    async def _fill(self, blueprint: Blueprint, before: Mapping[str, str]) -> None:
        """Give resources their contents back: servers, and then the volumes, which are taken from them meanwhile."""
        kinds = {
            name: kind_named(blueprint.kind_of(one), blueprint.files)
            for name, one in blueprint.resources.items()
            if name in self._images
        }
        for are_servers in (True, False):
            some = {name: frozenset[str]() for name, kind in kinds.items() if bool(kind.contents) == are_servers}
            await self._each(some, lambda name: self._restore(name, kinds[name], before.get(name, "")))

    async def _restore(self, name: str, kind: Kind, before: str) -> None:
        """Give a resource its contents back; `before` is the id of what stood for it before the restoration."""
        row, image_id = self._views.row(self._stack.id, name), self._images[name]
        if row is None:
            return
        is_new = row.physical_id != before
        work, action = self._work(row, row.properties), "CREATE" if is_new else "UPDATE"
        self._journal.resource(row.id, action, State.IN_PROGRESS)
        await self._attempt(row, action, lambda: kind.restore(work, image_id, is_new=is_new))
        self._journal.resource(row.id, action, State.COMPLETE)

    async def _replace(self, blueprint: Blueprint, row: StackResource, kind: Kind, values: Mapping[str, Any]) -> None:
        """Make another object; the old one goes at the end, or before where both cannot be."""
        try:
            self._hooks.require_allowed(row.name, "replace")
        except SonataError as error:
            raise self._failed(row, "UPDATE", error) from error
        self._tables.stack_resources.change(row.id, obsolete=True)
        if kind.goes_first(row.properties):
            await self._delete(row)
        new = self._tables.stack_resources.add(_new_row(self._stack, blueprint, row.name))
        self._journal.resource(new.id, "CREATE", State.IN_PROGRESS, keep=row.keep, metadata=row.metadata)
        await self._create(new, kind, values)

    async def _delete(self, row: StackResource) -> None:
        if row.action != "INIT":
            await self._pause(row, "DELETE", "pre-delete")
            self._journal.resource(row.id, "DELETE", State.IN_PROGRESS)
            if row.physical_id and not row.keep:
                await self._delete_object(row)
            self._journal.resource(row.id, "DELETE", State.COMPLETE)
            await self._pause(row, "DELETE", "post-delete")
        self._tables.stack_resources.remove(row.id)

    async def _delete_object(self, row: StackResource) -> None:
        """Delete what stands for a resource, after its contents were kept where that is wanted."""
        try:
            kind = self._views.kind(self._stack, row)
        except SonataError as error:
            raise self._failed(row, "DELETE", error) from error
        work = self._work(row, row.properties)
        if row.snapshot and (row.action, row.status) != ("CREATE", State.FAILED):
            await self._attempt(row, "DELETE", lambda: kind.save(work))
            self._tables.stack_resources.change(row.id, snapshot=False)
        await self._attempt(row, "DELETE", lambda: kind.delete(work))


def _new_row(stack: Stack, blueprint: Blueprint, name: str) -> StackResource:
    definition = blueprint.resources[name]
    return StackResource(
        project_id=stack.project_id,
        name=name,
        description=definition.description,
        stack_id=stack.id,
        type=definition.type,
        kind=blueprint.kind_of(definition),
        needs=tuple(sorted(blueprint.graph[name])),
    )
