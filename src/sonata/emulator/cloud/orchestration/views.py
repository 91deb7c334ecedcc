"""Looking at stacks: their rows, references, attributes and outputs as they are now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sonata.emulator.cloud.entities.orchestration import Owner, Stack, StackResource
from sonata.emulator.cloud.orchestration import constraints
from sonata.emulator.cloud.orchestration.blueprint import Blueprint, compiled
from sonata.emulator.cloud.orchestration.calls import Authority, CallRefused, OpenStackCalls
from sonata.emulator.cloud.orchestration.catalogue import kind_named
from sonata.emulator.cloud.orchestration.evaluation import Evaluation
from sonata.emulator.cloud.orchestration.judge import Judge
from sonata.emulator.cloud.orchestration.kinds.base import Kind
from sonata.emulator.cloud.orchestration.work import Deadline, Nesting, Work
from sonata.emulator.cloud.tables import Tables
from sonata.errors import SonataError, Unsupported
from sonata.formats.hot.errors import InvalidTemplateReference, StackValidationFailed


class Views:
    """Reads the stacks of one cloud.

    Args:
        engine: what types of resources ask of the engine.
    """

    def __init__(self, tables: Tables, engine: Nesting) -> None:
        self._tables = tables
        self._engine = engine
        self.judge = Judge()
        self.authority: Authority | None = None

    async def blueprint(self, stack: Stack) -> Blueprint:
        """What a stack is made of, compiled."""
        return await compiled(stack.definition, stack, self.judge, self.facade(stack))

    def facade(self, stack: Stack) -> Mapping[str, Any]:
        """What the resource that stands for a nested stack in its parent says."""
        parent = self._tables.stacks.peek(stack.parent_id)
        if parent is None:
            return {}
        document = (parent.definition.template.get("resources") or {}).get(stack.parent_resource) or {}
        return {
            "metadata": document.get("metadata") or {},
            "deletion_policy": document.get("deletion_policy", "Delete"),
            "update_policy": document.get("update_policy") or {},
        }

    def rows(self, stack_id: str) -> list[StackResource]:
        """The resources of a stack, without those that only wait for their deletion."""
        return [row for row in self._tables.stack_resources if row.stack_id == stack_id and not row.obsolete]

    def row(self, stack_id: str, name: str) -> StackResource | None:
        """The resource of this name."""
        return next((row for row in self.rows(stack_id) if row.name == name), None)

    def nested(self, row: StackResource) -> Stack | None:
        """The nested stack for which a resource stands."""
        stack = self._tables.stacks.peek(row.physical_id)
        return stack if stack and stack.parent_id == row.stack_id else None

    def calls(self, stack: Stack) -> OpenStackCalls:
        """Calls with the authority of a stack's owner.

        Raises:
            Unsupported: the APIs are not served.
        """
        return self.calls_of(stack.owner)

    def calls_of(self, owner: Owner) -> OpenStackCalls:
        """Calls with the authority of somebody.

        Raises:
            Unsupported: the APIs are not served.
        """
        if self.authority is None:
            raise Unsupported("stacks need the APIs of their cloud, which are not served")
        return self.authority.calls_for(owner)

    def work(self, stack: Stack, row: StackResource, deadline: Deadline | None = None) -> Work:
        """One resource at work with the properties it has."""
        return Work(
            self._engine,
            stack,
            row.id,
            row.properties,
            self.calls(stack),
            deadline or Deadline.after(stack.timeout_mins),
        )

    async def require_parameters(self, stack: Stack, blueprint: Blueprint) -> None:
        """Look up what the custom constraints of parameters want.

        Raises:
            StackValidationFailed: a value is none of the cloud's objects, or not of the form that is wanted.
        """
        parameters = [one for one in blueprint.template.parameters.values() if one.custom]
        if parameters:
            nobody = Work(self._engine, stack, "", {}, self.calls(stack), Deadline.after(None))
            if told := await constraints.findings(nobody, parameters, blueprint.parameters):
                raise StackValidationFailed("; ".join(told))

    def kind(self, stack: Stack, row: StackResource) -> Kind:
        """The type of a resource that is there."""
        return kind_named(row.kind, stack.definition.files)

    def reference_of(self, stack_id: str, name: str) -> Any:
        """What `get_resource` of a resource is; None when it is not there."""
        row = self.row(stack_id, name)
        return self.kind(self._tables.stacks.get(stack_id), row).reference(row) if row else None

    async def attribute_of(self, stack_id: str, name: str, attribute: str, path: tuple[Any, ...] = ()) -> Any:
        """An attribute of a resource; None when the resource is not there or was not made."""
        row = self.row(stack_id, name)
        stack = self._tables.stacks.get(stack_id)
        if row is None or not row.physical_id:
            return None
        try:
            return await self.kind(stack, row).attribute_at(self.work(stack, row), attribute, path)
        except CallRefused as error:
            if error.status == 404:
                return None
            raise

    def evaluation(self, stack: Stack, blueprint: Blueprint) -> Evaluation:
        """Resolves snippets of a stack as it is now."""
        return Evaluation(
            blueprint,
            lambda name: self.reference_of(stack.id, name),
            lambda name, attribute, path: self.attribute_of(stack.id, name, attribute, path),
        )

    async def outputs(self, stack: Stack) -> list[dict[str, Any]]:
        """The outputs as the API shows them; an output that cannot be found out says why."""
        blueprint = await self.blueprint(stack)
        evaluation = self.evaluation(stack, blueprint)
        found: list[dict[str, Any]] = []
        for output in blueprint.template.outputs.values():
            shown: dict[str, Any] = {
                "output_key": output.name,
                "description": output.description or "No description given",
            }
            try:
                wanted = output.value if await evaluation.is_true(output.condition) else None
                shown["output_value"] = await evaluation.resolve(wanted, "outputs", output.name, "value")
            except SonataError as error:
                shown = {**shown, "output_value": None, "output_error": error.message}
            found.append(shown)
        return found

    async def attributes(self, stack: Stack, row: StackResource, more: tuple[str, ...] = ()) -> dict[str, Any]:
        """All attributes of a resource; those that cannot be found out are None.

        Raises:
            InvalidTemplateReference: one of `more` is none of its attributes.
        """
        kind = self.kind(stack, row)
        known = (*kind.schema.attributes, "show", *(more if kind.any_attribute else ()))
        if wrong := [name for name in more if name not in known]:
            raise InvalidTemplateReference(f"The Referenced Attribute ({row.name} {wrong[0]}) is incorrect.")
        found: dict[str, Any] = {}
        for name in (*kind.schema.attributes, *more):
            try:
                found[name] = await self.attribute_of(stack.id, row.name, name)
            except SonataError:
                found[name] = None
        return found
