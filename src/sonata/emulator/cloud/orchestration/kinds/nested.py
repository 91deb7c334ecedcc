"""Types of resources that are stacks of their own: nested templates and groups of equal resources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.orchestration import Definition, StackResource, State
from sonata.emulator.cloud.orchestration.kinds.base import Changed, Kind
from sonata.emulator.cloud.orchestration.kinds.rolling import GROUP_POLICIES, Batches
from sonata.emulator.cloud.orchestration.schema import Property, TypeSchema, type_schemas
from sonata.emulator.cloud.orchestration.work import NestedFailed, NoId, Stopped, Work
from sonata.errors import StepTimeout
from sonata.formats.hot.environment import read_environment
from sonata.formats.hot.template import read_template
from sonata.formats.hot.versions import FUNCTIONS

NEWEST = max(FUNCTIONS)
_PROPERTY_KINDS = {"json": "map", "comma_delimited_list": "list"}


def nested_kinds() -> Iterable[Kind]:
    """Stacks and groups."""
    schemas = type_schemas()
    yield NestedStack(schema=schemas["OS::Heat::Stack"], refused={"context": "there is one region and one cloud"})
    yield ResourceGroup(schema=schemas["OS::Heat::ResourceGroup"], update_policies=GROUP_POLICIES)
    yield ResourceChain(schema=schemas["OS::Heat::ResourceChain"])


@dataclass(frozen=True, kw_only=True)
class StackKind(Kind):
    """A resource that is a nested stack; its id is the stack's."""

    async def definition(self, work: Work) -> Definition:
        """What the nested stack is made of."""
        raise NotImplementedError

    async def create(self, work: Work) -> None:
        """Create the stack and wait for it."""
        work.made(await work.engine.create_nested(work.stack, work.row, await self.definition(work)))
        await self._finished(work)

    async def update(self, work: Work, changed: Changed) -> None:
        """Update the stack and wait for it."""
        await work.engine.update_nested(work.physical_id, await self.definition(work))
        await self._finished(work)

    async def delete(self, work: Work) -> None:
        """Delete the stack and wait until it is gone."""
        if work.physical_id in work.engine.tables.stacks:
            await work.engine.act_nested(work.physical_id, "DELETE")
            await self._finished(work)

    async def adopt(self, work: Work, exported: Mapping[str, Any]) -> None:
        """Adopt the stack from what was exported of it.

        Raises:
            NoId: nothing was.
        """
        if not exported.get("resources"):
            raise NoId("Resource ID was not provided.")
        work.remember(**(exported.get("resource_data") or {}))
        work.made(await work.engine.adopt_nested(work.stack, work.row, exported))
        await self._finished(work)

    async def check(self, work: Work) -> None:
        """Check the stack's resources."""
        await self._act(work, "CHECK")

    async def is_lost(self, work: Work) -> bool:
        """Whether there is no stack; one that has failed is updated, as its resources need it."""
        return work.physical_id not in work.engine.tables.stacks

    async def suspend(self, work: Work) -> None:
        """Suspend the stack."""
        await self._act(work, "SUSPEND")

    async def resume(self, work: Work) -> None:
        """Resume the stack."""
        await self._act(work, "RESUME")

    async def attribute(self, work: Work, name: str) -> Any:
        """An output of the stack."""
        outputs = await work.engine.outputs(work.physical_id)
        return {"outputs": outputs} if name == "show" else outputs.get(name)

    async def members(self, work: Work) -> list[StackResource]:
        """The stack's resources, in the order of their names where these are numbers."""
        rows = [
            row for row in work.engine.tables.stack_resources if row.stack_id == work.physical_id and not row.obsolete
        ]
        return sorted(rows, key=lambda row: (len(row.name), row.name) if row.name.isdigit() else (0, ""))

    async def _act(self, work: Work, action: str) -> None:
        await work.engine.act_nested(work.physical_id, action)
        await self._finished(work)

    async def _finished(self, work: Work) -> None:
        nested = work.physical_id

        def done() -> bool:
            stack = work.engine.tables.stacks.peek(nested)
            return stack is None or stack.status != State.IN_PROGRESS

        try:
            await work.until(done)
        except (Stopped, StepTimeout):
            work.engine.stop(nested)
            raise
        stack = work.engine.tables.stacks.peek(nested)
        if stack and stack.status == State.FAILED:
            raise NestedFailed(stack.status_reason)


