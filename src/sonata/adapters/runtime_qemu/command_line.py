"""How qemu is called for a machine."""

from __future__ import annotations

import math

from sonata.adapters.runtime_qemu.guest_kernel import QEMU
from sonata.ports.runtime import MachineSpec

OWN = "/run/vm"
"""The folder that a virtual machine shares with the runtime: sockets, kernel, programs."""

MACHINE = "/machine"
"""Where the confined process sees the root file system that it shares with its guest."""

OVERHEAD = 160 * 1024**2
"""Memory that qemu itself may need beside its guest's."""

USUAL_MEMORY = 256 * 1024**2
LEAST_MEMORY = 160 * 1024**2
"""Less than that the kernel does not boot in."""


def memory_of(spec: MachineSpec) -> int:
    """The guest's memory in bytes."""
    return max(LEAST_MEMORY, spec.limits.memory_bytes or USUAL_MEMORY)


def command_line(spec: MachineSpec, *, accelerator: str, security: str) -> tuple[str, ...]:
    """The words by which the confined process begins; options of its network cards are added there."""
    processors = max(1, len(spec.limits.cores), math.ceil(spec.limits.cpus or 1))
    kernel_line = "console=ttyS0 loglevel=1 panic=-1 no_timer_check nokaslr mitigations=off cryptomgr.notests"
    share = f"local,id=root,path={MACHINE},security_model={security},multidevs=remap"
    pages = ("-mem-path", "/dev/hugepages", "-mem-prealloc") if spec.huge_pages else ()
    return (
        "/usr/bin/python3", "-I", "-S", f"{OWN}/launch.py", OWN,
        QEMU, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-name", spec.hostname,
        "-M", "pc", "-accel", accelerator, "-cpu", "max", "-smp", str(processors),
        "-m", f"{memory_of(spec) // 1024**2}M", *pages,
        "-kernel", f"{OWN}/kernel", "-initrd", f"{OWN}/initramfs", "-append", kernel_line,
        "-chardev", "file,id=kernel,path=/proc/self/fd/1,append=on", "-serial", "chardev:kernel",
        "-device", "virtio-serial-pci",
        "-chardev", f"socket,id=agent,path={OWN}/agent,server=on,wait=off",
        "-device", "virtserialport,chardev=agent,name=sonata.agent",
        "-chardev", "file,id=console,path=/proc/self/fd/1,append=on", "-device", "virtconsole,chardev=console",
        "-qmp", f"unix:{OWN}/monitor,server=on,wait=off",
        "-fsdev", share, "-device", "virtio-9p-pci,fsdev=root,mount_tag=root",
    )  # fmt: skip
