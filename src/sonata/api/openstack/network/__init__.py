"""The Networking API v2.0 of a PoP."""
