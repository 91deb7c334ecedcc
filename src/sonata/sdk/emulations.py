"""Starting and stopping emulations: each is a process of its own, the keeper, that outlives or follows its starter.

Example:
    >>> from sonata.emulator import Pop, Topology
    >>> from sonata.sdk import emulations
    >>> def run_one() -> None:
    ...     with emulations.start(Topology("one", {"core": Pop("core")})) as emulation:
    ...         print(emulation.record.url)
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from sonata import errors
from sonata._lib.locks import try_lock
from sonata._lib.paths import data_home
from sonata._lib.plain import encode, from_plain
from sonata._lib.processes import ProcessId, end_process
from sonata._lib.values import dataclass
from sonata.adapters.images_local import LocalImages
from sonata.adapters.journal_files import FileJournal
from sonata.adapters.runtime_oci.cgroups import remove_cgroups
from sonata.model.topology import Topology
from sonata.ports.images import STAGED_PREFIX, UPLOAD_PREFIX
from sonata.sdk.emulation_records import (
    DEFAULT_HOST,
    DEFAULT_PORT,
    EmulationRecord,
    checked_name,
    load,
    lock_of,
    log_of,
    new_folder,
    remove_files,
    remove_lock,
    remove_run,
    save,
    saved_of,
)
from sonata.sdk.engines import AUTO, checked_engine
from sonata.sdk.keepers import Keeper
from sonata.sdk.listening import listening

GRACE_S = 20.0

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class KeeperConfig:
    """What the keeper is told, on its standard input.

    Args:
        run: folder with a private file system for what lives as long as the emulation.
        images: folder of the image store.
        saved: folder in which the clouds are written down.
        resumes: whether there is something in it that an earlier keeper has left.
        engine: which runs machines that ask for none, `auto` for the first that is installed.
    """

    name: str
    topology: Topology
    run: str
    images: str
    saved: str
    resumes: bool
    cgroups: str
    token: str
    wan_token: str
    admin_password: str
    proxy_token: str
    engine: str = AUTO


@dataclass(frozen=True, slots=True)
class _SavedImage:
    id: str


@dataclass(frozen=True, slots=True)
class _SavedTables:
    uploads: tuple[_SavedImage, ...]


@dataclass(frozen=True, slots=True)
class _SavedCloud:
    """What is of interest here of the document in which a keeper writes down a cloud."""

    tables: _SavedTables


class Emulation:
    """An emulation that this process started and that ends with it, unless it is let go of."""

    def __init__(self, record: EmulationRecord, keeper: Keeper) -> None:
        self.record = record
        self._keeper = keeper

    def __enter__(self) -> Emulation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def let_go(self) -> None:
        """Let the emulation outlive this process."""
        self._keeper.let_go()

    def wait(self) -> None:
        """Wait until the emulation has ended, whatever ended it."""
        self._keeper.wait()

    def stop(self) -> None:
        """End the emulation and remove whatever it left. Idempotent."""
        stop(self.record.name)
        self._keeper.hang_up()

    def bury(self) -> None:
        """Remove what a dead emulation left, but what brings its clouds back at the next start."""
        _end(self.record.name, keep=True)
        self._keeper.hang_up()


def start(
    topology: Topology,
    *,
    name: str | None = None,
    listen: tuple[str, int] = (DEFAULT_HOST, DEFAULT_PORT),
    images: Path | None = None,
    engine: str | None = None,
    progress: Progress = lambda message: None,
    keeper: Keeper | None = None,
) -> Emulation:
    """Start an emulation and return when it is ready.

    Where one of the same name and topology name was killed, its clouds come back with it: the same objects and
    credentials, its servers off, and its address if that is free and no other one is asked for.

    Args:
        topology: what to run.
        name: under which it is found; the topology's name by default.
        listen: loopback address to listen on; port 0 picks a free one. With port 0 and the default, an emulation
            that comes back prefers its earlier address.
        images: folder of the image store, by default the user's own.
        engine: which runs machines: `crun`, `runc`, `launcher`, or `auto` for the first that is installed. By default
            what the environment variable `SONATA_ENGINE` says, else `auto`.
        progress: told what is going on.
        keeper: one that was started before it was known what it keeps.

    Raises:
        Conflict: one of this name runs, or the address is taken.
        SonataError: whatever made the start fail; nothing is left of it then, but what waited to come back.
    """
    name = checked_name(name or topology.name)
    engine = checked_engine(engine or os.environ.get("SONATA_ENGINE") or AUTO)
    with _locked(name) as lock, keeper or Keeper() as keeper, ExitStack() as undo:
        earlier = _resumable(name, topology)
        _clear(name, keep=earlier is not None)
        folder = new_folder(name)
        undo.callback(_back_out, name, earlier)
        with _listening_at(_wanted(listen, earlier), progress) as api, _listening_at(_proxies(earlier)) as proxy:
            config = _configure(name, topology, folder, images or data_home() / "images", engine)
            if earlier:
                config = _resuming(config, earlier)
            emulation = _launch(config, keeper, (api, proxy, lock), progress)
        undo.pop_all()
    return emulation


def standing(name: str) -> EmulationRecord | None:
    """The emulation of this name, if it runs.

    Raises:
        Conflict: it is being started.
    """
    record = load(checked_name(name))
    if record is None or not record.is_running:
        return None
    if not record.ready:
        raise errors.Conflict(
            f"emulation `{name}` is being started as process {record.process.pid}", hint="wait until it is ready"
        )
    return record


def stop(name: str) -> bool:
    """End an emulation, running or dead, and remove its processes, cgroups and files; whether there was anything.

    Raises:
        AdapterError: something could not be removed.
    """
    return _end(name, keep=False)


def _end(name: str, *, keep: bool) -> bool:
    """End an emulation; `keep` leaves what brings its clouds back."""
    if record := load(name):
        end_process(record.process, grace_s=GRACE_S)
    lock = _lock_after(name, record)
    if lock is None:  # somebody starts it anew: what is there now is theirs
        return record is not None
    try:
        if keep:
            _clear(name, keep=True)
        else:
            _remove_all(name)
    finally:
        os.close(lock)
    return record is not None


def _resumable(name: str, topology: Topology) -> EmulationRecord | None:
    """The record of a dead emulation of this name and topology whose clouds were written down."""
    record = load(name)
    if record is None or record.topology.name != topology.name or not saved_of(name).is_dir():
        return None
    return record


def _resuming(config: KeeperConfig, earlier: EmulationRecord) -> KeeperConfig:
    """The configuration with the credentials of an earlier life."""
    return replace(
        config,
        resumes=True,
        token=earlier.token,
        wan_token=earlier.wan_token,
        admin_password=earlier.admin_password,
        proxy_token=earlier.proxy_token,
    )


def _back_out(name: str, earlier: EmulationRecord | None) -> None:
    """Remove a start that failed; what waited to come back waits on."""
    if earlier is None:
        _remove_all(name)
    else:
        _clear(name, keep=True)
        save(earlier)


def _lock_after(name: str, record: EmulationRecord | None) -> int | None:
    """The lock of a name; the last processes of a dead keeper may hold it for a moment longer."""
    deadline = time.monotonic() + GRACE_S
    while (lock := try_lock(lock_of(name))) is None:
        if record is None or load(name) != record or time.monotonic() > deadline:
            return None
        time.sleep(0.005)
    return lock


@contextmanager
def _locked(name: str) -> Iterator[int]:
    """Hold the lock of a name; the keeper inherits it."""
    record = load(name)
    is_dead = record is not None and not record.is_running
    lock = _lock_after(name, record) if is_dead else try_lock(lock_of(name))
    if lock is None:
        record = load(name)
        where = f" as process {record.process.pid} on {record.url}" if record else ", and is being started or stopped"
        raise errors.Conflict(
            f"emulation `{name}` runs{where}",
            hint=f"stop it with `sonata emu down --name {name}`, or start this one under another --name",
        )
    try:
        yield lock
    finally:
        os.close(lock)


def _clear(name: str, *, keep: bool = False) -> None:
    """Remove whatever is recorded under a name, or all but what brings its clouds back; its lock is held."""
    if record := load(name):
        end_process(record.process, grace_s=GRACE_S)
        remove_cgroups(record.cgroups)
        if not keep:
            _remove_uploads(record)
    if keep:
        remove_run(name)
    else:
        remove_files(name)


def _remove_uploads(record: EmulationRecord) -> None:
    """Remove from the image store what was uploaded to the clouds of an emulation that was killed."""
    ids = [each for document in FileJournal(saved_of(record.name)).load().values() for each in _uploads_in(document)]
    if not ids or not record.images:
        return
    store = LocalImages(Path(record.images))
    for image_id in ids:
        for prefix in (UPLOAD_PREFIX, STAGED_PREFIX):
            with suppress(errors.NotFound):
                store.remove(f"{prefix}{image_id}")


def _uploads_in(document: Any) -> list[str]:
    """Ids of the images that were made in a saved cloud, with data or not; none when the document is no cloud's."""
    try:
        return [image.id for image in from_plain(document, _SavedCloud).tables.uploads]
    except ValueError:
        return []


