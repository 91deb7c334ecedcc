"""What first boots and logins of servers find on this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from sonata._lib.isolation import forget_login
from sonata.adapters.host_probe.findings import PATH, Finding

_GROUP = "first boot"


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
    in_user_namespace = os.geteuid() != 0  # PAM does without there
    if in_user_namespace or not (reason := forget_login()):
        return Finding(_GROUP, name, "ok", "sshd with PAM can note who logs in to a server")
    why = (
        f"servers inherit who started the emulation ({reason}): where their sshd uses PAM with `pam_loginuid`, it ends "
        "sessions at once"
    )
    return Finding(
        _GROUP, name, "limited", why, "start emulations by `systemd-run --pty`, or build images with `UsePAM no`"
    )
