"""The keeper's first minute: makes the namespaces of an emulation and becomes their first process.

Run as `python -m sonata.daemon.keeper REPORT_FD LIFELINE_FD ORDERS_FD` by `sonata.sdk.keepers`. It forks a child that
enters user (when needed), pid, mount and network namespace; the child's child is pid 1 there, mounts what is private
to it, and goes on as `sonata.daemon.emulation`, which is told later what to keep. When pid 1 dies, the kernel kills
everything in the emulation. All of this happens before any thread or heavy import.

Reports are JSON lines: `{"pid": ...}` as soon as pid 1 exists, or `{"error": {...}}`.
"""

from __future__ import annotations

import json
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from sonata._lib.isolation import (
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    forget_login,
    make_mounts_private,
    mount_proc,
    unshare,
)
from sonata.errors import SonataError, Unsupported

ENDING = frozenset((signal.SIGTERM,))
"""Signals that wait until the first process has loaded and handles them."""
_HOUSE = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET
_OURSELVES = "0 {own} 1\n"


def main() -> None:
    """Entry of the keeper: its first process is another program, as it would else keep what is imported here."""
    command = [sys.executable, "-m", "sonata.daemon.first_process", *sys.argv[1:]]
    build(int(sys.argv[1]), lambda: os.execv(sys.executable, command))  # noqa: S606  # nosec B606  # no shell


def build(report: int, go_on: Callable[[], NoReturn]) -> None:
    """Make the namespaces of an emulation, and a first process in them; returns when that stands.

    Args:
        report: descriptor for JSON lines to the starter.
        go_on: what the first process does; ends it, or makes it another program.

    Raises:
        SystemExit: there can be none; the reason was reported.
    """
    try:
        _build_house(report, go_on)
    except SonataError as error:
        _tell(report, {"error": {"code": error.code, "message": error.message, "hint": error.hint}})
        sys.exit(1)


def _build_house(report: int, go_on: Callable[[], NoReturn]) -> None:
    with_users = not _may_administrate()
    entered_read, entered_write = os.pipe()
    mapped_read, mapped_write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(entered_read)
        os.close(mapped_write)
        _guarded(report, lambda: _enter(report, go_on, with_users, entered_write, mapped_read))
    os.close(entered_write)
    os.close(mapped_read)
    if os.read(entered_read, 1) and with_users:
        _map_users(child)
    os.close(mapped_write)  # the child goes on at end of file
    if os.waitpid(child, 0)[1] != 0:
        sys.exit(1)  # the child has told why


def _guarded(report: int, call: Callable[[], None]) -> None:
    """Run a forked branch to its very end; never returns into the parent's code."""
    try:
        call()
        os._exit(0)
    except SonataError as error:
        _tell(report, {"error": {"code": error.code, "message": error.message, "hint": error.hint}})
    except OSError as error:
        _tell(report, {"error": {"code": Unsupported.code, "message": f"keeper: {error}", "hint": ""}})
    os._exit(1)


def _enter(report: int, go_on: Callable[[], NoReturn], with_users: bool, entered: int, mapped: int) -> None:
    """Enter the namespaces, wait for the user mapping, and start pid 1 in them."""
    try:
        unshare(_HOUSE | (CLONE_NEWUSER if with_users else 0))
    except OSError as error:
        raise _no_namespaces(error, with_users) from error
    os.write(entered, b"e")
    os.close(entered)
    os.read(mapped, 1)
    os.close(mapped)
    # Pid 1 loses what it has no handler for (pid_namespaces(7)), unless that waits until it has one.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    first = os.fork()
    if first == 0:
        _guarded(report, lambda: _become_first(go_on))
    _tell(report, {"pid": first})


def _become_first(go_on: Callable[[], NoReturn]) -> NoReturn:
    """Furnish the namespaces as their pid 1 and go on as the emulation."""
    os.setsid()
    make_mounts_private()
    mount_proc()
    forget_login()  # where it cannot be, `sonata doctor` tells what follows
    go_on()


def _may_administrate() -> bool:
    """Whether this process has CAP_SYS_ADMIN (bit 21, capabilities(7)) and needs no user namespace."""
    status = Path("/proc/self/status").read_text()
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> 21 & 1)


def _map_users(child: int) -> None:
    """Map root inside to us outside; more users where subordinate ids were granted, see subuid(5)."""
    _map(child, "newuidmap", "uid_map", os.getuid(), _granted(Path("/etc/subuid"), os.getuid()))
    gids = _granted(Path("/etc/subgid"), os.getuid())
    _map(child, "newgidmap", "gid_map", os.getgid(), gids)


def _map(child: int, program: str, file: str, own: int, granted: tuple[int, int] | None) -> None:
    if granted:
        first, count = granted
        ranges = [0, own, 1, 1, first, count]
        command = [program, str(child), *map(str, ranges)]
        try:
            if subprocess.run(command, capture_output=True, check=False).returncode == 0:
                return
        except FileNotFoundError:
            pass
    if file == "gid_map":
        Path(f"/proc/{child}/setgroups").write_text("deny")
    Path(f"/proc/{child}/{file}").write_text(_OURSELVES.format(own=own))


def _granted(file: Path, uid: int) -> tuple[int, int] | None:
    """First and number of the subordinate ids of a user, or None."""
    names = {str(uid)}
    try:
        names.add(pwd.getpwuid(uid).pw_name)
        lines = file.read_text().splitlines()
    except (KeyError, OSError):
        return None
    for line in lines:
        owner, _, numbers = line.partition(":")
        if owner in names:
            first, _, count = numbers.partition(":")
            return int(first), int(count)
    return None


def _no_namespaces(error: OSError, with_users: bool) -> Unsupported:
    what = "user, pid, mount and network" if with_users else "pid, mount and network"
    hint = "run as root, or allow unprivileged user namespaces; `sonata doctor` tells more"
    return Unsupported(f"this machine does not let us make {what} namespaces: {error.strerror}", hint=hint)


def _tell(report: int, message: dict[str, object]) -> None:
    os.write(report, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()
