"""A function that is root in its machine and means harm gets nowhere: not on the wire, not at the host, not next door.

Each try is made by a program in the machine that reports what succeeded. What watches is proven to see.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import plain_http
from tests.scenario.clouds import FAST, let_in, network_of, route, site
from tests.scenario.emu_command import ORIGIN, Emu
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.serial]

CIDR = "10.7.0.0/24"
GATEWAY, ATTACKER, VICTIM, NEIGHBOUR, FAR = "10.7.0.1", "10.7.0.10", "10.7.0.20", "10.7.0.77", "10.7.0.150"
VNI = 1

WATCH = """
import socket
watch = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
watch.bind(("eth0", 0))
watch.settimeout(30)
print("watching", flush=True)
name = ""
while name != "end":
    frame = watch.recv(4000)
    is_wrapped = b"TRY:tunnel;" in frame and frame[12:14] != b"\\x88\\xb5"
    if b"TRY:" in frame and not is_wrapped:
        name = frame.partition(b"TRY:")[2].partition(b";")[0].decode()
        print(name, flush=True)
"""

FORGE = """
import json, socket, struct, sys
me, victim, gateway, victim_mac = sys.argv[1:5]
names = sys.argv[5:]
own = bytes.fromhex(open("/sys/class/net/eth0/address").read().strip().replace(":", ""))
target, other, all_ = bytes.fromhex(victim_mac.replace(":", "")), bytes.fromhex("026666666666"), b"\\xff" * 6
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.bind(("eth0", 0))

def total(data):
    words = sum(struct.unpack(f"!{len(data) // 2}H", data))
    words = (words >> 16) + (words & 0xFFFF)
    return ~(words + (words >> 16)) & 0xFFFF

def udp(name, source, to, ports=(5000, 5000)):
    body = b"TRY:" + name.encode() + b";"
    packet = struct.pack("!HHHH", *ports, 8 + len(body), 0) + body
    ends = socket.inet_aton(source) + socket.inet_aton(to)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(packet), 1, 0, 64, 17, 0) + ends
    return head[:10] + struct.pack("!H", total(head)) + head[12:] + packet

def arp(name, mac, sender, to):
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + mac + socket.inet_aton(sender) + target + socket.inet_aton(to)
    return body + b"TRY:" + name.encode() + b";"

def advertisement(name):
    body = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + b"TRY:" + name.encode() + b";"
    source = socket.inet_pton(socket.AF_INET6, "fe80::1")
    return struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + source + \
        socket.inet_pton(socket.AF_INET6, "ff02::1") + body

FRAMES = {
    "foreign-mac": target + other + b"\\x08\\x00" + udp("foreign-mac", me, victim),
    "gateways-address": target + own + b"\\x08\\x00" + udp("gateways-address", gateway, victim),
    "any-address": target + own + b"\\x08\\x00" + udp("any-address", "192.0.2.7", victim),
    "arp-gateway": target + own + b"\\x08\\x06" + arp("arp-gateway", own, gateway, victim),
    "arp-all": all_ + own + b"\\x08\\x06" + arp("arp-all", own, gateway, gateway),
    "arp-foreign-mac": target + other + b"\\x08\\x06" + arp("arp-foreign-mac", other, me, victim),
    "dhcp-server": target + own + b"\\x08\\x00" + udp("dhcp-server", me, victim, (67, 68)),
    "router-advertisement": b"\\x33\\x33\\0\\0\\0\\1" + own + b"\\x86\\xdd" + advertisement("router-advertisement"),
    "end": target + own + b"\\x08\\x00" + udp("end", me, victim),
}
for name in names:
    out.send(FRAMES[name])
"""
FORGERIES = (
    "foreign-mac",
    "gateways-address",
    "any-address",
    "arp-gateway",
    "arp-all",
    "arp-foreign-mac",
    "dhcp-server",
    "router-advertisement",
)

TUNNEL = """
import socket, struct, sys
vni, mac, routers = int(sys.argv[1]), bytes.fromhex(sys.argv[2].replace(":", "")), sys.argv[3:]
frame = mac + bytes.fromhex("026666666666") + b"\\x88\\xb5" + b"TRY:tunnel;" + bytes(60)
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for router in routers:
    for port in (4789, 8472):
        out.sendto(struct.pack("!II", 8 << 24, vni << 8) + frame, (router, port))
