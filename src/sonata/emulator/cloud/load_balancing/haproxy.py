"""The provider `haproxy`: one appliance with a real HAProxy for each load balancer.

HAProxy runs in master-worker mode: a reload starts a worker that takes over the listening sockets, and the old one
serves its connections to their end. Health and counters come from its statistics socket.
"""

from __future__ import annotations

import asyncio
import csv
import io
import logging
import os
import shutil
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from sonata._lib.tails import tail
from sonata.emulator.cloud.appliances import Appliance, Appliances
from sonata.emulator.cloud.load_balancing.haproxy_config import ALGORITHMS, FOLDER, render
from sonata.errors import PermanentError, StepTimeout, Unsupported
from sonata.ports.load_balancing import Plan, Report, Statistics
from sonata.ports.runtime import Bind, MachineExit

logger = logging.getLogger(__name__)

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
CHECKS = frozenset(("HTTP", "HTTPS", "TCP", "TLS-HELLO", "PING"))
PROTOCOLS = frozenset(("HTTP", "HTTPS", "TCP"))
RELOAD_LIMIT_S = 10.0
ANSWER_LIMIT_S = 5.0
POLL_S = 0.02
LAST_WORDS = 4000
PING_SCRIPT = '#!/bin/sh\nexec ping -q -n -c 1 -w 1 "$3" >/dev/null 2>&1\n'

Died = Callable[[str], Awaitable[None]]


class HaproxyDriver:
    """Implements `ports.load_balancing.Driver`.

    Args:
        on_death: awaited with a load balancer's id when its HAProxy ended by itself.
        drops_privileges: tells whether other user ids exist, so that workers need not be root in their namespace.
    """

    name = "haproxy"
    flavor_capabilities: Mapping[str, str] = {}

    def __init__(self, appliances: Appliances, on_death: Died, *, drops_privileges: Callable[[], bool]) -> None:
        self._appliances = appliances
        self._on_death = on_death
        self._drops_privileges = drops_privileges
        self._past: dict[str, dict[str, Statistics]] = {}

    @property
    def description(self) -> str:
        """What it is, and what is missing."""
        text = "HAProxy in an appliance of its own for each load balancer: HTTP, HTTPS passthrough and TCP."
        return text if _program() else f"{text} Not available: install the package `haproxy`."

    def check(self, plan: Plan) -> None:
        """Refuse what HAProxy does not do here."""
        if not _program():
            raise _unsupported("HAProxy is not installed; install the package `haproxy`")
        for frontend in plan.frontends:
            if frontend.protocol not in PROTOCOLS:
                raise _unsupported(f"listeners of protocol {frontend.protocol}; use the provider `nftables` for UDP")
        for backend in plan.backends:
            if backend.protocol not in PROTOCOLS | {"PROXY", "PROXYV2"}:
                raise _unsupported(f"pools of protocol {backend.protocol}; use the provider `nftables` for UDP")
            if backend.algorithm not in ALGORITHMS:
                raise _unsupported(f"the algorithm {backend.algorithm}")
            if backend.check and backend.check.type not in CHECKS:
                raise _unsupported(f"health monitors of type {backend.check.type}")
            if backend.check and backend.check.type == "PING" and not shutil.which("ping", path=PATH):
                raise _unsupported("health monitors of type PING; install the package `iputils-ping`")

    async def deploy(self, plan: Plan) -> None:
        """Start HAProxy, or have it take over a new configuration without losing a connection."""
        folder = self._folder(plan.id)
        text = render(plan, drops_privileges=self._drops_privileges())
        current = folder / "haproxy.cfg"
        running = self._appliances.is_running(plan.id)
        unchanged = running and current.exists() and current.read_text() == text
        if not unchanged:
            folder.chmod(0o711)  # workers, who are another user, run the script
            (folder / "ping").write_text(PING_SCRIPT)
            (folder / "ping").chmod(0o755)
            (folder / ("next.cfg" if running else "haproxy.cfg")).write_text(text)
        await self._appliances.start(self._appliance(plan), self._watch(plan.id))
        if not running:
            await self._wait_worker(plan.id, "")
            await self._allow_ping(plan.id)
        elif not unchanged:
            await self._reload(plan.id, folder)

    async def remove(self, load_balancer_id: str) -> None:
        """End HAProxy with all its connections."""
        await self._appliances.remove(load_balancer_id)
        self._past.pop(load_balancer_id, None)

    async def read(self, load_balancer_id: str) -> Report | None:
        """Ask the statistics socket."""
        if not self._appliances.is_running(load_balancer_id):
            return None
        try:
            answer = await self._ask(load_balancer_id, "stats.sock", "show stat")
        except (OSError, TimeoutError):
            return None
        report = parse_statistics(answer)
        past = self._past.get(load_balancer_id, {})
        return Report(
            {name: now + past.get(name, Statistics()) for name, now in report.frontends.items()}, report.targets
        )

    async def _reload(self, load_balancer_id: str, folder: Path) -> None:
        status, out, err = await self._appliances.exec(load_balancer_id, ("haproxy", "-c", "-f", f"{FOLDER}/next.cfg"))
        if status:
            raise PermanentError(
                f"HAProxy of load balancer {load_balancer_id} refused its configuration: {_first_alert(out + err)}",
                call="haproxy -c",
                answer=(out + err).decode(errors="replace"),
            )
        (folder / "next.cfg").replace(folder / "haproxy.cfg")
        before = await self._worker(load_balancer_id)
        await self._remember(load_balancer_id, folder)
        await self._ask(load_balancer_id, "master.sock", "reload")
        await self._wait_worker(load_balancer_id, before)

    async def _remember(self, load_balancer_id: str, folder: Path) -> None:
        """Keep counters, and the health of members, which a new worker would take for good until it has probed them."""
        if (report := await self.read(load_balancer_id)) is not None:
            kept = {name: _without_active(numbers) for name, numbers in report.frontends.items()}
            self._past[load_balancer_id] = kept
        state = await self._ask(load_balancer_id, "stats.sock", "show servers state")
        (folder / "servers.state").write_text(state)

    async def _wait_worker(self, load_balancer_id: str, before: str) -> None:
        """Wait until a worker answers that is another one than before."""
        try:
            async with asyncio.timeout(RELOAD_LIMIT_S):
                while await self._worker(load_balancer_id) in ("", before):
                    if not self._appliances.is_running(load_balancer_id):
                        words = self._last_words(load_balancer_id)
                        raise PermanentError(f"HAProxy of load balancer {load_balancer_id} ended at once: {words}")
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise StepTimeout(
                f"HAProxy of load balancer {load_balancer_id} did not take over its configuration: "
                f"{self._last_words(load_balancer_id)}"
            ) from None

    async def _worker(self, load_balancer_id: str) -> str:
        """The pid of the worker that answers, empty when none does."""
        with suppress(OSError, TimeoutError):
            for line in (await self._ask(load_balancer_id, "stats.sock", "show info")).splitlines():
                if line.startswith("Pid:"):
                    return line.removeprefix("Pid:").strip()
        return ""

    async def _ask(self, load_balancer_id: str, socket: str, command: str) -> str:
        with _short_path(self._folder(load_balancer_id)) as folder:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                reader, writer = await asyncio.open_unix_connection(f"{folder}/{socket}")
                try:
                    writer.write(f"{command}\n".encode())
                    await writer.drain()
                    return (await reader.read(-1)).decode(errors="replace")
                finally:
                    writer.close()

    async def _allow_ping(self, load_balancer_id: str) -> None:
        """Let workers, which have no right to raw sockets, send echo requests (icmp(7), ping_group_range)."""
        allow = "echo 0 65534 >/proc/sys/net/ipv4/ping_group_range"
        status, _out, err = await self._appliances.exec(load_balancer_id, ("/bin/sh", "-c", allow))
        if status:
            logger.info("no PING health monitors here", extra={"cause": err.decode(errors="replace").strip()})

    def _appliance(self, plan: Plan) -> Appliance:
        bind = Bind(self._folder(plan.id), FOLDER, read_only=False)
        argv = ("haproxy", "-W", "-S", f"{FOLDER}/master.sock,mode,600", "-f", f"{FOLDER}/haproxy.cfg")
        return Appliance(plan.id, argv=argv, port_ids=plan.port_ids, binds=(bind,))

    def _watch(self, load_balancer_id: str) -> Callable[[MachineExit], Awaitable[None]]:
        async def ended(how: MachineExit) -> None:
            logger.warning("a load balancer ended", extra={"load_balancer": load_balancer_id, "reason": how.reason})
            await self._on_death(load_balancer_id)

        return ended

    def _folder(self, load_balancer_id: str) -> Path:
        return self._appliances.folder(load_balancer_id)

    def _last_words(self, load_balancer_id: str) -> str:
        return _first_alert(tail(self._appliances.console(load_balancer_id), LAST_WORDS))


