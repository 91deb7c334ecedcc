"""Composition root of an emulation: pid 1 of its namespaces, see `sonata.daemon.keeper`.

Picks the adapters, starts the emulation, serves its HTTP surfaces and its management proxy on sockets that were opened
on the host, and ends on SIGTERM, SIGINT, or when the starter hangs up.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn

from sonata._lib.descriptors import Reserve
from sonata._lib.isolation import mount_tmpfs, unmount
from sonata._lib.logs import log_to_stderr
from sonata._lib.memory import return_large_blocks, return_what_is_free
from sonata._lib.plain import decode, from_plain
from sonata._lib.processes import lingering_zombies, reap
from sonata.adapters.disturbance_linux import LinuxDisturber
from sonata.adapters.fabric_linux import LinuxFabric
from sonata.adapters.images_local import LocalImages
from sonata.adapters.journal_files import FileJournal
from sonata.adapters.runtime_oci import OciRuntime, disk_refusal, hide_hybrid_cgroup, remove_cgroups
from sonata.adapters.runtime_qemu import QemuRuntime, boot_refusal, guest_kernels
from sonata.adapters.volumes_local import LocalVolumes
from sonata.api.emulator.app import emulator_app
from sonata.api.emulator.socks import ManagementProxy
from sonata.api.openstack.app import openstack_app, openstack_description
from sonata.daemon.files import keep_files, require_files
from sonata.daemon.keeper import ENDING
from sonata.daemon.surfaces import surfaces
from sonata.emulator.cloud.site import Kept
from sonata.emulator.data_plane import DataPlane
from sonata.emulator.disruptions import Disruptions
from sonata.emulator.emulation import Emulation
from sonata.emulator.engines import Engines
from sonata.emulator.observing.observation import Observation
from sonata.emulator.reconciler import Reconciler
from sonata.emulator.scenarios import Scenarios
from sonata.errors import SonataError
from sonata.ports.runtime import VIRTUAL
from sonata.sdk.emulation_records import load, remove_files, remove_lock, save
from sonata.sdk.emulations import KeeperConfig
from sonata.sdk.engines import candidates
from sonata.sdk.keepers import LET_GO

logger = logging.getLogger(__name__)

_REAP_EVERY_S = 2.0
_TRIM_EVERY_S = 30.0


class Ties(NamedTuple):
    """Descriptors that tie an emulation to others.

    Args:
        report: for JSON lines to the starter.
        lifeline: ends when the starter ends; the byte `LET_GO` first lets go of it.
        listen, proxy: sockets that listen on the host.
    """

    report: int
    lifeline: int
    listen: int
    proxy: int


def keep(report: int, lifeline: int, orders: int) -> int:
    """Wait to be told what to keep, and keep it to its end.

    Args:
        report: descriptor for JSON lines to the starter.
        lifeline: descriptor that ends when the starter ends.
        orders: descriptor of the socket on which the starter tells what to keep.

    Returns:
        The exit status of the process.
    """
    told = _told(orders)
    if told is None:
        return 0
    config, listen, proxy = told
    ties = Ties(report, lifeline, listen, proxy)
    for descriptor in (report, lifeline):
        os.set_inheritable(descriptor, False)
    return_large_blocks()
    log_to_stderr(logging.INFO, "%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        require_files(config.topology)
        mount_tmpfs(Path(config.run))
        hide_hybrid_cgroup()
        is_over = asyncio.run(_keep(config, ties))
    except SonataError as error:  # the starter shows it, and removes our files once it has read the log
        logger.exception("emulation failed")
        _report(ties, error={"code": error.code, "message": error.message, "hint": error.hint})
        return 1
    remove_cgroups(config.cgroups)
    unmount(Path(config.run))
    if is_over:
        remove_files(config.name)
        remove_lock(config.name)
    return 0


def _told(orders: int) -> tuple[KeeperConfig, int, int] | None:
    """What to keep, and the sockets of the APIs and of the proxy; None when the starter has thought better of it."""
    with socket.socket(fileno=orders) as channel:
        _, descriptors, _, _ = socket.recv_fds(channel, len(b"keep"), 5)
    if not descriptors:
        return None
    config, log, listen, proxy, lock = descriptors
    for descriptor in (listen, proxy, lock):  # the lock is held while we have it
        os.set_inheritable(descriptor, False)
    for standard in (sys.stdout, sys.stderr):
        os.dup2(log, standard.fileno())
    os.close(log)
    with open(config, "rb") as stream:
        return from_plain(decode(stream.read()), KeeperConfig), listen, proxy


async def _keep(config: KeeperConfig, ties: Ties) -> bool:
    """Start, serve until told to end, and close.

    Returns:
        Whether nothing is to be kept; False after an interrupted start, when what an earlier life left still waits.
    """
    end = asyncio.Event()
    _watch_signals(end)
    _watch_lifeline(ties.lifeline, end)
    plane = DataPlane(LinuxFabric(config.topology.chain_renderer, Path(config.run) / "switches", on_call=True))
    emulation = Emulation(
        topology=config.topology,
        plane=plane,
        runtime=_engines(config),
        images=LocalImages(Path(config.images)),
        folder=Path(config.run),
        journal=FileJournal(Path(config.saved)),
        volumes=LocalVolumes(Path(config.saved) / "volumes"),
        kept=Kept(_disk_folder(config), Path(config.saved) / "consoles"),
    )
    is_over = False
    try:
        gc.disable()  # nearly all that a start makes stays, and would be looked at again and again
        started = await _finished(emulation.start(lambda message: _report(ties, progress=message)), end)
        if started:
            await _serve(config, ties, emulation, Observation(emulation, plane), end)
        is_over = started or not config.resumes
    finally:
        await emulation.close(keep=not is_over)
    return is_over


def _engines(config: KeeperConfig) -> Engines:
    """What runs machines; virtual ones are confined by the usual engine, too."""
    machines, asked = Path(config.run) / "machines", candidates(config.engine)
    usual = OciRuntime(machines, config.cgroups, engines=asked, kept=Path(config.saved))
    kernels = guest_kernels(Path(config.images))
    virtual = {VIRTUAL: lambda: QemuRuntime(Path(config.run) / "virtual", usual, kernels)}
    return Engines(usual, virtual, boot_refusal)


def _disk_folder(config: KeeperConfig) -> Path:
    """Where servers' disks outlive us; in memory where the host's file system takes no overlay."""
    kept = Path(config.saved) / "disks"
    if why := disk_refusal(kept):
        logger.warning("servers' disks are in memory, and begin at their images after a crash: %s", why)
        return Path(config.run) / "disks"
    return kept


async def _serve(
    config: KeeperConfig, ties: Ties, emulation: Emulation, observation: Observation, end: asyncio.Event
) -> None:
    """Serve both HTTP surfaces and the proxy until the end."""
    reconciler = Reconciler(emulation)
    reconciler.on_change = partial(_record, config.name, emulation)
    scenarios = Scenarios(Disruptions(emulation, LinuxDisturber()), emulation.events)
    tokens = {"token": config.token, "wan_token": config.wan_token}
    described = partial(_describe, emulation)
    own = emulator_app(emulation, reconciler, scenarios, observation, **tokens, describe_openstack=described)
    openstack = openstack_app(emulation.clouds, admin_password=config.admin_password)
    reserve = Reserve()
    app = surfaces(own, openstack, observation.requests, reserve)
    server = _Server(
        uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
    )
    serving = asyncio.create_task(server.serve(sockets=[socket.socket(fileno=ties.listen)]))
    proxy = ManagementProxy(emulation.management, config.proxy_token)
    async with proxy.serving(socket.socket(fileno=ties.proxy)):
        serving.add_done_callback(lambda _: end.set())
        gc.freeze()  # what has been made until now stays, so collections of garbage need not look at it
        gc.enable()
        _report(ties, ready=True)  # the socket listens already
        await _finished(_look_after(emulation, observation, reserve), end)
    await scenarios.close()
    emulation.events.close()
    server.should_exit = True
    await serving


def _describe(emulation: Emulation) -> Mapping[str, Any]:
    return openstack_description(list(emulation.topology.pops))


def _record(name: str, emulation: Emulation) -> None:
    """Let those who read our record know the topology that is true now."""
    if record := load(name):
        save(replace(record, topology=emulation.topology))


class _Server(uvicorn.Server):
    """Leaves signals to the keeper."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take no signal."""
        yield