@dataclass(frozen=True, kw_only=True)
class TemplateKind(StackKind):
    """A template used as a type: its parameters are the properties, its outputs the attributes.

    Args:
        template: text or document.
    """

    template: str | Mapping[str, Any]

    async def definition(self, work: Work) -> Definition:
        """The template with the properties as parameters."""
        document = read_template(self.template, self.name).document
        return nested_definition(work, document, work.properties)

    def reference(self, row: StackResource) -> Any:
        """The id of the stack."""
        return row.physical_id or None


def template_kind(name: str, template: str | Mapping[str, Any]) -> TemplateKind:
    """The type that a template is.

    Raises:
        InvalidInput: the template is not valid.
    """
    read = read_template(template, name)
    properties = {
        key: Property(
            _PROPERTY_KINDS.get(one.kind, one.kind),
            required=one.default is None,
            update=True,
            immutable=one.immutable,
            converts=one.kind in _PROPERTY_KINDS,
        )
        for key, one in read.parameters.items()
    }
    return TemplateKind(schema=TypeSchema(name, properties, dict.fromkeys(read.outputs, "any")), template=template)


def nested_definition(
    work: Work, template: Mapping[str, Any], parameters: Mapping[str, Any], *, whole: bool = False
) -> Definition:
    """A nested definition: the parent's files, registry and defaults hold in it, too.

    Args:
        work: the resource that it belongs to.
        template: its template.
        parameters: of it.
        whole: whether what the registry says of single resources holds by their names in it as well.
    """
    parent = work.stack.definition
    environment = read_environment(parent.environment, parent.files)
    if whole:
        return Definition(template, environment.child(None, None, parameters), parent.files)
    entry = environment.entry(work.row.name, work.row.type, lambda _kind: True)
    return Definition(template, environment.child(work.row.name, entry, parameters), parent.files)


@dataclass(frozen=True, kw_only=True)
class NestedStack(StackKind):
    """OS::Heat::Stack in this cloud."""

    async def definition(self, work: Work) -> Definition:
        """The template given as text."""
        document = read_template(work.properties["template"], work.row.name).document
        return nested_definition(work, document, work.properties.get("parameters") or {}, whole=True)

    async def attribute(self, work: Work, name: str) -> Any:
        """Name and outputs of the stack."""
        outputs = await work.engine.outputs(work.physical_id)
        if name == "stack_name":
            stack = work.engine.tables.stacks.peek(work.physical_id)
            return stack.name if stack else None
        return outputs if name == "outputs" else {"outputs": outputs} if name == "show" else outputs.get(name)


@dataclass(frozen=True, kw_only=True)
class Group(StackKind):
    """A stack of members whose attributes can be asked together, and which can be changed in batches."""

    async def create(self, work: Work) -> None:
        """Create the members, in batches where the policy says so."""
        policy = work.row.update_policy.get("batch_create")
        if not policy:
            await super().create(work)
            return
        batches, definition = Batches.read(policy), await self.definition(work)
        first, *others = batches.creation(members_of(definition))
        work.made(await work.engine.create_nested(work.stack, work.row, with_members(definition, first)))
        await self._finished(work)
        await self._step_by_step(work, definition, batches, others)

    async def update(self, work: Work, changed: Changed) -> None:
        """Change the members, in batches where the policy says so."""
        stack, batches = work.engine.tables.stacks.peek(work.physical_id), self.batches(work)
        if stack is None or batches is None:
            await super().update(work, changed)
            return
        definition = await self.definition(work)
        new = members_of(definition)
        steps = list(batches.change(members_of(stack.definition), new, lambda count: self.spare(work, new, count)))
        await self._step_by_step(work, definition, batches, steps)

    def batches(self, work: Work) -> Batches | None:
        """How the members are changed; None for all at once."""
        policy = work.row.update_policy.get("rolling_update")
        return Batches.read(policy) if policy else None

    def spare(self, work: Work, members: Mapping[str, Any], count: int) -> dict[str, Any]:
        """So many members more."""
        raise NotImplementedError

    async def _step_by_step(
        self, work: Work, definition: Definition, batches: Batches, steps: Iterable[Mapping[str, Any]]
    ) -> None:
        steps = list(steps)
        batches.require_time(len(steps), work.deadline.left_s)
        for number, members in enumerate(steps):
            if number:
                await work.sleep(batches.pause_s)
            await work.engine.update_nested(work.physical_id, with_members(definition, members))
            await self._finished(work)

    async def attribute(self, work: Work, name: str) -> Any:
        """Of the members: `refs`, `refs_map`, `attributes`, `resource.N.ATTRIBUTE`, or any attribute as a list."""
        names = await self._names(work)
        engine, nested = work.engine, work.physical_id
        refs = {one: engine.reference_of(nested, one) for one in names}
        if name == "refs":
            return list(refs.values())
        if name == "refs_map":
            return refs
        if name == "show":
            return {"refs": list(refs.values())}
        if name.startswith("resource."):
            member, _, attribute = name.removeprefix("resource.").partition(".")
            return await engine.attribute_of(nested, member, attribute) if attribute else refs.get(member)
        return [await engine.attribute_of(nested, one, name) for one in names]

    async def attribute_at(self, work: Work, name: str, path: tuple[Any, ...]) -> Any:
        """`attributes`, `outputs` and `outputs_list` go by member; others with a path are lists of where it leads."""
        if name in ("attributes", "outputs", "outputs_list") and path:
            found = {one: await self._of_member(work, one, path) for one in await self._names(work)}
            return list(found.values()) if name == "outputs_list" else found
        if not path or name in self.schema.attributes or name.startswith("resource."):
            return await super().attribute_at(work, name, path)
        return [await self._of_member(work, one, (name, *path)) for one in await self._names(work)]

    async def _names(self, work: Work) -> list[str]:
        return [row.name for row in await self.members(work)]

    async def _of_member(self, work: Work, member: str, path: tuple[Any, ...]) -> Any:
        return await work.engine.attribute_of(work.physical_id, member, str(path[0]), path[1:])


