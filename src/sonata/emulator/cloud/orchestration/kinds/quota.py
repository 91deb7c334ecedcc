"""Types of resources that are the quota of a project in a service."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field

from sonata._lib.values import dataclass
from sonata.emulator.cloud.orchestration.kinds.base import Changed, Kind
from sonata.emulator.cloud.orchestration.kinds.finding import with_ids
from sonata.emulator.cloud.orchestration.schema import type_schemas
from sonata.emulator.cloud.orchestration.work import Work


def quota_kinds() -> Iterable[Kind]:
    """The quotas of all services that have them."""
    schemas = type_schemas()
    yield QuotaKind(
        schema=schemas["OS::Nova::Quota"], service="compute", path="/v2.1/os-quota-sets/{target}", member="quota_set"
    )
    yield QuotaKind(
        schema=schemas["OS::Cinder::Quota"],
        service="volume",
        path="/v3/{project}/os-quota-sets/{target}",
        member="quota_set",
    )
    yield QuotaKind(schema=schemas["OS::Neutron::Quota"], service="network", path="/v2.0/quotas/{target}")
    yield QuotaKind(
        schema=schemas["OS::Octavia::Quota"],
        service="load-balancer",
        path="/v2.0/lbaas/quotas/{target}",
        names={"loadbalancer": "load_balancer"},
    )


@dataclass(frozen=True, kw_only=True)
class QuotaKind(Kind):
    """The quota of a project; without the resource it is the usual one again.

    Args:
        service: path segment of the service.
        path: of the quota; `{target}` stands for the project's id, `{project}` for that of the stack.
        member: key of the object in bodies.
        names: keys in the body of properties that are called otherwise there.
    """

    service: str
    path: str
    member: str = "quota"
    names: Mapping[str, str] = field(default_factory=dict)

    async def create(self, work: Work) -> None:
        """Set the limits."""
        await self._set(work)
        work.made(work.physical_name)

    async def update(self, work: Work, changed: Changed) -> None:
        """Set the limits again."""
        await self._set(work)

    async def delete(self, work: Work) -> None:
        """Let the usual limits hold."""
        if work.physical_id:
            await work.call(self.service, "DELETE", await self._item(work))

    async def _set(self, work: Work) -> None:
        limits = {self.names.get(key, key): value for key, value in work.properties.items() if key != "project"}
        await work.call(self.service, "PUT", await self._item(work), {self.member: limits})

    async def _item(self, work: Work) -> str:
        found = await with_ids(work, self.properties, {"project": work.properties["project"]})
        return self.path.format(project=work.stack.project_id, target=found["project"])
