"""The emulated multi-site NFV infrastructure; speaks to ports only."""
