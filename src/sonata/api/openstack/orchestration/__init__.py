"""The Orchestration API v1 (Heat) of a PoP."""
