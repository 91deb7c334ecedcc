"""First boots as users have them: the stock client, an image with sshd, keys, packages, odd user data, odd images."""

from __future__ import annotations

import gzip
import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sonata._lib.paths import data_home
from sonata.adapters.images_local import LocalImages
from sonata.formats.recipe import read_recipe
from sonata.sdk.emulator_client import EmulatorClient
from tests.machines import needs_engine, needs_root
from tests.scenario.busybox import needs_busybox, packed_root
from tests.scenario.emu_command import Emu
from tests.scenario.test_stock_clients import eventually, openrc
from tests.stock_client import StockClient, needs_client

RECIPES = Path(__file__).parents[2] / "examples/ssh/images"
DASH = shutil.which("dash", path="/bin:/usr/bin")
PATIENCE_S = 60
ACCOUNTS = {
    "etc/passwd": "root:x:0:0::/root:/bin/sh\n",
    "etc/group": "root:x:0:\n",
    "etc/shadow": "root:*:1::::::\n",
}
LONGEST_USER_DATA = 65535
TOPOLOGY = """
apiVersion: sonata/v1
kind: Topology
name: {name}
pops:
  a: {{cpus: 16, memory: 16GiB}}
endpoints:
  users: {{attach: a, image: host}}
  mirror: {{attach: a, image: host}}
"""
pytestmark = [
    pytest.mark.root,
    pytest.mark.serial,
    pytest.mark.timeout(900),
    needs_client,
    needs_root,
    needs_engine,
    pytest.mark.skipif(not shutil.which("mmdebstrap"), reason="needs mmdebstrap to build the images"),
    pytest.mark.skipif(not shutil.which("ssh"), reason="needs ssh (apt-get install openssh-client)"),
]


