"""What each PoP shows: Identity, Compute, Networking and Image APIs of OpenStack."""
