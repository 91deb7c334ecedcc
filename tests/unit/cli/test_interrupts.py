"""Ctrl-C ends the command line without a traceback, whatever Python has made of it."""

from __future__ import annotations

import pytest

import sonata.cli.main as command_line
from sonata.cli import exit_codes


class Interrupted:
    """A descriptor over which a class cannot be made."""

    def __set_name__(self, owner: type, name: str) -> None:
        raise KeyboardInterrupt


class Command:
    def main(self, **named: object) -> int:
        type("Imported", (), {"member": Interrupted()})
        return 0


def test_an_interrupted_class_is_an_interruption(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command_line.typer.main, "get_command", lambda app: Command())
    with pytest.raises(SystemExit) as ended:
        command_line.main(["emu", "ls"])
    assert ended.value.code == exit_codes.INTERRUPTED
    assert "Traceback" not in capsys.readouterr().err
