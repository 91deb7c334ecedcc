"""The command `sonata`: finds the noun, runs its verb, and turns errors into exit codes.

Nouns are imported when they are used, so that `--help` is quick.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from sonata import __version__
from sonata.cli import exit_codes, output
from sonata.cli.loading import ending_at_once
from sonata.errors import SonataError

NOUNS: dict[str, tuple[str, str]] = {
    "demo": ("sonata.cli.demo", "Demonstrations that run from nothing to a result."),
    "doctor": ("sonata.cli.doctor", "What this machine can do, and how to get the rest."),
    "emu": ("sonata.cli.emu", "Emulated multi-site infrastructure."),
    "image": ("sonata.cli.image", "Machine images."),
    "up": ("sonata.cli.platform", "Start the service platform."),
    "down": ("sonata.cli.platform", "Stop the service platform."),
    "status": ("sonata.cli.platform", "State of the service platform."),
    "logs": ("sonata.cli.platform", "Log of the service platform."),
    "pkg": ("sonata.cli.pkg", "Packages: build, validate, on-board."),
    "ns": ("sonata.cli.ns", "Network services."),
    "op": ("sonata.cli.op", "Life cycle operations."),
    "vim": ("sonata.cli.vim", "Virtualised infrastructure managers."),
    "wim": ("sonata.cli.wim", "Wide area network infrastructure managers."),
}
"""Module and help of each noun. A module has `app`, a Typer; `up` to `logs` are commands of `sonata.cli.platform`."""


class LazyNouns(TyperGroup):
    """A group whose sub-commands are imported on first use."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of the help."""
        return list(NOUNS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import and return one noun; for the overview a placeholder with its help is enough."""
        if cmd_name not in NOUNS:
            return None
        module_name, summary = NOUNS[cmd_name]
        if ctx.obj in ([], ["--help"]):
            return TyperCommand(cmd_name, help=summary)
        with ending_at_once():
            module = importlib.import_module(module_name)
        command = typer.main.get_command(module.app)
        if isinstance(command, TyperGroup) and module_name.endswith(".platform"):
            return command.get_command(ctx, cmd_name)
        command.name = cmd_name
        return command


app = typer.Typer(
    cls=LazyNouns,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="A multi-site NFV infrastructure on one machine, and an orchestrator whose decisions you can program.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        output.text(f"sonata {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    """Entry of all verbs."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit; never shows a traceback unless `SONATA_DEBUG` is set or it is our bug."""
    try:
        asked = sys.argv[1:] if argv is None else list(argv)
        code = typer.main.get_command(app).main(args=asked, prog_name="sonata", standalone_mode=False, obj=asked)
    except SonataError as error:
        if os.environ.get("SONATA_DEBUG"):
            traceback.print_exc()
        output.fail(error)
        sys.exit(exit_codes.exit_code_of(error))
    except (KeyboardInterrupt, typer.Abort):
        output.say("interrupted")
        sys.exit(exit_codes.INTERRUPTED)
    except Exception as error:
        if isinstance(error.__cause__, KeyboardInterrupt):  # in the middle of a class that is made, before Python 3.12
            output.say("interrupted")
            sys.exit(exit_codes.INTERRUPTED)
        if show := getattr(error, "show", None):  # a usage error of Typer, whose type it does not export
            show()
            sys.exit(exit_codes.INVALID)
        traceback.print_exc()
        output.say(f"this is a bug in sonata: {type(error).__name__}: {error}")
        sys.exit(exit_codes.BUG)
    sys.exit(code if isinstance(code, int) else exit_codes.OK)
