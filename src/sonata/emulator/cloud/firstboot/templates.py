"""User data as jinja templates, rendered in a process of its own that may take little time and memory.

Whoever runs servers writes them, so nothing of theirs is evaluated in the keeper: `template_program` does it.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).with_name("template_program.py")
PATIENCE_S = 10.0
MISSING = "CI_MISSING_JINJA_VAR/"
"""What cloud-init puts in front of a name that it does not know."""


async def render(template: bytes, data: Mapping[str, Any]) -> bytes:
    """A template's text.

    Raises:
        ValueError: it is no template, or takes too much.
    """
    request = json.dumps({"template": template.decode(errors="replace"), "data": data, "missing": MISSING}).encode()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", str(PROGRAM),
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
