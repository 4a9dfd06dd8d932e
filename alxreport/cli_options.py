"""What the commands share: their common options, and how they open what they need."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from alxreport.admission import Caller
    from alxreport.schema import StoreTables
    from alxreport.sessions import Store
    from alxreport.settings import Settings

Config = Annotated[
    Path | None,
    # Whether it can be read is found out, and told, where it is read.
    typer.Option("--config", help="Configuration file to use.", metavar="FILE", readable=False),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of a fault.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Companies = Annotated[
    list[str] | None,
    typer.Option("--company", metavar="C", help="Only this company; may be repeated."),
]
OneCompany = Annotated[
    str, typer.Option("--company", metavar="C", help="Short name, id, or id:NUMBER.")
]

AnyCompany = Annotated[
    str | None,
    typer.Option("--company", metavar="C", help="Short name, id, or id:NUMBER; the token's if one"),
]
NamedCompany = Annotated[str, typer.Argument(metavar="C", help="Short name, id, or id:NUMBER.")]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file", metavar="FILE",
        help="Ask with the token in this file, - for stdin; else with ALXREPORT_TOKEN if set.",
    ),
]  # fmt: skip


def read_settings(context: typer.Context, config: Path | None) -> Settings:
    """Load the settings; warnings about them go to stderr."""
    from alxreport.settings import load_settings

    settings = load_settings(config or context.obj)
    for warning in settings.warnings:
        typer.echo(f"alxreport: warning: {warning}", err=True)
    return settings


def require_source(settings: Settings) -> None:
    """Check that a Moodle database is configured, before a store is made for nothing.

    Where there is a store, the run itself finds that out, and is recorded as a failed one.
    """
    from alxreport.database import open_source, store_exists

    if not store_exists(settings.store):
        open_source(settings.moodle).dispose()


def open_tables(
    context: typer.Context, settings: Settings, *, read_only: bool
) -> tuple[Engine, StoreTables]:
    """Open the store; for reading it has to be there, for a sync it is made when missing."""
    from alxreport.again import until_done
    from alxreport.database import open_store
    from alxreport.schema import prepare_store, require_store, store_tables

    tables = store_tables(settings.store.table_prefix)
    engine = open_store(settings.store, create=not read_only)
    context.call_on_close(engine.dispose)
    prepare = require_store if read_only else prepare_store
    until_done(lambda _attempt: prepare(engine, tables), lambda _error: False)
    return engine, tables


def open_requests(context: typer.Context, settings: Settings) -> Store:
    """Open the store for requests and for what is set about them; it has to be there."""
    from alxreport.sessions import open_requests as opened

    store = opened(settings.store)
    context.call_on_close(store.close)
    return store


def caller(endpoint: str, company: str | None, token_file: Path | None) -> Caller:
    """Return who asks: the bearer of a token on this machine, or the local operator."""
    from alxreport.admission import Caller
    from alxreport.settings import environment_token, user_name

    token = _token_in(token_file) if token_file else environment_token()
    token = token.strip() if token is not None else None
    agent = f"cli:{user_name()}"
    return Caller(endpoint, "" if token is None else "127.0.0.1", agent, token, company)


def _token_in(path: Path) -> str:
    from alxreport.errors import UsageError

    try:
        data = sys.stdin.buffer.read(4096) if str(path) == "-" else path.read_bytes()[:4096]
    except OSError as error:
        raise UsageError(
            f"The token file {path} cannot be read: {error.strerror}.", "Check --token-file."
        ) from error
    return data.decode("utf-8-sig", "replace")


def print_json(value: Any) -> None:
    """Print a value as one line of JSON on stdout."""
    import orjson

    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE, default=list))


def progress_bar(*, enabled: bool) -> Any:
    """Return a context with an observer that draws a bar on stderr when that is a terminal."""
    from contextlib import contextmanager

    from alxreport.run import unobserved

    @contextmanager
    def bar() -> Any:
        if not enabled or not sys.stderr.isatty():
            yield unobserved
            return
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(file=sys.stderr), transient=True) as progress:
            task = progress.add_task("Reading Moodle", total=None)
            yield lambda done, total: progress.update(
                task, completed=done, total=total, description="Companies"
            )

    return bar()
