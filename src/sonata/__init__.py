"""Sonata: a multi-site NFV infrastructure on one machine, and an orchestrator whose decisions you can program."""

__version__ = "0.1.0"
