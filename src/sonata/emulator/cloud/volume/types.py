"""Types of volumes. All of them are kept by the same store, so that a change of type moves no data."""

from __future__ import annotations

from sonata.emulator.cloud.entities.volume import VolumeType
from sonata.emulator.cloud.tables import Tables
from sonata.errors import Conflict, InvalidInput, NotFound

DEFAULT = "__DEFAULT__"
DEFAULTS = ((DEFAULT, "Default Volume Type"), ("local", "Files of this site's own disk"))


class VolumeTypes:
    """The volume types of one cloud."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._types = tables.volume_types
        if not len(self._types):
            self._add_defaults()

    def _add_defaults(self) -> None:
        for name, description in DEFAULTS:
            self._types.add(VolumeType(name=name, description=description))

    @property
    def default(self) -> VolumeType:
        """The type of volumes for which none is asked."""
        return next((one for one in self._types if one.name == DEFAULT), next(iter(self._types)))

    def find(self, name_or_id: str, project_id: str) -> VolumeType:
        """A type that a project may use, by id or name.

        Raises:
            NotFound: there is none.
        """
        for one in self._types:
            if name_or_id in (one.id, one.name) and usable(one, project_id):
                return one
        raise NotFound(f"Volume type {name_or_id} could not be found.")

    def create(self, wanted: VolumeType) -> VolumeType:
        """Add a type.

        Raises:
            Conflict: the name is taken.
        """
        self._require_free(wanted.name)
        return self._types.add(wanted)

    def rename(self, type_id: str, **changes: object) -> VolumeType:
        """Change name, description or visibility.

        Raises:
            Conflict: the name is taken.
        """
        name = changes.get("name")
        if isinstance(name, str) and name != self._types.get(type_id).name:
            self._require_free(name)
        return self._types.change(type_id, **changes)

    def delete(self, type_id: str) -> None:
        """Remove a type.

        Raises:
            InvalidInput: volumes have it, or it is the default one.
        """
        if type_id == self.default.id:
            raise InvalidInput(f"Invalid volume type: Volume type {type_id} is the default and cannot be deleted.")
        if any(volume.type_id == type_id for volume in self._tables.volumes):
            raise InvalidInput(f"Target volume type is still in use: Volume type {type_id} is in use.")
        self._types.remove(type_id)

    def _require_free(self, name: str) -> None:
        if any(one.name == name for one in self._types):
            raise Conflict(f"Volume Type {name} already exists.")


def usable(one: VolumeType, project_id: str) -> bool:
    """Whether a project may use a type."""
    return one.is_public or project_id in one.access
