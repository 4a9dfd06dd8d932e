"""The command line: each command parses, calls one function, shows what it returned."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from alxreport import __version__
from alxreport.command_group import CommandGroup

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from alxreport.schema import StoreTables
    from alxreport.settings import Settings

app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    help="Exact learner progress from IOMAD/Moodle for Power BI.",
    epilog="Start with 'alxreport demo', or with 'alxreport init' on a Moodle server.",
)
company_app = typer.Typer(no_args_is_help=True, help="The companies that can be asked for.")
app.add_typer(company_app, name="company")

Config = Annotated[
    Path | None, typer.Option("--config", help="Configuration file to use.", metavar="FILE")
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

FAILED_COMPANIES, DIFFERENCES = 7, 8


def main() -> None:
    """Run the command line."""
    app()


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"alxreport {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    config: Config = None,
    debug: Debug = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    del debug, version  # read from the command line where errors are told, and by the callback
    context.obj = config


def _settings(context: typer.Context, config: Path | None, quiet: bool = False) -> Settings:
    from alxreport.settings import load_settings

    settings = load_settings(config or context.obj)
    for warning in settings.warnings:
        if not quiet:
            typer.echo(f"alxreport: warning: {warning}", err=True)
    return settings


def _store(settings: Settings, *, read_only: bool) -> tuple[Engine, StoreTables]:
    """Open the store; for reading it has to be there, for a sync it is made when missing."""
    from alxreport.database import open_store
    from alxreport.schema import prepare_store, require_store, store_tables

    tables = store_tables(settings.store.table_prefix)
    engine = open_store(settings.store, create=not read_only)
    (require_store if read_only else prepare_store)(engine, tables)
    return engine, tables


def _print_json(value: Any) -> None:
    import orjson

    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE))


@app.command()
def sync(
    context: typer.Context,
    company: Companies = None,
    full: Annotated[bool, typer.Option("--full", help="Derive everything again.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Report what would change; write nothing.")
    ] = False,
    allow_mass_delete: Annotated[
        bool,
        typer.Option("--allow-mass-delete", help="Let most rows of a company go, if they must."),
    ] = False,
    as_json: Json = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Say nothing unless something is wrong.")
    ] = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Bring the reporting table up to date with Moodle."""
    del debug
    from alxreport.errors import AlreadyRunningError
    from alxreport.sync import dry_store, run_sync

    settings = _settings(context, config)
    choice = {
        "companies": company or (),
        "full": full,
        "dry_run": dry_run,
        "allow_mass_delete": allow_mass_delete,
    }
    try:
        with _progress(enabled=not (quiet or as_json)) as observer:
            if dry_run:
                with dry_store(settings) as (engine, tables):
                    report = run_sync(settings, engine, tables, **choice, observer=observer)
            else:
                engine, tables = _store(settings, read_only=False)
                report = run_sync(settings, engine, tables, **choice, observer=observer)
    except AlreadyRunningError as error:
        if quiet:
            raise typer.Exit(error.exit_code) from error
        raise
    if as_json:
        _print_json(report.as_dict())
    elif not quiet or report.errors:
        from alxreport import views

        views.show_sync(views.console(sys.stderr), report)
    if report.errors:
        raise typer.Exit(FAILED_COMPANIES)


def _progress(*, enabled: bool) -> Any:
    """Return a context with an observer that draws a bar on stderr when that is a terminal."""
    from contextlib import contextmanager

    @contextmanager
    def bar() -> Any:
        if not enabled or not sys.stderr.isatty():
            yield lambda done, total: None
            return
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(file=sys.stderr), transient=True) as progress:
            task = progress.add_task("Reading Moodle", total=None)
            yield lambda done, total: progress.update(
                task, completed=done, total=total, description="Companies"
            )

    return bar()


