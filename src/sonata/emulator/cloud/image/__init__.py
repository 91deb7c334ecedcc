"""Images of one cloud."""
