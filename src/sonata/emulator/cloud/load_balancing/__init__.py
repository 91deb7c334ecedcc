"""Load balancing of one cloud (Octavia): the rules of its resources, and the providers that carry them out."""
