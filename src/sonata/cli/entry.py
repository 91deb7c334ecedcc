"""The command `sonata` from its first moment on."""

from __future__ import annotations

from sonata.cli.loading import ending_at_once


def main() -> None:
    """Load the command and run it."""
    with ending_at_once():
        from sonata.cli.main import main as run
    run()
