"""The data plane of the emulator on a Linux kernel."""

from sonata.adapters.fabric_linux.fabric import LinuxFabric

__all__ = ["LinuxFabric"]