async def _finished(work: Coroutine[Any, Any, None], end: asyncio.Event) -> bool:
    """Do the work unless the end comes before it is done; whether it was finished."""
    task = asyncio.create_task(work)
    ending = asyncio.create_task(end.wait())
    await asyncio.wait({task, ending}, return_when=asyncio.FIRST_COMPLETED)
    ending.cancel()
    if not task.done():
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return False
    await task
    return True


async def _look_after(emulation: Emulation, observation: Observation, reserve: Reserve) -> None:
    """What goes on beside serving, until cancelled."""
    kept = keep_files(reserve), _reap_orphans(), _stay_small()
    await asyncio.gather(emulation.keep_going(), observation.keep_recording(), *kept)


async def _reap_orphans() -> None:
    """Collect what machines left behind; children that somebody waits for are gone before they are seen twice."""
    seen: set[int] = set()
    while True:
        await asyncio.sleep(_REAP_EVERY_S)
        zombies = lingering_zombies()
        reap(zombies & seen)
        seen = zombies - seen


async def _stay_small() -> None:
    """Give memory back that nothing is in any more, in a thread: it takes some milliseconds."""
    while True:
        await asyncio.sleep(_TRIM_EVERY_S)
        await asyncio.to_thread(return_what_is_free)


def _watch_signals(end: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end.set)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


def _watch_lifeline(lifeline: int, end: asyncio.Event) -> None:
    """End when the starter ends, unless it has let go of us before."""
    loop = asyncio.get_running_loop()

    def readable() -> None:
        loop.remove_reader(lifeline)
        if os.read(lifeline, 1) != LET_GO:
            end.set()

    loop.add_reader(lifeline, readable)


def _report(ties: Ties, **message: object) -> None:
    """Tell the starter; nobody listens any more once it has let go."""
    with contextlib.suppress(BrokenPipeError):
        os.write(ties.report, json.dumps(message).encode() + b"\n")
