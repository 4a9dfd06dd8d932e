"""What people see on a terminal: pictures of values that services return, nothing computed."""

from __future__ import annotations

import shutil
import sys
from typing import Any, TextIO

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from alxreport.demo import DemoReport
from alxreport.initialise import InitReport
from alxreport.records import CompanyResult, RunReport, iso_time
from alxreport.verify import VerifyReport

SHOWN_DIFFERENCES = 20
WORDS = {"success": "green", "ok": "green", "active": "green", "revoked": "red",
         "expired": "yellow", "exceeded": "red", "partial": "yellow", "warning": "yellow",
         "pending": "yellow", "failed": "red", "problem": "red", "wrong": "red"}  # fmt: skip


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the command line, which ends quietly; Rich would end with code 1."""
        raise BrokenPipeError


def console(stream: TextIO) -> Console:
    """Return a console on a stream: colours only on a terminal, and never with NO_COLOR."""
    return _Console(file=stream, highlight=False, soft_wrap=not stream.isatty())


def word(text: str) -> Text:
    """Return a word in the colour of what it means."""
    return Text(text, style=WORDS.get(text, ""))


def shown_time(iso: str | None, never: str) -> str:
    """Return a moment in UTC as people read it, or a word for none."""
    return iso.replace("T", " ").removesuffix("Z") if iso else never


def new_table(*columns: str, numbers: tuple[str, ...] = ()) -> Table:
    """Return an empty table in the style of every screen."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        right = column in numbers
        table.add_column(
            column, justify="right" if right else "left", no_wrap=right, overflow="fold"
        )
    return table


