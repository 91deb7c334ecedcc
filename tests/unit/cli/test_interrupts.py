"""Ctrl-C ends the command line without a traceback, whatever Python has made of it."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

import sonata.cli.main as command_line
from sonata.cli import exit_codes
from sonata.cli.left_running import leave_running


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


class Service:
    """Something that has started; Ctrl-C is pressed in the moment in which it is let go."""

    def __init__(self) -> None:
        self.runs = True

    def let_go(self) -> None:
        signal.raise_signal(signal.SIGINT)

    def stop(self) -> None:
        self.runs = False


@pytest.fixture
def interruptible() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_what_was_let_go_runs_on_and_ctrl_c_comes_too_late() -> None:
    service = Service()
    leave_running(service)
    signal.raise_signal(signal.SIGINT)
    assert service.runs


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_before_something_is_let_go_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(number: int, handler: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(signal, "signal", pressed)
    service = Service()
    with pytest.raises(KeyboardInterrupt):
        leave_running(service)
    monkeypatch.undo()
    assert not service.runs
