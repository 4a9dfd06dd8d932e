"""Commands that are built when they are needed, and errors as text, JSON and exit code."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup

from alxreport.errors import AlxError

INTERRUPTED = 130


class _ReaderGoneError(Exception):
    """Whoever read our output closed it."""


# Where each command of a group is, as module:function, and its line in the help.
Table = Mapping[str, tuple[str, str]]


class _Commands(Mapping[str, Any]):
    """The commands of a group, each built when it is looked up.

    Typer looks at every option of every command at the start; one run needs one of them.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._built: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._built:
            place, _help = self._table[name]
            module, _, attribute = place.partition(":")
            found = getattr(import_module(f"alxreport.{module}"), attribute)
            if not isinstance(found, typer.Typer):
                alone = typer.Typer(add_completion=False)
                alone.command(name)(found)
                found = alone
            self._built[name] = typer.main.get_command(found)
        return self._built[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)


def group_of(table: Table) -> type[CommandGroup]:
    """Return the class of a group with these commands."""
    return type("Group", (CommandGroup,), {"table": table})


def group(table: Table, text: str) -> typer.Typer:
    """Return a command that is nothing but a group of others, with what its help says."""
    made = typer.Typer(
        cls=group_of(table), invoke_without_command=True, add_completion=False, help=text
    )
    made.callback()(need_command)
    return made


class CommandGroup(TyperGroup):
    """A Typer group that ends every run with the contract's exit code and one clear message."""

    table: ClassVar[Table] = {}

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands: Any = _Commands(self.table)
        self._listing = False

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  # as click calls it
        """Return the names of the commands, for which none is built."""
        return list(self.table)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, or for a list of them only its name and what it does."""
        if self._listing and cmd_name in self.table:
            return TyperCommand(cmd_name, help=self.table[cmd_name][1], callback=None)
        return super().get_command(ctx, cmd_name)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, for which no command is built."""
        self._listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._listing = False

    def invoke(self, ctx: Any) -> Any:
        """Run the command; a closed pipe leaves under a name that Typer does not act on."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _ReaderGoneError from error

    def main(self, args: Sequence[str] | None = None, **extra: Any) -> Any:  # type: ignore[override]
        """Run the command line; exits the process unless told not to."""
        for name in ("stdout", "stderr"):
            if getattr(sys, name) is None:  # closed by who started us: nobody wants to read it
                setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
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
    from alxreport.token_form import without_secrets  # hashes are slow to import

    # Whatever was typed where a name belongs may have been a token.
    message, hint = without_secrets(message), without_secrets(hint)
    if hint and not message.endswith((".", "?", "!", ":")):
        message += "."
    if as_json:
        text = json.dumps({"error": {"code": code, "message": message, "hint": hint}})
    else:
        text = f"alxreport: {message}" + (f" {hint}" if hint else "")
    typer.echo(" ".join(text.split()), err=True)
