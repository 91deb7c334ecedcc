"""Applying configurations in servers.

Heat leaves that to an agent in the server with a hook for each group of configurations. Here the emulator does in the
server what two of these hooks do: `script` runs a script with its inputs as variables, what it prints and how it ends
become the outputs; `json-file` writes files of JSON.
Source: OpenStack Heat template guide, "Software configuration"; heat-agents, hooks `script` and `json-file`.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sonata.emulator.cloud.entities.orchestration import SoftwareConfig
from sonata.emulator.cloud.orchestration.work import ResourceFailed

SCRIPTS, FILES, COMPONENT = "script", "json-file", "component"
LONGEST_OUTPUT = 64 * 1024
STANDARD_OUTPUTS = ("deploy_stdout", "deploy_stderr", "deploy_status_code")

Run = Callable[[str, Sequence[str], bytes], Awaitable[tuple[int, bytes, bytes]]]
"""Runs a command in a server with a standard input; status, output, errors."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What user data does at the first boot comes before.
_AFTER_BOOT = """
while [ -d /run/firstboot ] && [ ! -e /var/lib/cloud/instance/boot-finished ]; do sleep 0.1; done
"""
_RUN = (
    _AFTER_BOOT
    + """
folder=$1
rm -rf "$folder" && mkdir -p "$folder" && chmod 700 "$folder" || exit 125
cat > "$folder/script" && chmod 700 "$folder/script" || exit 125
export heat_outputs_path="$folder/output"
cd "$folder" && exec ./script
"""
)
_WRITE = _AFTER_BOOT + 'umask 077 && mkdir -p "$(dirname "$1")" && umask 022 && cat > "$1"'


def part_for(config: SoftwareConfig, action: str) -> SoftwareConfig | None:
    """What of a configuration is for an action: one of a component, all of any other; None for nothing."""
    if config.group != COMPONENT:
        return config
    for one in config.config["configs"]:
        if action in one["actions"]:
            return replace(config, group=one["tool"], config=one.get("config") or "")
    return None


def require_hook(config: SoftwareConfig) -> None:
    """Refuse a configuration for which servers have no hook.

    Raises:
        ResourceFailed: with the groups for which there is one.
    """
    if config.group not in (SCRIPTS, FILES):
        raise ResourceFailed(
            f"the configuration {config.name} is of the group {config.group}; servers apply only those of the groups "
            f"`{SCRIPTS}` and `{FILES}`"
        )


async def applied(run: Run, server_id: str, config: SoftwareConfig, inputs: Mapping[str, Any], key: str) -> Any:
    """Apply a configuration; its outputs by name, the standard ones among them.

    Args:
        run: runs commands.
        server_id: where.
        config: of a group that has a hook.
        inputs: their values by name.
        key: names the folder in which a script works.

    Raises:
        ResourceFailed: there is no hook, or an input cannot be given.
    """
    require_hook(config)
    if config.group == FILES:
        return await _written(run, server_id, config)
    folder = f"/var/lib/heat-config/heat-config-script/{key}"
    command = ("/bin/sh", "-c", _exports(inputs) + _RUN, "sh", folder)
    status, out, err = await run(server_id, command, str(config.config).encode())
    told: dict[str, Any] = _standard(status, out, err)
    for output in config.outputs:
        code, content, _ = await run(server_id, ("/bin/cat", f"{folder}/output.{output['name']}"), b"")
        told[output["name"]] = _text(content) if code == 0 else None
    return told


async def _written(run: Run, server_id: str, config: SoftwareConfig) -> dict[str, Any]:
    files = config.config if isinstance(config.config, Mapping) else {}
    if wrong := [path for path in files if not str(path).startswith("/")]:
        raise ResourceFailed(f"the configuration {config.name} names no absolute path of a file: {wrong[0]}")
    for path, content in files.items():
        text = json.dumps(content, indent=4, sort_keys=True)
        status, out, err = await run(server_id, ("/bin/sh", "-c", _WRITE, "sh", path), text.encode())
        if status:
            return _standard(status, out, err)
    return _standard(0, b"", b"")


def failures(config: SoftwareConfig, told: Mapping[str, Any]) -> list[str]:
    """Why a deployment has failed, by its outputs; empty when it has not."""
    found = [
        f"{output['name']} : {told[output['name']]}"
        for output in config.outputs
        if output.get("error_output") and told.get(output["name"])
    ]
    if status := told["deploy_status_code"]:
        found.append(f"deploy_status_code : Deployment exited with non-zero status code: {status}")
    return found


def values_of(config: SoftwareConfig, given: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of a configuration: given, else as the configuration says."""
    return {**{one["name"]: one.get("value", one.get("default")) for one in config.inputs}, **given}


def _exports(inputs: Mapping[str, Any]) -> str:
    if wrong := [name for name in inputs if not _VARIABLE.fullmatch(name)]:
        raise ResourceFailed(f"the input `{wrong[0]}` cannot be a variable of a script")
    return "".join(f"export {name}={shlex.quote(_plain(value))}\n" for name, value in inputs.items())


def _plain(value: Any) -> str:
    if isinstance(value, Mapping | list):
        return json.dumps(value)
    return "" if value is None else str(value)


def _standard(status: int, out: bytes, err: bytes) -> dict[str, Any]:
    return dict(zip(STANDARD_OUTPUTS, (_text(out), _text(err), status), strict=True))


def _text(output: bytes) -> str:
    return output[-LONGEST_OUTPUT:].decode(errors="replace")
