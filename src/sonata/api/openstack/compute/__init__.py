"""The Compute API v2.1 of a PoP."""
