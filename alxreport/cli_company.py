"""The commands about companies: list, show, set, unset, fields, courses, import-moodle."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from alxreport.cli_options import (
    Config,
    Debug,
    Json,
    NamedCompany,
    open_requests,
    print_json,
    read_settings,
)
from alxreport.command_group import Table, group

COMMANDS: Table = {
    "list": ("cli_company:company_list", "List the companies with their rows and last sync."),
    "show": ("cli_company:show", "Show what is set for a company."),
    "set": ("cli_company:set_option", "Set something for a company."),
    "unset": ("cli_company:unset", "Let a company have the default again."),
    "fields": ("cli_company:fields", "Show or hide fields of a company's answers."),
    "courses": ("cli_company:courses", "List a company's courses; switch them on or off."),
    "import-moodle": ("cli_company:import_moodle", "Copy the settings of the PHP plugin."),
}

app = group(COMMANDS, "The companies, and what is set for each.")


def company_list(
    context: typer.Context, as_json: Json = False, config: Config = None, debug: Debug = False
) -> None:
    """List the companies with their rows and last sync."""
    del debug
    from alxreport.company_admin import list_companies

    companies = list_companies(open_requests(context, read_settings(context, config)))
    if as_json:
        print_json(companies)
    else:
        from alxreport import views

        views.show_companies(views.console(sys.stdout), companies)


def show(
    context: typer.Context,
    company: NamedCompany,
    as_json: Json = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Show what is set for a company."""
    del debug
    from alxreport.company_admin import show_company

    settings = read_settings(context, config)
    found = show_company(open_requests(context, settings), settings, company, int(time.time()))
    if as_json:
        print_json(found)
    else:
        from alxreport import request_views, views

        request_views.show_company(views.console(sys.stdout), found)


def set_option(
    context: typer.Context,
    company: NamedCompany,
    pairs: Annotated[
        list[str], typer.Argument(metavar="NAME VALUE", help="Also NAME=VALUE, several of them.")
    ],
    as_json: Json = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Set something for a company: max_limit, sync_mode, sync_window_hours, cache_minutes,
    include_untracked."""
    del debug
    from alxreport.company_admin import set_options
    from alxreport.errors import UsageError

    if len(pairs) == 2 and "=" not in pairs[0]:
        values = {pairs[0]: pairs[1]}
    elif all("=" in pair for pair in pairs):
        values = dict(pair.split("=", 1) for pair in pairs)
    else:
        raise UsageError("That is no name and value.", "Write: company set C max_limit 500")
    store = open_requests(context, read_settings(context, config))
    done = set_options(store, company, values, int(time.time()))
    if as_json:
        print_json(done)
        return
    for name, value in done.items():
        typer.echo(f"{name} = {value}", err=True)
    if "include_untracked" in done:
        typer.echo("include_untracked takes effect with the next sync.", err=True)


def unset(
    context: typer.Context,
    company: NamedCompany,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What was set.")],
    as_json: Json = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Let a company have the default again."""
    del debug
    from alxreport.company_admin import unset_option

    done = unset_option(open_requests(context, read_settings(context, config)), company, name)
    if as_json:
        print_json({"name": name, "changed": done})
    else:
        typer.echo(f"{name}: {'the default again' if done else 'was not set'}", err=True)


def fields(
    context: typer.Context,
    company: NamedCompany,
    show_fields: Annotated[
        list[str] | None, typer.Option("--show", metavar="F", help="Show it; may be repeated.")
    ] = None,
    hide: Annotated[
        list[str] | None, typer.Option("--hide", metavar="F", help="Hide it; may be repeated.")
    ] = None,
    default: Annotated[
        bool, typer.Option("--default", help="First forget what was shown and hidden.")
    ] = False,
    as_json: Json = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Show or hide fields of a company's answers; without options, list them."""
    del debug
    from alxreport.company_admin import company_fields

    settings = read_settings(context, config)
    found = company_fields(
        open_requests(context, settings), settings, company, int(time.time()),
        show=show_fields or (), hide=hide or (), default=default,
    )  # fmt: skip
    if hide and not (found["userid"] and found["courseid"]):
        typer.echo("alxreport: warning: without userid and courseid nobody can read increments.",
                   err=True)  # fmt: skip
    if as_json:
        print_json(found)
    else:
        for name, shown in found.items():
            typer.echo(f"{name:<20}{'shown' if shown else 'hidden'}")


def courses(
    context: typer.Context,
    company: NamedCompany,
    enable: Annotated[
        list[int] | None, typer.Option("--enable", metavar="ID", help="Report it again.")
    ] = None,
    disable: Annotated[
        list[int] | None, typer.Option("--disable", metavar="ID", help="Report it no more.")
    ] = None,
    as_json: Json = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """List a company's courses; switch them on or off from the next sync on."""
    del debug
    from dataclasses import asdict

    from alxreport.company_admin import company_courses

    settings = read_settings(context, config)
    found = company_courses(
        open_requests(context, settings), settings, company, int(time.time()),
        enable=enable or (), disable=disable or (),
    )  # fmt: skip
    if as_json:
        print_json([asdict(course) for course in found])
    else:
        from alxreport import request_views, views

        request_views.show_courses(views.console(sys.stdout), found)
    if enable or disable:
        typer.echo("This takes effect with the next sync.", err=True)


def import_moodle(
    context: typer.Context, as_json: Json = False, config: Config = None, debug: Debug = False
) -> None:
    """Copy the settings of the PHP plugin that is installed in Moodle."""
    del debug
    from alxreport.company_admin import import_settings

    settings = read_settings(context, config)
    found = import_settings(open_requests(context, settings), settings, int(time.time()))
    if as_json:
        print_json(found)
    else:
        from alxreport import request_views, views

        request_views.show_imported_settings(views.console(sys.stdout), found)
