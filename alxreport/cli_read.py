"""The commands that read one company's rows: list, query, export."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from alxreport.cli_options import (
    Config,
    Debug,
    Json,
    OneCompany,
    open_tables,
    print_json,
    read_settings,
)


def company_list(
    context: typer.Context, as_json: Json = False, config: Config = None, debug: Debug = False
) -> None:
    """List the companies with their rows and their last sync."""
    del debug
    from alxreport.query import list_companies

    engine, tables = open_tables(context, read_settings(context, config), read_only=True)
    companies = list_companies(engine, tables)
    if as_json:
        print_json(companies)
    else:
        from alxreport import views

        views.show_companies(views.console(sys.stdout), companies)


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

    settings = read_settings(context, config)
    engine, tables = open_tables(context, settings, read_only=True)
    page = query_page(
        engine,
        tables,
        company=company,
        limit=limit,
        offset=offset,
        max_limit=settings.requests.max_limit,
    )
    if as_json or form == "json":
        print_json(page.as_dict())
    elif form == "csv":
        from alxreport.export import csv_text

        sys.stdout.buffer.write(csv_text(page.data, DEFAULT_FIELDS))
    else:
        from tabulate import tabulate

        hidden = ("timecompleted_unix", "timestarted_unix")
        rows = [{k: v for k, v in row.items() if k not in hidden} for row in page.data]
        typer.echo(tabulate(rows, headers="keys", disable_numparse=True))
        typer.echo(f"{page.count} of {page.total} rows, synced {page.synced_at}", err=True)


def export(
    context: typer.Context,
    company: OneCompany,
    form: Annotated[
        Literal["json", "ndjson", "csv"] | None,
        typer.Option("--format", help="How to print them; else by the ending of --output."),
    ] = None,
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

    settings = read_settings(context, config)
    names, wanted = parse_fields(fields), parse_filter(courses, status)
    engine, tables = open_tables(context, settings, read_only=True)
    ending = output.suffix.removeprefix(".").lower() if output else ""
    form = "json" if as_json else form or (ending if ending in {"csv", "ndjson"} else "json")  # type: ignore[assignment]
    choice: dict[str, Any] = {"company": company, "form": form, "fields": names, "wanted": wanted}
    if output is None:
        write_export(engine, tables, sys.stdout.buffer, **choice)
        return
    # Excel takes a CSV file for UTF-8 only with the mark; a pipe's reader would stumble over it.
    with whole_file(output, mark=BYTE_ORDER_MARK if form == "csv" else b"") as file:
        count = write_export(engine, tables, file, **choice)
    typer.echo(f"{count:,} rows written to {output}", err=True)
