"""Volumes as sparse files with a file system of their own, or as plain folders where the host lets us do no more."""

from sonata.adapters.volumes_local.store import LocalVolumes

__all__ = ["LocalVolumes"]
