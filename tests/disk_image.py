"""A disk with a boot loader and a small operating system, made of what the host has: syslinux, a kernel, busybox.

Its system counts its boots on its disk, asks for an address by DHCP and for its metadata, reads a config drive, shuts
down at its power button, and has a shell on its serial port. What it does it says there.
"""

from __future__ import annotations

import gzip
import shutil
import subprocess
from pathlib import Path

import pytest

from sonata._lib.paths import data_home
from sonata.adapters.runtime_qemu import boot_refusal, guest_kernels
from sonata.adapters.runtime_qemu.guest_kernel import find_busybox, find_kernel, in_order
from sonata.errors import Unsupported

UP = "the system of the disk is up"
SIZE_MIB = 24
_MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "vfat", "nls_cp437", "nls_ascii", "nls_utf8", "evdev", "button")
_TOOLS = ("syslinux", "mcopy", "mkfs.vfat")

_LOADER = """
DEFAULT linux
PROMPT 0
LABEL linux
    KERNEL vmlinuz
    INITRD initrd
    APPEND console=ttyS0 loglevel=1 panic=-1 no_timer_check nokaslr mitigations=off cryptomgr.notests
"""
_INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read -r module; do insmod "/modules/$module"; done < /modules/order
mount -t vfat /dev/vda /disk
boots=$(($(cat /disk/boots 2>/dev/null || echo 0) + 1))
echo $boots > /disk/boots
sync
echo "boot $boots of a disk of $(($(cat /sys/block/vda/size) / 2048)) MiB"
if [ -b /dev/vdb1 ] && mount -t vfat -o ro /dev/vdb1 /drive; then
    label=$(dd if=/dev/vdb1 bs=64k count=16 2> /dev/null | grep -ao config-2 | head -n 1)
    echo "config drive $label: $(cat /drive/openstack/latest/meta_data.json)"
fi
for button in /dev/input/event*; do
    (dd if=$button of=/dev/null bs=24 count=1 2> /dev/null; echo powered off by its button; umount /disk; poweroff -f) &
done
ifconfig lo 127.0.0.1 up
if ifconfig eth0 up && udhcpc -q -n -O staticroutes -t 20 -T 1 -i eth0 -s /dhcp > /dev/null 2>&1; then
    echo "address $(cat /address)"
    # By hand, since a static busybox asks libraries that are not there for the port of a URL.
    asked='GET /openstack/latest/meta_data.json HTTP/1.0\\r\\nHost: metadata\\r\\n\\r\\n'
    echo "metadata $({ printf "$asked"; sleep 2; } | nc -w 10 169.254.169.254 80 | tail -n 1)"
fi
echo "{up}"
while :; do setsid cttyhack sh; done
"""
_DHCP = """#!/bin/sh
[ "$1" = bound ] || exit 0
echo "$ip" > /address
ifconfig eth0 "$ip" netmask "$subnet"
for one in $router; do route add default gw "$one"; done
set -- $staticroutes
while [ "$2" ]; do
    [ "${1%/32}" = "$1" ] || route add -host "${1%/32}" gw "$2" dev eth0
    shift 2
done
"""


def bootable_disk(folder: Path) -> Path:
    """A raw disk; skips the test where what it is made of is not installed."""
    if why := boot_refusal():
        pytest.skip(why)
    try:
        kernel = find_kernel(guest_kernels(data_home() / "images"))
        busybox = find_busybox()
    except Unsupported as missing:
        pytest.skip(missing.message)
    if missing_tools := [tool for tool in _TOOLS if not shutil.which(tool, path="/usr/bin:/usr/sbin:/bin:/sbin")]:
        pytest.skip(
            f"a disk to boot is made with {', '.join(missing_tools)}: apt-get install syslinux mtools dosfstools"
        )
    modules = tuple(in_order(kernel.image.parents[1] / "lib/modules" / kernel.release, _MODULES))
    files = {"vmlinuz": kernel.image, "initrd": _initial_files(folder / "root", busybox, modules)}
    files["syslinux.cfg"] = folder / "syslinux.cfg"
    files["syslinux.cfg"].write_text(_LOADER)
    disk = folder / "disk.raw"
    with disk.open("wb") as image:
        image.truncate(SIZE_MIB * 1024**2)
    _run("mkfs.vfat", "-n", "SYSTEM", str(disk))
    _run("syslinux", "--install", str(disk))
    for name, source in files.items():
        _run("mcopy", "-i", str(disk), str(source), f"::{name}")
    return disk


def as_qcow2(disk: Path) -> Path:
    """The same as a qcow2 image."""
    image = disk.with_suffix(".qcow2")
    _run("qemu-img", "convert", "-O", "qcow2", str(disk), str(image))
    return image


def _initial_files(root: Path, busybox: Path, modules: tuple[Path, ...]) -> Path:
    for name in ("bin", "dev", "proc", "sys", "disk", "drive", "modules"):
        (root / name).mkdir(parents=True)
    shutil.copy(busybox, root / "bin/busybox")
    for module in modules:
        shutil.copy(module, root / "modules")
    (root / "modules/order").write_text("".join(f"{module.name}\n" for module in modules))
    for name, text in (("init", _INIT.replace("{up}", UP)), ("dhcp", _DHCP)):
        (root / name).write_text(text)
        (root / name).chmod(0o755)
    names = "\n".join(str(path.relative_to(root)) for path in root.rglob("*"))
    packing = [str(busybox), "cpio", "-o", "-H", "newc"]
    archive = subprocess.run(packing, cwd=root, input=names.encode(), check=True, capture_output=True)
    packed = root.with_suffix(".gz")
    packed.write_bytes(gzip.compress(archive.stdout, 1))
    return packed


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
