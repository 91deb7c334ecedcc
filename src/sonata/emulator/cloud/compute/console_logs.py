"""What servers say: a file for each, which outlives its boots."""

from __future__ import annotations

from pathlib import Path

from sonata.emulator.cloud.site import Site


class ConsoleLogs:
    """The console logs of one cloud's servers."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def path(self, server_id: str) -> Path:
        """The file that holds what a server's program printed; it may not be there yet."""
        return self._site.consoles / server_id

    def say(self, server_id: str, line: str) -> None:
        """Have a server's console show a line of ours."""
        path = self.path(server_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as console:
            console.write(f"{line}\n")

    def drop(self, server_id: str) -> None:
        """Remove what a server said; idempotent."""
        self.path(server_id).unlink(missing_ok=True)
