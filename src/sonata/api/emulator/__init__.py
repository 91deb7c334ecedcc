"""The emulator's own API under /emulator/v1: topology, links, endpoints, machines, wide area."""
