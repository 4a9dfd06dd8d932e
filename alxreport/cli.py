"""The command line: each command parses, calls one function, shows what it returned."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Literal

import typer

from alxreport import __version__, cli_read, cli_setup
from alxreport.cli_options import (
    Companies,
    Config,
    Debug,
    Json,
    OneCompany,
    open_tables,
    print_json,
    progress_bar,
    read_settings,
    require_source,
)
from alxreport.command_group import CommandGroup, need_command

app = typer.Typer(
    cls=CommandGroup,
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    help="Exact learner progress from IOMAD/Moodle for Power BI.",
    epilog="Start with 'alxreport demo', or with 'alxreport init' on a Moodle server.",
)
company_app = typer.Typer(invoke_without_command=True, help="The companies that can be asked for.")
company_app.callback()(need_command)
app.add_typer(company_app, name="company")

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
    need_command(context)


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

    settings = read_settings(context, config)
    require_source(settings)
    choice: dict[str, Any] = {
        "companies": company or (),
        "full": full,
        "dry_run": dry_run,
        "allow_mass_delete": allow_mass_delete,
    }
    try:
        with progress_bar(enabled=not (quiet or as_json)) as observer:
            if dry_run:
                with dry_store(settings) as (engine, tables):
                    report = run_sync(settings, engine, tables, **choice, observer=observer)
            else:
                engine, tables = open_tables(context, settings, read_only=False)
                report = run_sync(settings, engine, tables, **choice, observer=observer)
    except AlreadyRunningError as error:
        if quiet:
            raise typer.Exit(error.exit_code) from error
        raise
    if as_json:
        print_json(report.as_dict())
    elif not quiet or report.errors:
        from alxreport import views

        views.show_sync(views.console(sys.stderr), report)
    if report.errors:
        raise typer.Exit(FAILED_COMPANIES)


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

    settings = read_settings(context, config)
    engine, tables = open_tables(context, settings, read_only=action == "show")
    if action != "show":
        switch.set_switch(engine, tables, enabled=action == "enable")
    status = "Disabled" if switch.is_disabled(engine, tables) else "Active"
    if as_json:
        print_json({"status": status})
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

    settings = read_settings(context, config)
    engine, tables = open_tables(context, settings, read_only=True)
    with progress_bar(enabled=not as_json) as observer:
        report = run_verify(
            settings, engine, tables, companies=company or (), repair=repair, observer=observer
        )
    if as_json:
        print_json(report.as_dict())
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

    settings = read_settings(context, config)
    engine, tables = open_tables(context, settings, read_only=True)
    told = find_reasons(
        settings, engine, tables, company=company, user=user, course=course, now=int(time.time())
    ).as_dict()
    if as_json:
        print_json(told)
    else:
        from alxreport import views

        views.show_explanation(views.console(sys.stdout), told)


company_app.command("list")(cli_read.company_list)
app.command()(cli_read.query)
app.command()(cli_read.export)
app.command()(cli_setup.init)
app.command()(cli_setup.doctor)
app.command()(cli_setup.demo)
