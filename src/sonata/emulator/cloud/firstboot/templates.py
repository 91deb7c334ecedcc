"""User data as jinja templates, rendered in a process of its own that may take little time and memory.

Whoever runs servers writes them, so nothing of theirs is evaluated in the keeper. Run as a program, this file reads a
JSON document with `template` and `data` from stdin and prints the text.
"""

from __future__ import annotations

import asyncio
import json
import re
import resource
import sys
from collections.abc import Mapping
from typing import Any

from jinja2 import TemplateError, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

CPU_S = 2
MEMORY_BYTES = 512 * 1024**2
LONGEST_TEXT = 1024**2
PATIENCE_S = 10.0
MISSING = "CI_MISSING_JINJA_VAR/"
"""What cloud-init puts in front of a name that it does not know."""


class _Missing(Undefined):
    """A name that is not known, shown as such instead of as nothing."""

    def __str__(self) -> str:
        return f"{MISSING}{self._undefined_name}"


async def render(template: bytes, data: Mapping[str, Any]) -> bytes:
    """A template's text.

    Raises:
        ValueError: it is no template, or takes too much.
    """
    request = json.dumps({"template": template.decode(errors="replace"), "data": data}).encode()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", __file__,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(PATIENCE_S):
            out, err = await process.communicate(request)
    except TimeoutError:
        raise ValueError("the template took too long") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        lines = err.decode(errors="replace").strip().splitlines() or ["it took too much time or memory"]
        raise ValueError(f"the template failed: {lines[-1][:200]}")
    return out


def missing_in(text: bytes) -> set[str]:
    """Names that a rendered text shows as not known."""
    return set(re.findall(re.escape(MISSING) + r"([\w.-]+)", text.decode(errors="replace")))


def variables(meta_data: Mapping[str, Any]) -> dict[str, Any]:
    """What templates may name: `ds.meta_data`, the standard keys of `v1`, and these without `v1`."""
    standard = {
        "instance_id": meta_data["uuid"],
        "instance-id": meta_data["uuid"],
        "local_hostname": meta_data["hostname"].partition(".")[0],
        "availability_zone": meta_data["availability_zone"],
        "cloud_name": "openstack",
        "platform": "openstack",
        "public_ssh_keys": list(meta_data.get("public_keys", {}).values()),
    }
    return {"ds": {"meta_data": dict(meta_data)}, "v1": standard, **standard}


def main() -> int:
    """Render one template from stdin."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    request = json.load(sys.stdin)
    try:
        environment = ImmutableSandboxedEnvironment(keep_trailing_newline=True, undefined=_Missing)
        text = environment.from_string(request["template"]).render(request["data"])
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, MemoryError, RecursionError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    if len(text) > LONGEST_TEXT:
        sys.stderr.write(f"its text is longer than {LONGEST_TEXT} characters\n")
        return 1
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
