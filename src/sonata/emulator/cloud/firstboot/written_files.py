"""`write_files` of `#cloud-config`."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from sonata.emulator.cloud.firstboot.parts import inflated
from sonata.emulator.cloud.firstboot.plan import Plan, Step, quoted

_KNOWN = frozenset(("path", "content", "encoding", "owner", "permissions", "append", "defer"))
_OWNER = re.compile(r"[A-Za-z0-9_.-]*(:[A-Za-z0-9_.-]*)?")


def write_files(plan: Plan, entries: Any) -> None:
    """Add a step for each file; those to be deferred come after users and packages.

    Raises:
        ValueError: it is no list of files.
    """
    if not isinstance(entries, list):
        raise ValueError("a list is needed")
    for entry in entries:
        if not isinstance(entry, dict) or not str(entry.get("path", "")).startswith("/"):
            raise ValueError("each file needs a `path` that begins with /")
        if unknown := sorted(map(str, entry.keys() - _KNOWN)):
            plan.warn(f"cloud-config `write_files`: nothing here acts on {', '.join(unknown)} of {entry['path']}")
        (plan.deferred if entry.get("defer") else plan.early).append(_step(plan, entry))


def _step(plan: Plan, entry: dict[str, Any]) -> Step:
    content = _decoded(entry.get("content") or "", str(entry.get("encoding") or "text/plain"))
    permissions, owner = _mode(entry.get("permissions")), str(entry.get("owner") or "root:root")
    if not _OWNER.fullmatch(owner):
        raise ValueError(f"`{owner}` is no owner")
    how = "append" if entry.get("append") else "replace"
    return Step("write_files", f"put {plan.file(content)} {quoted(entry['path'], owner, permissions, how)}")


def _decoded(content: str | bytes, encoding: str) -> bytes:
    """Content without the encodings of cloud-init: gzip, base64, both, or none."""
    data = content if isinstance(content, bytes) else str(content).encode()
    words = set(re.split(r"[+-]", encoding.lower().removesuffix("/plain")))
    if not words <= {"b64", "base64", "gz", "gzip", "text", ""}:
        raise ValueError(f"`{encoding}` is no encoding of files")
    if words & {"b64", "base64"}:
        try:
            data = base64.b64decode(data)
        except binascii.Error as error:
            raise ValueError(f"its content is no base64: {error}") from error
    return inflated(data) if words & {"gz", "gzip"} else data


def _mode(asked: Any) -> str:
    """Permissions in octal digits; YAML reads an unquoted 0644 as a number."""
    if asked is None:
        return "0644"
    text = f"{asked:o}" if isinstance(asked, int) and not isinstance(asked, bool) else str(asked)
    if not re.fullmatch(r"(0o?)?[0-7]{1,4}", text):
        raise ValueError(f"`{asked}` are no permissions")
    return text.replace("o", "")