@dataclass
class World:
    """A running emulation of one PoP, the stock client there, and a folder."""

    emu: Emu
    emulator: EmulatorClient
    openstack: StockClient
    folder: Path
    made: list[str]

    def execute(self, machine: str, *command: str, stdin: bytes = b"") -> tuple[int, str]:
        """Run a command as `emu exec` does; its exit status and output."""
        status, out, err = self.emulator.exec(machine, command, stdin=stdin)
        return status, (out + err).decode(errors="replace")

    def inside(self, server: str, script: str) -> str:
        """What a script that must succeed in a server prints."""
        status, told = self.execute(f"a/{server}", "/bin/sh", "-c", script)
        assert status == 0, told + self.console(server)
        return told

    def console(self, server: str) -> str:
        return self.openstack.ok(f"console log show {server}")

    def key(self, name: str) -> Path:
        """The private half of a key pair that is created now."""
        file = self.folder / name
        self.openstack.ok(f"keypair create {name} --private-key {file}")
        file.chmod(0o600)
        self.made.append(f"keypair delete {name}")
        return file

    def server(self, name: str, *more: str, image: str = "debian-ssh", nics: str = "--network inner") -> dict[str, Any]:
        """A server that is ACTIVE."""
        line = f"server create {name} --image {image} --flavor small {nics} --wait"
        self.made.append(f"server delete --wait {name}")
        made: dict[str, Any] = self.openstack.json(line, *more)
        assert made["status"] == "ACTIVE", made
        return made

    def floating_ip(self, server: str) -> str:
        made = self.openstack.json("floating ip create external")
        address = str(made["floating_ip_address"])
        self.made.append(f"floating ip delete {address}")
        self.openstack.ok(f"server add floating ip {server} {address}")
        return address

    def user_data(self, content: str | bytes) -> tuple[str, str]:
        """The option that gives user data."""
        file = self.folder / f"data{time.monotonic_ns()}"
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return "--user-data", str(file)

    def booted(self, server: str) -> str:
        """Wait for the end of the first boot as its helper tells it; returns what that says."""
        return self.execute(f"a/{server}", "/bin/sh", "/run/firstboot/status", "--wait")[1]

    def ssh(self, key: Path, login: str, host_keys: Path, *command: str) -> subprocess.CompletedProcess[str]:
        """The real ssh client, through the management proxy, with a strict look at the host key."""
        proxy = self.folder / "proxy.py"
        proxy.write_text(PROXY)
        record = self.emu.record()
        words = (sys.executable, str(proxy), record.proxy, record.proxy_token, "%h", "%p")
        options = {
            "BatchMode": "yes", "ConnectTimeout": "20", "IdentitiesOnly": "yes", "ProxyCommand": shlex.join(words),
            "StrictHostKeyChecking": "yes", "UserKnownHostsFile": str(host_keys),
        }  # fmt: skip
        given = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return subprocess.run(
            ["ssh", "-F", "none", "-i", str(key), *given, login, *command],
            capture_output=True, text=True, timeout=PATIENCE_S, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def tidy(self) -> None:
        for line in reversed(self.made):
            self.openstack.run(line)
        self.made.clear()


PROXY = """
import os, socket, struct, sys, threading
proxy, token, address, port = sys.argv[1:]
host, _, number = proxy.rpartition(":")
link = socket.create_connection((host, int(number)))
secret = token.encode()
link.sendall(b"\\x05\\x01\\x02")
assert link.recv(2) == b"\\x05\\x02"
link.sendall(b"\\x01\\x06sonata" + bytes([len(secret)]) + secret)
assert link.recv(2) == b"\\x01\\x00"
link.sendall(b"\\x05\\x01\\x00\\x01" + socket.inet_aton(address) + struct.pack("!H", int(port)))
assert link.recv(10)[1] == 0

def pump():
    while data := os.read(0, 65536):
        link.sendall(data)
    link.shutdown(socket.SHUT_WR)

threading.Thread(target=pump, daemon=True).start()
while data := link.recv(65536):
    os.write(1, data)
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One PoP with a routed network that lets TCP in, and the image with sshd."""
    yield from started(tmp_path_factory, "debian-ssh")


def started(tmp_path_factory: pytest.TempPathFactory, *images: str) -> Iterator[World]:
    """An emulation that has images of the example, built in the user's own store, once for all."""
    store = data_home() / "images"
    for name in images:
        LocalImages(store).build(read_recipe(RECIPES / f"{name}.yaml"), lambda message: None)
    folder = tmp_path_factory.mktemp("boots")
    (folder / "share").mkdir()
    (folder / "share" / "images").symlink_to(store)
    emu = Emu(folder, LOGGED_IN)
    emu.topology.write_text(TOPOLOGY.format(name=emu.name))
    try:
        emu.up()
        with EmulatorClient.of(emu.record()) as emulator:
            world = World(emu, emulator, StockClient(openrc(emu, "a")), folder, [])
            for line in SETTING.strip().splitlines():
                world.openstack.ok(line)
            yield world
    finally:
        emu.close()


LOGGED_IN = ("sh", "-c", 'echo 0 2>/dev/null >/proc/self/loginuid; exec "$@"', "-")
"""Starts a command as somebody does who has logged in, whom audit knows from then on; sshd with PAM minds."""

SETTING = """
network create inner
subnet create inner --network inner --subnet-range 10.8.0.0/24
router create r
router set r --external-gateway external
router add subnet r inner
security group rule create default --protocol tcp --ingress
"""


@pytest.fixture
def world(running: World) -> Iterator[World]:
    """The emulation; what a test made in it is removed."""
    yield running
    running.tidy()


def known_hosts(world: World, server: str, address: str) -> Path:
    """A file for ssh with the host keys that a server told on its console."""
    console = world.console(server)
    told = console.partition("BEGIN SSH HOST KEY KEYS-----")[2].partition("-----END")[0]
    keys = [line.split()[:2] for line in told.splitlines() if line.startswith(("ssh-", "ecdsa-"))]
    assert keys, console
    file = world.folder / f"known-{server}"
    file.write_text("".join(f"{address} {kind} {key}\n" for kind, key in keys))
    return file


def test_a_key_pair_opens_its_server_and_no_other_key_does(world: World) -> None:
    mine, other = world.key("mine"), world.key("other")
    world.server("one", "--key-name", "mine")
    world.server("two", "--key-name", "other")
    address = world.floating_ip("one")
    hosts = known_hosts(world, "one", address)
    for user in ("root", "debian"):
        told = world.ssh(mine, f"{user}@{address}", hosts, "whoami; hostname")
        assert told.stdout.split() == [user, "one"], told.stderr
    refused = world.ssh(other, f"debian@{address}", hosts, "true")
    assert refused.returncode == 255
    assert "Permission denied (publickey" in refused.stderr
    # Each server has host keys of its own, though the image brings some.
    impostor = world.floating_ip("two")
    mistaken = known_hosts(world, "one", impostor)
    assert "Host key verification failed" in world.ssh(other, f"debian@{impostor}", mistaken, "true").stderr
    assert world.ssh(other, f"debian@{impostor}", known_hosts(world, "two", impostor), "true").returncode == 0


@pytest.mark.slow
def test_a_key_opens_its_server_also_from_an_endpoint_and_after_a_reboot(world: World) -> None:
    mine = world.key("mine")
    world.server("one", "--key-name", "mine")
    address = world.floating_ip("one")
    hosts = known_hosts(world, "one", address)
    world.openstack.ok("server reboot --hard --wait one")
    assert world.ssh(mine, f"debian@{address}", hosts, "true").returncode == 0
    for name, file in (("id", mine), ("known", hosts)):
        world.execute("users", "sh", "-c", f"umask 077; cat > /tmp/{name}", stdin=file.read_bytes())
    command = f"ssh -F none -i /tmp/id -o UserKnownHostsFile=/tmp/known -o BatchMode=yes debian@{address} hostname"
    assert world.execute("users", "sh", "-c", command) == (0, "one\n")


USERS = """#cloud-config
disable_root: true
ssh_pwauth: {pwauth}
password: open-sesame
chpasswd: {{expire: false}}
users:
  - default
  - name: carol
    shell: /bin/sh
    ssh_authorized_keys: ['{key}']
  - name: dave
    lock_passwd: false
    plain_text_passwd: let-me-in
"""


def with_password(world: World, login: str, hosts: Path, password: str) -> subprocess.CompletedProcess[str]:
    """ssh from the endpoint of users, with a password alone."""
    asker = f"#!/bin/sh\necho {password}\n"
    world.execute("users", "sh", "-c", "cat > /tmp/ask; chmod 755 /tmp/ask", stdin=asker.encode())
    world.execute("users", "sh", "-c", "cat > /tmp/known", stdin=hosts.read_bytes())
    command = (
        "SSH_ASKPASS=/tmp/ask SSH_ASKPASS_REQUIRE=force ssh -F none -o UserKnownHostsFile=/tmp/known "
        f"-o PubkeyAuthentication=no -o NumberOfPasswordPrompts=1 {login} whoami"
    )
    status, out, err = world.emulator.exec("users", ("sh", "-c", command))
    return subprocess.CompletedProcess(command, status, out.decode(), err.decode())


@pytest.mark.slow
def test_users_passwords_and_a_closed_root_are_as_user_data_say(world: World) -> None:
    mine, carol = world.key("mine"), world.key("carol")
    public = subprocess.run(["ssh-keygen", "-y", "-f", str(carol)], capture_output=True, text=True, check=True).stdout
    for name, pwauth in (("open", "true"), ("shut", "false")):
        data = USERS.format(pwauth=pwauth, key=public.strip())
        world.server(name, "--key-name", "mine", *world.user_data(data))
        assert world.booted(name) == "status: done\n", world.console(name)
    address = world.floating_ip("open")
    hosts = known_hosts(world, "open", address)
    assert world.ssh(carol, f"carol@{address}", hosts, "whoami").stdout == "carol\n"
    assert world.ssh(mine, f"debian@{address}", hosts, "whoami").stdout == "debian\n"
    assert world.ssh(mine, f"root@{address}", hosts, "true").returncode == 255
    assert world.ssh(mine, f"carol@{address}", hosts, "true").returncode == 255
    for user, password in (("debian", "open-sesame"), ("dave", "let-me-in")):
        told = with_password(world, f"{user}@{address}", hosts, password)
        assert told.stdout == f"{user}\n", told.stderr
    assert with_password(world, f"dave@{address}", hosts, "wrong").returncode == 255
    shut = world.floating_ip("shut")
    refused = with_password(world, f"dave@{shut}", known_hosts(world, "shut", shut), "let-me-in")
    assert refused.returncode == 255
    assert "Permission denied (publickey)" in refused.stderr


# packages


def repository(folder: Path) -> None:
    """A Debian repository of one package, `hello-vnf`, which has the program of that name."""
    tree = folder / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "usr/bin").mkdir(parents=True)
    control = {"Package": "hello-vnf", "Version": "1.0", "Architecture": "all", "Maintainer": "Nobody <n@example.org>",
               "Description": "says hello"}  # fmt: skip
    (tree / "DEBIAN/control").write_text("".join(f"{key}: {value}\n" for key, value in control.items()))
    (tree / "usr/bin/hello-vnf").write_text("#!/bin/sh\necho hello from the mirror\n")
    (tree / "usr/bin/hello-vnf").chmod(0o755)
    served = folder / "served"
    served.mkdir()
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", str(tree), str(served)], check=True, capture_output=True)
    (package,) = served.glob("*.deb")
    size = package.stat().st_size
    entry = {**control, "Filename": f"./{package.name}", "Size": str(size)}
    digest = subprocess.run(["sha256sum", str(package)], check=True, capture_output=True, text=True).stdout.split()[0]
    entry["SHA256"] = digest
    (served / "Packages").write_text("".join(f"{key}: {value}\n" for key, value in entry.items()))


