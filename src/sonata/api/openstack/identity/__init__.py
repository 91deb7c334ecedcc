"""The Identity API v3 of a PoP."""
