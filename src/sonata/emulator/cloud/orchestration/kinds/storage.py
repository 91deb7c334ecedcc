"""Types of resources of the Block storage and Load balancing APIs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from sonata._lib.values import dataclass
from sonata.emulator.cloud.orchestration.calls import CallRefused
from sonata.emulator.cloud.orchestration.kinds.base import Changed, Kind
from sonata.emulator.cloud.orchestration.kinds.finding import image_ready, with_ids
from sonata.emulator.cloud.orchestration.kinds.rest import Body, RestKind
from sonata.emulator.cloud.orchestration.schema import type_schemas
from sonata.emulator.cloud.orchestration.work import Work

VOLUME, BALANCING = "volume", "load-balancer"


def storage_kinds() -> Iterable[Kind]:
    """Volumes and their attachments."""
    yield VolumeKind(
        schema=type_schemas()["OS::Cinder::Volume"],
        service=VOLUME,
        path="/v3/{project}/volumes",
        member="volume",
        names={"image": "imageRef", "display_name": "name", "display_description": "description"},
        ready=frozenset(("available", "in-use")),
        not_sent=frozenset(("read_only", "scheduler_hints")),
    )
    yield VolumeTypeKind(
        schema=type_schemas()["OS::Cinder::VolumeType"],
        service=VOLUME,
        path="/v3/{project}/types",
        member="volume_type",
        names={"is_public": "os-volume-type-access:is_public"},
        not_sent=frozenset(("metadata", "projects")),
    )
    yield VolumeAttachment(schema=type_schemas()["OS::Cinder::VolumeAttachment"], replaces_first=True)


@dataclass(frozen=True, kw_only=True)
class VolumeKind(RestKind):
    """A volume; as there are no backups, an image keeps its contents where they are to outlive it."""

    saved: ClassVar[bool] = True

    async def create(self, work: Work) -> None:
        """Make it and, if asked, let nobody write to it."""
        await super().create(work)
        if work.properties.get("read_only") is not None:
            await self._set_read_only(work)

    async def update(self, work: Work, changed: Changed) -> None:
        """Grow, rename, retype; the rest is told apart."""
        item = self.item(work)
        if "size" in changed:
            await work.call(VOLUME, "POST", f"{item}/action", {"os-extend": {"new_size": work.properties["size"]}})
            await self.wait_ready(work)
        if "metadata" in changed:
            await work.call(VOLUME, "PUT", f"{item}/metadata", {"metadata": work.properties["metadata"]})
        if "volume_type" in changed:
            retype = {"new_type": work.properties["volume_type"], "migration_policy": "never"}
            await work.call(VOLUME, "POST", f"{item}/action", {"os-retype": retype})
            await self.wait_ready(work)
        if "read_only" in changed:
            await self._set_read_only(work)
        await super().update(work, changed & {"name", "description"})

    async def save(self, work: Work) -> None:
        """Upload it to an image of its name."""
        wish = {"image_name": work.physical_name, "disk_format": "raw", "container_format": "bare", "force": True}
        answer = await work.call(VOLUME, "POST", f"{self.item(work)}/action", {"os-volume_upload_image": wish})
        image_id = answer["os-volume_upload_image"]["image_id"]
        work.remember(snapshot_image_id=image_id)
        await image_ready(work, image_id)
        await self.wait_ready(work)

    async def restore(self, work: Work, image_id: str, *, is_new: bool) -> None:
        """Fill it from the image; servers that have it are without it meanwhile."""
        shown = await self.shown(work)
        attachments = shown["attachments"]
        for one in attachments:
            path = f"/v2.1/servers/{one['server_id']}/os-volume_attachments/{work.physical_id}"
            await _when_quiet(work, "DELETE", path)
        await work.until(lambda: self._is_available(work))
        await self._do(work, {"os-reimage": {"image_id": image_id}})
        await self.wait_ready(work)
        await self._do(work, {"os-set_bootable": {"bootable": shown["bootable"] == "true"}})
        for one in attachments:
            body = {"volumeAttachment": {"volumeId": work.physical_id, "device": one["device"]}}
            path = f"/v2.1/servers/{one['server_id']}/os-volume_attachments"
            await _when_quiet(work, "POST", path, body)

    async def _is_available(self, work: Work) -> bool:
        return bool((await self.shown(work))["status"] == "available")

    async def _do(self, work: Work, action: Body) -> None:
        await work.call(VOLUME, "POST", f"{self.item(work)}/action", action)

    async def attribute(self, work: Work, name: str) -> Any:
        """Fields of the volume; some of them as JSON text, too."""
        shown = await self.shown(work)
        if name in ("metadata", "attachments"):
            return json.dumps(shown.get(name))
        if name in ("metadata_values", "attachments_list"):
            return shown.get(name.partition("_")[0])
        value = shown.get(self.names.get(name, name))
        return shown if name == "show" else value

    async def _set_read_only(self, work: Work) -> None:
        body = {"os-update_readonly_flag": {"readonly": bool(work.properties.get("read_only"))}}
        await work.call(VOLUME, "POST", f"{self.item(work)}/action", body)


@dataclass(frozen=True, kw_only=True)
class VolumeTypeKind(RestKind):
    """A type of volumes with its extra specs, and the projects that may use it."""

    async def create(self, work: Work) -> None:
        """Make it, then give it extra specs and projects."""
        await super().create(work)
        await self._specify(work, {})
        await self._permit(work, set())

    async def update(self, work: Work, changed: Changed) -> None:
        """Change it, its extra specs and its projects."""
        own = {key: work.properties.get(key) for key in changed & {"name", "description", "is_public"}}
        if own:
            await work.call(VOLUME, "PUT", self.item(work), {self.member: own})
        if "metadata" in changed:
            await self._specify(work, work.row.properties.get("metadata") or {})
        if "projects" in changed:
            await self._permit(work, set(work.row.properties.get("projects") or ()))

    async def _specify(self, work: Work, old: Mapping[str, Any]) -> None:
        new = work.properties.get("metadata") or {}
        for key in old.keys() - new.keys():
            await work.call(VOLUME, "DELETE", f"{self.item(work)}/extra_specs/{key}")
        if new:
            texts = {key: str(value) for key, value in new.items()}
            await work.call(VOLUME, "POST", f"{self.item(work)}/extra_specs", {"extra_specs": texts})

    async def _permit(self, work: Work, before: set[str]) -> None:
        after = set(work.properties.get("projects") or ())
        for verb, names in (("addProjectAccess", after - before), ("removeProjectAccess", before - after)):
            for project in (await with_ids(work, self.properties, {"projects": sorted(names)}))["projects"]:
                await work.call(VOLUME, "POST", f"{self.item(work)}/action", {verb: {"project": project}})


async def _when_quiet(work: Work, method: str, path: str, body: Any = None) -> None:
    """Change the volumes of a server when nothing else goes on with it; it may be rebuilt at the same time."""

    async def accepted() -> bool:
        try:
            await work.call("compute", method, path, body)
        except CallRefused as error:
            if error.status != 409 or "task_state" not in str(error):
                raise
            return False
        return True

    await work.until(accepted)


@dataclass(frozen=True, kw_only=True)
class VolumeAttachment(Kind):
    """That a volume is attached to a server; its id is the volume's."""

    async def create(self, work: Work) -> None:
        """Attach and wait until the volume is in use."""
        found = await with_ids(work, self.properties, work.properties)
        device = {"device": found["mountpoint"]} if found.get("mountpoint") else {}
        path = f"/v2.1/servers/{found['instance_uuid']}/os-volume_attachments"
        body = {"volumeAttachment": {"volumeId": found["volume_id"], **device}}
        await work.call("compute", "POST", path, body)
        work.remember(path=path)
        work.made(str(found["volume_id"]))
        await work.until(lambda: self._is(work, "in-use"))

    async def update(self, work: Work, changed: Changed) -> None:
        """Detach here, attach there."""
        await self.delete(work)
        await self.create(work)

    async def delete(self, work: Work) -> None:
        """Detach and wait until the volume is free."""
        if not work.physical_id:
            return
        try:
            await work.call("compute", "DELETE", f"{work.row.data['path']}/{work.physical_id}")
            await work.until(lambda: self._is(work, "available"))
        except CallRefused as error:
            if error.status != 404:
                raise

    async def _is(self, work: Work, status: str) -> bool:
        path = f"/v3/{work.stack.project_id}/volumes/{work.physical_id}"
        return bool((await work.call(VOLUME, "GET", path))["volume"]["status"] == status)


