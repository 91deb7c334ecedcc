"""Breaking machines on purpose on Linux."""

from sonata.adapters.disturbance_linux.disturber import LinuxDisturber

__all__ = ["LinuxDisturber"]
