"""Files as block devices (loop(4)), without a process per call."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from pathlib import Path

_CONTROL = Path("/dev/loop-control")
_GET_FREE, _CONFIGURE = 0x4C82, 0x4C0A  # LOOP_CTL_GET_FREE, LOOP_CONFIGURE of linux/loop.h
_AUTOCLEAR = 4  # LO_FLAGS_AUTOCLEAR
_ATTEMPTS = 64


def attach(image: int) -> tuple[Path, int]:
    """Make a block device of an open file.

    It holds the file open, and is gone with its last user, a mount or this descriptor, also when we are killed.

    Args:
        image: descriptor of the file, open for reading and writing.

    Returns:
        Its path, and a descriptor that the caller closes.

    Raises:
        OSError: the kernel's answer: there are no such devices, or not for us.
    """
    for attempt in range(_ATTEMPTS):
        device = Path(f"/dev/loop{_free_number()}")
        descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(descriptor, _CONFIGURE, _configuration(image))
        except OSError as error:
            os.close(descriptor)
            if error.errno == errno.EBUSY and attempt + 1 < _ATTEMPTS:  # somebody else was quicker
                continue
            raise
        return device, descriptor
    raise OSError(errno.EBUSY, "no loop device is free", str(_CONTROL))


def _free_number() -> int:
    control = os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
    try:
        return fcntl.ioctl(control, _GET_FREE)
    finally:
        os.close(control)


def _configuration(image: int) -> bytes:
    """A loop_config of linux/loop.h: the file, a block size of the kernel's choice, and the flags."""
    information = struct.pack("=5Q4I64s64s32s2Q", 0, 0, 0, 0, 0, 0, 0, 0, _AUTOCLEAR, b"", b"", b"", 0, 0)
    return struct.pack("=II", image, 0) + information + bytes(64)
