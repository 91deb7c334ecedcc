"""Flavors: the sizes of servers."""

from __future__ import annotations

from sonata.emulator.cloud.entities.compute import Flavor
from sonata.emulator.cloud.tables import Tables
from sonata.errors import Conflict, NotFound

# The first four are sized for VNFs that are processes; the others are the names that OpenStack users expect.
DEFAULTS = (
    ("tiny", 1, 64, 0),
    ("small", 1, 256, 1),
    ("medium", 2, 1024, 4),
    ("large", 4, 4096, 8),
    ("m1.tiny", 1, 512, 1),
    ("m1.small", 1, 2048, 20),
    ("m1.medium", 2, 4096, 40),
    ("m1.large", 4, 8192, 80),
    ("m1.xlarge", 8, 16384, 160),
)


class Flavors:
    """The flavors of one cloud; servers keep a copy of theirs, so that deleting one harms nobody."""

    def __init__(self, tables: Tables) -> None:
        self._flavors = tables.flavors

    def add_defaults(self) -> None:
        """Add the flavors that a new cloud has."""
        for number, (name, vcpus, ram_mib, disk_gib) in enumerate(DEFAULTS, start=1):
            self._flavors.add(Flavor(id=str(number), name=name, vcpus=vcpus, ram_mib=ram_mib, disk_gib=disk_gib))

    async def create(self, flavor: Flavor) -> Flavor:
        """Add a flavor.

        Raises:
            Conflict: name or id are taken.
        """
        if any(flavor.name == other.name for other in self._flavors):
            raise Conflict(f"Flavor with name {flavor.name} already exists.")
        if flavor.id in self._flavors:
            raise Conflict(f"Flavor with ID {flavor.id} already exists.")
        return self._flavors.add(flavor)

    async def delete(self, flavor_id: str) -> None:
        """Remove a flavor."""
        self._flavors.get(flavor_id)
        self._flavors.remove(flavor_id)

    def open_to(self, flavor: Flavor, project_id: str) -> Flavor:
        """Let a project use a private flavor.

        Raises:
            Conflict: the flavor is public, or the project may use it.
        """
        if flavor.is_public:
            raise Conflict("Can not add access to a public flavor.")
        if project_id in flavor.projects:
            raise Conflict(f"Flavor access already exists for flavor {flavor.id} and project {project_id} combination.")
        return self._flavors.change(flavor.id, projects=(*flavor.projects, project_id))

    def close_to(self, flavor: Flavor, project_id: str) -> Flavor:
        """Let a project use a private flavor no longer.

        Raises:
            Conflict: the flavor is public.
            NotFound: the project may not use it.
        """
        if flavor.is_public:
            raise Conflict("Can not remove access from a public flavor.")
        if project_id not in flavor.projects:
            raise NotFound(f"Flavor access not found for {flavor.id} / {project_id} combination.")
        kept = tuple(one for one in flavor.projects if one != project_id)
        return self._flavors.change(flavor.id, projects=kept)

    def add_extra_specs(self, flavor_id: str, specs: dict[str, str]) -> Flavor:
        """Set extra specifications, keeping the others."""
        flavor = self._flavors.get(flavor_id)
        return self._flavors.change(flavor_id, extra_specs={**flavor.extra_specs, **specs})

    def remove_extra_spec(self, flavor_id: str, key: str) -> None:
        """Remove one extra specification.

        Raises:
            NotFound: the flavor has none of this key.
        """
        flavor = self._flavors.get(flavor_id)
        if key not in flavor.extra_specs:
            raise NotFound(f"Flavor {flavor_id} has no extra specs with key {key}.")
        kept = {other: value for other, value in flavor.extra_specs.items() if other != key}
        self._flavors.change(flavor_id, extra_specs=kept)


def core_limit(flavor: Flavor) -> float:
    """Cores that a server may use: its vcpus, or less when `quota:cpu_quota` and `quota:cpu_period` (µs) say so."""
    try:
        quota = float(flavor.extra_specs["quota:cpu_quota"])
        period = float(flavor.extra_specs.get("quota:cpu_period", "100000"))
    except (KeyError, ValueError):
        return float(flavor.vcpus)
    return min(quota / period, 1.0) * flavor.vcpus if quota > 0 and period > 0 else float(flavor.vcpus)
