"""What every type of resource can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, ClassVar

from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.orchestration import StackResource
from sonata.emulator.cloud.orchestration.schema import Property, TypeSchema
from sonata.emulator.cloud.orchestration.work import NoId, Work
from sonata.errors import InvalidInput
from sonata.formats.hot.functions import select

Changed = frozenset[str]


class NeedsReplacement(Exception):
    """An update cannot be made in place."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A type of resource; this one has no effect and is the base of all.

    Args:
        schema: its properties and attributes.
        refused: properties that have no effect here and are refused, with the reason.
        replaces_first: whether the old object goes before its replacement is made, because both cannot be.
        update_policies: what `update_policy` may say.
        open_ended: whether any properties are taken and passed over, and any attribute is nothing.
    """

    schema: TypeSchema
    refused: Mapping[str, str] = field(default_factory=dict)
    replaces_first: bool = False
    update_policies: Mapping[str, Property] = field(default_factory=dict)
    open_ended: bool = False

    signalled: ClassVar[bool] = False
    """Whether it takes signals."""
    any_attribute: ClassVar[bool] = False
    """Whether it has more attributes than its schema says."""
    saved: ClassVar[bool] = False
    """Whether its contents can be kept, as an image."""
    contents: ClassVar[str] = ""
    """The property that names the image which its contents come from, where a change of it changes them."""

    @property
    def name(self) -> str:
        """As templates call it."""
        return self.schema.name

    @property
    def properties(self) -> Mapping[str, Property]:
        """Its properties by name."""
        return self.schema.properties

    def goes_first(self, properties: Mapping[str, Any]) -> bool:
        """Whether an object with these properties must be gone before its replacement is made."""
        return self.replaces_first

    def is_replaced(self, properties: Mapping[str, Any], changed: Changed) -> bool:
        """Whether these properties, of which some have changed, need another object."""
        return not all(self.properties[name].update for name in changed if name in self.properties)

    async def create(self, work: Work) -> None:
        """Make the object; it is ready at return. The id is noted as soon as there is one."""
        work.made(work.physical_name)

    async def update(self, work: Work, changed: Changed) -> None:
        """Bring the object to the properties that have changed.

        Raises:
            NeedsReplacement: that is not possible.
        """

    async def delete(self, work: Work) -> None:
        """Delete the object; it is gone at return. Idempotent."""

    async def save(self, work: Work) -> None:
        """Keep the object's contents as an image, remembered as `snapshot_image_id`; it is ready at return."""

    async def snapshot(self, work: Work) -> None:
        """Keep what a snapshot of the stack needs besides the properties."""
        if self.saved:
            await self.save(work)

    async def restore(self, work: Work, image_id: str, *, is_new: bool) -> None:
        """Give the object the contents of an image back.

        Args:
            work: the object has its properties already.
            image_id: what `save` has made.
            is_new: whether the object was made just now, of its properties.
        """

    async def adopt(self, work: Work, exported: Mapping[str, Any]) -> None:
        """Take over an object that is there.

        Args:
            work: the resource.
            exported: what a stack that let the object go has told of it.

        Raises:
            NoId: not which object it is.
        """
        if not exported.get("resource_id"):
            raise NoId("Resource ID was not provided.")
        work.made(str(exported["resource_id"]))
        work.remember(**(exported.get("resource_data") or {}))
        if metadata := exported.get("metadata"):
            work.engine.tables.stack_resources.change(work.resource_id, metadata=metadata)

    async def check(self, work: Work) -> None:
        """Raise when the object is not well."""

    async def is_lost(self, work: Work) -> bool:
        """Whether an object whose resource has failed is made anew at the next update, instead of changed."""
        return True

    async def suspend(self, work: Work) -> None:
        """Suspend the object where that means something."""

    async def resume(self, work: Work) -> None:
        """Undo `suspend`."""

    async def signal(self, work: Work, details: Any) -> None:
        """Take a signal.

        Raises:
            InvalidInput: it takes none.
        """
        raise InvalidInput(f"resource type {self.name} takes no signals")

    async def attribute(self, work: Work, name: str) -> Any:
        """The value of an attribute, None when it has none now."""
        if name == "show":
            return await self.shown(work)
        return (await self.shown(work)).get(name)

    async def attribute_at(self, work: Work, name: str, path: tuple[Any, ...]) -> Any:
        """What a path leads to in an attribute, None where it leads nowhere; all attributes when the name is empty."""
        if not name:
            return {one: await self.attribute(work, one) for one in self.schema.attributes}
        return select(await self.attribute(work, name), path, None)

    async def shown(self, work: Work) -> Mapping[str, Any]:
        """The object as its service shows it."""
        return {}

    def reference(self, row: StackResource) -> Any:
        """What `get_resource` is."""
        return row.physical_id or None
