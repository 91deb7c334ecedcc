"""The engines that machines can run in: which there are, which can run here, and why others cannot."""

from __future__ import annotations

import tempfile
from pathlib import Path

from sonata._lib.paths import data_home
from sonata.adapters.host_probe.findings import Finding
from sonata.adapters.runtime_oci import ENGINES, MANAGERS, find_engine, find_manager
from sonata.adapters.runtime_qemu import boot_refusal, find_all, guest_kernels
from sonata.errors import InvalidInput, Unsupported
from sonata.ports.runtime import VIRTUAL

AUTO = "auto"
"""The first engine that is installed."""


def checked_engine(name: str) -> str:
    """The name of an engine that can run here, or `AUTO`.

    Raises:
        InvalidInput: there is no such engine, or it is none for whole emulations.
        Unsupported: it cannot run here, with the reason.
    """
    if name == AUTO:
        return name
    if name == VIRTUAL:
        hint = "leave the engine to others, and give flavors the extra spec `sonata:engine=vm`"
        raise InvalidInput("virtual machines are asked for one by one, not for a whole emulation", hint=hint)
    if name not in (*ENGINES, *MANAGERS):
        raise InvalidInput(f"there is no engine `{name}`", hint=_choice())
    _version(name)
    return name


def candidates(name: str) -> tuple[str, ...]:
    """The engines among which a runtime may choose; managers around them are chosen by name alone."""
    return ENGINES if name == AUTO else (name,)


def engine_findings() -> list[Finding]:
    """All engines, each with its version or the reason why it cannot run here."""
    found = [_confining(name) for name in ENGINES]
    if not any(finding.state == "ok" for finding in found):
        found[0] = Finding("engine", ENGINES[0], "missing", "machines need an engine", "apt-get install crun")
    return [*found, *map(_confining, MANAGERS), _virtual()]


def _confining(name: str) -> Finding:
    try:
        return Finding("engine", name, "ok", f"machines as confined processes: {_version(name)}")
    except Unsupported as missing:
        return Finding("engine", name, "limited", missing.message, missing.hint)


def _virtual() -> Finding:
    no_disks, without = boot_refusal(), ""
    try:
        found = find_all(guest_kernels(data_home() / "images"))
    except Unsupported as missing:
        what = missing.message if no_disks else f"disks boot (qcow2, raw), root file systems do not: {missing.message}"
        return Finding("engine", VIRTUAL, "limited", what, missing.hint)
    if no_disks:
        without = f"; no disk can be booted: {no_disks}"
    why = f"virtual machines, on emulated processors: {found.version}, kernel {found.kernel.release}{without}"
    return Finding("engine", VIRTUAL, "ok", why)


def _version(name: str) -> str:
    """The version of an engine of confined processes, or of a manager around one.

    Raises:
        Unsupported: it is not installed, or does not run.
    """
    if name in MANAGERS:
        manager = find_manager(name)
        return f"{manager.version}, by {' or '.join(manager.beneath)}"
    with tempfile.TemporaryDirectory(prefix="sonata-engine-") as folder:
        engine = find_engine(Path(folder) / "state", prefer=(name,))
        try:
            return engine.version
        finally:
            engine.close()


def _choice() -> str:
    return f"choose one of {', '.join(f'`{name}`' for name in (AUTO, *ENGINES, *MANAGERS))}"
