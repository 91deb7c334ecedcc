"""TAP interfaces: the ends of a wire."""

from __future__ import annotations

import fcntl
import os
import struct

from sonata._lib.descriptors import is_exhaustion
from sonata.adapters.fabric_linux.netspace import Netspace, failed
from sonata.errors import SonataError, Unsupported

_DEVICE = "/dev/net/tun"
_TUNSETIFF, _TUNSETIFINDEX = 0x400454CA, 0x400454DA
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000


def open_tap(netspace: Netspace, ifname: str, index: int) -> int:
    """Make a TAP interface in a namespace and return its descriptor; the interface goes with the last copy of it.

    Raises:
        Unsupported: this machine has no usable /dev/net/tun.
        PermanentError: there is no file descriptor left.
    """
    try:
        with netspace.entered():
            descriptor = os.open(_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _unsupported(ifname, error) from error
    try:
        fcntl.ioctl(descriptor, _TUNSETIFINDEX, struct.pack("=I", index))
        flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("=16sH22x", ifname.encode(), flags))
    except OSError as error:
        os.close(descriptor)
        raise _unsupported(ifname, error) from error
    return descriptor


def _unsupported(ifname: str, error: OSError) -> SonataError:
    if is_exhaustion(error):
        return failed(ifname, error)
    return Unsupported(
        f"cannot make the wire end `{ifname}` for delay, jitter or loss: {error}",
        hint=f"load the kernel module `tun` and make {_DEVICE} readable and writable, or declare the link clean",
    )
