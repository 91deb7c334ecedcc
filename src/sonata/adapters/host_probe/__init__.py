"""What this machine can do for an emulation, found out by trying."""

from sonata.adapters.host_probe.findings import Finding
from sonata.adapters.host_probe.probe import probe

__all__ = ["Finding", "probe"]