def plural(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun: ``1 row``, ``1,250 rows``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def show_sync(out: Console, report: RunReport) -> None:
    """Show what a sync did: one line, then only the companies with something to tell."""
    if report.status == "disabled":
        out.print(
            "The sync is disabled; nothing was done. Switch it on: alxreport sync-state enable"
        )
        return
    verb = "would be " if report.dry_run else ""
    line = Text("Sync ")
    line.append_text(word(report.status))
    line.append(
        f" ({report.mode}{', dry run: nothing was written' if report.dry_run else ''}):"
        f" {plural(len(report.companies), 'company', 'companies')},"
        f" {report.created:,} {verb}created, {report.updated:,} {verb}updated,"
        f" {report.deleted:,} {verb}deleted, {plural(report.errors, 'error')}"
        f" in {report.duration_seconds:.1f} s"
    )
    out.print(line)
    told = [company for company in report.companies if company.changed or company.error]
    if told:
        out.print(_sync_table(told))
    for company in told:
        if company.error:
            out.print(f"[red]{escape(company.company)}[/red]: {escape(company.error)}")


def _sync_table(companies: list[CompanyResult]) -> Table:
    numbers = ("Rows", "Created", "Updated", "Deleted")
    table = new_table("Company", "Status", *numbers, numbers=numbers)
    for company in companies:
        figures = (company.rows, company.created, company.updated, company.deleted)
        table.add_row(
            Text(company.company), word(company.status), *(f"{figure:,}" for figure in figures)
        )
    return table


def show_verify(out: Console, report: VerifyReport) -> None:
    """Show how the table compares with Moodle, and the first rows that differ."""
    verdict = "wrong" if report.wrong else "pending" if report.pending else "ok"
    line = Text("Verify ")
    line.append_text(word(verdict))
    line.append(
        f": {plural(report.rows, 'row')} compared, {report.pending:,} pending,"
        f" {report.wrong:,} wrong in {report.duration_seconds:.1f} s"
    )
    out.print(line)
    if report.pending:
        out.print("Pending: Moodle changed since the last sync; the next one takes these.")
    if report.wrong:
        out.print(
            "The wrong rows were repaired."
            if report.repaired
            else "Wrong: the next sync would not touch these; mend them with --repair."
        )
    table = new_table("Company", "User", "Course", "Kind", "How")
    for found in report.differences[:SHOWN_DIFFERENCES]:
        fields = "; ".join(
            f"{name}: {was!r} should be {now!r}" for name, (was, now) in found.fields.items()
        )
        table.add_row(
            Text(found.company),
            str(found.userid),
            str(found.courseid),
            word(found.kind),
            Text(fields or found.problem),
        )
    if report.differences:
        out.print(table)
    more = report.pending + report.wrong - min(len(report.differences), SHOWN_DIFFERENCES)
    if more:
        out.print(f"… and {plural(more, 'more row')}; all with --json.")


def show_companies(out: Console, companies: list[dict[str, Any]]) -> None:
    """Show the companies that can be asked for."""
    table = new_table("Id", "Short name", "Name", "Rows", "Last sync (UTC)", numbers=("Id", "Rows"))
    for company in companies:
        name = Text(company["name"])
        if company["suspended"]:
            name.append(" (suspended)", style="yellow")
        synced = shown_time(company["synced_at"], "never")
        table.add_row(
            str(company["id"]), Text(company["shortname"]), name, f"{company['rows']:,}", synced
        )
    out.print(table)


def show_checks(out: Console, checks: Any) -> None:
    """Show a diagnosis: each check with its verdict, the finding and the one thing to do."""
    table = new_table("Check", "Verdict", "Finding")
    for check in checks:
        finding = Text(check.finding)
        if check.advice:
            finding.append(f"\n→ {check.advice}", style="bold")
        table.add_row(check.name, word(check.verdict), finding)
    out.print(table)


def show_init(out: Console, report: InitReport) -> None:
    """Show what ``init`` found and wrote, and what comes next."""
    out.print(Text(f"Moodle: {report.source}"))
    out.print(
        f"  {report.server}, {plural(report.companies, 'company', 'companies')},"
        f" {plural(report.users, 'user')}"
    )
    out.print(Text(f"Store:  {report.store}"))
    out.print(f"Time zone: {report.timezone}")
    for note in report.notes:
        out.print(Text(f"Note: {note}", style="yellow"))
    out.print(Text(f"Written: {report.path} (mode 0600)", style="green"))
    out.print("Next: alxreport doctor, then alxreport sync")


def show_demo(out: Console, report: DemoReport) -> None:
    """Tell what the demonstration did."""
    first, second = report.first, report.second
    out.print(
        f"A made-up IOMAD site with {plural(len(first.companies), 'company', 'companies')}"
        f" was built, and synced: {plural(first.created, 'reporting row')}."
    )
    out.print("\n[bold]Then an hour passed on the site:[/bold]")
    for change in report.changes:
        out.print(Text(f"  · {change.what}"))
    out.print("\n[bold]The next sync found all of it:[/bold]")
    show_sync(out, second)


def show_demo_commands(out: Console, report: DemoReport) -> None:
    """Tell what to try next with a demonstration."""
    config = report.config
    program = "alxreport" if shutil.which("alxreport") else sys.argv[0]
    if program.endswith("__main__.py"):
        program = f"{sys.executable} -m alxreport"
    out.print("\n[bold]Look for yourself:[/bold]")
    for command in (
        f"{program} company list --config {config}",
        f"{program} query --company {report.company} --limit 10 --format table --config {config}",
        f"{program} export --company {report.company} --format csv --config {config}",
        f"{program} query --token-file {report.token_file} --limit 1 --config {config}",
        f"{program} limit show --config {config}",
        f"{program} monitor --watch --config {config}",
        f"{program} monitor --html monitor.html --config {config}",
        f"{program} verify --config {config}",
    ):
        out.print(Text(f"  {command}"), soft_wrap=True)


def show_explanation(out: Console, told: dict[str, Any]) -> None:
    """Show why a row says what it says, or why there is none."""
    user, course, company = told["user"], told["course"], told["company"]
    head = f"{user['firstname']} {user['lastname']} ({user['username']}, id {user['id']})"
    out.print(Text(head, style="bold"))
    out.print(Text(f"in {course['fullname']} (id {course['id']}), for {company['name']}"))
    if told["live"]:
        row = told["expected"]
        out.print(
            f"[green]A live row[/green]: {row['status']}, {row['percentage']:.2f} %."
            f" {escape(told['percentage_reason'])}"
        )
    else:
        out.print("[yellow]No live row[/yellow]:")
        for reason in told["reasons"]:
            out.print(Text(f"  · {reason}"))
    table = new_table("Condition", "Holds", "Because")
    for condition in told["conditions"]:
        holds = Text("yes", style="green") if condition["holds"] else Text("no", style="red")
        table.add_row(condition["name"], holds, Text(condition["detail"]))
    out.print(table)
    if told["activities"]:
        table = new_table("Activity", "Type", "State", "Counted", "Changed (UTC)")
        for activity in told["activities"]:
            table.add_row(
                str(activity["id"]) + (" (hidden)" if activity["hidden"] else ""),
                activity["type"],
                activity["word"],
                "yes" if activity["done"] else "no",
                iso_time(activity["timemodified"]) or "",
            )
        out.print(table)
    out.print(Text(_stored_line(told)))


def _stored_line(told: dict[str, Any]) -> str:
    if told["in_step"]:
        return "The reporting table agrees."
    return "The reporting table says something else; the next sync, or verify --repair, mends it."
