"""The alerts on a terminal."""

from __future__ import annotations

from datetime import tzinfo

from rich.console import Console
from rich.table import Table
from rich.text import Text

from alxreport.alerts import Listed
from alxreport.wording import Clock

SHOWN_CLOSED = 20
STYLES = {"critical": "bold red", "warning": "yellow"}


def show_alerts(console: Console, found: Listed, now: int, where: tzinfo) -> None:
    """Print the open alerts with their numbers, and below those that closed lately."""
    clock = Clock(now, where)
    if not found.open:
        console.print("No open alerts at the last check.")
    for alert in found.open:
        line = Text()
        line.append(f"{alert.id:>4}  ")
        line.append(alert.severity.upper(), style=STYLES.get(alert.severity, ""))
        line.append(f"  since {clock.near(alert.opened_at)} ({clock.age(alert.opened_at)})")
        if alert.acknowledged_at is not None:
            line.append(f", seen to by {alert.acknowledged_by}")
        console.print(line)
        console.print(Text(f"      {_clean(alert.message)}"))
    if not found.closed:
        return
    console.print()
    table = Table(title="Closed within seven days", title_justify="left", box=None, padding=(0, 1))
    table.add_column("Nr", justify="right")
    for name in ("From", "To"):
        table.add_column(name, no_wrap=True)
    table.add_column("What", overflow="fold")
    for alert in found.closed[:SHOWN_CLOSED]:
        table.add_row(str(alert.id), clock.near(alert.opened_at), clock.near(alert.closed_at),
                      Text(_clean(alert.message)))  # fmt: skip
    console.print(table)
    if len(found.closed) > SHOWN_CLOSED:
        left = len(found.closed) - SHOWN_CLOSED
        console.print(f"… and {left} more (alxreport alerts list --json)")


def _clean(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
