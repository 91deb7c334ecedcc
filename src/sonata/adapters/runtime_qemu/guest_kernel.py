"""The kernel that virtual machines boot, and the initial RAM file system made for it.

A kernel is a folder with `boot/vmlinuz-<release>` and `lib/modules/<release>`: what a kernel package of a distribution
unpacks to, or the root of this host.
"""

from __future__ import annotations

import lzma
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from sonata._lib.values import dataclass
from sonata.errors import Unsupported

AGENT = ("guest_agent.py", "frames.py")
"""What the agent consists of; it begins each time anew, from its source."""

QEMU = "/usr/bin/qemu-system-x86_64"
QEMU_IMG = "/usr/bin/qemu-img"

MODULES = ("virtio_pci", "9pnet_virtio", "9p", "virtio_net", "virtio_console")
"""What a guest needs of the kernel to reach its files, its network and its console."""

RECIPE = (
    "mkdir -p {folder} && cd {folder} && "
    "apt-get download $(apt-cache depends linux-image-amd64 | awk '/Depends:/ {{print $2; exit}}') && "
    "dpkg -x linux-image-*.deb . && rm linux-image-*.deb"
)
_DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")
_XZ, _ELF = b"\xfd7zXZ\0", b"\x7fELF"
_PT_INTERP = b"/lib64/ld-linux"
_SCRIPT = Path(__file__).with_name("init.sh")
_MOUNTED = ("proc", "sys", "dev", "machine")
_OLDEST_PYTHON = (3, 9)
_VERSION = "import sys; print(*sys.version_info[:2])"
_AGENT_FILES = Path(__file__).with_name("agent_files.py")


@dataclass(frozen=True, slots=True)
class GuestKernel:
    """A kernel image and the files of its modules, each after those that it needs."""

    release: str
    image: Path
    modules: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What virtual machines are made of: qemu's version, a kernel, and two programs for the guest."""

    version: str
    kernel: GuestKernel
    busybox: Path
    python: Path


def guest_kernels(images: Path) -> tuple[Path, ...]:
    """Where to look for a kernel: beside the image store, then in this host's root."""
    return (images.resolve().parent / "kernel", Path("/"))


def find_kernel(folders: tuple[Path, ...]) -> GuestKernel:
    """The newest kernel in the first folder that has one which serves.

    Raises:
        Unsupported: none does, with the reason and how to get one.
    """
    reasons = []
    for folder in folders:
        for image in sorted((folder / "boot").glob("vmlinuz-*"), reverse=True):
            release = image.name.removeprefix("vmlinuz-")
            try:
                return GuestKernel(release, image, tuple(in_order(folder / "lib/modules" / release, MODULES)))
            except KeyError as missing:
                reasons.append(f"`{image}` has no module {missing}")
    why = "; ".join(reasons) or f"no kernel in {' or '.join(f'`{folder}/boot`' for folder in folders)}"
    raise Unsupported(f"there is no kernel for virtual machines: {why}", hint=RECIPE.format(folder=folders[0]))


def find_qemu() -> str:
    """The version of qemu.

    Raises:
        Unsupported: it is not installed.
    """
    if not Path(QEMU).exists() or platform.machine() != "x86_64":
        raise Unsupported(
            f"virtual machines need `{QEMU}`", hint="apt-get install --no-install-recommends qemu-system-x86"
        )
    answer = subprocess.run([QEMU, "--version"], check=True, capture_output=True, text=True).stdout
    return " ".join(answer.split()[:4]).replace("QEMU emulator version", "qemu")


def boot_refusal() -> str:
    """Why no disk can be booted here, and how that is changed; empty when it can. A kernel of ours is not needed."""
    try:
        find_qemu()
        find_python()
    except Unsupported as missing:
        return f"{missing.message}: {missing.hint}"
    if not Path(QEMU_IMG).exists():
        return f"machines that boot disks need `{QEMU_IMG}`: apt-get install --no-install-recommends qemu-utils"
    return ""


def unpack_kernel(kernel: GuestKernel, target: Path) -> None:
    """Write the kernel as qemu boots it fastest: unpacked, since emulated processors take seconds to do that."""
    packed = kernel.image.read_bytes()
    begin = packed.find(_XZ)
    try:
        plain = lzma.LZMADecompressor().decompress(packed[begin:]) if begin >= 0 else b""
    except lzma.LZMAError:
        plain = b""
    target.write_bytes(plain if plain.startswith(_ELF) else packed)


