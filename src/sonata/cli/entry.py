"""The command `sonata` from its first moment on."""

from __future__ import annotations

import sys

_INTERRUPTED = 130


def main() -> None:
    """Load the command and run it; Ctrl-C ends it without a traceback, also while the first modules are loaded."""
    try:
        from sonata.cli.loading import ending_at_once

        with ending_at_once():
            from sonata.cli.main import main as run
        run()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(_INTERRUPTED)
