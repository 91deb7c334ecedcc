"""Life cycle of network services: one module per operation, pure planning apart from doing."""

from sonata.mano.lifecycle.service import InstantiateRequest, Lifecycle

__all__ = ["InstantiateRequest", "Lifecycle"]
