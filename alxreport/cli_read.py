"""The commands that read one company's rows: query, export, powerbi."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from alxreport.cli_options import (
    AnyCompany,
    Config,
    Debug,
    Json,
    OneCompany,
    TokenFile,
    caller,
    open_requests,
    read_settings,
)

Mode = Annotated[
    Literal["full", "incremental", "auto"] | None,
    typer.Option("--mode", help="Which rows; else as the company is set."),
]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="T", help="What changed since the answer that gave T."),
]
Fields = Annotated[str | None, typer.Option("--fields", metavar="a,b", help="Only these fields.")]
Courses = Annotated[
    str | None, typer.Option("--courses", metavar="7,9", help="Only these course ids.")
]
Status = Annotated[
    str | None,
    typer.Option("--status", metavar="S", help="completed, in_progress or not_started."),
]


def _question(
    mode: str | None,
    since: Callable[[], str | None],
    fields: str | None,
    courses: str | None,
    status: str | None,
    **more: Any,
) -> Any:
    """Return a function that makes the question, for usage errors are told after the credential."""
    from alxreport.listing import parse_fields, parse_filter
    from alxreport.question import Question

    def made() -> Question:
        wanted = None if courses is None and status is None else parse_filter(courses, status)
        return Question(
            mode=mode, since=since(), fields=parse_fields(fields), wanted=wanted, **more
        )

    return made


def query(
    context: typer.Context,
    company: AnyCompany = None,
    limit: Annotated[
        int | None, typer.Option("--limit", help="Rows on the page; 100 if not given.")
    ] = None,
    offset: Annotated[
        int | None, typer.Option("--offset", help="Rows before the page, as in Moodle.")
    ] = None,
    cursor: Annotated[
        str | None,
        typer.Option("--cursor", metavar="T", help="The page after the one whose 'next' this is."),
    ] = None,
    mode: Mode = None,
    since: Since = None,
    fields: Fields = None,
    courses: Courses = None,
    status: Status = None,
    form: Annotated[
        Literal["json", "table", "csv"], typer.Option("--format", help="How to print them.")
    ] = "json",
    token_file: TokenFile = None,
    as_json: Json = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Print one page of a company's progress."""
    del debug, as_json
    from alxreport.query import query_page

    settings = read_settings(context, config)
    store = open_requests(context, settings)
    who = caller("query", company, token_file)
    page = query_page(
        store, settings, who,
        _question(
            mode, lambda: since, fields, courses, status, limit=limit, offset=offset, cursor=cursor
        ),
        int(time.time()),
    )  # fmt: skip
    if form == "json":
        sys.stdout.buffer.write(page.json() + b"\n")
    elif form == "csv":
        from alxreport.export import csv_text

        sys.stdout.buffer.write(csv_text(page.records(), page.names))
    else:
        _show_table(page)
    _warn(page)


def _show_table(page: Any) -> None:
    from tabulate import tabulate

    hidden = ("timecompleted_unix", "timestarted_unix")
    rows = [{k: v for k, v in row.items() if k not in hidden} for row in page.records()]
    typer.echo(tabulate(rows, headers="keys", disable_numparse=True))
    head = page.head
    typer.echo(f"{head['count']} of {head['total']} rows, synced {head['synced_at']}", err=True)
    if head["next"]:
        typer.echo(f"next page: --cursor {head['next']}", err=True)


def _warn(answer: Any) -> None:
    """Tell what went beside, and a caller whose company has used most of its requests of today."""
    for warning in answer.warnings:
        typer.echo(f"alxreport: warning: {warning}", err=True)
    budget = answer.budget
    if budget is None or budget.state in {"ok", "unlimited"}:
        return
    from alxreport.records import iso_time

    typer.echo(
        f"alxreport: warning: {budget.used} of {budget.limit} requests of today are used;"
        f" the next day begins at {iso_time(budget.resets_at)}.",
        err=True,
    )


def export(
    context: typer.Context,
    company: AnyCompany = None,
    form: Annotated[
        Literal["json", "ndjson", "csv", "parquet"] | None,
        typer.Option("--format", help="How to print them; else by the ending of --output."),
    ] = None,
    mode: Mode = None,
    since: Since = None,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state",
            metavar="FILE",
            help="Go on from the T in this file, and keep the next one there.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="File to write; complete or not at all.", metavar="FILE"),
    ] = None,
    fields: Fields = None,
    courses: Courses = None,
    status: Status = None,
    token_file: TokenFile = None,
    as_json: Json = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Print all rows of one company."""
    del debug, as_json  # the rows are for scripts in any case; errors are told where they arise
    from alxreport.errors import UsageError
    from alxreport.export import BYTE_ORDER_MARK, FORMATS
    from alxreport.export import export as write_export
    from alxreport.whole_file import read_state, whole_file, write_state

    settings = read_settings(context, config)
    ending = output.suffix.removeprefix(".").lower() if output else ""
    form = form or (ending if ending in FORMATS else "json")  # type: ignore[assignment]
    store = open_requests(context, settings)
    who = caller("export", company, token_file)

    if state is not None and output is not None and state.absolute() == output.absolute():
        raise UsageError("--state and --output name the same file.", "Keep the state elsewhere.")

    def begin() -> str | None:
        return since if state is None else read_state(state, since)

    ask = _question(mode, begin, fields, courses, status, everything=True,
                    same_filter=state is not None)  # fmt: skip
    rest: dict[str, Any] = {"form": form, "now": int(time.time())}
    if output is None or str(output) == "-":
        done = write_export(store, settings, who, ask, sys.stdout.buffer, **rest)
    else:
        # Excel takes CSV for UTF-8 only with the mark; a pipe's reader would stumble over it.
        with whole_file(output, mark=BYTE_ORDER_MARK if form == "csv" else b"") as file:
            done = write_export(store, settings, who, ask, file, **rest)
        kind = "changed rows" if done.mode == "incremental" else "rows"
        typer.echo(f"{done.rows:,} {kind} written to {output}", err=True)
    if state is not None:
        write_state(state, done.delta)
    elif since is not None or done.mode == "incremental":
        typer.echo(f"alxreport: what follows: --since {done.delta}", err=True)
    _warn(done)


def powerbi(
    context: typer.Context,
    company: OneCompany,
    url: Annotated[
        str | None,
        typer.Option("--url", metavar="URL", help="Where alxreport serves, such as https://HOST."),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", metavar="DIR", help="Directory to write to.")
    ] = Path("powerbi"),
    as_json: Json = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Write what Power BI needs to load a company's rows: queries and a short guide."""
    del debug
    from alxreport.cli_options import print_json
    from alxreport.company_admin import power_bi

    settings = read_settings(context, config)
    texts = power_bi(open_requests(context, settings), settings, company, url, int(time.time()))
    from alxreport.whole_file import write_texts

    paths = write_texts(output, texts)
    for path in sorted(set(output.glob("progress-from-*.pq")) - set(paths)):
        typer.echo(f"alxreport: note: {path} is of an earlier time; it was not renewed.", err=True)
    if url is not None:
        typer.echo("alxreport: note: at this address 'alxreport serve' has to answer.", err=True)
    if as_json:
        print_json({"files": [str(path) for path in paths]})
    else:
        for path in paths:
            typer.echo(path)
