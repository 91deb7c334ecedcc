"""Types of resources of the Compute API."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from sonata._lib.values import dataclass
from sonata.emulator.cloud.orchestration.calls import CallRefused
from sonata.emulator.cloud.orchestration.kinds.base import Changed, Kind, NeedsReplacement
from sonata.emulator.cloud.orchestration.kinds.finding import image_ready, with_ids
from sonata.emulator.cloud.orchestration.kinds.rest import Body, RestKind
from sonata.emulator.cloud.orchestration.schema import type_schemas
from sonata.emulator.cloud.orchestration.work import ResourceFailed, Work

COMPUTE, NETWORK = "compute", "network"
POLICED = ("user_data", "flavor", "image")
"""Properties with a policy that says what a change of them means."""
_CONFIG_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def compute_kinds() -> Iterable[Kind]:
    """All types of the service."""
    schemas = type_schemas()
    yield ServerKind(
        schema=schemas["OS::Nova::Server"],
        service=COMPUTE,
        path="/v2.1/servers",
        member="server",
        ready=frozenset(("ACTIVE",)),
        refused={
            "reservation_id": "there are no reservations",
            "deployment_swift_data": "there is no object storage",
            "diskConfig": "root disks are overlays and have no partitions",
        },
    )
    yield FlavorKind(
        schema=schemas["OS::Nova::Flavor"],
        service=COMPUTE,
        path="/v2.1/flavors",
        member="flavor",
        shape=_flavor_body,
        not_sent=frozenset(("extra_specs", "tenants")),
    )
    yield AggregateKind(
        schema=schemas["OS::Nova::HostAggregate"],
        service=COMPUTE,
        path="/v2.1/os-aggregates",
        member="aggregate",
        not_sent=frozenset(("hosts", "metadata")),
    )
    yield KeyPairKind(schema=schemas["OS::Nova::KeyPair"], replaces_first=True)
    yield RestKind(
        schema=schemas["OS::Nova::ServerGroup"],
        service=COMPUTE,
        path="/v2.1/os-server-groups",
        member="server_group",
        shape=_group_body,
    )


def _flavor_body(body: Body) -> Body:
    public = {"os-flavor-access:is_public": body.pop("is_public", True)}
    flavor_id = {"id": body.pop("flavorid")} if "flavorid" in body else {}
    ephemeral = {"OS-FLV-EXT-DATA:ephemeral": body.pop("ephemeral", 0)}
    return {**body, **public, **flavor_id, **ephemeral}


def _group_body(body: Body) -> Body:
    """Since microversion 2.64 a group has one policy."""
    policies = body.pop("policies", None) or [None]
    return {**body, "policy": policies[0]}


@dataclass(frozen=True, kw_only=True)
class FlavorKind(RestKind):
    """A flavor with extra specs and access."""

    async def create(self, work: Work) -> None:
        """Make the flavor, then what is told apart from it."""
        await super().create(work)
        await self._set_specs(work)
        tenants = (await with_ids(work, self.properties, {"tenants": work.properties.get("tenants", [])}))["tenants"]
        for tenant in tenants:
            await work.call(COMPUTE, "POST", f"{self.item(work)}/action", {"addTenantAccess": {"tenant": tenant}})

    async def update(self, work: Work, changed: Changed) -> None:
        """Other extra specs; other tenants need another flavor here."""
        if "tenants" in changed:
            raise NeedsReplacement
        for key in (await work.call(COMPUTE, "GET", f"{self.item(work)}/os-extra_specs"))["extra_specs"]:
            await work.call(COMPUTE, "DELETE", f"{self.item(work)}/os-extra_specs/{key}")
        await self._set_specs(work)

    async def attribute(self, work: Work, name: str) -> Any:
        """Fields of the flavor."""
        shown = await self.shown(work)
        return (
            shown.get("os-flavor-access:is_public")
            if name == "is_public"
            else shown
            if name == "show"
            else shown.get(name)
        )

    async def _set_specs(self, work: Work) -> None:
        if specs := work.properties.get("extra_specs"):
            body = {"extra_specs": {key: str(value) for key, value in specs.items()}}
            await work.call(COMPUTE, "POST", f"{self.item(work)}/os-extra_specs", body)


@dataclass(frozen=True, kw_only=True)
class AggregateKind(RestKind):
    """An aggregate of hosts with its metadata."""

    async def create(self, work: Work) -> None:
        """Make it, then give it metadata and hosts."""
        await super().create(work)
        await self._describe(work, {})
        await self._gather(work, set())

    async def update(self, work: Work, changed: Changed) -> None:
        """Change it, its metadata and its hosts."""
        await super().update(work, changed)
        if "metadata" in changed:
            await self._describe(work, work.row.properties.get("metadata") or {})
        if "hosts" in changed:
            await self._gather(work, set(work.row.properties.get("hosts") or ()))

    async def delete(self, work: Work) -> None:
        """Take its hosts out and delete it."""
        if work.physical_id and not await work.gone(COMPUTE, self.item(work)):
            for host in (await self.shown(work))["hosts"]:
                await self._do(work, {"remove_host": {"host": host}})
            await super().delete(work)

    async def _describe(self, work: Work, old: Mapping[str, Any]) -> None:
        new = work.properties.get("metadata") or {}
        metadata = {**dict.fromkeys(old.keys() - new.keys()), **_texts(new)}
        if metadata:
            await self._do(work, {"set_metadata": {"metadata": metadata}})

    async def _gather(self, work: Work, before: set[str]) -> None:
        after = set(work.properties.get("hosts") or ())
        for verb, hosts in (("add_host", after - before), ("remove_host", before - after)):
            for host in sorted(hosts):
                await self._do(work, {verb: {"host": host}})

    async def _do(self, work: Work, action: Body) -> None:
        await work.call(COMPUTE, "POST", f"{self.item(work)}/action", action)


@dataclass(frozen=True, kw_only=True)
class KeyPairKind(Kind):
    """A key pair; its name is its id."""

    async def create(self, work: Work) -> None:
        """Make or import it; a private key that the site made is kept if the template wants it."""
        keys = ("name", "public_key", "type")
        body = {key: work.properties[key] for key in keys if work.properties.get(key)}
        made = (await work.call(COMPUTE, "POST", "/v2.1/os-keypairs", {"keypair": body}))["keypair"]
        work.made(made["name"])
        if work.properties.get("save_private_key"):
            work.remember(private_key=made.get("private_key", ""))

    async def delete(self, work: Work) -> None:
        """Delete it."""
        if work.physical_id:
            try:
                await work.call(COMPUTE, "DELETE", f"/v2.1/os-keypairs/{work.physical_id}")
            except CallRefused as error:
                if error.status != 404:
                    raise

    async def shown(self, work: Work) -> Mapping[str, Any]:
        """The key pair as Nova shows it, with the private key that was kept."""
        document = (await work.call(COMPUTE, "GET", f"/v2.1/os-keypairs/{work.physical_id}"))["keypair"]
        return {**document, "private_key": work.row.data.get("private_key", "")}


@dataclass(frozen=True, kw_only=True)
class ServerKind(RestKind):
    """A server."""

    saved: ClassVar[bool] = True
    contents: ClassVar[str] = "image"

    async def create(self, work: Work) -> None:
        """Boot it, wait for ACTIVE, and lead the floating IPs of its networks to it."""
        properties = await with_ids(work, self.properties, work.properties)
        body = await self._boot_body(work, properties)
        hints = {"os:scheduler_hints": properties["scheduler_hints"]} if properties.get("scheduler_hints") else {}
        answer = await work.call(COMPUTE, "POST", self.path, {"server": body, **hints})
        work.made(answer["server"]["id"])
        await self.wait_ready(work)
        await self._associate(work, properties.get("networks") or [])

    async def update(self, work: Work, changed: Changed) -> None:
        """Name, metadata, tags, flavor, image and user data in place."""
        await self._change(work, changed)

    def is_replaced(self, properties: Mapping[str, Any], changed: Changed) -> bool:
        """As for all, and where the policies say so; other networks and passwords need another server here."""
        by_policy = {name for name in POLICED if properties.get(f"{name}_update_policy") == "REPLACE"}
        return bool(changed & (by_policy | {"networks", "admin_pass"})) or super().is_replaced(properties, changed)

    async def save(self, work: Work) -> None:
        """Make an image of it."""
        body = {"createImage": {"name": work.physical_name}}
        answer = await work.call(COMPUTE, "POST", f"{self.item(work)}/action", body)
        work.remember(snapshot_image_id=answer["image_id"])
        await image_ready(work, answer["image_id"])

    async def restore(self, work: Work, image_id: str, *, is_new: bool) -> None:
        """Rebuild it; a new one has booted from the image."""
        if not is_new:
            await work.call(COMPUTE, "POST", f"{self.item(work)}/action", {"rebuild": {"imageRef": image_id}})
            await work.until(lambda: self._is_idle(work))

    async def suspend(self, work: Work) -> None:
        """Suspend it; where that is not offered the stack's operation fails with the reason."""
        await self._act(work, {"suspend": None}, "SUSPENDED")

    async def resume(self, work: Work) -> None:
        """Resume it."""
        await self._act(work, {"resume": None}, "ACTIVE")

    async def attribute(self, work: Work, name: str) -> Any:
        """Fields of the server, and its addresses in several forms."""
        shown = await self.shown(work)
        addresses: Mapping[str, list[Mapping[str, Any]]] = shown["addresses"]
        if name == "networks":
            by_name = {network: [one["addr"] for one in found] for network, found in addresses.items()}
            return {**by_name, **await self._by_network_id(work, by_name)}
        if name == "first_address":
            return next((one["addr"] for found in addresses.values() for one in found), "")
        if name == "addresses":
            return await self._with_ports(work, addresses)
        if name == "instance_name":
            return shown.get("OS-EXT-SRV-ATTR:instance_name")
        if name == "console_urls":
            return await self._console_urls(work)
        return shown if name == "show" else shown.get(name)

    async def _change(self, work: Work, changed: Changed) -> None:
        found = await with_ids(work, self.properties, work.properties)
        if "name" in changed:
            body = {"server": {"name": found.get("name", work.physical_name)}}
            await work.call(COMPUTE, "PUT", self.item(work), body)
        if "metadata" in changed:
            await work.call(COMPUTE, "PUT", f"{self.item(work)}/metadata", {"metadata": _texts(found["metadata"])})
        if "tags" in changed:
            await work.call(COMPUTE, "PUT", f"{self.item(work)}/tags", {"tags": found.get("tags", [])})
        if "flavor" in changed:
            await self._act(work, {"resize": {"flavorRef": found["flavor"]}}, "VERIFY_RESIZE")
            await self._act(work, {"confirmResize": None}, "ACTIVE")
        rebuild: Body = {"imageRef": found["image"]} if "image" in changed else {}
        if "user_data" in changed and found.get("user_data_update_policy") == "REBUILD":
            text = await self._user_data(work, found.get("user_data") or "")
            rebuild = {
                "imageRef": (await self.shown(work))["image"]["id"],
                "user_data": base64.b64encode(text.encode()).decode(),
                **rebuild,
            }
        if rebuild:
            await self._act(work, {"rebuild": rebuild}, "ACTIVE")

    async def _act(self, work: Work, body: Body, status: str) -> None:
        await work.call(COMPUTE, "POST", f"{self.item(work)}/action", body)

        async def there() -> bool:
            shown = await self.shown(work)
            return shown["status"] in (status, "ERROR") and not shown.get("OS-EXT-STS:task_state")

        await work.until(there)
        await self.wait_status(work, status)

    async def _is_idle(self, work: Work) -> bool:
        """Whether nothing goes on with it.

        Raises:
            ResourceFailed: it is in ERROR.
        """
        shown = await self.shown(work)
        if shown["status"] == "ERROR":
            raise ResourceFailed(f"Went to status ERROR: {(shown.get('fault') or {}).get('message')}")
        return not shown.get("OS-EXT-STS:task_state")

    async def wait_status(self, work: Work, status: str) -> None:
        """Raise when the server is in ERROR."""
        if status == "ACTIVE":
            await self.wait_ready(work)

    async def _boot_body(self, work: Work, found: Mapping[str, Any]) -> Body:
        body: Body = {"name": found.get("name", work.physical_name), "flavorRef": found["flavor"]}
        renamed = {"image": "imageRef", "admin_pass": "adminPass"}  # nosec B105  # names of keys
        for key in ("image", "key_name", "availability_zone", "config_drive", "tags", "admin_pass"):
            if found.get(key) not in (None, ""):
                body[renamed.get(key, key)] = found[key]
        if found.get("metadata"):
            body["metadata"] = _texts(found["metadata"])
        if found.get("security_groups"):
            body["security_groups"] = [{"name": name} for name in found["security_groups"]]
        if text := await self._user_data(work, found.get("user_data") or ""):
            body["user_data"] = base64.b64encode(text.encode()).decode()
        if personality := found.get("personality"):
            body["personality"] = [
                {"path": path, "contents": base64.b64encode(content.encode()).decode()}
                for path, content in personality.items()
            ]
        if devices := [*map(_device, found.get("block_device_mapping_v2") or [])]:
            body["block_device_mapping_v2"] = devices
        elif found.get("block_device_mapping"):
            body["block_device_mapping"] = found["block_device_mapping"]
        return {**body, **await self._networks(work, found.get("networks"))}

    async def _networks(self, work: Work, networks: list[Mapping[str, Any]] | None) -> Body:
        if networks is None:
            return {"networks": "auto"}
        if networks and (allocate := networks[0].get("allocate_network")):
            return {"networks": allocate}
        return {"networks": [await self._network(work, one) for one in networks]}

    async def _network(self, work: Work, one: Mapping[str, Any]) -> Body:
        tag = {"tag": one["tag"]} if one.get("tag") else {}
        if one.get("port"):
            return {"port": one["port"], **tag}
        network = one.get("network")
        if not network and one.get("subnet"):
            network = (await work.call(NETWORK, "GET", f"/v2.0/subnets/{one['subnet']}"))["subnet"]["network_id"]
        fixed = {"fixed_ip": one["fixed_ip"]} if one.get("fixed_ip") else {}
        return {"uuid": network, **fixed, **tag}

    async def _user_data(self, work: Work, given: str) -> str:
        """User data, or the software configuration whose id it is."""
        if _CONFIG_ID.fullmatch(given) and (config := work.engine.tables.software_configs.peek(given)):
            return str(config.config)
        return given

    async def _associate(self, work: Work, networks: list[Mapping[str, Any]]) -> None:
        for one in networks:
            if one.get("floating_ip"):
                query = f"?device_id={work.physical_id}"
                ports = (await work.call(NETWORK, "GET", f"/v2.0/ports{query}"))["ports"]
                mine = [port for port in ports if one.get("port") in (None, "", port["id"])]
                body = {"floatingip": {"port_id": mine[0]["id"]}}
                await work.call(NETWORK, "PUT", f"/v2.0/floatingips/{one['floating_ip']}", body)

    async def _by_network_id(self, work: Work, by_name: Mapping[str, list[str]]) -> dict[str, list[str]]:
        ports = (await work.call(NETWORK, "GET", f"/v2.0/ports?device_id={work.physical_id}"))["ports"]
        found: dict[str, list[str]] = {}
        for port in ports:
            found.setdefault(port["network_id"], []).extend(fixed["ip_address"] for fixed in port["fixed_ips"])
        known = {address for addresses in by_name.values() for address in addresses}
        return {network: [one for one in addresses if one in known] for network, addresses in found.items()}

    async def _with_ports(self, work: Work, addresses: Mapping[str, Any]) -> dict[str, Any]:
        ports = (await work.call(NETWORK, "GET", f"/v2.0/ports?device_id={work.physical_id}"))["ports"]
        by_mac = {port["mac_address"]: port["id"] for port in ports}
        return {
            network: [{**one, "port": by_mac.get(one.get("OS-EXT-IPS-MAC:mac_addr"))} for one in found]
            for network, found in addresses.items()
        }

    async def _console_urls(self, work: Work) -> dict[str, str]:
        urls: dict[str, str] = {}
        for protocol, kind in (("vnc", "novnc"), ("serial", "serial"), ("spice", "spice-html5")):
            body = {"remote_console": {"protocol": protocol, "type": kind}}
            try:
                answer = await work.call(COMPUTE, "POST", f"{self.item(work)}/remote-consoles", body)
            except CallRefused as error:
                urls[kind] = str(error)
            else:
                urls[kind] = answer["remote_console"]["url"]
        return urls


def _texts(metadata: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in metadata.items()}


def _device(one: Mapping[str, Any]) -> Body:
    """One entry of `block_device_mapping_v2` as Nova wants it."""
    sources = (("volume_id", "volume"), ("snapshot_id", "snapshot"), ("image", "image"))
    body = {key: value for key, value in one.items() if key not in ("volume_id", "snapshot_id", "image", "swap_size")}
    source = next(((key, kind) for key, kind in sources if one.get(key)), None)
    if source is None:
        return {**body, "source_type": "blank", "destination_type": "local"}
    return {"destination_type": "volume", "boot_index": 0, **body, "source_type": source[1], "uuid": one[source[0]]}
