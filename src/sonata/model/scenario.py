"""What is to happen in an emulation, and when: timed steps, all chance already resolved.

Read by `formats.scenario`, carried out by the emulator, and written down as it happened so that it can be replayed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from sonata._lib.values import dataclass

Action = Literal["link", "pop", "crash", "hog", "move", "run"]


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happens once.

    Args:
        at_s: seconds after the start of the scenario.
        action: what is done: `link` changes a link; `pop` takes a PoP's power and links away or gives the links back;
            `crash` kills the program of a machine; `hog` uses a machine's processor time and memory up; `move` attaches
            an endpoint elsewhere; `run` runs a command in a machine.
        target: name of the link, PoP, machine (`POP/SERVER` or an endpoint) or endpoint.
        for_s: after which the step is undone; None for never. Crashes and commands cannot be undone.
        changes: of a `link`: new values of fields of its `Impairment`.
        origin: of a `link`: the end whose packets alone are meant; empty for both.
        up: of a `link` or `pop`: whether packets may pass; None leaves it.
        cpus: of a `hog`: cores that it keeps busy.
        memory_bytes: of a `hog`: memory that it fills.
        to: of a `move`: a cell or PoP.
        command: of a `run`: argv.
    """

    at_s: float
    action: Action
    target: str
    for_s: float | None = None
    changes: Mapping[str, float | None] = field(default_factory=dict)
    origin: str = ""
    up: bool | None = None
    cpus: float = 0.0
    memory_bytes: int = 0
    to: str = ""
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scenario:
    """Steps in the order of their times; `seed` is what chance was resolved with."""

    name: str
    steps: tuple[Step, ...]
    seed: int = 0
