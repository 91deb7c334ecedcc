"""Types of resources that apply configurations to servers; the emulator does in the server what an agent would do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.orchestration import Definition, SoftwareConfig
from sonata.emulator.cloud.orchestration.agent import COMPONENT, applied, failures, part_for, require_hook, values_of
from sonata.emulator.cloud.orchestration.kinds.base import Changed, Kind, NeedsReplacement
from sonata.emulator.cloud.orchestration.kinds.finding import FINDERS, found
from sonata.emulator.cloud.orchestration.kinds.nested import Group, document_of, nested_definition
from sonata.emulator.cloud.orchestration.kinds.rolling import DEPLOYMENT_POLICIES
from sonata.emulator.cloud.orchestration.schema import type_schemas
from sonata.emulator.cloud.orchestration.work import ResourceFailed, Work
from sonata.errors import NotFound, SonataError
from sonata.formats.hot.errors import UserParameterMissing

NO_SERVICE = {"TEMP_URL_SIGNAL": "object storage", "ZAQAR_SIGNAL": "messaging"}
"""What signals would go through that this cloud does not have."""
NO_SIGNAL = "NO_SIGNAL"


def software_kinds() -> Iterable[Kind]:
    """Deployments."""
    schemas = type_schemas()
    yield Deployment(schema=schemas["OS::Heat::SoftwareDeployment"])
    yield StructuredDeployment(schema=schemas["OS::Heat::StructuredDeployment"])
    for member in ("OS::Heat::SoftwareDeployment", "OS::Heat::StructuredDeployment"):
        schema = schemas[f"{member}Group"]
        for one in (schema, replace(schema, name=f"{member}s")):
            yield DeploymentGroup(schema=one, update_policies=DEPLOYMENT_POLICIES, member=member)


class Error(ResourceFailed):
    """A deployment failed, under the name that Heat gives it."""


@dataclass(frozen=True, kw_only=True)
class Deployment(Kind):
    """A configuration that is applied to a server."""

    any_attribute: ClassVar[bool] = True

    async def create(self, work: Work) -> None:
        """Apply it, if it is for creations."""
        work.made(work.resource_id)
        await self._deploy(work, "CREATE")

    async def update(self, work: Work, changed: Changed) -> None:
        """Apply it again, if it is for updates.

        Raises:
            NeedsReplacement: an input has changed of which its configuration says so.
        """
        config = _config(work)
        new, old = _inputs(work, config, work.properties), _inputs(work, config, work.row.properties)
        watched = (one["name"] for one in config.inputs if one.get("replace_on_change"))
        if any(old.get(name) != new.get(name) for name in watched):
            raise NeedsReplacement
        await self._deploy(work, "UPDATE")

    async def delete(self, work: Work) -> None:
        """Apply it where the server is still there, if it is for deletions."""
        if work.physical_id:
            with contextlib.suppress(NotFound):
                await self._deploy(work, "DELETE")

    async def suspend(self, work: Work) -> None:
        """Apply it, if it is for that."""
        await self._deploy(work, "SUSPEND")

    async def resume(self, work: Work) -> None:
        """Apply it, if it is for that."""
        await self._deploy(work, "RESUME")

    async def shown(self, work: Work) -> Mapping[str, Any]:
        """Its outputs."""
        told: Mapping[str, Any] = work.row.data.get("told", {})
        return told

    def derived(self, work: Work, config: SoftwareConfig, inputs: Mapping[str, Any]) -> SoftwareConfig:
        """The configuration as it goes to the server."""
        return config

    async def _deploy(self, work: Work, action: str) -> None:
        whole = _config(work)
        config = part_for(whole, action)
        if config is None or (whole.group != COMPONENT and action not in work.properties["actions"]):
            return
        transport = work.properties["signal_transport"]
        if transport in NO_SERVICE:
            raise ResourceFailed(f"signal_transport {transport}: this cloud has no {NO_SERVICE[transport]}")
        server_id = await found(work, FINDERS["nova.server"], str(work.properties["server"]))
        _require_format(work, server_id)
        inputs = _inputs(work, config, work.properties) | {
            "deploy_server_id": server_id,
            "deploy_action": action,
            "deploy_stack_id": f"{work.stack.name}/{work.stack.id}",
            "deploy_resource_name": work.row.name,
            "deploy_signal_transport": transport,
        }
        derived = self.derived(work, config, inputs)
        require_hook(derived)
        if transport == NO_SIGNAL:
            work.engine.in_background(work.resource_id, _unwatched(work, server_id, derived, inputs))
            return
        await _finish(work, server_id, derived, inputs)


def _config(work: Work) -> SoftwareConfig:
    config = work.engine.tables.software_configs.peek(str(work.properties["config"]))
    if config is None or config.project_id != work.stack.project_id:
        raise NotFound(f"The Software config ({work.properties['config']}) could not be found.")
    return config


def _inputs(work: Work, config: SoftwareConfig, properties: Mapping[str, Any]) -> dict[str, Any]:
    return values_of(config, properties.get("input_values") or {})


def _require_format(work: Work, server_id: str) -> None:
    """A server of a stack says by its format of user data that there are deployments."""
    for row in work.engine.tables.stack_resources:
        if row.physical_id == server_id and row.properties.get("user_data_format") != "SOFTWARE_CONFIG":
            raise ResourceFailed(
                f"Resource {row.name}'s property user_data_format should be set to SOFTWARE_CONFIG since there are "
                "software deployments on it."
            )


async def _finish(work: Work, server_id: str, config: SoftwareConfig, inputs: Mapping[str, Any]) -> None:
    """Apply a configuration for as long as the operation may take, and judge its outputs."""

    async def run(server: str, argv: Sequence[str], stdin: bytes) -> tuple[int, bytes, bytes]:
        running = asyncio.ensure_future(work.engine.run_in_server(server, argv, stdin))
        try:
            await work.until(running.done)
            return await running
        finally:
            running.cancel()

    told = await applied(run, server_id, config, inputs, work.resource_id)
    work.remember(told=told)
    if reasons := failures(config, told):
        raise Error(f"Deployment to server failed: {', '.join(reasons)}")


async def _unwatched(work: Work, server_id: str, config: SoftwareConfig, inputs: Mapping[str, Any]) -> None:
    """Apply a configuration for which nobody waits; its outputs are not asked for."""
    with contextlib.suppress(SonataError):
        await applied(work.engine.run_in_server, server_id, config, inputs, work.resource_id)


@dataclass(frozen=True, kw_only=True)
class StructuredDeployment(Deployment):
    """A configuration that is a map, in which the values of inputs are put before it goes to the server."""

    def derived(self, work: Work, config: SoftwareConfig, inputs: Mapping[str, Any]) -> SoftwareConfig:
        """The map with the values in it.

        Raises:
            UserParameterMissing: an input has no value, and that is to be checked.
        """
        is_strict = work.properties["input_values_validate"] == "STRICT"
        return replace(config, config=with_inputs(config.config, work.properties["input_key"], inputs, is_strict))


def with_inputs(snippet: Any, key: str, inputs: Mapping[str, Any], is_strict: bool = False) -> Any:
    """A snippet in which `{key: NAME}` has become the value of the input of this name.

    Raises:
        UserParameterMissing: there is no such input, and `is_strict`.
    """
    if isinstance(snippet, Mapping):
        name = snippet.get(key)
        if len(snippet) != 1 or not isinstance(name, str):
            return {one: with_inputs(value, key, inputs, is_strict) for one, value in snippet.items()}
        if is_strict and name not in inputs:
            raise UserParameterMissing(f"The Parameter ({name}) was not provided.")
        return inputs.get(name)
    if isinstance(snippet, list):
        return [with_inputs(one, key, inputs, is_strict) for one in snippet]
    return snippet


@dataclass(frozen=True, kw_only=True)
class DeploymentGroup(Group):
    """The same deployment in several servers.

    Args:
        member: the type of its deployments.
    """

    member: str

    async def definition(self, work: Work) -> Definition:
        """One deployment for each server, under the server's key."""
        shared = {key: value for key, value in work.properties.items() if key != "servers"}
        members = {
            name: {"type": self.member, "properties": {**shared, "server": server}}
            for name, server in work.properties["servers"].items()
        }
        return nested_definition(work, document_of(members), {})

    def spare(self, work: Work, members: Mapping[str, Any], count: int) -> dict[str, Any]:
        """None: there are as many as servers."""
        return {}

    async def attribute(self, work: Work, name: str) -> Any:
        """What each deployment has told, by the server's key."""
        if name in ("refs", "refs_map", "show") or name.startswith("resource."):
            return await super().attribute(work, name)
        names = {"deploy_stdouts": "deploy_stdout", "deploy_stderrs": "deploy_stderr",
                 "deploy_status_codes": "deploy_status_code"}  # fmt: skip
        asked = names.get(name, name)
        members = await self.members(work)
        return {row.name: await work.engine.attribute_of(work.physical_id, row.name, asked) for row in members}
