"""The Block Storage API v3 of a PoP."""
