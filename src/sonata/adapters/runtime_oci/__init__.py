"""Machines run by an OCI engine (crun, runc, or our own), driven directly."""

from sonata.adapters.runtime_oci.cgroups import hide_hybrid_cgroup, leftover_cgroups, remove_cgroups
from sonata.adapters.runtime_oci.engine import ENGINES, find_engine
from sonata.adapters.runtime_oci.managers import MANAGERS, find_manager
from sonata.adapters.runtime_oci.mounts import disk_refusal
from sonata.adapters.runtime_oci.python_root import python_argv, python_binds, python_env
from sonata.adapters.runtime_oci.runtime import OciRuntime

__all__ = [
    "ENGINES",
    "MANAGERS",
    "OciRuntime",
    "disk_refusal",
    "find_engine",
    "find_manager",
    "hide_hybrid_cgroup",
    "leftover_cgroups",
    "python_argv",
    "python_binds",
    "python_env",
    "remove_cgroups",
]
