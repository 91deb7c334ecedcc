"""Machine images in a local folder: built from Debian packages, or imported from container archives."""

from sonata.adapters.images_local.store import HOST, LocalImages

__all__ = ["HOST", "LocalImages"]
