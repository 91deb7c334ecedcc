"""What this machine can do for an emulation, found out by trying."""

from sonata.adapters.host_probe.probe import Finding, probe

__all__ = ["Finding", "probe"]
