"""What first boots and logins of servers find on this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from sonata.adapters.host_probe.findings import PATH, Finding

_GROUP = "first boot"
_LOGIN_ID = Path("/proc/self/loginuid")
_UNSET = 2**32 - 1


def first_boot() -> Iterator[Finding]:
    """Findings about user data, keys and ssh."""
    yield Finding(_GROUP, "config drive", "ok", "a folder that servers see: needs no tool of this machine")
    yield _program("sshd", "openssh-server", "ssh to servers of image `host`; other images bring their own")
    yield _program("ssh", "openssh-client", "ssh to servers, from here and from endpoints of image `host`")
    yield _login_id()


def _program(name: str, package: str, purpose: str) -> Finding:
    if shutil.which(name, path=PATH):
        return Finding(_GROUP, name, "ok", purpose)
    return Finding(_GROUP, name, "limited", purpose, f"apt-get install {package}")


def _login_id() -> Finding:
    """Whether PAM's `pam_loginuid`, which Debian's sshd requires, can note who logs in to a server."""
    name = "login id"
    try:
        noted = int(_LOGIN_ID.read_text())
    except (OSError, ValueError):
        return Finding(_GROUP, name, "ok", "this kernel notes no login ids, and sshd with PAM asks for none")
    if noted == _UNSET:
        return Finding(_GROUP, name, "ok", "sshd with PAM can note who logs in to a server")
    why = (
        f"who started this shell is noted already (as {noted}), and servers inherit it: where their sshd uses PAM with "
        "`pam_loginuid` it ends sessions at once"
    )
    how = "systemd-run --pty" if os.geteuid() == 0 else "systemd-run --user --pty"
    return Finding(_GROUP, name, "limited", why, f"start emulations by `{how}`, or have `UsePAM no` in images")