MIRRORED = """#cloud-config
ssh_genkeytypes: [ed25519]
write_files:
  - path: /etc/apt/sources.list
    content: "deb [trusted=yes] http://{mirror}:8000 ./\\n"
  - path: /etc/motd
    content: deferred
    defer: true
    owner: daemon
packages: [hello-vnf]
runcmd: ["hello-vnf > /root/said"]
"""


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="needs dpkg-deb")
def test_packages_come_from_a_mirror_that_the_network_reaches(world: World) -> None:
    repository(world.folder / "mirror")
    packed = subprocess.run(
        ["tar", "c", "-C", str(world.folder / "mirror/served"), "."], check=True, capture_output=True
    ).stdout
    serve = "mkdir -p /tmp/mirror && cd /tmp/mirror && tar x && (setsid python3 -m http.server 8000 >/dev/null 2>&1 &)"
    assert world.execute("mirror", "sh", "-c", serve, stdin=packed)[0] == 0
    address = next(one["addresses"][0] for one in world.emu.json("show")["machines"] if one["name"] == "mirror")
    world.server("one", *world.user_data(MIRRORED.format(mirror=address.partition("/")[0])))
    assert world.booted("one") == "status: done\n", world.console("one")
    assert world.inside("one", "cat /root/said; stat -c %U /etc/motd") == "hello from the mirror\ndaemon\n"