def _remove_all(name: str) -> None:
    _clear(name)
    remove_lock(name)


def _wanted(listen: tuple[str, int], earlier: EmulationRecord | None) -> list[tuple[str, int]]:
    """Addresses to listen on, the first one that is free; a registered platform goes on when it is the earlier one."""
    if earlier is None or listen not in ((listen[0], 0), (DEFAULT_HOST, DEFAULT_PORT)):
        return [listen]
    return [_parsed(earlier.url.removeprefix("http://")), (listen[0], 0)]


def _proxies(earlier: EmulationRecord | None) -> list[tuple[str, int]]:
    return [*([_parsed(earlier.proxy)] if earlier else []), (DEFAULT_HOST, 0)]


def _parsed(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


@contextmanager
def _listening_at(
    addresses: Sequence[tuple[str, int]], progress: Progress = lambda message: None
) -> Iterator[socket.socket]:
    """A socket that listens on the first of these addresses that is free."""
    with ExitStack() as held:
        for address in addresses[:-1]:
            try:
                listener = held.enter_context(listening(*address, who="emulator"))
            except errors.Conflict:
                progress(f"{address[0]}:{address[1]} is taken, listening on another port")
                continue
            break
        else:
            listener = held.enter_context(listening(*addresses[-1], who="emulator"))
        yield listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _configure(name: str, topology: Topology, folder: Path, images: Path, engine: str) -> KeeperConfig:
    return KeeperConfig(
        name=name,
        topology=topology,
        run=str(folder / "run"),
        images=str(images),
        saved=str(saved_of(name)),
        resumes=False,
        cgroups=f"sonata-{name}-{secrets.token_hex(4)}",
        token=secrets.token_urlsafe(24),
        wan_token=secrets.token_urlsafe(24),
        admin_password=secrets.token_urlsafe(18),
        proxy_token=secrets.token_urlsafe(24),
        engine=engine,
    )


def _launch(
    config: KeeperConfig, keeper: Keeper, needed: tuple[socket.socket, socket.socket, int], progress: Progress
) -> Emulation:
    """Tell the keeper what to keep and follow its reports until it is ready."""
    api, proxy, lock = needed
    record = _recorded(config, _address(api), _address(proxy), keeper.process(config.name))
    save(record)
    Path(config.run).mkdir(mode=0o700)
    with _in_memory(config) as told, open(os.open(log_of(config.name), os.O_WRONLY | os.O_CREAT, 0o600), "wb") as log:
        keeper.tell([told.fileno(), log.fileno(), api.fileno(), proxy.fileno(), lock])
    _await_ready(keeper, config.name, progress)
    record = replace(record, ready=True)
    save(record)
    return Emulation(record, keeper)


@contextmanager
def _in_memory(config: KeeperConfig) -> Iterator[IO[bytes]]:
    """The configuration, secrets included, as a file that exists in memory alone."""
    with open(os.memfd_create("keeper"), "w+b") as stream:
        stream.write(encode(config))
        stream.seek(0)
        yield stream


def _recorded(config: KeeperConfig, api: str, proxy: str, process: ProcessId) -> EmulationRecord:
    return EmulationRecord(
        name=config.name,
        process=process,
        url=f"http://{api}",
        token=config.token,
        wan_token=config.wan_token,
        admin_password=config.admin_password,
        proxy=proxy,
        proxy_token=config.proxy_token,
        cgroups=config.cgroups,
        created_at=time.time(),
        topology=config.topology,
        images=config.images,
    )


def _await_ready(keeper: Keeper, name: str, progress: Progress) -> None:
    while True:
        report = keeper.next_report(name)
        if "progress" in report:
            progress(report["progress"])
        if "ready" in report:
            return