"""

DIRECT_TUNNEL = """
import fcntl, socket, struct, sys
vni, mac, me, routers = int(sys.argv[1]), bytes.fromhex(sys.argv[2].replace(":", "")), sys.argv[3], sys.argv[4:]
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.bind(("eth0", 0))
own = fcntl.ioctl(out, 0x8927, struct.pack("256s", b"eth0"))[18:24]
frame = mac + bytes.fromhex("026666666666") + b"\\x88\\xb5" + b"TRY:tunnel;" + bytes(60)
body = struct.pack("!II", 8 << 24, vni << 8) + frame

def total(data):
    whole = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while whole >> 16:
        whole = (whole & 0xFFFF) + (whole >> 16)
    return ~whole & 0xFFFF

for router in routers:
    packet = struct.pack("!HHHH", 5000, 4789, 8 + len(body), 0) + body
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(packet), 1, 0, 64, 17, 0)
    head += socket.inet_aton(me) + socket.inet_aton(router)
    head = head[:10] + struct.pack("!H", total(head)) + head[12:]
    out.send(b"\\xff" * 6 + own + b"\\x08\\x00" + head + packet)
"""

DIAL = """
import socket, sys
for address in sys.argv[2:]:
    for port in sys.argv[1].split(","):
        try:
            socket.create_connection((address, int(port)), 0.5).close()
        except OSError:
            continue
        print(address, port)
"""

TRIES = """
import ctypes, os, socket, time
libc = ctypes.CDLL(None, use_errno=True)

def call(number, *arguments):
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")

def write(path, text):
    with open(path, "w") as file:
        file.write(text)

def device(kind, major, minor):
    os.mknod("/tmp/device", kind | 0o600, os.makedev(major, minor))
    os.open("/tmp/device", os.O_RDONLY)

def others():
    seen = [name for name in os.listdir("/proc") if name.isdigit()]
    if len(seen) < 8:
        raise OSError("only its own")

TRIED = {
    "the clock": lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()),
    "adjusting the clock": lambda: call(159, ctypes.byref((ctypes.c_long * 64)(1))),
    "mount": lambda: call(165, b"none", b"/mnt", b"tmpfs", 0, None),
    "new mount API": lambda: call(430, b"tmpfs", 0),
    "umount of proc": lambda: call(166, b"/proc", 2),
    "pivot_root": lambda: call(155, b"/", b"/mnt"),
    "a module": lambda: call(313, os.open("/etc/passwd", 0), b"", 0),
    "a disk": lambda: device(0o060000, 8, 0),
    "a loop device": lambda: device(0o060000, 7, 0),
    "memory of the machine": lambda: device(0o020000, 1, 1),
    "messages of the kernel": lambda: device(0o020000, 1, 11),
    "the log of the kernel": lambda: call(103, 3, ctypes.create_string_buffer(100), 100),
    "a key": lambda: call(248, b"user", b"name", b"secret", 6, -3),
    "a key of others": lambda: call(249, b"user", b"name", None, 0),
    "a user namespace": lambda: call(272, 0x10000000),
    "a mount namespace": lambda: call(272, 0x20000),
    "a network namespace": lambda: call(272, 0x40000000),
    "another namespace": lambda: call(308, os.open("/proc/1/ns/net", 0), 0),
    "file handles": lambda: call(304, -100, ctypes.create_string_buffer(64), 0),
    "tracing": lambda: call(101, 16, 1, 0, 0),
    "memory of others": lambda: call(310, 1, None, 0, None, 0, 0),
    "bpf": lambda: call(321, 0, None, 0),
    "perf": lambda: call(298, None, 0, -1, -1, 0),
    "io_uring": lambda: call(425, 1, None),
    "userfaultfd": lambda: call(323, 0),
    "kexec": lambda: call(246, 0, 0, None, 0),
    "ports of the machine": lambda: call(172, 3),
    "swap": lambda: call(167, b"/etc/passwd", 0),
    "accounting": lambda: call(163, None),
    "vsock": lambda: socket.socket(40, socket.SOCK_STREAM),
    "core pattern": lambda: write("/proc/sys/kernel/core_pattern", "|/tmp/evil"),
    "sysrq": lambda: write("/proc/sysrq-trigger", "h"),
    "memory policy": lambda: write("/proc/sys/vm/overcommit_memory", "1"),
    "files of all": lambda: write("/proc/sys/fs/file-max", "100"),
    "modprobe path": lambda: write("/proc/sys/kernel/modprobe", "/tmp/evil"),
    "its cgroup": lambda: write("/sys/fs/cgroup/cgroup.procs", "1"),
    "memory limit": lambda: write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "-1"),
    "memory limit, version 2": lambda: write("/sys/fs/cgroup/memory.max", "max"),
    "uevent helper": lambda: write("/sys/kernel/uevent_helper", "/tmp/evil"),
    "offset of another's network": lambda: write("/sys/class/net/lo/mtu", "70000"),
    "out of memory": lambda: write("/proc/self/oom_score_adj", "-1000"),
    "programs of the host": lambda: write("/usr/bin/evil", ""),
    "processes of others": others,
    "root of others": lambda: os.stat("/proc/1/root/boot"),
}
for name, attempt in TRIED.items():
    try:
        attempt()
    except (OSError, ValueError):
        continue
    print(name)
