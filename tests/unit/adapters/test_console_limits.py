"""What becomes of consoles that cannot be kept short: it is told once, and machines go on."""

from __future__ import annotations

import errno
import threading
import time
from pathlib import Path

import pytest

import sonata.adapters.runtime_oci.console_limits as console_limits
from sonata.adapters.runtime_oci.console_limits import LIMIT, ConsoleLimits


class Refusing:
    """A C library whose calls fail."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def __getattr__(self, name: str) -> object:
        return (lambda *_: -1) if name in self._names else getattr(console_limits.ctypes.CDLL(None), name)


def until_no_thread() -> None:
    """Wait until nothing is watched any more."""
    deadline = time.monotonic() + 20
    while any(thread.name == "console limits" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The hints of all warnings."""
    return [vars(record)["hint"] for record in caplog.records]


@pytest.fixture
def no_errno(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls fail for the reason that a file system has which makes no holes."""
    monkeypatch.setattr(console_limits.ctypes, "get_errno", lambda: errno.EOPNOTSUPP)


@pytest.mark.usefixtures("no_errno")
def test_a_file_system_without_holes_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(console_limits, "_libc", Refusing("fallocate"))
    limits, console = ConsoleLimits(), tmp_path / "console"
    limits.watch(console)
    with console.open("ab", buffering=0) as machine:
        machine.write(b"x" * LIMIT)
        machine.write(b"x" * LIMIT)
        until_no_thread()  # which has given up
        machine.write(b"x" * LIMIT)
    assert len(told(caplog)) == 1
    assert "ext4" in told(caplog)[0]


@pytest.mark.usefixtures("no_errno")
@pytest.mark.parametrize("call", ["inotify_init1", "inotify_add_watch"])
def test_a_kernel_that_watches_no_more_files_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    limits, console = ConsoleLimits(), tmp_path / "console"
    with monkeypatch.context() as patch:
        patch.setattr(console_limits, "_libc", Refusing(call))
        limits.watch(console)
        console.write_bytes(b"x" * 2 * LIMIT)
    limits.leave(console)
    assert console.stat().st_size == console_limits.KEPT
    assert len(told(caplog)) == 1
    assert "fs.inotify" in told(caplog)[0]
    limits.watch(console)
    limits.leave(console)
    until_no_thread()
