"""The composition root of the service platform: picks the adapters, opens the port, serves until told to end.

Run by `sonata.sdk.platforms` as `python -m sonata.daemon.platform CONFIG`, CONFIG a JSON object without secrets.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import json
import logging
import os
import secrets
import shutil
import signal
import socket
import stat
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import uvicorn

from sonata._lib.logs import log_to_stderr
from sonata._lib.paths import private_folder, write_private
from sonata._lib.processes import identify
from sonata._lib.values import dataclass
from sonata.adapters.bus_local import LocalBus
from sonata.adapters.store_sql import DataLock, SqlStore
from sonata.adapters.vim_openstack import OpenStackVim
from sonata.adapters.wim_emulator import EmulatorWim
from sonata.adapters.workflow_dbos import DbosWorkflows
from sonata.api.northbound import northbound_app
from sonata.daemon.manager_supervisor import sandboxed_managers
from sonata.engine.failure import failure_of, failure_to_plain
from sonata.engine.runner import Runner
from sonata.engine.timeline import Timeline
from sonata.errors import Conflict, SonataError, WorkflowError
from sonata.formats.package import read_package
from sonata.mano.platform import Platform
from sonata.mano.sites import VimAccess, WimAccess
from sonata.sdk import platform_records
from sonata.sdk.listening import listening
from sonata.sdk.platforms import LET_GO

logger = logging.getLogger(__name__)

_DRAIN_S = 1
_DEEPEST = 60
"""Bytes of a folder's path that leave room for sockets of managers below it; unix(7) allows 107 in all."""


@dataclass(frozen=True, slots=True)
class PlatformConfig:
    """What the platform is told.

    Args:
        report: descriptor for one JSON line to the starter, `ready` or `error`.
        lifeline: descriptor that ends when the starter ends; the byte `LET_GO` first lets go of it.
    """

    data: str
    host: str
    port: int
    report: int
    lifeline: int


def main() -> None:
    """Run one platform; failures of the start go to the starter."""
    config = PlatformConfig(**json.loads(sys.argv[1]))
    log_to_stderr(logging.INFO, "%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        asyncio.run(run_platform(config))
    except SonataError as error:
        logger.error("platform ended", extra={"error": error.message})  # noqa: TRY400  # told, no bug
        _report(config, error=failure_to_plain(failure_of(error)))
        sys.exit(1)


async def run_platform(config: PlatformConfig) -> None:
    """Serve until SIGTERM, SIGINT or the end of the starter.

    Raises:
        Conflict: the data folder or the address is in use.
        InvalidInput: the address is no loopback address.
    """
    end = asyncio.Event()
    _watch(config.lifeline, end)
    data = private_folder(Path(config.data))
    async with AsyncExitStack() as stack:
        stack.callback(DataLock(data).release)
        listener = stack.enter_context(listening(config.host, config.port, who="platform"))
        platform = await stack.enter_async_context(_running(data))
        token = _admin_token(data)
        server = _Server(
            uvicorn.Config(
                northbound_app(platform, token),
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=_DRAIN_S,
            )
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        serving.add_done_callback(lambda _: end.set())
        stack.callback(platform_records.remove, data)
        _record(data, listener, token)
        # What has been made until now stays, so collections of garbage need not look at it again and again.
        gc.freeze()
        _report(config, ready=True)  # the socket listens already
        await end.wait()
        server.should_exit = True
        await serving


@asynccontextmanager
async def _running(data: Path) -> AsyncIterator[Platform]:
    """Everything behind the API, on this data folder; what was under way goes on."""
    async with AsyncExitStack() as stack:
        store = SqlStore(data / "sonata.db")
        stack.push_async_callback(store.close)
        bus = LocalBus()
        stack.push_async_callback(bus.close)
        host = sandboxed_managers(bus, stack.enter_context(_managers_folder(data)))
        stack.push_async_callback(host.close)
        timeline = Timeline(store)
        workflows = DbosWorkflows(data / "engine.db")
        platform = Platform(
            store=store,
            timeline=timeline,
            runner=Runner(workflows, timeline),
            host=host,
            read_package=read_package,
            open_vim=_open_vim,
            open_wim=_open_wim,
        )
        stack.push_async_callback(platform.sites.close)
        stack.push_async_callback(workflows.close)
        await workflows.launch()
        await platform.lifecycle.reconcile()
        await platform.warm_up()
        yield platform


@contextlib.contextmanager
def _managers_folder(data: Path) -> Iterator[Path]:
    """A folder for managers: in the data folder, or in a short place of its own when sockets would not fit there.

    Raises:
        Conflict: somebody else has taken the short place.
    """
    folder = data / "managers"
    if len(os.fsencode(folder)) <= _DEEPEST:
        yield private_folder(folder)
        return
    # The name stays the same from start to start, so that what a killed platform left is found.
    digest = hashlib.sha256(os.fsencode(data)).hexdigest()[:12]
    short = private_folder(Path(tempfile.gettempdir()) / f"sonata-{os.geteuid()}-{digest}")
    status = short.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise Conflict(f"`{short}` belongs to somebody else", hint="choose a data folder nearer to /")
    try:
        yield short
    finally:
        shutil.rmtree(short, ignore_errors=True)


def _open_vim(access: VimAccess) -> OpenStackVim:
    return OpenStackVim(
        access.name,
        access.url,
        access.username,
        access.password,
        access.project,
        user_domain=access.user_domain,
        project_domain=access.project_domain,
        region=access.region or None,
    )


def _open_wim(access: WimAccess) -> EmulatorWim:
    return EmulatorWim(access.url, access.token)


def _admin_token(data: Path) -> str:
    """The admin token of a data folder, made at its first start."""
    path = data / platform_records.TOKEN_FILE
    if not path.exists():
        write_private(path, f"{secrets.token_urlsafe(32)}\n".encode())
    return path.read_text().strip()


def _record(data: Path, listener: socket.socket, token: str) -> None:
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    process = identify(os.getpid())
    if process is None:
        raise WorkflowError("the platform does not find itself in /proc")
    platform_records.save(data, platform_records.PlatformRecord(process, url, token))
    logger.info("platform is up on %s", url)


class _Server(uvicorn.Server):
    """Leaves signals to the platform."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take no signal."""
        yield


def _watch(lifeline: int, end: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end.set)

    def heard() -> None:
        loop.remove_reader(lifeline)
        if os.read(lifeline, 1) != LET_GO:
            end.set()

    loop.add_reader(lifeline, heard)


def _report(config: PlatformConfig, **message: object) -> None:
    with contextlib.suppress(BrokenPipeError, OSError):
        os.write(config.report, json.dumps(message).encode() + b"\n")
        os.close(config.report)


if __name__ == "__main__":
    main()
