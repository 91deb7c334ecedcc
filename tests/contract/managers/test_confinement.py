"""What a manager can reach from within its sandbox: its question, its package, and nothing else. It tries hard."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.contract.managers import authors

from sonata.adapters.manager_host import SandboxedManagers
from sonata.errors import ManagerError
from sonata.mano.managers import problem_to_json
from sonata.ports.managers import ManagerLaunch

pytestmark = [pytest.mark.anyio, pytest.mark.root]
NAME = "ns-1.snoop"

SNOOP = """
import ctypes, json, os, socket, sys
from sonata.managers import Placement, ServiceSpecificManager

libc = ctypes.CDLL(None, use_errno=True)

def attempt(probe):
    try:
        return ["got", str(probe())[:2000]]
    except Exception as error:
        return ["refused", type(error).__name__]

def syscall(number):
    if number != 0:
        raise OSError(ctypes.get_errno(), "refused")

def connect(family, address):
    with socket.socket(family) as probe:
        probe.settimeout(2)
        probe.connect(address)

def search(canary):
    found = []
    skipped = {"/proc", "/sys", "/dev", "/usr", sys.prefix, sys.base_prefix, *sys.path}
    for top, folders, names in os.walk("/"):
        folders[:] = [f for f in folders if os.path.join(top, f) not in skipped]
        for name in names:
            try:
                with open(os.path.join(top, name), "rb") as stream:
                    if canary in stream.read(1 << 20):
                        found.append(os.path.join(top, name))
            except OSError:
                pass
    return found

class Snoop(ServiceSpecificManager):
    def place(self, state):
        with open("/package/probes.json") as stream:
            probes = json.load(stream)
        made = {name: attempt(lambda: eval(code, globals())) for name, code in probes.items()}
        return Placement({"cache": "edge"}, reason=json.dumps(made))
"""


@pytest.fixture
def canary() -> str:
    return "canary-" + secrets.token_hex(12)


@pytest.fixture
def listener() -> Iterator[int]:
    """A port on the host's loopback, like the platform's own."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def probe(host: SandboxedManagers, probes: Mapping[str, str], **options: Any) -> dict[str, list[str]]:
    files = {"snoop.py": SNOOP.encode(), "probes.json": json.dumps(probes).encode()}
    await host.launch(ManagerLaunch(NAME, "snoop.py", files, start_timeout_s=20.0, **options))
    answer = await host.ask(NAME, "placement", problem_to_json(authors.STATE.problem), timeout_s=60.0)
    made: dict[str, list[str]] = json.loads(answer["reason"])
    return made


async def test_no_file_of_the_host(confined: SandboxedManagers, folder: Path, canary: str) -> None:
    (folder / "secret.txt").write_text(canary)
    (folder / "secret.txt").chmod(0o666)
    home_file = next(path for path in Path.home().iterdir() if path.is_file())
    made = await probe(
        confined,
        {
            "shadow": "open('/etc/shadow').read()",
            "home": f"open({str(home_file)!r}).read()",
            "platform folder": f"os.listdir({str(folder)!r})",
            "repository": f"open({str(Path(__file__).parents[3] / 'pyproject.toml')!r}).read()",
            "tests": f"open({__file__!r}).read()",
            "outer mounts": "open('/proc/1/root/etc/shadow').read()",
            "memory": "open('/dev/mem', 'rb').read(1)",
            "kernel memory": "open('/proc/kcore', 'rb').read(1)",
        },
    )
    got = {name: answer for name, answer in made.items() if answer[0] == "got" and answer[1] != "[]"}
    assert got == {}


