"""Composition roots: the only places that pick adapters and start processes."""
