"""The command line: each command parses, calls one function, shows what it returned."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Literal

import typer

from alxreport import __version__
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
from alxreport.command_group import Table, group_of, need_command

COMMANDS: Table = {
    "sync": ("cli:sync", "Bring the reporting table up to date with Moodle."),
    "sync-state": ("cli:sync_state", "Show the sync's switch, or set it."),
    "verify": ("cli:verify", "Compare the reporting table with Moodle, row for row."),
    "explain": ("cli:explain", "Tell why a row says what it says, or why there is none."),
    "query": ("cli_read:query", "Print one page of a company's progress."),
    "export": ("cli_read:export", "Print all rows of one company."),
    "powerbi": ("cli_read:powerbi", "Write what Power BI needs to load a company's rows."),
    "serve": ("cli_serve:serve", "Answer requests over HTTP until stopped."),
    "company": ("cli_company:app", "The companies, and what is set for each."),
    "token": ("cli_tokens:app", "The credentials with which a company's rows are asked for."),
    "limit": ("cli_tokens:limit_app", "How many requests a company may make a day."),
    "cache": ("cli_tokens:cache_app", "The pages that are kept for a while."),
    "monitor": ("cli_monitor:monitor_app", "Show at a glance how the sync and requests do."),
    "alerts": ("cli_monitor:alerts_app", "What is wrong, and who is told."),
    "metrics": ("cli_monitor:metrics", "Print the monitor's figures for Prometheus."),
    "cron": ("cli_cron:app", "The cron lines that run the sync."),
    "init": ("cli_setup:init", "Write the configuration, after trying both databases."),
    "doctor": ("cli_setup:doctor", "Check the set-up and say what to do about each finding."),
    "demo": ("cli_setup:demo", "Build a made-up site and play an hour; no server, no network."),
}

app = typer.Typer(
    cls=group_of(COMMANDS),
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    help="Exact learner progress from IOMAD/Moodle for Power BI.",
    epilog="Start with 'alxreport demo', or with 'alxreport init' on a Moodle server.",
)

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
