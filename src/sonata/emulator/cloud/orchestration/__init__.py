"""The stack engine: makes what templates describe, through the APIs of the site alone."""