def members_of(definition: Definition) -> Mapping[str, Any]:
    """The resources of a group's stack."""
    members: Mapping[str, Any] = definition.template.get("resources") or {}
    return members


def with_members(definition: Definition, members: Mapping[str, Any]) -> Definition:
    """The same stack with other resources."""
    return replace(definition, template=document_of(members))


def document_of(resources: Mapping[str, Any]) -> dict[str, Any]:
    """A template of just these resources."""
    return {"heat_template_version": NEWEST, "resources": dict(resources)}


@dataclass(frozen=True, kw_only=True)
class ResourceGroup(Group):
    """So many equal resources, named by their index."""

    async def definition(self, work: Work) -> Definition:
        """One resource for each index that has not been removed."""
        removed = await self._removed(work)
        work.remember(removed=sorted(removed))
        names: list[str] = []
        index = 0
        while len(names) < work.properties["count"]:
            if str(index) not in removed:
                names.append(str(index))
            index += 1
        return nested_definition(work, document_of({name: self._member(work, name) for name in names}), {})

    def spare(self, work: Work, members: Mapping[str, Any], count: int) -> dict[str, Any]:
        """Members with the indexes after the last one."""
        first = max(map(int, members), default=-1) + 1
        return {str(index): self._member(work, str(index)) for index in range(first, first + count)}

    def _member(self, work: Work, index: str) -> Any:
        return _indexed(_member(work.properties["resource_def"]), work.properties["index_var"], index)

    async def attribute(self, work: Work, name: str) -> Any:
        """As of all groups, and the list of removed members."""
        if name == "removed_rsrc_list":
            return list(work.row.data.get("removed", ()))
        return await super().attribute(work, name)

    async def _removed(self, work: Work) -> set[str]:
        """Indexes that are not used again: those of before and those that the policies name, by index or reference."""
        mode = work.properties.get("removal_policies_mode", "append")
        removed = set(work.row.data.get("removed", ())) if mode == "append" else set()
        wanted = {
            str(one) for policy in work.properties.get("removal_policies") or () for one in policy["resource_list"]
        }
        members = await self.members(work) if work.physical_id else []
        return removed | {row.name for row in members if {row.name, row.physical_id} & wanted}


def _member(definition: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in definition.items() if value is not None}


def _indexed(snippet: Any, variable: str, index: str) -> Any:
    """A definition with the index in it, except for variables of groups further inside."""
    if isinstance(snippet, str):
        return snippet.replace(variable, index)
    if isinstance(snippet, Mapping):
        return {_indexed(key, variable, index): _indexed(value, variable, index) for key, value in snippet.items()}
    if isinstance(snippet, list):
        return [_indexed(value, variable, index) for value in snippet]
    return snippet


@dataclass(frozen=True, kw_only=True)
class ResourceChain(Group):
    """Resources of several types with the same properties, one after another unless `concurrent`."""

    async def definition(self, work: Work) -> Definition:
        """One resource for each type."""
        resources: dict[str, Any] = {}
        for index, kind in enumerate(work.properties["resources"]):
            resources[str(index)] = {"type": kind, "properties": work.properties.get("resource_properties") or {}}
            if index and not work.properties.get("concurrent"):
                resources[str(index)]["depends_on"] = [str(index - 1)]
        return nested_definition(work, document_of(resources), {})
