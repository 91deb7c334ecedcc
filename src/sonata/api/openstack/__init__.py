"""What a PoP shows: Identity, Compute, Networking and Image APIs of an OpenStack, for stock clients."""

from sonata.api.openstack.app import openstack_app, openstack_description

__all__ = ["openstack_app", "openstack_description"]
