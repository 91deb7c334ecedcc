"""Block storage of one cloud: volumes, their snapshots, types and transfers, and how servers get at them."""
