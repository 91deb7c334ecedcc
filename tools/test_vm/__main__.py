"""Runs tests in Debian's own kernel, under qemu: netem, 802.1q, cgroup version 2 and Open vSwitch's module are there.

    python3 tools/test_vm [--cpus N] [--memory MB] [--timeout SECONDS] -- PYTEST-ARGUMENTS...

The virtual machine reads the host's file system, and forgets what it writes. It needs no root, and no network once the
kernel has been fetched. The exit status is pytest's; 124 when time is up, 125 when there is no verdict.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from pathlib import Path

import initramfs
import kernel
import machine

_REPOSITORY = Path(__file__).resolve().parents[2]


def main() -> int:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(prog="test_vm", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cpus", type=int, default=min(4, os.cpu_count() or 1))
    parser.add_argument("--memory", type=int, default=4096, metavar="MB")
    parser.add_argument("--timeout", type=float, default=5400, metavar="SECONDS")
    parser.add_argument("pytest", nargs="*", metavar="PYTEST-ARGUMENTS", help="after `--`")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        debian = kernel.fetch()
        size = machine.Size(options.cpus, options.memory, options.timeout)
        return machine.run(
            debian, initramfs.build(debian, _job(options.pytest, size), [_REPOSITORY, Path(sys.prefix)]), size
        )
    except kernel.Unavailable as error:
        print(f"test-vm: {error}", file=sys.stderr)
        return 125
    except KeyboardInterrupt:
        return 130


def _job(arguments: list[str], size: machine.Size) -> str:
    """The script that the machine runs; when time is up, pytest still tells what failed until then."""
    python = sys.executable if sys.prefix != sys.base_prefix else "python3"
    # The shell above has what it starts beside itself ignore SIGINT, and Python keeps to that.
    limit = ["env", "--default-signal=INT", "timeout", "--signal=INT", "--kill-after=180", f"{size.seconds:g}"]
    tests = [*limit, python, "-m", "pytest", *arguments]
    lines = ["#!/bin/sh", f"export HOME={shlex.quote(str(Path.home()))} LC_ALL=C.UTF-8"]
    if not machine.has_kvm():
        lines.append("export SONATA_TEST_TRANSLATED=1")
    lines += [f"cd {shlex.quote(str(_REPOSITORY))} || exit 125", "uname -sr", f"exec {shlex.join(tests)}", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
