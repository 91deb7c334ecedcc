"""The gatekeeper: SONATA requests and records under /api/v3."""
