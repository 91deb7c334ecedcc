"""Words to qemu: its monitor protocol, QMP (docs/interop/qmp-spec of qemu)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from sonata.adapters.runtime_qemu.agent import connected
from sonata.errors import AdapterError

_ANSWERS_WITHIN_S = 30.0


async def command(path: Path, verb: str, **arguments: Any) -> Any:
    """Have qemu do something, and return its answer.

    Raises:
        AdapterError: it refused or does not answer.
    """
    try:
        async with asyncio.timeout(_ANSWERS_WITHIN_S), connected(path) as (reader, writer):
            await reader.readline()  # its greeting
            await _ask(reader, writer, "qmp_capabilities", {})
            return await _ask(reader, writer, verb, arguments)
    except (OSError, ValueError) as error:  # TimeoutError is an OSError
        raise AdapterError(f"qemu does not answer: {error}", call=verb) from error


async def answers(path: Path) -> bool:
    """Whether qemu listens there already."""
    try:
        async with connected(path) as (reader, _):
            return bool(await reader.readline())
    except OSError:
        return False


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, verb: str, arguments: dict[str, Any]) -> Any:
    writer.write(json.dumps({"execute": verb, "arguments": arguments}).encode() + b"\n")
    while True:
        answer = json.loads(await reader.readline())
        if "error" in answer:
            raise AdapterError(f"qemu refused: {answer['error']['desc']}", call=verb, answer=str(answer["error"]))
        if "return" in answer:
            return answer["return"]