@app.command("sync-state")
def sync_state(
    context: typer.Context,
    action: Annotated[
        Literal["show", "enable", "disable"], typer.Argument(help="What to do.")
    ] = "show",
    as_json: Json = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Show the sync's switch, or set it; while disabled a sync does nothing."""
    del debug
    from alxreport import switch

    settings = _settings(context, config)
    engine, tables = _store(settings, read_only=False)
    if action != "show":
        switch.set_switch(engine, tables, enabled=action == "enable")
    status = "Disabled" if switch.is_disabled(engine, tables) else "Active"
    if as_json:
        _print_json({"status": status})
    else:
        typer.echo(f"Status: {status}")


@app.command()
def verify(
    context: typer.Context,
    company: Companies = None,
    repair: Annotated[bool, typer.Option("--repair", help="Mend the rows that are wrong.")] = False,
    as_json: Json = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Compare the reporting table with Moodle, row for row."""
    del debug
    from alxreport.verify import run_verify

    settings = _settings(context, config)
    engine, tables = _store(settings, read_only=True)
    with _progress(enabled=not as_json) as observer:
        report = run_verify(
            settings, engine, tables, companies=company or (), repair=repair, observer=observer
        )
    if as_json:
        _print_json(report.as_dict())
    else:
        from alxreport import views

        views.show_verify(views.console(sys.stdout), report)
    if report.wrong and not report.repaired:
        raise typer.Exit(DIFFERENCES)


@app.command()
def explain(
    context: typer.Context,
    company: OneCompany,
    user: Annotated[str, typer.Option("--user", metavar="U", help="Id, username or e-mail.")],
    course: Annotated[
        str, typer.Option("--course", metavar="X", help="Id, short name or full name.")
    ],
    as_json: Json = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Tell why a row says what it says, or why there is none."""
    del debug
    import time

    from alxreport.explain import explain as find_reasons

    settings = _settings(context, config)
    engine, tables = _store(settings, read_only=True)
    told = find_reasons(
        settings, engine, tables, company=company, user=user, course=course, now=int(time.time())
    ).as_dict()
    if as_json:
        _print_json(told)
    else:
        from alxreport import views

        views.show_explanation(views.console(sys.stdout), told)


@company_app.command("list")
def company_list(
    context: typer.Context, as_json: Json = False, config: Config = None, debug: Debug = False
) -> None:
    """List the companies with their rows and their last sync."""
    del debug
    from alxreport.query import list_companies

    engine, tables = _store(_settings(context, config), read_only=True)
    companies = list_companies(engine, tables)
    if as_json:
        _print_json(companies)
    else:
        from alxreport import views

        views.show_companies(views.console(sys.stdout), companies)


@app.command()
def query(
    context: typer.Context,
    company: OneCompany,
    limit: Annotated[int, typer.Option("--limit", help="Rows on the page.")] = 100,
    offset: Annotated[int, typer.Option("--offset", help="Rows before the page.")] = 0,
    mode: Annotated[Literal["full"], typer.Option("--mode", help="Which rows.")] = "full",
    form: Annotated[
        Literal["json", "table", "csv"], typer.Option("--format", help="How to print them.")
    ] = "json",
    as_json: Json = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Print one page of a company's progress."""
    del debug, mode
    from alxreport.listing import DEFAULT_FIELDS
    from alxreport.query import query_page

    settings = _settings(context, config)
    engine, tables = _store(settings, read_only=True)
    page = query_page(
        engine,
        tables,
        company=company,
        limit=limit,
        offset=offset,
        max_limit=settings.requests.max_limit,
    )
    if as_json or form == "json":
        _print_json(page.as_dict())
    elif form == "csv":
        from alxreport.export import csv_text

        sys.stdout.buffer.write(csv_text(page.data, DEFAULT_FIELDS))
    else:
        from tabulate import tabulate

        hidden = ("timecompleted_unix", "timestarted_unix")
        rows = [{k: v for k, v in row.items() if k not in hidden} for row in page.data]
        typer.echo(tabulate(rows, headers="keys", disable_numparse=True))
        typer.echo(f"{page.count} of {page.total} rows, synced {page.synced_at}", err=True)


@app.command()
def export(
    context: typer.Context,
    company: OneCompany,
    form: Annotated[
        Literal["json", "ndjson", "csv"], typer.Option("--format", help="How to print them.")
    ] = "json",
    mode: Annotated[Literal["full"], typer.Option("--mode", help="Which rows.")] = "full",
    output: Annotated[
        Path | None,
        typer.Option("--output", help="File to write; complete or not at all.", metavar="FILE"),
    ] = None,
    fields: Annotated[
        str | None, typer.Option("--fields", metavar="a,b", help="Only these fields.")
    ] = None,
    courses: Annotated[
        str | None, typer.Option("--courses", metavar="7,9", help="Only these course ids.")
    ] = None,
    status: Annotated[
        str | None,
        typer.Option("--status", metavar="S", help="completed, in_progress or not_started."),
    ] = None,
    as_json: Json = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Print all rows of one company."""
    del debug, mode
    from alxreport.export import BYTE_ORDER_MARK, whole_file
    from alxreport.export import export as write_export
    from alxreport.listing import parse_fields, parse_filter

    settings = _settings(context, config)
    names, wanted = parse_fields(fields), parse_filter(courses, status)
    engine, tables = _store(settings, read_only=True)
    form = "json" if as_json else form
    choice: dict[str, Any] = {"company": company, "form": form, "fields": names, "wanted": wanted}
    if output is None:
        write_export(engine, tables, sys.stdout.buffer, **choice)
        return
    # Excel takes a CSV file for UTF-8 only with the mark; a pipe's reader would stumble over it.
    with whole_file(output, mark=BYTE_ORDER_MARK if form == "csv" else b"") as file:
        count = write_export(engine, tables, file, **choice)
    typer.echo(f"{count:,} rows written to {output}", err=True)


@app.command()
def demo(
    directory: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Where to build it.")
    ] = Path("alxreport-demo"),
    debug: Debug = False,
) -> None:
    """Build a made-up site, sync it, change it, sync it again; no server, no network."""
    del debug
    import time

    from alxreport import views
    from alxreport.demo import run_demo

    views.show_demo(views.console(sys.stdout), run_demo(directory, int(time.time())))


@app.command()
def init(
    context: typer.Context,
    moodle_config: Annotated[
        Path | None,
        typer.Option("--moodle-config", metavar="FILE", help="Moodle's config.php to read."),
    ] = None,
    moodle_url: Annotated[
        str | None,
        typer.Option("--moodle-url", metavar="URL", help="Moodle's database, without password."),
    ] = None,
    store_url: Annotated[
        str | None, typer.Option("--store-url", metavar="URL", help="alxreport's own database.")
    ] = None,
    prefix: Annotated[
        str | None, typer.Option("--prefix", help="Prefix of Moodle's tables, if not mdl_.")
    ] = None,
    tls: Annotated[
        Literal["off", "require", "verify"] | None,
        typer.Option("--tls", help="Encryption to Moodle's database."),
    ] = None,
    tls_ca: Annotated[
        str | None, typer.Option("--tls-ca", metavar="FILE", help="Certificates to trust.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a configuration that is there, all of it.")
    ] = False,
    as_json: Json = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Write the configuration, after trying both databases."""
    del debug
    from dataclasses import asdict

    from alxreport.initialise import default_config_target, initialise

    report = initialise(
        target=default_config_target(config or context.obj or _config_variable()),
        moodle_config=moodle_config,
        moodle_url=moodle_url,
        store_url=store_url,
        prefix=prefix,
        tls=tls,
        tls_ca=tls_ca,
        ask=_ask,
        force=force,
    )
    if as_json:
        _print_json(asdict(report) | {"path": str(report.path)})
    else:
        from alxreport import views

        views.show_init(views.console(sys.stderr), report)


def _config_variable() -> Path | None:
    return Path(value) if (value := os.environ.get("ALXREPORT_CONFIG")) else None


def _ask(question: str, secret: bool) -> str:
    from alxreport.errors import UsageError

    if not sys.stdin.isatty():
        # A script may pipe its answers, one a line.
        typer.echo(f"{question}: ", err=True, nl=False)
        line = sys.stdin.readline()
        typer.echo("", err=True)
        if not line:
            raise UsageError(f"There is nobody to ask: {question}?", "Run it in a terminal.")
        return line.rstrip("\r\n")
    answer: str = typer.prompt(
        question, hide_input=secret, default="", show_default=False, err=True
    )
    return answer


@app.command()
def doctor(
    context: typer.Context, as_json: Json = False, config: Config = None, debug: Debug = False
) -> None:
    """Check the set-up and say what to do about each finding."""
    del debug
    import time
    from dataclasses import asdict

    from alxreport.doctor import diagnose, worst
    from alxreport.settings import load_settings

    checks = diagnose(lambda: load_settings(config or context.obj), int(time.time()))
    if as_json:
        _print_json({"verdict": worst(checks), "checks": [asdict(check) for check in checks]})
    else:
        from alxreport import views

        views.show_checks(views.console(sys.stdout), checks)
    if worst(checks) == "problem":
        raise typer.Exit(3)