@pytest.mark.slow
def test_packages_without_a_mirror_are_told_and_the_boot_goes_on(world: World) -> None:
    data = "#cloud-config\npackage_upgrade: true\npackages: [hello-vnf, htop]\nruncmd: [echo went on]\n"
    world.server("one", *world.user_data(data))
    assert world.booted("one") == "status: error\nfailed: package_update_upgrade_install\n", world.console("one")
    console = world.console("one")
    for line in ("packages: install hello-vnf htop", "not every mirror is reached from here", "went on"):
        assert line in console, console
    result = json.loads(world.inside("one", "cat /run/cloud-init/result.json"))["v1"]
    assert result["errors"] == ["package_update_upgrade_install"]


@pytest.mark.slow
def test_packages_on_the_programs_of_this_machine_are_refused(world: World) -> None:
    world.server("one", *world.user_data("#cloud-config\npackages: [htop]\n"), image="host", nics="--nic none")
    assert world.booted("one") == "status: error\nfailed: package_update_upgrade_install\n", world.console("one")
    assert "packages: /usr of this image is read-only" in world.console("one")


# odd user data and odd images

SAMPLE = ("hostile words",)
ODD: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "nothing known": (b"hello", ("neither #cloud-config nor a script; it begins with `hello`",)),
    "binary": (bytes(range(256)) * 20, ("neither #cloud-config nor a script",)),
    "damaged gzip": (gzip.compress(b"#!/bin/sh\n" * 99)[:-20], ("compression is damaged",)),
    "include": (b"#include\nhttp://192.0.2.1/x\n", ("#include is refused",)),
    "handler": (b"#part-handler\nimport os\n", ("#part-handler is refused",)),
    "no interpreter": (b"#!/usr/bin/nothing-like-it\nx\n", ("this image has no /usr/bin/nothing-like-it", "failed")),
    "broken shell": (b"#!/bin/sh\nif then (\n", ("yntax error", "scripts_user failed")),
    "broken yaml": (b"#cloud-config\na: [\n", ("no valid YAML",)),
    "hostile words": (
        b"#cloud-config\nfqdn: 'a.b\"$(kill 1)'\nusers: [{name: x, gecos: \"it's \\0 $(kill 1)\\n`kill 1`\"}]\n"
        b"write_files: [{path: \"/tmp/a\\0b'\\\"\", content: \"\\ud800\"}]\nchpasswd: {users: [{password: x}]}\n",
        ("`fqdn` is left out", "`chpasswd` is left out"),
    ),
    "template": (
        b"## template: jinja\n#cloud-config\nruncmd: [echo I am {{ v1.local_hostname }} and {{ nobody }}]\n",
        ("I am odd-template and CI_MISSING_JINJA_VAR/nobody", "names what is not known here: nobody"),
    ),
    "bad template": (b"## template: jinja\n#!/bin/sh\n{% if %}\n", ("the template failed",)),
    "vendor data": (b"#cloud-config\nvendor_data: {enabled: false}\n", ("`vendor_data`: nothing here acts on it",)),
    "boothook": (b"#cloud-boothook\n#!/bin/sh\necho a hook of $INSTANCE_ID\n", ("a hook of ",)),
    "perl": (b"#!/usr/bin/perl\nprint 'made by ', 'perl', qq{\\n};\n", ("made by perl",)),
    "dos": (b"#!/bin/sh\r\necho from dos\r\n", ("from dos",)),
    "gzip": (gzip.compress(b"#!/bin/sh\necho was packed\n"), ("was packed",)),
    "archive": (
        b"#cloud-config-archive\n- {type: text/x-shellscript, content: \"#!/bin/sh\\necho in an archive\\n\"}\n- 7\n",
        ("in an archive", "it begins with `7`"),
    ),
    "longest": (b"#!/bin/sh\necho the end\n" + b"#" * 49_100, ("the end",)),
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [name if name in SAMPLE else pytest.param(name, marks=pytest.mark.slow) for name in ODD],
)
def test_odd_user_data_neither_stop_a_boot_nor_pass_in_silence(world: World, name: str) -> None:
    data, said = ODD[name]
    server = "odd-" + name.replace(" ", "-")
    world.server(server, *world.user_data(data), nics="--nic none")
    assert world.booted(server).startswith("status: "), world.console(server)
    console = world.console(server)
    for line in said:
        assert line in console, console
    assert world.openstack.json(f"server show {server}")["status"] == "ACTIVE"
    assert "listening on 0.0.0.0 port 22" in console


