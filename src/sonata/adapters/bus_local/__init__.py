"""The bus inside of one platform process, with a WebSocket on a unix socket for each client outside of it."""

from sonata.adapters.bus_local.bus import LocalBus

__all__ = ["LocalBus"]
