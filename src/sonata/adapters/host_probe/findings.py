"""What a finding about this machine says."""

from __future__ import annotations

from typing import Literal

from sonata._lib.values import dataclass

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that this machine has or lacks.

    Args:
        state: `ok`; `missing` stops the defaults from running; `limited` costs something, told in `why`.
        why: what was found, or what its lack costs.
        remedy: how to get it, empty when it is there.
    """

    group: str
    name: str
    state: Literal["ok", "limited", "missing"]
    why: str
    remedy: str = ""
