"""Pure values: topologies, descriptors, records, infrastructure. No I/O, no third-party import."""
