"""Which tables of a cloud the words in paths and bodies may mean."""

from __future__ import annotations

import re
from collections.abc import Iterable

ALIASES = {
    "instance": "server", "tenant": "project", "image": "upload", "policyid": "policy",
    "internalport": "port", "credential": "applicationcredential", "config": "softwareconfig", "source": "volume",
}  # fmt: skip
"""Tables of words that are not their names."""


def singular(word: str) -> str:
    """`qos_policies` -> `qospolicy`, `flavorRef` -> `flavor`, `vip_subnet_id` -> `vipsubnet`."""
    word = re.sub(r"(?i)(_id|_uuid|Id|Ref)$", "", word)
    word = re.sub(r"[-_]", "", word).lower()
    return re.sub(r"s$", "", re.sub(r"ies$", "y", word))


def alike(one: str, other: str) -> bool:
    """Whether two words may mean the same: `volumeattachment` and `attachment`."""
    return min(len(one), len(other)) > 3 and (one.endswith(other) or other.endswith(one))


def tables_of(word: str, tables: Iterable[str]) -> list[str]:
    """Names of the tables that a word may mean, the one of its very name first."""
    wanted = singular(word)
    wanted = ALIASES.get(wanted, wanted)
    found = [name for name in tables if alike(singular(name), wanted)]
    return sorted(found, key=lambda name: singular(name) != wanted)
