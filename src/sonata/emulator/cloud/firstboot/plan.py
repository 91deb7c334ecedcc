"""What is to be done at a boot, as steps of shell with the files that they need."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import field

from sonata._lib.values import dataclass

FOLDER = "/run/firstboot"
"""Where a server sees the folder with its script and files."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step: its name, for reports, and its commands."""

    name: str
    shell: str


@dataclass(slots=True)
class Plan:
    """Steps by when they run.

    Args:
        early: before the server's program, at the first boot; `early_always` at each.
        packages: beside the server's program, at the first boot; then `deferred`, which may need their users, then
            `final`. `final_always` at each boot.
        files: content of files by number, which steps name by `file`.
        warnings: lines for the console.
        host_name: the server's host name when user data want another one; so `domain`.
    """

    early_always: list[Step] = field(default_factory=list)
    early: list[Step] = field(default_factory=list)
    packages: list[Step] = field(default_factory=list)
    deferred: list[Step] = field(default_factory=list)
    final: list[Step] = field(default_factory=list)
    final_always: list[Step] = field(default_factory=list)
    files: list[bytes] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    host_name: str = ""
    domain: str = ""
    keys: list[str] = field(default_factory=list)
    default_user: bool = True

    @property
    def stages(self) -> Mapping[str, Sequence[Step]]:
        """All steps by the name of their stage."""
        final = (*self.packages, *self.deferred, *self.final)
        return {"early_always": self.early_always, "early": self.early, "final": final,
                "final_always": self.final_always}  # fmt: skip

    def kept(self, content: bytes | str) -> str:
        """Keep content as a file; returns its path in the server."""
        self.files.append(content.encode(errors="replace") if isinstance(content, str) else content)
        return f"{FOLDER}/files/{len(self.files) - 1}"

    def file(self, content: bytes | str) -> str:
        """Keep content as a file; returns its path in the server, quoted."""
        return shlex.quote(self.kept(content))

    def warn(self, text: str) -> None:
        """Have a line printed on the console; what could not be seen there is shown as `?`."""
        self.warnings.append("".join(sign if sign.isprintable() else "?" for sign in text))


def quoted(*words: object) -> str:
    """Words as one command line."""
    return shlex.join(map(str, words))
