"""Running build steps as root of namespaces of their own, so that nothing of a step outlives it."""

from __future__ import annotations

import getpass
import logging
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from sonata.errors import PermanentError, Unsupported

logger = logging.getLogger(__name__)

_TAIL = 12
_PACKAGES = {"mmdebstrap": "mmdebstrap", "unshare": "util-linux", "setpriv": "util-linux", "newuidmap": "uidmap"}


def is_single_user_namespace() -> bool:
    """Whether we are root of a user namespace that knows no other user, in which packages cannot be installed."""
    return sum(int(line.split()[2]) for line in Path("/proc/self/uid_map").read_text().splitlines()) < 1000


def in_user_namespace() -> bool:
    """Whether a build step runs in a user namespace, ours or one made for it."""
    return os.geteuid() != 0 or Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]


def require_programs(*names: str) -> None:
    """Check that programs are installed.

    Raises:
        Unsupported: with the packages to install.
    """
    missing = [name for name in names if shutil.which(name, path=_search_path()) is None]
    if missing:
        raise Unsupported(
            f"building images needs {', '.join(f'`{name}`' for name in missing)}",
            hint=f"as root: apt-get install {' '.join(sorted({_PACKAGES[name] for name in missing}))}",
        )


def require_users() -> None:
    """Check that a step can have many user ids, as packages need.

    Raises:
        Unsupported: with what the administrator can do about it.
    """
    if os.geteuid() == 0:
        if is_single_user_namespace():
            raise Unsupported(
                "images cannot be built in a user namespace with a single user id", hint="build them outside of it"
            )
        return
    require_programs("newuidmap")
    user = getpass.getuser()
    for file in ("/etc/subuid", "/etc/subgid"):
        if not _has_range(Path(file), user):
            raise Unsupported(
                f"user `{user}` has no range in {file}, so packages with users of their own cannot be installed",
                hint=f"as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}",
            )
    probe = subprocess.run(command("true"), capture_output=True, text=True, check=False)
    if probe.returncode:
        raise Unsupported(
            f"this host forbids user namespaces: {probe.stderr.strip()}",
            hint="as root: sysctl kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0",
        )


def command(*argv: str) -> list[str]:
    """A command line that runs a step in namespaces; it dies with us, and everything in it dies with it."""
    users = [] if os.geteuid() == 0 else ["--user", "--map-root-user", "--map-auto"]
    inner = ["unshare", *users, "--mount", "--pid", "--fork", "--kill-child", "--propagation=private", *argv]
    return ["setpriv", "--pdeathsig=KILL", *inner]


def run(step: str, argv: Sequence[str]) -> None:
    """Run a step to its end.

    Raises:
        PermanentError: it failed; with the end of its output.
    """
    environment = {"PATH": _search_path(), "LC_ALL": "C.UTF-8", **_proxies()}
    process = subprocess.Popen(
        command(*argv),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment,
    )
    lines: list[str] = []
    try:
        for line in process.stdout or ():
            lines = [*lines[1 - _TAIL :], line.rstrip()]
            logger.debug("build output", extra={"line": lines[-1]})
        status = process.wait()
    finally:
        process.kill()
        process.wait()
    if status:
        raise PermanentError(
            f"{step} failed with status {status}: {lines[-1] if lines else 'no output'}",
            hint="the first build of a release needs a Debian mirror; later ones work offline with kept packages",
            call=" ".join(argv[:2]),
            answer="\n".join(lines),
        )


def _search_path() -> str:
    return os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"


def _proxies() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.lower() in {"http_proxy", "https_proxy"}}


def _has_range(file: Path, user: str) -> bool:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return False
    return any(line.split(":")[0] in {user, str(os.getuid())} for line in lines)