def test_user_data_of_more_than_64_kib_are_refused(world: World) -> None:
    data = world.user_data(b"#!/bin/sh\n" + b"#" * LONGEST_USER_DATA)
    line = "server create big --image host --flavor tiny --nic none"
    assert "user_data" in world.openstack.fails(line, *data)


def uploaded(
    world: World,
    name: str,
    programs: Sequence[str],
    scripts: Mapping[str, str] | None = None,
    shell: str | None = None,
) -> None:
    """An image of these programs that waits for ever."""
    folder = world.folder / name
    folder.mkdir()
    files = {**ACCOUNTS, **{f"bin/{program}": text for program, text in (scripts or {}).items()}}
    packed = packed_root(folder, programs, files, shell)
    world.openstack.ok(
        f"image create {name} --disk-format raw --container-format bare",
        "--file", str(packed), "--property", "os_command_line=init=/bin/sleep -- 1000000",
    )  # fmt: skip
    world.made.append(f"image delete {name}")


@needs_busybox
def test_an_image_without_a_shell_says_that_it_follows_nothing(world: World) -> None:
    uploaded(world, "shell-less", ("sleep", "cat"))
    mine = world.key("mine")
    assert mine.exists()
    data = world.user_data("#!/bin/sh\ntrue\n")
    made = world.server("one", "--key-name", "mine", *data, image="shell-less", nics="--nic none")
    expected = "user data and the key pair cannot be followed: the image has no /bin/sh"
    assert expected in world.console("one")
    (event,) = world.openstack.json(f"server event list {made['id']}")
    shown = world.openstack.json(f"server event show {made['id']} {event['Request ID']}")
    assert expected in json.dumps(shown["events"])
    assert world.execute("a/one", "cat", "/etc/group")[0] == 0
    world.server("two", image="shell-less", nics="--nic none")
    assert "cannot be followed" not in world.console("two")


