"""The Image API v2 of a PoP."""
