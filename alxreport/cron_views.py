"""What people see of cron: the lines put in or taken out, and what becomes of each."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from alxreport.cron import CronChange, CronStatus
from alxreport.records import iso_time
from alxreport.views import new_table, plural, shown_time, word


def show_install(out: Console, change: CronChange) -> None:
    """Show the lines that are in the crontab now."""
    if change.lines:
        out.print("Put into your crontab:" if change.changed else "In your crontab already:")
        for line in change.lines:
            out.print(Text(f"  {line}"), soft_wrap=True)
    _show_notes(out, change.notes)


def show_remove(out: Console, change: CronChange) -> None:
    """Show how many lines went."""
    if change.changed:
        out.print(f"{plural(change.removed, 'line')} taken out of your crontab.")
    else:
        out.print("There was no line of alxreport in your crontab; nothing was changed.")
    _show_notes(out, change.notes)


def show_status(out: Console, status: CronStatus) -> None:
    """Show whether the sync is looked after, and every line found with what becomes of it."""
    line = Text("Cron ")
    line.append_text(word(status.verdict))
    line.append(f": {status.finding}")
    out.print(line)
    if status.advice:
        out.print(Text(f"→ {status.advice}", style="bold"))
    out.print(f"Next sync (UTC): {shown_time(iso_time(status.next_run), 'none')}")
    out.print(f"Cron daemon: {_daemon(status.daemon)}")
    if status.lines:
        table = new_table("Line", "User", "Task", "Times", "Verdict")
        for found in status.lines:
            where = Text(found.where)
            if found.fault:
                where.append(f"\n{found.fault}", style="dim")
            table.add_row(where, Text(found.user), found.task, Text(found.times), word(found.state))
        out.print(table)
    _show_notes(out, status.notes)


def _daemon(name: str | None) -> str:
    if name is None:
        return "cannot be seen from here"
    return f"{name} is running" if name else "none is running"


def _show_notes(out: Console, notes: tuple[str, ...]) -> None:
    for note in notes:
        out.print(Text(f"Note: {note}", style="yellow"))
