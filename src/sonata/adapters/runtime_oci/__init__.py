"""Machines run by an OCI engine (crun, else runc), driven directly."""

from sonata.adapters.runtime_oci.cgroups import hide_hybrid_cgroup, leftover_cgroups, remove_cgroups
from sonata.adapters.runtime_oci.runtime import OciRuntime

__all__ = ["OciRuntime", "hide_hybrid_cgroup", "leftover_cgroups", "remove_cgroups"]
