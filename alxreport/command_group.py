"""The one place where an error becomes text, JSON and an exit code."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

import typer
from typer.core import TyperGroup

from alxreport.errors import AlxError

INTERRUPTED = 130


class _ReaderGoneError(Exception):
    """Whoever read our output closed it."""


class CommandGroup(TyperGroup):
    """A Typer group that ends every run with the contract's exit code and one clear message."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; a closed pipe leaves under a name that Typer does not act on."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _ReaderGoneError from error

    def main(self, args: Sequence[str] | None = None, **extra: Any) -> Any:  # type: ignore[override]
        """Run the command line; exits the process unless told not to."""
        words = list(sys.argv[1:] if args is None else args)
        standalone = extra.pop("standalone_mode", True)
        code = self._run(words, **extra)
        if standalone:
            sys.exit(code)
        return code

    def _run(self, words: list[str], **extra: Any) -> int:  # noqa: PLR0911  # one per way to end
        flags = words[: words.index("--")] if "--" in words else words
        as_json = "--json" in flags
        if "--debug" not in flags:
            # Drivers complain in their destructors about a connection whose loss was told already.
            sys.unraisablehook = lambda _unraisable: None
        try:
            code = super().main(args=words, standalone_mode=False, **extra)
            sys.stdout.flush()
        except AlxError as error:
            _tell(error.code, error.message, error.hint, as_json)
            return error.exit_code
        except (BrokenPipeError, _ReaderGoneError):
            # The reader has what it wanted. Python would complain again when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except OSError as error:
            if error.errno != errno.ENOSPC:
                return _unexpected(error, flags, as_json)
            _tell("output", "The output cannot be written: the disk is full.", "", as_json)
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except (KeyboardInterrupt, typer.Abort):
            _tell("interrupted", "Interrupted.", "", as_json)
            return INTERRUPTED
        except Exception as error:
            if hasattr(error, "format_message"):  # a usage error of the command line itself
                return _usage(error, as_json)
            return _unexpected(error, flags, as_json)
        if code == INTERRUPTED:  # Typer swallows the interrupt itself
            _tell("interrupted", "Interrupted.", "", as_json)
        return code if isinstance(code, int) else 0


def _unexpected(error: Exception, flags: Sequence[str], as_json: bool) -> int:
    if "--debug" in flags:
        raise error
    what = f"Unexpected {type(error).__name__}: {error}"
    _tell("unexpected", what, "This is a fault of alxreport; see it with --debug.", as_json)
    return 1


def need_command(context: typer.Context) -> None:
    """Show the help on stderr and end as a usage error when no command was named."""
    if context.invoked_subcommand is None:
        with redirect_stdout(sys.stderr):  # Rich prints the help while it is asked for
            text = context.get_help()
        if text.strip():
            typer.echo(text, err=True)
        raise typer.Exit(2)


def _usage(error: Any, as_json: bool) -> int:
    message = str(error.format_message())
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "alxreport"
    if not message.endswith((".", "?", "!")):
        message += "."
    _tell("usage", message, f"See '{command} --help'.", as_json)
    return 2


def _tell(code: str, message: str, hint: str, as_json: bool) -> None:
    if as_json:
        text = json.dumps({"error": {"code": code, "message": message, "hint": hint}})
    else:
        text = f"alxreport: {message}" + (f" {hint}" if hint else "")
    typer.echo(" ".join(text.split()), err=True)
