"""What a session of tests that was killed leaves on a machine, and its removal when the next one begins.

A session has a label, the pid of its process and when that started. It is in the name of the session's scratch folder,
in which all temporary files are, in the names of the cgroups and network namespaces that tests make themselves, and in
the environment of every program that was started. Whatever carries the label of a session that runs is left alone.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import psutil

from sonata._lib.processes import ProcessId, end_process, identify, is_running
from sonata.adapters.runtime_oci.cgroups import hierarchies, remove_cgroups
from sonata.daemon.manager_supervisor import LOG as SUPERVISOR_LOG
from sonata.daemon.manager_supervisor import cgroup_prefix
from sonata.errors import SonataError
from sonata.sdk import emulation_records, emulations

LABEL = "SONATA_TEST_SESSION"
"""The variable that holds the label of a session in all that it starts, the workers of pytest-xdist among them."""
CGROUP = "sonata-test-"
NAMESPACE = "t"
SCRATCH = "sonata-tests-"
NAMESPACES = Path("/run/netns")
GRACE_S = 2.0


def begin() -> None:
    """Give this process a label and a scratch folder, after removing what dead sessions have left."""
    top = Path(tempfile.gettempdir())
    for folder in dead_sessions(top):
        remove_session(folder)
    this = identify(os.getpid())
    assert this, "a process that asks for itself runs"
    os.environ[LABEL] = label = f"{this.pid}-{this.started}"
    scratch = top / f"{SCRATCH}{label}"
    scratch.mkdir()
    scratch.chmod(0o1777)  # as /tmp itself: some tests become another user
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(top))  # folders of failed tests outlive their session
    os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)


def end() -> None:
    """Remove the scratch folder."""
    scratch = Path(os.environ["TMPDIR"])
    os.environ["TMPDIR"] = tempfile.tempdir = str(scratch.parent)
    _remove_folder(scratch)


def labelled(prefix: str) -> str:
    """A name of its own that carries the label of this session."""
    return f"{prefix}{os.environ[LABEL]}-{uuid.uuid4().hex[:6]}"


def claim(folder: Path) -> None:
    """Have a folder that lies elsewhere searched for what this session may leave; the folder itself stays."""
    link = Path(os.environ["TMPDIR"]) / f"claim-{uuid.uuid4().hex[:6]}"
    link.symlink_to(folder)


def dead_sessions(top: Path) -> Iterator[Path]:
    """Scratch folders of this user's sessions that were killed."""
    for folder in top.glob(f"{SCRATCH}*"):
        found = re.fullmatch(r"(\d+)-(\d+)", folder.name.removeprefix(SCRATCH))
        if found and folder.stat().st_uid == os.geteuid() and not is_running(ProcessId(*map(int, found.groups()))):
            yield folder


def remove_session(folder: Path) -> None:
    """Remove all that a dead session has left, its scratch folder last: until then it can be done again."""
    label = folder.name.removeprefix(SCRATCH)
    try:
        for process in _processes(label):
            end_process(process, grace_s=GRACE_S)
        for place in (folder, *(link.resolve() for link in folder.glob("claim-*"))):
            _remove_cgroups_of_platforms(place)
            _remove_emulations(place)
        for cgroup in {path.name for top in hierarchies() for path in top.glob(f"{CGROUP}{label}-*")}:
            remove_cgroups(cgroup)
        for namespace in NAMESPACES.glob(f"{NAMESPACE}{label}-*"):
            subprocess.run(["ip", "netns", "del", namespace.name], check=True, timeout=10)
        _remove_folder(folder)
    except (SonataError, OSError, subprocess.SubprocessError) as error:
        warnings.warn(f"what the killed test session {label} has left cannot be removed: {error}", stacklevel=1)


def _processes(label: str) -> Iterator[ProcessId]:
    for process in psutil.process_iter():
        try:
            belongs = process.environ().get(LABEL) == label
        except (psutil.Error, OSError):
            continue
        if belongs and (found := identify(process.pid)):
            yield found


def _remove_emulations(place: Path) -> None:
    """Take down, as `sonata emu down` does, what is recorded in the homes below a folder."""
    for folder in [*place.rglob("state/emulations")]:
        with patch.dict(os.environ, SONATA_HOME=str(folder.parents[1])):
            for record in [*emulation_records.recorded()]:
                emulations.stop(record.name)


def _remove_cgroups_of_platforms(place: Path) -> None:
    """Remove what killed platforms have left of their managers."""
    for log in place.rglob(SUPERVISOR_LOG):
        remove_cgroups(cgroup_prefix(log.parent))


def _remove_folder(folder: Path) -> None:
    """Remove a folder, but nothing that is mounted in it."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for place in sorted(mounts, reverse=True):
        if Path(place).is_relative_to(folder):
            subprocess.run(["umount", "--lazy", place], check=True, timeout=10)
    shutil.rmtree(folder, ignore_errors=True)
