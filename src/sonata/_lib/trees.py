"""Removing folders, also where they hold files of users that we may only be in a user namespace."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

_AS_ALL_OUR_USERS = ("unshare", "--user", "--map-root-user", "--map-auto")
"""Root of a namespace with the subordinate users that /etc/subuid grants us."""


def remove_tree(path: Path) -> None:
    """Remove a folder with all that is in it; one that is not there is fine.

    Raises:
        OSError: something of it cannot be removed.
    """
    if not path.exists():
        return
    if os.geteuid() == 0:
        shutil.rmtree(path)
        return
    shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        done = subprocess.run(
            [*_AS_ALL_OUR_USERS, "rm", "-rf", "--", str(path)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise OSError(f"{path} cannot be removed: {done.stderr.strip()}")