def balancing_kinds() -> Iterable[Kind]:
    """Load balancers and what belongs to them."""
    network = {"vip_subnet": "vip_subnet_id", "flavor": "flavor_id"}
    yield _balancing("LoadBalancer", "loadbalancers", "loadbalancer", names=network, gone_when=frozenset(("DELETED",)))
    ids = {"loadbalancer": "loadbalancer_id", "default_pool": "default_pool_id"}
    yield _balancing("Listener", "listeners", "listener", names=ids)
    yield _balancing("Pool", "pools", "pool", names={"loadbalancer": "loadbalancer_id", "listener": "listener_id"})
    yield _balancing(
        "PoolMember", "pools/{pool}/members", "member", names={"subnet": "subnet_id"}, not_sent=frozenset(("pool",))
    )
    yield _balancing("HealthMonitor", "healthmonitors", "healthmonitor", names={"pool": "pool_id"})
    redirect = {"listener": "listener_id", "redirect_pool": "redirect_pool_id"}
    yield _balancing("L7Policy", "l7policies", "l7policy", names=redirect)
    yield _balancing("L7Rule", "l7policies/{l7policy}/rules", "rule", not_sent=frozenset(("l7policy",)))
    yield _balancing("Flavor", "flavors", "flavor", names={"flavor_profile": "flavor_profile_id"}, ready=frozenset())
    yield _balancing("FlavorProfile", "flavorprofiles", "flavorprofile", ready=frozenset())


def _balancing(name: str, path: str, member: str, **more: Any) -> RestKind:
    defaults: dict[str, Any] = {"ready": frozenset(("ACTIVE",)), "status_key": "provisioning_status"}
    return RestKind(
        schema=type_schemas()[f"OS::Octavia::{name}"],
        service=BALANCING,
        path=f"/v2.0/lbaas/{path}",
        member=member,
        waits_when_busy=True,
        shape=_project,
        **{**defaults, **more},
    )


def _project(body: Body) -> Body:
    if "tenant_id" in body:
        body["project_id"] = body.pop("tenant_id")
    return body