ADDUSER = """#!/bin/sh
# Takes what busybox's own takes, and leaves a locked user as that does; Debian's busybox has none.
echo "$@" > /etc/asked
while [ $# -gt 1 ]; do case $1 in -u) uid=$2; shift ;; -h) home=$2; shift ;; -[gsG]) shift ;; esac; shift; done
echo "$1:x:$uid:$uid::$home:/bin/sh" >> /etc/passwd
echo "$1:!:1::::::" >> /etc/shadow
"""
ADDGROUP = """#!/bin/sh
if [ $# = 1 ]; then echo "$1:x:7:" >> /etc/group; else sed -i "s/^$2:.*/&$1/" /etc/group; fi
"""


@needs_busybox
def test_a_small_image_makes_users_with_what_it_has(world: World) -> None:
    tools = ("sh", "sleep", "cat", "mkdir", "rm", "ln", "date", "tee", "grep", "sed", "head", "awk", "touch", "chmod",
             "chown", "dirname", "hostname", "cp", "tr")  # fmt: skip
    uploaded(world, "busy", tools, {"adduser": ADDUSER, "addgroup": ADDGROUP})
    carol = "{name: carol, uid: 1234, homedir: /srv/carol, groups: [ops], expiredate: '2030-1-1'}"
    world.server("one", *world.user_data(f"#cloud-config\nusers: [{carol}]\n"), image="busy", nics="--nic none")
    assert world.booted("one") == "status: done\n", world.console("one")
    assert "adduser of this image cannot do --expiredate" in world.console("one")
    assert world.inside("one", "cat /etc/asked") == "-D -h /srv/carol -u 1234 carol\n"
    told = world.inside("one", "grep carol /etc/group /etc/shadow")
    assert told.splitlines() == ["/etc/group:ops:x:7:carol", "/etc/shadow:carol:*:1::::::"]


@needs_busybox
@pytest.mark.skipif(not DASH, reason="needs dash")
def test_an_image_of_a_shell_alone_runs_its_program_nevertheless(world: World) -> None:
    uploaded(world, "bare", ("sleep",), shell=DASH)
    world.server("one", *world.user_data("#!/bin/sh\ntrue\n"), image="bare", nics="--nic none")
    eventually(lambda: "nothing can be followed: the image has a shell, but no tools" in world.console("one"))
    assert world.openstack.json("server show one")["status"] == "ACTIVE"
