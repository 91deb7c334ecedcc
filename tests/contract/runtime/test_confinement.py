"""A machine sees its own and nothing else: no file, process, device or secret of the host, no other machine."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.machines import PROCESSES, cable, needs_engine, needs_root, network_namespaces

from sonata.adapters.runtime_oci import python_argv, python_binds, python_env
from sonata.ports.runtime import Bind, MachineSpec, RootFs, Runtime

ENGINES = PROCESSES
pytestmark = [pytest.mark.anyio, pytest.mark.root, needs_root, needs_engine]

Make = Callable[..., MachineSpec]


@pytest.fixture
def spec(tmp_path: Path) -> Make:
    def make(*argv: str, **changes: object) -> MachineSpec:
        usual: dict[str, object] = {
            "id": "m1",
            "hostname": "box",
            "root": RootFs(),
            "argv": argv or ("sleep", "1000"),
            "console": tmp_path / "console",
        }
        return MachineSpec(**{**usual, **changes})  # type: ignore[arg-type]

    return make


async def shell(runtime: Runtime, script: str, machine: str = "m1") -> tuple[int, str]:
    status, out, err = await runtime.exec(machine, ["sh", "-c", script])
    return status, (out + err).decode()


async def test_no_file_of_the_host(runtime: Runtime, spec: Make, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the host's secret")
    await runtime.start(spec())
    status, _ = await shell(runtime, f"cat {secret}")
    assert status != 0
    _, seen = await shell(runtime, "ls -A /root /home /mnt /opt /srv /tmp /var/lib")
    assert set(seen.split()) == {f"{name}:" for name in ("/root", "/home", "/mnt", "/opt", "/srv", "/tmp", "/var/lib")}
    _, users = await shell(runtime, "cut -d: -f1 /etc/passwd")
    assert "sonata" in users
    assert (await shell(runtime, "ls /etc/shadow /etc/ssh /etc/machine-id /etc/ssl/private"))[0] != 0


async def test_no_way_to_the_hosts_root_through_processes(runtime: Runtime, spec: Make) -> None:
    await runtime.start(spec())
    _, processes = await shell(runtime, "ls -d /proc/[0-9]* | wc -l; cat /proc/1/comm")
    count, first = processes.split()
    assert int(count) <= 4
    assert first == "sleep"
    _, root = await shell(runtime, "ls /proc/1/root/")
    assert "usr" in root
    assert "boot" not in root


async def test_programs_of_the_host_can_be_used_not_changed(runtime: Runtime, spec: Make) -> None:
    await runtime.start(spec())
    assert (await shell(runtime, "touch /usr/bin/evil"))[0] != 0
    assert (await shell(runtime, "mount -o remount,rw /usr"))[0] != 0
    assert not Path("/usr/bin/evil").exists()


@pytest.mark.parametrize("network_admin", [True, False])
async def test_rights_are_few_and_cannot_grow(runtime: Runtime, spec: Make, network_admin: bool) -> None:
    await runtime.start(spec(network_admin=network_admin))
    for look in ("cat /proc/1/status", "cat /proc/self/status"):
        _, text = await shell(runtime, look)
        fields = dict(line.split(":\t", 1) for line in text.splitlines())
        # Bits of linux/capability.h; not among them: module (16), ptrace (19), admin (21), boot (22), mknod (27).
        held = {bit for bit in range(64) if int(fields["CapEff"], 16) >> bit & 1}
        assert held == ({0, 1, 3, 4, 5, 6, 7, 8, 10, 12, 13, 18, 29, 31} if network_admin else set())
        assert fields["CapBnd"] == fields["CapEff"]
        assert fields["NoNewPrivs"] == "1"
        assert fields["Seccomp"] == "2"


CALLS = {
    "mount": "libc.mount(b'none', b'/mnt', b'tmpfs', 0, None)",
    "unshare user": "libc.unshare(0x10000000)",
    "setns": "libc.setns(os.open('/proc/self/ns/net', 0), 0)",
    "keyctl": "libc.syscall(250, 0, -3, 0)",
    "bpf": "libc.syscall(321, 0, None, 0)",
    "perf_event_open": "libc.syscall(298, None, 0, -1, -1, 0)",
    "io_uring_setup": "libc.syscall(425, 1, None)",
    "userfaultfd": "libc.syscall(323, 0)",
    "ptrace": "libc.ptrace(16, 1, None, None)",
    "kexec_load": "libc.syscall(246, 0, 0, None, 0)",
    "init_module": "libc.syscall(175, None, 0, b'')",
    "reboot": "libc.syscall(169, 0, 0, 0, None)",
    "settimeofday": "libc.syscall(164, None, None)",
    "open_by_handle_at": "libc.syscall(304, -1, None, 0)",
    "clone into a user namespace": "libc.syscall(56, 0x10000000 | 17, None, None, None, None)",
    "vsock": "libc.socket(40, 1, 0)",
}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="system call numbers of x86_64")
async def test_calls_that_lead_out_are_refused(runtime: Runtime, spec: Make) -> None:
    await runtime.start(spec())
    for name, call in CALLS.items():
        code = f"import ctypes, os; libc = ctypes.CDLL(None, use_errno=True); print({call}, ctypes.get_errno())"
        _, out, err = await runtime.exec("m1", ["python3", "-c", code])
        assert out.split() == [b"-1", b"1"], f"{name}: {out!r} {err!r}"


async def test_devices_are_the_harmless_ones(runtime: Runtime, spec: Make) -> None:
    await runtime.start(spec())
    _, seen = await shell(runtime, "find /dev -type b -o -type c | sort")
    allowed = {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts/ptmx", "net/tun", "console"}
    assert {line.removeprefix("/dev/") for line in seen.split()} <= allowed
    assert (await shell(runtime, "mknod /tmp/disk b 254 0 && head -c 1 /tmp/disk"))[0] != 0
    assert (await shell(runtime, "head -c 4 /dev/urandom > /dev/null && echo x > /dev/shm/file"))[0] == 0
    assert (await shell(runtime, "head -c 1 /proc/kcore | grep ."))[0] != 0


async def test_a_vnf_configures_its_network_and_no_more_of_the_kernel(runtime: Runtime, spec: Make) -> None:
    await runtime.start(spec())
    assert (await shell(runtime, "echo 1 > /proc/sys/net/ipv4/ip_forward && cat /proc/sys/net/ipv4/ip_forward"))[
        1
    ] == "1\n"
    for setting in ("kernel/hostname", "vm/drop_caches", "kernel/core_pattern", "fs/file-max"):
        status, _ = await shell(runtime, f"echo 1 > /proc/sys/{setting}")
        assert status != 0, setting
    assert (await shell(runtime, "echo b > /proc/sysrq-trigger"))[0] != 0
    assert (await shell(runtime, "ls /sys/class/net"))[1] == "lo\n"


async def test_a_manager_has_no_network_at_all(runtime: Runtime, spec: Make) -> None:
    await runtime.start(spec(network_admin=False))
    assert (await shell(runtime, "echo 1 > /proc/sys/net/ipv4/ip_forward"))[0] != 0
    code = "import socket; socket.create_connection(('192.0.2.1', 80), 2)"
    status, _, err = await runtime.exec("m1", ["python3", "-c", code])
    assert status != 0
    assert b"unreachable" in err


async def test_the_given_network_namespace_is_joined(runtime: Runtime, spec: Make) -> None:
    with network_namespaces("a", "b") as names:
        cable(names["a"], "eth0", "10.8.0.1/24", names["b"], "eth0", "10.8.0.2/24")
        for name in ("a", "b"):
            await runtime.start(spec(id=name, netns=f"/run/netns/{names[name]}"))
        status, out = await shell(runtime, "ping -c 1 -W 5 10.8.0.2", "a")
        assert status == 0, out
        await runtime.stop("a")
        assert Path(f"/run/netns/{names['a']}").exists()
        await runtime.stop("b")


async def test_machines_do_not_see_one_another(runtime: Runtime, spec: Make) -> None:
    for name in ("one", "two"):
        await runtime.start(spec("sh", "-c", f"echo {name} > /tmp/mine; exec sleep 100{len(name)}", id=name))
    assert (await shell(runtime, "echo changed > /tmp/mine; touch /etc/new", "one"))[0] == 0
    assert (await shell(runtime, "cat /tmp/mine; ls /etc/new", "two"))[1].startswith("two\n")
    _, out = await shell(runtime, "cat /proc/[0-9]*/comm | grep -c sleep", "two")
    assert out == "1\n"


async def test_binds_are_read_only_unless_asked(runtime: Runtime, spec: Make, tmp_path: Path) -> None:
    for name in ("fixed", "open"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
        (tmp_path / name).chmod(0o777)
    binds = (Bind(tmp_path / "fixed", "/fixed"), Bind(tmp_path / "open", "/open", read_only=False))
    await runtime.start(spec(binds=binds))
    assert (await shell(runtime, "cat /fixed/file /open/file"))[1] == "fixedopen"
    assert (await shell(runtime, "touch /fixed/new"))[0] != 0
    assert (await shell(runtime, "touch /open/new"))[0] == 0
    assert (tmp_path / "open/new").exists()


async def test_this_python_runs_in_a_sandbox_with_a_socket(runtime: Runtime, spec: Make, tmp_path: Path) -> None:
    uid = 0 if "uid" in runtime.unenforced else 1000
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "bus"))
        (tmp_path / "bus").chmod(0o666)
        server.listen()
        await runtime.start(
            spec(
                *python_argv("http.server", "--help"),
                id="check",
                env=python_env(),
                binds=python_binds(),
                network_admin=False,
            )
        )
        code = "import sonata, msgspec, socket, os; s = socket.socket(socket.AF_UNIX); s.connect('/run/bus');"
        code += " s.sendall(f'{os.getuid()} {sonata.__version__}'.encode())"
        machine = spec(
            sys.executable,
            "-c",
            code,
            env=python_env(),
            binds=(*python_binds(), Bind(tmp_path / "bus", "/run/bus", read_only=False)),
            network_admin=False,
            uid=uid,
        )
        server.settimeout(20)
        await runtime.start(machine)
        connection, _ = server.accept()
        with connection:
            connection.settimeout(20)
            assert connection.recv(100).decode().startswith(f"{uid} ")


async def test_python_brings_neither_home_nor_repository(runtime: Runtime, spec: Make) -> None:
    await runtime.start(spec(binds=python_binds(), env=python_env(), network_admin=False))
    repository = Path(__file__).parents[3]
    _, found = await shell(runtime, f"ls -A {repository} {Path.home()} 2>/dev/null; true")
    assert "pyproject.toml" not in found
    assert ".git" not in found
    assert ".ssh" not in found
    assert ".bashrc" not in found


def test_python_in_a_home_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from sonata.errors import Unsupported

    monkeypatch.setattr(sys, "prefix", str(Path.home()))
    with pytest.raises(Unsupported, match="must not see"):
        python_binds()


def test_without_an_engine_the_package_is_named(tmp_path: Path) -> None:
    from sonata.adapters.runtime_oci import OciRuntime
    from sonata.errors import Unsupported

    with pytest.raises(Unsupported, match="crun"):
        OciRuntime(tmp_path, "sonata-test", engines=("no-such-engine",))
    assert shutil.which("no-such-engine") is None
