"""One run of the virtual machine: qemu, what it says, and how it ended."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from select import select

from kernel import Kernel, Unavailable

_QEMU = "qemu-system-x86_64"
_LAST_LINES = 30
_GRACE_S = 300
_KERNEL_COMMAND = "console=ttyS0 panic=-1 quiet"


@dataclass(frozen=True)
class Size:
    """What the machine gets, and how long it may take; beside that, time to start and to end."""

    cpus: int
    memory_mb: int
    seconds: float


def has_kvm() -> bool:
    """Whether the processor runs the machine; a `/dev/kvm` alone may be one for special kernels."""
    flags = set(Path("/proc/cpuinfo").read_text().split())
    return bool(flags & {"vmx", "svm"}) and os.access("/dev/kvm", os.R_OK | os.W_OK)


def run(kernel: Kernel, initramfs: bytes, size: Size) -> int:
    """Boot, print what the job prints while it does, and return its exit status."""
    if not shutil.which(_QEMU):
        raise Unavailable(f"`{_QEMU}` is missing; as root run: apt-get install --no-install-recommends qemu-system-x86")
    with tempfile.TemporaryDirectory(prefix="sonata-test-vm-") as name:
        folder = Path(name)
        (folder / "initramfs").write_bytes(initramfs)
        output, output_of_machine = os.pipe()
        argv = _argv(kernel, folder, size, output_of_machine)
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, pass_fds=[output_of_machine])
        os.close(output_of_machine)
        try:
            in_time = _stream(output, size.seconds + _GRACE_S)
        finally:
            process.kill()
            process.wait()
            os.close(output)
        return _verdict(folder, in_time, size)


def _stream(output: int, seconds: float) -> bool:
    """Print what comes until the machine is off; whether it was off in time."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if select([output], [], [], left)[0]:
            if not (data := os.read(output, 65536)):
                return True
            sys.stdout.buffer.write(data.replace(b"\r\n", b"\n"))
            sys.stdout.flush()
    return False


def _verdict(folder: Path, in_time: bool, size: Size) -> int:
    status = (folder / "status").read_text().strip()
    if status:
        return int(status)
    if not in_time:
        print(f"the virtual machine was not done within {size.seconds:g} s; its kernel said last:", file=sys.stderr)
    else:
        print("the virtual machine ended before the tests did; its kernel said last:", file=sys.stderr)
    for line in (folder / "console").read_text(errors="replace").splitlines()[-_LAST_LINES:]:
        print(f"  {line}", file=sys.stderr)
    return 124 if not in_time else 125


def _argv(kernel: Kernel, folder: Path, size: Size, output: int) -> list[str]:
    """Qemu's command line; the machine goes with us, whatever becomes of us."""
    accelerator = ["-accel", "kvm", "-cpu", "host"] if has_kvm() else ["-accel", "tcg,thread=multi", "-cpu", "max"]
    argv = ["setpriv", "--pdeathsig", "KILL", "--", _QEMU, "-nodefaults", "-no-user-config", "-no-reboot"]
    argv += ["-display", "none", "-M", "q35", *accelerator, "-smp", str(size.cpus), "-m", str(size.memory_mb)]
    argv += ["-kernel", str(kernel.image), "-initrd", str(folder / "initramfs"), "-append", _KERNEL_COMMAND]
    argv += ["-serial", f"file:{folder / 'console'}", "-device", "virtio-rng-pci", "-device", "virtio-serial-pci"]
    for name, file in (("output", f"/dev/fd/{output}"), ("status", str(folder / "status"))):
        argv += ["-chardev", f"file,id={name},path={file}", "-device", f"virtserialport,chardev={name},name={name}"]
    share = "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"
    return [*argv, "-fsdev", share, "-device", "virtio-9p-pci,fsdev=host,mount_tag=host"]
