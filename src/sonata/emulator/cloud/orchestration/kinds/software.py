"""Types of resources that run configurations in servers.

Heat leaves that to an agent in the server. Here the emulator runs the script of a configuration in the server, with
the variables that the agent's hook for scripts gives it, and what it prints and how it ends become the outputs.
Source: OpenStack Heat template guide, "Software configuration"; heat-agents, hook `script`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from sonata.emulator.cloud.entities.orchestration import Definition, SoftwareConfig
from sonata.emulator.cloud.orchestration.kinds.base import Changed, Kind
from sonata.emulator.cloud.orchestration.kinds.finding import FINDERS, found
from sonata.emulator.cloud.orchestration.kinds.nested import Group, _with_parent, document_of
from sonata.emulator.cloud.orchestration.schema import type_schemas
from sonata.emulator.cloud.orchestration.work import ResourceFailed, Work
from sonata.errors import NotFound

SCRIPTS = "script"
LONGEST_OUTPUT = 64 * 1024
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What user data does at the first boot comes before.
_RUN = """
while [ -d /run/firstboot ] && [ ! -e /var/lib/cloud/instance/boot-finished ]; do sleep 0.1; done
folder=$1
rm -rf "$folder" && mkdir -p "$folder" && chmod 700 "$folder" || exit 125
cat > "$folder/script" && chmod 700 "$folder/script" || exit 125
export heat_outputs_path="$folder/output"
cd "$folder" && exec ./script
"""


def software_kinds() -> Iterable[Kind]:
    """Deployments."""
    schemas = type_schemas()
    yield Deployment(schema=schemas["OS::Heat::SoftwareDeployment"])
    yield DeploymentGroup(schema=schemas["OS::Heat::SoftwareDeploymentGroup"])


class Error(ResourceFailed):
    """A deployment failed, under the name that Heat gives it."""


@dataclass(frozen=True, kw_only=True)
class Deployment(Kind):
    """A configuration that is run in a server."""

    any_attribute: ClassVar[bool] = True

    async def create(self, work: Work) -> None:
        """Run it, if it is for creations."""
        work.made(work.resource_id)
        await self._deploy(work, "CREATE")

    async def update(self, work: Work, changed: Changed) -> None:
        """Run it again, if it is for updates."""
        await self._deploy(work, "UPDATE")

    async def delete(self, work: Work) -> None:
        """Run it where the server is still there, if it is for deletions."""
        if work.physical_id:
            with contextlib.suppress(NotFound):
                await self._deploy(work, "DELETE")

    async def suspend(self, work: Work) -> None:
        """Run it, if it is for that."""
        await self._deploy(work, "SUSPEND")

    async def resume(self, work: Work) -> None:
        """Run it, if it is for that."""
        await self._deploy(work, "RESUME")

    async def shown(self, work: Work) -> Mapping[str, Any]:
        """What the script has told."""
        told: Mapping[str, Any] = work.row.data.get("told", {})
        return told

    async def _deploy(self, work: Work, action: str) -> None:
        if action not in work.properties["actions"]:
            return
        config = self._config(work)
        server_id = await found(work, FINDERS["nova.server"], str(work.properties["server"]))
        _require_format(work, server_id)
        variables = {
            **_inputs(config, work.properties.get("input_values") or {}),
            "deploy_server_id": server_id,
            "deploy_action": action,
            "deploy_stack_id": f"{work.stack.name}/{work.stack.id}",
            "deploy_resource_name": work.row.name,
        }
        folder = f"/var/lib/heat-config/heat-config-script/{work.resource_id}"
        status, out, err = await _run(work, server_id, _with(variables), folder, str(config.config).encode())
        told = {"deploy_stdout": _text(out), "deploy_stderr": _text(err), "deploy_status_code": status}
        for output in config.outputs:
            code, content, _ = await work.engine.run_in_server(
                server_id, ("/bin/cat", f"{folder}/output.{output['name']}"), b""
            )
            told[output["name"]] = _text(content) if code == 0 else None
        work.remember(told=told)
        _require_success(config, told)

    def _config(self, work: Work) -> SoftwareConfig:
        config = work.engine.tables.software_configs.peek(str(work.properties["config"]))
        if config is None or config.project_id != work.stack.project_id:
            raise NotFound(f"The Software config ({work.properties['config']}) could not be found.")
        if config.group != SCRIPTS:
            raise ResourceFailed(
                f"the configuration {config.name} is of the group {config.group}; servers have no agent that could "
                f"apply it, only scripts (group `{SCRIPTS}`) can be deployed"
            )
        return config


def _require_format(work: Work, server_id: str) -> None:
    """A server of a stack says by its format of user data that there are deployments."""
    for row in work.engine.tables.stack_resources:
        if row.physical_id == server_id and row.properties.get("user_data_format") != "SOFTWARE_CONFIG":
            raise ResourceFailed(
                f"Resource {row.name}'s property user_data_format should be set to SOFTWARE_CONFIG since there are "
                "software deployments on it."
            )


def _require_success(config: SoftwareConfig, told: Mapping[str, Any]) -> None:
    reasons = [
        f"{output['name']} : {told[output['name']]}"
        for output in config.outputs
        if output.get("error_output") and told[output["name"]]
    ]
    if status := told["deploy_status_code"]:
        reasons.append(f"deploy_status_code : Deployment exited with non-zero status code: {status}")
    if reasons:
        raise Error(f"Deployment to server failed: {', '.join(reasons)}")


def _inputs(config: SoftwareConfig, given: Mapping[str, Any]) -> dict[str, str]:
    values = {one["name"]: one.get("default") for one in config.inputs}
    return {
        name: json.dumps(value) if isinstance(value, Mapping | list) else "" if value is None else str(value)
        for name, value in {**values, **given}.items()
    }


def _with(variables: Mapping[str, str]) -> str:
    if wrong := [name for name in variables if not _VARIABLE.fullmatch(name)]:
        raise ResourceFailed(f"the input `{wrong[0]}` cannot be a variable of a script")
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()) + _RUN


async def _run(work: Work, server_id: str, text: str, folder: str, script: bytes) -> tuple[int, bytes, bytes]:
    """Run a script in a server for as long as the operation may take."""
    command = ("/bin/sh", "-c", text, "sh", folder)
    running = asyncio.ensure_future(work.engine.run_in_server(server_id, command, script))
    try:
        await work.until(running.done)
        return await running
    finally:
        running.cancel()


def _text(output: bytes) -> str:
    return output[-LONGEST_OUTPUT:].decode(errors="replace")


@dataclass(frozen=True, kw_only=True)
class DeploymentGroup(Group):
    """The same deployment in several servers."""

    async def definition(self, work: Work) -> Definition:
        """One deployment for each server, under the server's key."""
        shared = {key: value for key, value in work.properties.items() if key != "servers"}
        members = {
            name: {"type": "OS::Heat::SoftwareDeployment", "properties": {**shared, "server": server}}
            for name, server in work.properties["servers"].items()
        }
        return _with_parent(work, document_of(members), {})

    async def attribute(self, work: Work, name: str) -> Any:
        """What each deployment has told, by the server's key."""
        names = {"deploy_stdouts": "deploy_stdout", "deploy_stderrs": "deploy_stderr",
                 "deploy_status_codes": "deploy_status_code"}  # fmt: skip
        if name not in names:
            return await super().attribute(work, name)
        asked = names[name]
        members = await self.members(work)
        return {row.name: await work.engine.attribute_of(work.physical_id, row.name, asked) for row in members}