async def test_no_secret_by_search_or_environment(
    confined: SandboxedManagers, folder: Path, canary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SONATA_PASSWORD", canary)
    (folder / "secret.txt").write_text(canary)
    # The canary is put together inside, so that the probe itself is not what is found.
    half = len(canary) // 2
    searching = f"search(({canary[:half]!r} + {canary[half:]!r}).encode())"
    made = await probe(confined, {"search": searching, "environment": "dict(os.environ)"})
    assert made["search"] == ["got", "[]"]
    assert canary not in made["environment"][1]


async def test_no_network(confined: SandboxedManagers, listener: int) -> None:
    made = await probe(
        confined,
        {
            "loopback": f"connect(socket.AF_INET, ('127.0.0.1', {listener}))",
            "outside": "connect(socket.AF_INET, ('192.0.2.1', 80))",
            "abstract": "connect(socket.AF_UNIX, chr(0) + '/tmp/.X11-unix/X0')",
            "raw": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
            "names": "socket.getaddrinfo('localhost.example', 80)",
            "interfaces": "[name for _, name in socket.if_nameindex()]",
        },
    )
    assert made.pop("interfaces") == ["got", "['lo']"]
    assert {answer[0] for answer in made.values()} == {"refused"}


async def test_no_privilege(confined: SandboxedManagers) -> None:
    made = await probe(
        confined,
        {
            "mount": "syscall(libc.mount(b'tmpfs', b'/tmp', b'tmpfs', 0, None))",
            "user namespace": "syscall(libc.unshare(0x10000000))",
            "root": "os.setuid(0)",
            "hostname": "socket.sethostname('king')",
            "device": "os.mknod('/tmp/null', 0o20666, os.makedev(1, 3))",
            "package": "open('/package/x', 'w')",
            "python": "open(os.path.join(os.path.dirname(os.__file__), 'x'), 'w')",
            "socket": "os.unlink('/run/sonata/bus.sock')",
            "settings": "open('/proc/sys/kernel/core_pattern', 'w')",
            "status": "open('/proc/self/status').read()",
            "processes": "len([name for name in os.listdir('/proc') if name.isdigit()])",
            "sockets": "os.listdir('/run/sonata')",
            "user": "os.getuid() != 0 and os.geteuid() != 0",
        },
    )
    status = dict(line.split(":\t", 1) for line in made.pop("status")[1].splitlines() if ":\t" in line)
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == int(status["CapBnd"], 16) == 0
    assert made.pop("sockets") == ["got", "['bus.sock']"]
    assert made.pop("user") == ["got", "True"]
    assert int(made.pop("processes")[1]) <= 3
    assert {name for name, answer in made.items() if answer[0] == "got"} == set()


async def test_memory_is_bounded(confined: SandboxedManagers) -> None:
    made = await probe(confined, {"hog": "len(bytearray(400 * 1024**2))"}, memory_bytes=128 * 1024**2)
    assert made["hog"] == ["refused", "MemoryError"]


async def test_memory_shared_with_others_is_bounded_too(confined: SandboxedManagers) -> None:
    """A file in memory escapes limits on data; where cgroups are enforced the kernel ends the manager."""
    hog = "[open('/dev/shm/' + str(n), 'wb').write(b'x' * 15 * 1024**2) for n in range(20)]"
    try:
        made = await probe(confined, {"hog": hog}, memory_bytes=64 * 1024**2)
    except ManagerError:
        return
    assert made["hog"] == ["refused", "OSError"]


async def test_processes_are_bounded(confined: SandboxedManagers) -> None:
    multiply = "[os.fork() or __import__('time').sleep(60) for _ in range(200)]"
    made = await probe(confined, {"multiply": multiply})
    assert made["multiply"] == ["refused", "BlockingIOError"]


async def test_its_log_cannot_fill_the_disk(confined: SandboxedManagers, folder: Path) -> None:
    flood = "[os.write(1, b'x' * 2**20) for _ in range(64)]"
    made = await probe(confined, {"flood": flood})
    assert made["flood"][0] == "refused"
    assert sum(log.stat().st_size for log in folder.rglob("*.log")) < 32 * 1024**2


PLATFORM = """
import asyncio, sys
from pathlib import Path
from sonata.adapters.bus_local import LocalBus
from sonata.daemon.manager_supervisor import sandboxed_managers
from sonata.ports.managers import ManagerLaunch

async def main(folder, entry, code):
    host = sandboxed_managers(LocalBus(), Path(folder))
    await host.launch(ManagerLaunch("ns-1.m", entry, {entry: code.encode()}, start_timeout_s=20.0))
    print("running", flush=True)
    await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


def processes_with(text: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and text in (entry / "cmdline").read_text():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def eventually_none(text: str) -> list[int]:
    for _ in range(200):
        if not (left := processes_with(text)):
            return []
        time.sleep(0.05)
    return left


async def test_managers_die_with_a_killed_platform(confined: SandboxedManagers, folder: Path) -> None:
    entry = f"author_{secrets.token_hex(6)}.py"
    command = [sys.executable, "-c", PLATFORM, str(folder), entry, authors.GOOD]
    for _ in range(2):  # the second platform finds what the first one left behind
        platform = subprocess.Popen(
            command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": ":".join(sys.path)}
        )
        try:
            assert platform.stdout is not None
            assert await asyncio.to_thread(platform.stdout.readline) == b"running\n"
            assert processes_with(f"/package/{entry}")
        finally:
            platform.send_signal(signal.SIGKILL)
            await asyncio.to_thread(platform.communicate)
        assert await asyncio.to_thread(eventually_none, f"/package/{entry}") == []
        assert await asyncio.to_thread(eventually_none, str(folder)) == []


async def test_a_killed_supervisor_is_told_and_replaced(confined: SandboxedManagers, folder: Path) -> None:
    entry = f"author_{secrets.token_hex(6)}.py"
    launch = ManagerLaunch(NAME, entry, {entry: authors.GOOD.encode()}, start_timeout_s=20.0)
    await confined.launch(launch)
    for pid in processes_with(str(folder / "supervisor")):
        os.kill(pid, signal.SIGKILL)
    for text in (str(folder), f"/package/{entry}"):
        assert await asyncio.to_thread(eventually_none, text) == []
    question = problem_to_json(authors.STATE.problem)
    with pytest.raises(ManagerError, match=r"supervisor of managers has ended|did not answer"):
        await confined.ask(NAME, "placement", question, timeout_s=5)
    await confined.launch(launch)
    assert await confined.ask(NAME, "placement", question, timeout_s=5)


async def test_nothing_stays_after_a_killed_supervisor(confined: SandboxedManagers, folder: Path) -> None:
    runtime = pytest.importorskip("sonata.adapters.runtime_oci")
    supervisor = pytest.importorskip("sonata.daemon.manager_supervisor")
    prefix = supervisor.cgroup_prefix(folder / "supervisor")
    launch = ManagerLaunch(NAME, "author.py", {"author.py": authors.GOOD.encode()}, start_timeout_s=20.0)
    await confined.launch(launch)
    for pid in processes_with(str(folder / "supervisor")):
        os.kill(pid, signal.SIGKILL)
    await confined.close()
    assert processes_with(str(folder)) == []
    assert runtime.leftover_cgroups(prefix) == []
    assert str(folder) not in Path("/proc/self/mountinfo").read_text()
