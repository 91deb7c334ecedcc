"""In-memory stand-ins of ports for tests; strict about idempotence and references, as the real ones are."""
