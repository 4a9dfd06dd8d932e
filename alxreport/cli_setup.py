"""The commands that set alxreport up and look after it: init, doctor, demo."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from alxreport.cli_options import Config, Debug, Json, print_json

# Rows of each of the monitor's tables in the demonstration.
DEMO_ROWS = 6


def demo(
    directory: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to build it.")] = Path(
        "alxreport-demo"
    ),
    debug: Debug = False,
) -> None:
    """Build a made-up site, sync it, change it, sync it again; no server, no network."""
    del debug
    import time

    from alxreport import monitor_views, views
    from alxreport.demo import run_demo
    from alxreport.monitor_screens import screen
    from alxreport.rate_limit import zone

    report = run_demo(directory, int(time.time()))
    console, settings = views.console(sys.stdout), report.settings
    views.show_demo(console, report)
    where = zone(settings.requests.timezone)
    console.print("\n[bold]The monitor, with a made-up week behind it:[/bold]\n")
    monitor_views.show_screen(
        console, screen(report.snapshot, settings.alerts, where), rows=DEMO_ROWS
    )
    views.show_demo_commands(console, report)


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
    from alxreport.settings import environment_config

    report = initialise(
        target=default_config_target(config or context.obj or environment_config()),
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
        print_json(asdict(report) | {"path": str(report.path)})
    else:
        from alxreport import views

        views.show_init(views.console(sys.stderr), report)


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
        print_json({"verdict": worst(checks), "checks": [asdict(check) for check in checks]})
    else:
        from alxreport import views

        views.show_checks(views.console(sys.stdout), checks)
    if worst(checks) == "problem":
        raise typer.Exit(3)
