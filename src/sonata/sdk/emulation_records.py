"""Files that tell which emulations of this user run: one private folder each, see `EmulationRecord`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from sonata._lib import outside
from sonata._lib.paths import private_folder, state_home, write_private
from sonata._lib.plain import decode, encode, from_plain
from sonata._lib.processes import ProcessId, is_running
from sonata._lib.trees import remove_tree
from sonata._lib.values import dataclass
from sonata.errors import AdapterError, Conflict, InvalidInput, NotFound
from sonata.model.topology import Topology

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8901
"""Where an emulation listens that is told nothing else."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_RECORD, _SAVED = "state.json", "clouds"


@dataclass(frozen=True, slots=True)
class EmulationRecord:
    """A running emulation.

    Args:
        process: its keeper, pid 1 of its namespaces, as the host numbers it.
        url: where its OpenStacks and its own API are.
        token: bearer token of its own API.
        wan_token: bearer token that opens the wide area part alone.
        admin_password: password of `admin` in each of its OpenStacks.
        proxy: `host:port` of the SOCKS5 proxy to management addresses.
        proxy_token: password there, for the user `sonata`.
        cgroups: path below which its cgroups are, in each hierarchy.
        created_at: Unix time in seconds.
        ready: whether it has come up.
        images: folder of its image store.
    """

    name: str
    process: ProcessId
    url: str
    token: str
    wan_token: str
    admin_password: str
    proxy: str
    proxy_token: str
    cgroups: str
    created_at: float
    topology: Topology
    ready: bool = False
    images: str = ""

    @property
    def is_running(self) -> bool:
        """Whether its keeper lives."""
        return is_running(self.process)


def checked_name(name: str) -> str:
    """The name itself when it can be one of an emulation.

    Raises:
        InvalidInput: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"`{name}` cannot name an emulation",
            hint="use 1 to 40 lower-case letters, digits and `-`, e.g. with --name",
        )
    return name


def folder_of(name: str) -> Path:
    """Folder of an emulation; may not exist."""
    return _home() / checked_name(name)


def new_folder(name: str) -> Path:
    """Create and return the folder of an emulation."""
    return private_folder(private_folder(_home()) / checked_name(name))


def lock_of(name: str) -> Path:
    """Lock file of a name; the keeper holds it while it lives."""
    return private_folder(_home()) / f".{checked_name(name)}.lock"


def log_of(name: str) -> Path:
    """Log file of an emulation."""
    return folder_of(name) / "keeper.log"


def saved_of(name: str) -> Path:
    """Folder in which the keeper of an emulation writes down what its clouds hold."""
    return folder_of(name) / _SAVED


def save(record: EmulationRecord) -> None:
    """Write a record; only its owner can read it."""
    write_private(folder_of(record.name) / _RECORD, encode(record))


def load(name: str) -> EmulationRecord | None:
    """The record of a name, whether it runs or has died; None when there is none."""
    try:
        return from_plain(decode((folder_of(name) / _RECORD).read_bytes()), EmulationRecord)
    except (FileNotFoundError, msgspec.DecodeError, ValueError):
        return None


def remove_files(name: str) -> None:
    """Remove the folder of an emulation that has ended; its lock must be held.

    Raises:
        AdapterError: something in it cannot be removed.
    """
    outside.remove(saved_of(name))
    _remove_but(name, _RECORD)
    _remove_left(name, folder_of(name))  # the record last: who finds one waits for the end of the rest, or ends it


def remove_run(name: str) -> None:
    """Remove what a dead keeper has left, but what the next one needs to go on; its lock must be held.

    Raises:
        AdapterError: something of it cannot be removed.
    """
    _remove_but(name, _RECORD, _SAVED)


def remove_lock(name: str) -> None:
    """Remove the lock file of a name; the lock must be held, and is worth nothing afterwards."""
    lock_of(name).unlink(missing_ok=True)


def recorded() -> Iterator[EmulationRecord]:
    """All records, by name, also of emulations that have died."""
    if not _home().is_dir():
        return
    for folder in sorted(_home().iterdir()):
        if _NAME.fullmatch(folder.name) and (record := load(folder.name)):
            yield record


def find(name: str | None) -> EmulationRecord:
    """The running emulation of this name, or the only one that runs.

    Raises:
        NotFound: none runs.
        Conflict: no name was given and several run.
    """
    running = [record for record in recorded() if record.is_running and name in (None, record.name)]
    if len(running) > 1:
        names = ", ".join(record.name for record in running)
        raise Conflict(f"{len(running)} emulations run: {names}", hint="say which with --name")
    if not running:
        what = f"no emulation `{name}` runs" if name else "no emulation runs"
        raise NotFound(what, hint="see `sonata emu ls`; start one with `sonata emu up FILE`")
    return running[0]


def _remove_but(name: str, *kept: str) -> None:
    folder = folder_of(name)
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name in kept:
            continue
        if path.is_dir():
            _remove_left(name, path)
        else:
            path.unlink(missing_ok=True)


def _remove_left(name: str, folder: Path) -> None:
    try:
        remove_tree(folder)
    except OSError as error:
        raise AdapterError(
            f"what emulation `{name}` has left cannot be removed: {error}",
            hint=f"remove `{folder}` as its owner or as root, then repeat the command",
        ) from error


def _home() -> Path:
    return state_home() / "emulations"