def in_order(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """Files of modules of a kernel, each after those that it needs.

    Raises:
        KeyError: one is neither there nor built in.
    """
    found = {path.name.removesuffix(".ko").replace("-", "_"): path for path in folder.rglob("*.ko")}
    built_in = _built_in(folder)
    done: set[str] = set()

    def visit(name: str) -> Iterator[Path]:
        if name in done or name in built_in:
            return
        done.add(name)
        needed = _DEPENDS.search(found[name].read_bytes())
        for other in needed[1].decode().split(",") if needed else ():
            if other:
                yield from visit(other.replace("-", "_"))
        yield found[name]

    for name in names:
        yield from visit(name)


def _built_in(folder: Path) -> set[str]:
    listed = folder / "modules.builtin"
    lines = listed.read_text().splitlines() if listed.exists() else []
    return {Path(line).name.removesuffix(".ko").replace("-", "_") for line in lines}


def find_busybox() -> Path:
    """A busybox that needs no library.

    Raises:
        Unsupported: there is none.
    """
    program = shutil.which("busybox", path="/usr/bin:/bin")
    if program is None or _PT_INTERP in Path(program).read_bytes()[:4096]:
        state = "is not installed" if program is None else f"`{program}` needs libraries"
        raise Unsupported(
            f"virtual machines begin with a static busybox: {state}", hint="apt-get install busybox-static"
        )
    return Path(program)


def find_python() -> Path:
    """The Python that runs the agent of virtual machines.

    Raises:
        Unsupported: the system has none that is new enough.
    """
    for name in ("python3", "python3.13", "python3.12", "python3.11"):
        program = Path("/usr/bin") / name
        if program.exists() and tuple(map(int, _asked(program, "-c", _VERSION).split())) >= _OLDEST_PYTHON:
            return program
    raise Unsupported("the agent of virtual machines needs Python 3.9 in /usr/bin", hint="apt-get install python3")


def find_all(kernels: tuple[Path, ...]) -> Found:
    """What virtual machines need.

    Raises:
        Unsupported: something is missing; says what, and how to get it.
    """
    return Found(find_qemu(), find_kernel(kernels), find_busybox(), find_python())


def make_initramfs(found: Found, target: Path) -> None:
    """Write the initial RAM file system: busybox, modules, and the agent with the Python that it needs."""
    kernel = found.kernel
    files = {
        "init": _SCRIPT.read_bytes(),
        "busybox": found.busybox.read_bytes(),
        "modules/order": "".join(f"{module.name}\n" for module in kernel.modules).encode(),
        **{f"modules/{module.name}": module.read_bytes() for module in kernel.modules},
        **{f"agent/{name}": (_SCRIPT.parent / name).read_bytes() for name in AGENT},
        **_needed_by_agent(found.python),
    }
    with target.open("wb") as archive:
        for folder in sorted({str(parent) for name in (*files, *_MOUNTED) for parent in Path(f"{name}/x").parents}):
            if folder not in files and folder != ".":
                archive.write(_entry(folder, b"", 0o040755))
        for name, content in files.items():
            archive.write(_entry(name, content, 0o100755))
        archive.write(_entry("TRAILER!!!", b"", 0))


def _needed_by_agent(python: Path) -> dict[str, bytes]:
    """What the agent loads, by its name in the archive: Python, its libraries and modules."""
    with tempfile.TemporaryDirectory() as scratch:
        lines = _asked(python, str(_AGENT_FILES), scratch).splitlines()
        named = (line.split("\t") for line in lines)
        return {name.lstrip("/"): Path(path).read_bytes() for name, path in named}


def _asked(python: Path, *arguments: str) -> str:
    """What a Python prints."""
    command = [str(python), "-I", "-S", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _entry(name: str, content: bytes, mode: int) -> bytes:
    """A file in the `newc` format of cpio (the kernel's driver-api/early-userspace/buffer-format)."""
    numbers = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % number for number in numbers) + name.encode() + b"\0"
    return _padded(head) + _padded(content)


def _padded(text: bytes) -> bytes:
    return text + b"\0" * (-len(text) % 4)
