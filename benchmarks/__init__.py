"""Benchmarks with the peer measured beside us in the same run; JSON on stdout. `python -m benchmarks [NAME...]`."""
