"""Cogs without a domain word: ids, netlink encoding, namespaces, files."""
