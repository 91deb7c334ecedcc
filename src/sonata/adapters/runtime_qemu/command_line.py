"""How qemu is called for a machine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import PurePosixPath

from sonata.adapters.runtime_qemu.guest_kernel import QEMU
from sonata.ports.runtime import Bind, MachineSpec

OWN = "/run/vm"
"""The folder that a virtual machine shares with the runtime: sockets, kernel, programs."""

MACHINE = "/machine"
"""Where the confined process sees the root file system that it shares with its guest."""

OVERHEAD = 160 * 1024**2
"""Memory that qemu itself may need beside its guest's."""

_LONGEST_LABEL = 11
"""Characters of the name of a FAT file system."""

USUAL_MEMORY = 256 * 1024**2
LEAST_MEMORY = 160 * 1024**2
"""Less than that the kernel does not boot in."""


def memory_of(spec: MachineSpec) -> int:
    """The guest's memory in bytes."""
    return max(LEAST_MEMORY, spec.limits.memory_bytes or USUAL_MEMORY)


def command_line(spec: MachineSpec, *, accelerator: str, security: str) -> tuple[str, ...]:
    """The words by which the confined process of a guest with our agent begins."""
    kernel_line = "console=ttyS0 loglevel=1 panic=-1 no_timer_check nokaslr mitigations=off cryptomgr.notests"
    share = f"local,id=root,path={MACHINE},security_model={security},multidevs=remap"
    return (
        *_machine(spec, accelerator), "-no-reboot",
        "-kernel", f"{OWN}/kernel", "-initrd", f"{OWN}/initramfs", "-append", kernel_line,
        "-chardev", "file,id=kernel,path=/proc/self/fd/1,append=on", "-serial", "chardev:kernel",
        "-device", "virtio-serial-pci",
        "-chardev", f"socket,id=agent,path={OWN}/agent,server=on,wait=off",
        "-device", "virtserialport,chardev=agent,name=sonata.agent",
        "-chardev", "file,id=console,path=/proc/self/fd/1,append=on", "-device", "virtconsole,chardev=console",
        "-fsdev", share, "-device", "virtio-9p-pci,fsdev=root,mount_tag=root",
    )  # fmt: skip


def disk_command_line(spec: MachineSpec, *, accelerator: str, disks: Sequence[str]) -> tuple[str, ...]:
    """The words by which the confined process of a guest begins that boots the first of these disks.

    It says on its serial port what its console log has, and hears there whoever opens its console.
    """
    serial = f"socket,id=serial,path={OWN}/serial,server=on,wait=off,logfile=/proc/self/fd/1,logappend=on"
    drives = [word for number, disk in enumerate(disks) for word in _drive(number, disk)]
    folders = [word for number, bind in enumerate(spec.binds) for word in _folder(number, bind)]
    return (
        *_machine(spec, accelerator),
        "-chardev", serial, "-serial", "chardev:serial",
        "-object", "rng-random,id=entropy,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=entropy",
        *drives, *folders,
    )  # fmt: skip


def seen_folder(number: int) -> str:
    """Where the confined process sees a folder that its guest has as a disk."""
    return f"{OWN}/folder{number}"


def _machine(spec: MachineSpec, accelerator: str) -> tuple[str, ...]:
    """What all have; options of their network cards are added by the first program."""
    processors = max(1, len(spec.limits.cores), math.ceil(spec.limits.cpus or 1))
    pages = ("-mem-path", "/dev/hugepages", "-mem-prealloc") if spec.huge_pages else ()
    return (
        "/usr/bin/python3", "-I", "-S", f"{OWN}/launch.py", OWN,
        QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-name", spec.hostname,
        "-M", "pc", "-accel", accelerator, "-cpu", "max", "-smp", str(processors),
        "-m", f"{memory_of(spec) // 1024**2}M", *pages,
        "-qmp", f"unix:{OWN}/monitor,server=on,wait=off",
    )  # fmt: skip


def _drive(number: int, disk: str) -> tuple[str, ...]:
    drive = f"if=none,id=disk{number},file={disk},format=qcow2,discard=unmap"
    return "-drive", drive, "-device", f"virtio-blk-pci,drive=disk{number},bootindex={number}"


def _folder(number: int, bind: Bind) -> tuple[str, ...]:
    """A folder as a read-only disk with a FAT file system on it (qemu's `vvfat`)."""
    label = PurePosixPath(bind.target).name[:_LONGEST_LABEL]
    files = f"file.driver=vvfat,file.dir={seen_folder(number)},file.label={label},file.rw=off"
    drive = f"if=none,id=folder{number},format=raw,readonly=on,{files}"
    return "-drive", drive, "-device", f"virtio-blk-pci,drive=folder{number}"