print(len(TRIED), "tried")
"""

BOMB = """
import os, time
children = 0
try:
    while children < 5000:
        if os.fork() == 0:
            time.sleep(1000)
            os._exit(0)
        children += 1
except OSError as error:
    print(children, error.errno, flush=True)
os.kill(-1, 9)
"""

HOARD = """
import errno, os, sys
os.mkdir("/root/hoard")
written = files = 0
try:
    while sys.argv[1] == "files":
        with open(f"/root/hoard/{files}", "w"):
            files += 1
    with open("/root/hoard/large", "wb", buffering=0) as large:
        for piece in (64 * 2**20, 2**20):  # what is reserved is no more to be had than what is written
            try:
                while True:
                    os.posix_fallocate(large.fileno(), written, piece)
                    written += piece
            except OSError as error:
                assert error.errno == errno.ENOSPC, error
        large.seek(written)
        while True:
            written += large.write(bytes(4096))
except OSError as error:
    assert error.errno == errno.ENOSPC, error
print(written, files)
"""


@dataclass
class Site:
    """A hostile function and those that it is after, and what was made of the cloud for them."""

    emu: Emu
    near: Any
    far: Any
    ports: dict[str, Any]

    def run(self, machine: str, program: str, *argv: str) -> str:
        """What a program prints in a machine."""
        return self.emu.ok("exec", machine, "--", "python3", "-c", program, *argv)

    def seen_by(self, machine: str, end: Sequence[str], *attack: str) -> set[str]:
        """What arrives at a machine during an attack; the last frame, which may, ends it."""
        command = self.emu.command("exec", machine, "--", "python3", "-c", WATCH)
        with subprocess.Popen(command, env=self.emu.env, stdout=subprocess.PIPE, text=True) as watch:
            try:
                assert watch.stdout is not None
                assert watch.stdout.readline() == "watching\n"
                self.run("a/attacker", *attack)
                self.run("a/attacker", *end)
                found = set(watch.stdout.read().split())
            finally:
                watch.kill()
        return found

    def forge(self, *names: str, victim: str = "victim") -> tuple[str, ...]:
        """The argv of the program that sends forged frames."""
        addresses = {key: port.fixed_ips[0]["ip_address"] for key, port in self.ports.items()}
        return (
            FORGE,
            *(addresses["attacker"], addresses[victim], GATEWAY, self.ports[victim].mac_address),
            *names,
        )


def boot_at(cloud: Any, network: Any, name: str, address: str, flavor: str = "tiny") -> Any:
    """A server with this address; returns its port."""
    port = cloud.network.create_port(network_id=network.id, fixed_ips=[{"ip_address": address}])
    image, size = cloud.image.find_image("host"), cloud.compute.find_flavor(flavor)
    server = cloud.compute.create_server(name=name, image_id=image.id, flavor_id=size.id, networks=[{"port": port.id}])
    cloud.compute.wait_for_server(server, interval=FAST, wait=30)
    return port


@pytest.fixture(scope="module")
def hostile(shared_emu: Emu) -> Iterator[Site]:
    """An attacker and a victim in one network, a neighbour of the same addresses in another one, and one far away."""
    footprint = shared_emu.up()
    record = shared_emu.record()
    near, far = site(record, "a"), site(record, "c")
    ours, theirs = (network_of(near, CIDR, "10.7.0.10", "10.7.0.99") for _ in range(2))
    there = network_of(far, CIDR, "10.7.0.100", "10.7.0.199")
    route(near, ours)
    ports = {
        "attacker": boot_at(near, ours, "attacker", "10.7.0.10", "small"),
        "victim": boot_at(near, ours, "victim", VICTIM),
        "neighbour": boot_at(near, theirs, "neighbour", NEIGHBOUR),
        "far": boot_at(far, there, "far", FAR),
    }
    for cloud in (near, far):
        for protocol in ("udp", "icmp"):
            let_in(cloud, protocol)
        group = cloud.network.find_security_group("default")
        cloud.network.create_security_group_rule(security_group_id=group.id, direction="ingress", ethertype="IPv6")
    headers = {"Authorization": f"Bearer {record.wan_token}"}
    wanted = {"tag": "joined", "members": {"a": ours.id, "c": there.id}}
    made = plain_http.post(f"{record.url}/emulator/v1/wan/connections", json=wanted, headers=headers, trust_env=False)
    assert (made.status_code, made.json()["vni"]) == (201, VNI)
    yield Site(shared_emu, near, far, ports)
    for cloud in (near, far):
        cloud.close()
    shared_emu.ok("down")
    assert footprint.leftovers() == []


def test_forged_frames_do_not_arrive(hostile: Site) -> None:
    assert hostile.seen_by("a/victim", hostile.forge("end"), *hostile.forge(*FORGERIES)) == {"end"}
    neighbours = hostile.emu.ok("exec", "a/victim", "--", "cat", "/proc/net/arp").splitlines()
    assert not any(line.startswith(f"{GATEWAY} ") for line in neighbours)


def test_the_watch_sees_forged_frames_where_they_are_allowed(hostile: Site) -> None:
    port = hostile.ports["attacker"].id
    hostile.near.network.update_port(port, port_security_enabled=False, security_groups=[])
    try:
        seen = hostile.seen_by("a/victim", hostile.forge("end"), *hostile.forge(*FORGERIES))
    finally:
        group = hostile.near.network.find_security_group("default")
        hostile.near.network.update_port(port, port_security_enabled=True, security_groups=[group.id])
    assert seen == {*FORGERIES, "end"}


def test_forged_frames_do_not_cross_the_wide_area(hostile: Site) -> None:
    end = hostile.forge("end", victim="far")
    assert hostile.seen_by("c/far", end, *hostile.forge(*FORGERIES, victim="far")) == {"end"}


def test_forged_tunnel_packets_do_not_arrive(hostile: Site) -> None:
    attack = (TUNNEL, str(VNI), hostile.ports["far"].mac_address, "100.64.0.1", "100.64.1.1", "100.64.2.1")
    assert hostile.seen_by("c/far", hostile.forge("end", victim="far"), *attack) == {"end"}


def test_tunnel_packets_are_not_taken_from_a_network(hostile: Site) -> None:
    """To everybody on it, so that no MAC address of the PoP has to be known."""
    mac = hostile.ports["far"].mac_address
    attack = (DIRECT_TUNNEL, str(VNI), mac, ATTACKER, "100.64.0.1", "100.64.1.1", "100.64.2.1")
    assert hostile.seen_by("c/far", hostile.forge("end", victim="far"), *attack) == {"end"}


def test_a_network_does_not_meet_the_pop_that_carries_it(hostile: Site) -> None:
    attacker = ["exec", "a/attacker", "--"]
    hostile.emu.ok(*attacker, "ip", "route", "add", "100.64.0.1/32", "dev", "eth0")
    try:
        assert hostile.emu.run(*attacker, "ping", "-c", "1", "-w", "3", "100.64.0.1").returncode == 1
        assert "lladdr" not in hostile.emu.ok(*attacker, "ip", "neigh", "show", "100.64.0.1")
    finally:
        hostile.emu.ok(*attacker, "ip", "route", "del", "100.64.0.1/32", "dev", "eth0")


def test_networks_of_others_with_the_same_addresses_are_out_of_reach(hostile: Site) -> None:
    ping = ["exec", "a/attacker", "--", "ping", "-c", "2", "-i", "0.2", "-w", "2"]
    assert hostile.emu.run(*ping, NEIGHBOUR).returncode == 1
    assert hostile.emu.run(*ping, VICTIM).returncode == 0
    hostile.emu.ok("exec", "a/attacker", "--", "ip", "address", "add", "10.7.0.78/24", "dev", "eth0")
    assert hostile.emu.run(*ping, "-I", "10.7.0.78", NEIGHBOUR).returncode == 1
    assert hostile.emu.run(*ping, "-I", "10.7.0.78", VICTIM).returncode == 1


def test_the_emulators_doors_are_out_of_reach(hostile: Site) -> None:
    record = hostile.emu.record()
    ports = ",".join(address.rpartition(":")[2].strip("/") for address in (record.url, record.proxy))
    own = {
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET
    }
    inside = {"127.0.0.1", GATEWAY, "10.7.0.2", "100.64.0.1", "100.64.1.1", "100.64.2.1", "169.254.169.254", ORIGIN}
    assert hostile.emu.run("exec", "a/attacker", "--", "ping", "-c", "1", "-w", "5", ORIGIN).returncode == 0
    with socket.create_connection(("127.0.0.1", int(ports.split(",")[0]))):
        assert hostile.run("a/attacker", DIAL, ports, *sorted(own | inside)) == ""
    secrets = (record.admin_password, record.token, record.wan_token)
    seen = hostile.emu.ok("exec", "a/attacker", "--", "sh", "-c", "env; cat /proc/1/environ /proc/mounts 2>/dev/null")
    assert [secret for secret in secrets if secret and secret in seen] == []


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="system call numbers of x86_64")
def test_the_kernel_refuses_what_leads_out(hostile: Site) -> None:
    before = (socket.gethostname(), Path("/proc/sys/kernel/core_pattern").read_text(), time.tzname)
    *succeeded, tried = hostile.run("a/attacker", TRIES).splitlines()
    assert succeeded == []
    assert int(tried.split()[0]) > 40
    assert before == (socket.gethostname(), Path("/proc/sys/kernel/core_pattern").read_text(), time.tzname)


def test_a_fork_bomb_stays_in_its_machine(hostile: Site) -> None:
    done = hostile.emu.run("exec", "a/attacker", "--", "python3", "-c", BOMB)
    told = done.stdout.split()
    assert told, done
    assert told[1] == "11"
    assert int(told[0]) < 600
    assert hostile.emu.run("exec", "a/victim", "--", "true").returncode == 0
    # Its own first process buries no orphans: what the bomb has left counts until it starts anew.
    attacker = hostile.near.compute.find_server("attacker")
    hostile.near.compute.reboot_server(attacker, "HARD")
    eventually(lambda: hostile.emu.run("exec", "a/attacker", "--", "true").returncode == 0)


@pytest.mark.parametrize("what", ["bytes", "files"])
def test_a_full_disk_is_full_for_its_machine_alone(hostile: Site, what: str) -> None:
    assert "disk" not in json.loads(hostile.emu.ok("show", "-o", "json"))["unenforced"]
    size = hostile.emu.ok("exec", "a/attacker", "--", "df", "--block-size=1G", "--output=size", "/").split()[-1]
    assert size == "1", "its flavor's disk"
    written, files = map(int, hostile.run("a/attacker", HOARD, what).split())
    try:
        assert written < 2**30
        assert files <= 65536
        full = hostile.emu.run("exec", "a/attacker", "--", "sh", "-c", "mkdir /root/more && date > /root/more/file")
        assert "No space left on device" in full.stderr
        hostile.emu.ok("exec", "a/victim", "--", "sh", "-c", "dd if=/dev/zero of=/root/own bs=1M count=4 conv=fsync")
        hostile.emu.ok("exec", "a/attacker", "--", "true")
    finally:
        hostile.emu.ok("exec", "a/attacker", "--", "rm", "-r", "/root/hoard")
    hostile.emu.ok("exec", "a/attacker", "--", "sh", "-c", "date > /root/again")
