"""The platform as a process: `sonata up`, `down`, and what happens when things are in the way."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sonata.cli import exit_codes
from sonata.sdk import platform_records

Sonata = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "SONATA_HOME": str(tmp_path / "home"), "PYTHONPATH": "src", "NO_COLOR": "1", "COLUMNS": "200"}


@pytest.fixture
def sonata(environment: dict[str, str]) -> Iterator[Sonata]:
    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "sonata", *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False, env={**environment, **more}
        )  # fmt: skip

    yield run
    run("down")


@pytest.fixture
def data(environment: dict[str, str]) -> Path:
    return Path(environment["SONATA_HOME"]) / "share" / "platform"


def up(sonata: Sonata) -> None:
    done = sonata("up", "--listen", "127.0.0.1:0", "--detach")
    assert done.returncode == 0, done.stderr


def pid_of(data: Path) -> int:
    return platform_records.find(data).process.pid


def wait_gone(pid: int) -> None:
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.02)


def test_up_status_down(sonata: Sonata, data: Path) -> None:
    up(sonata)
    status = json.loads(sonata("status", "-o", "json").stdout)
    assert (status["status"], status["pid"]) == ("up", pid_of(data))
    pid = pid_of(data)
    assert sonata("down").returncode == exit_codes.OK
    wait_gone(pid)
    assert sonata("down").returncode == exit_codes.NOT_FOUND
    assert sonata("status").returncode == exit_codes.NOT_FOUND
    assert "platform is up" in sonata("logs").stdout


def test_what_is_secret_is_the_owners_alone(sonata: Sonata, data: Path) -> None:
    up(sonata)
    for path in (data, data / "admin-token", data / "platform.json", data / "platform.log"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
    token = (data / "admin-token").read_text().strip()
    assert token not in sonata("logs").stdout
    assert token not in Path(f"/proc/{pid_of(data)}/cmdline").read_text()


def test_a_second_platform_on_the_same_data_names_the_first(sonata: Sonata, data: Path) -> None:
    up(sonata)
    second = sonata("up", "--listen", "127.0.0.1:0", "--detach")
    assert second.returncode == exit_codes.CONFLICT
    assert str(pid_of(data)) in second.stderr
    (data / "platform.json").rename(data / "hidden")  # without the record the lock still tells
    blind = sonata("up", "--listen", "127.0.0.1:0", "--detach")
    (data / "hidden").rename(data / "platform.json")
    assert blind.returncode == exit_codes.CONFLICT
    assert re.search(rf"in use by the platform with pid {pid_of(data)}", blind.stderr)


def test_a_port_in_use_is_named(sonata: Sonata) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = sonata("up", "--listen", address, "--detach")
    assert done.returncode == exit_codes.CONFLICT
    assert address in done.stderr


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0:0", *(pytest.param(other, marks=pytest.mark.slow) for other in ("nonsense", "127.0.0.1:99999"))],
)
def test_other_addresses_than_loopback_are_refused(sonata: Sonata, address: str) -> None:
    assert sonata("up", "--listen", address, "--detach").returncode == exit_codes.INVALID


def test_after_kill_9_the_next_up_works(sonata: Sonata, data: Path) -> None:
    up(sonata)
    pid = pid_of(data)
    os.kill(pid, signal.SIGKILL)
    wait_gone(pid)
    assert sonata("status").returncode == exit_codes.NOT_FOUND
    up(sonata)
    assert pid_of(data) != pid


@pytest.mark.parametrize("end", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL])
def test_in_the_foreground_the_platform_ends_with_its_starter(
    environment: dict[str, str], data: Path, end: signal.Signals
) -> None:
    command = [sys.executable, "-m", "sonata", "up", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as starter:
        assert starter.stderr is not None
        while "Ctrl-C" not in (line := starter.stderr.readline()):
            assert line, "it ended before it was ready"
        pid = pid_of(data)
        starter.send_signal(end)
        starter.wait(30)
    wait_gone(pid)
    if end is not signal.SIGKILL:
        assert starter.returncode == exit_codes.OK


def test_credentials_come_from_the_environment_or_a_file(sonata: Sonata, tmp_path: Path) -> None:
    up(sonata)
    names = {
        "OS_AUTH_URL": "http://127.0.0.1:9/v3",
        "OS_USERNAME": "u",
        "OS_PASSWORD": "hush hush",
        "OS_PROJECT_NAME": "p",
    }
    assert sonata("vim", "add", "a", **names).returncode == 0
    openrc = tmp_path / "openrc"
    openrc.write_text("".join(f"export {name}='{value}'\n" for name, value in names.items()))
    assert sonata("vim", "add", "b", "--openrc", str(openrc)).returncode == 0
    lacking = sonata("vim", "add", "c", "--openrc", os.devnull)
    assert (lacking.returncode, "OS_AUTH_URL" in lacking.stderr) == (exit_codes.INVALID, True)
    listed = sonata("vim", "ls", "-o", "json")
    assert [vim["name"] for vim in json.loads(listed.stdout)] == ["a", "b"]
    assert "hush" not in listed.stdout + sonata("logs").stdout
    assert sonata("vim", "rm", "a").returncode == 0
    assert sonata("vim", "rm", "a").returncode == exit_codes.NOT_FOUND