def parse_statistics(text: str) -> Report:
    """What `show stat` tells (management guide of HAProxy, section 9.1)."""
    frontends: dict[str, Statistics] = {}
    targets: dict[tuple[str, str], str] = {}
    for row in csv.DictReader(io.StringIO(text.removeprefix("# "))):
        proxy, name = row["pxname"], row["svname"]
        if name == "FRONTEND":
            numbers = (int(row[key] or 0) for key in ("scur", "stot", "bin", "bout", "ereq"))
            frontends[proxy] = Statistics(*numbers)
        elif name != "BACKEND":
            targets[proxy.partition(":")[0], name] = _target_status(row)
    return Report(frontends, targets)


def _target_status(row: Mapping[str, str]) -> str:
    """A member's operating status; one that has not been probed yet is OFFLINE, as Octavia says."""
    status, probe = row["status"], row.get("check_status") or ""
    if status.startswith("MAINT"):
        return "OFFLINE"
    if status.startswith("DOWN"):
        return "ERROR"
    if row["weight"] == "0" or status.startswith("DRAIN"):
        return "DRAINING"
    if status == "no check":
        return "NO_MONITOR"
    return "OFFLINE" if probe.endswith("INI") else "ONLINE"


def _without_active(numbers: Statistics) -> Statistics:
    return Statistics(0, numbers.total_connections, numbers.bytes_in, numbers.bytes_out, numbers.request_errors)


@contextmanager
def _short_path(folder: Path) -> Iterator[str]:
    """A folder under a name that leaves room for a socket's; unix(7) takes 107 bytes."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _first_alert(output: bytes) -> str:
    lines = output.decode(errors="replace").splitlines()
    alerts = [line for line in lines if "ALERT" in line]
    return (alerts or lines or ["no reason given"])[0].strip()


def _program() -> str | None:
    return shutil.which("haproxy", path=PATH)


def _unsupported(what: str) -> Unsupported:
    return Unsupported(f"Provider 'haproxy' does not support a requested option: {what}")
