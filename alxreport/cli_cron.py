"""The commands about cron: show, install, remove, status."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from alxreport.cli_options import Config, Debug, Json, print_json
from alxreport.command_group import Table, group

CRON: Table = {
    "show": ("cli_cron:show", "Print the lines for this machine; change nothing."),
    "install": ("cli_cron:install", "Put the lines into your crontab; all others stay."),
    "remove": ("cli_cron:remove", "Take the lines out of your crontab; all others stay."),
    "status": ("cli_cron:status", "Tell what runs the sync, whether it works, and when next."),
}

app = group(CRON, "The cron lines that run the sync.")

Minute = Annotated[
    int | None,
    typer.Option("--minute", metavar="N", help="Minute of the hour; else the machine's own."),
]
LogTo = Annotated[
    Literal["mail", "logger"],
    typer.Option("--log", help="Where a sync says what is wrong: cron's mail, or the system's log"),
]


def show(
    context: typer.Context,
    minute: Minute = None,
    log: LogTo = "mail",
    as_json: Json = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Print the lines for this machine and this configuration; change nothing."""
    del debug
    from alxreport.cron import cron_lines
    from alxreport.settings import find_config

    lines = cron_lines(find_config(config or context.obj), minute=minute, log=log)
    if as_json:
        print_json({"lines": [{"task": task, "line": line} for task, line in lines.items()]})
    else:
        for line in lines.values():
            typer.echo(line)


def install(
    context: typer.Context,
    minute: Minute = None,
    log: LogTo = "mail",
    as_json: Json = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Put the lines into your crontab, or renew them; all other lines stay as they are."""
    del debug
    from alxreport.cron import install_lines
    from alxreport.settings import find_config

    path = find_config(config or context.obj)
    change = install_lines(path, int(time.time()), minute=minute, log=log)
    if as_json:
        print_json(asdict(change))
    else:
        from alxreport import cron_views, views

        cron_views.show_install(views.console(sys.stderr), change)


def remove(
    context: typer.Context, as_json: Json = False, config: Config = None, debug: Debug = False
) -> None:
    """Take alxreport's own lines out of your crontab; all other lines stay as they are."""
    del debug
    from alxreport.cron import remove_lines

    change = remove_lines(_named(context, config), int(time.time()))
    if as_json:
        print_json(asdict(change))
    else:
        from alxreport import cron_views, views

        cron_views.show_remove(views.console(sys.stderr), change)


def _named(context: typer.Context, config: Path | None) -> Path | None:
    from alxreport.settings import find_config

    # The line of a configuration that is gone has to go too.
    return config or context.obj or find_config(None)


def status(
    context: typer.Context, as_json: Json = False, config: Config = None, debug: Debug = False
) -> None:
    """Tell what runs the sync on this machine, whether it works, and when it runs next."""
    del debug
    from alxreport.cron import cron_status
    from alxreport.settings import find_config

    found = cron_status(find_config(config or context.obj), int(time.time()))
    if as_json:
        print_json(found.as_dict())
    else:
        from alxreport import cron_views, views

        cron_views.show_status(views.console(sys.stdout), found)
