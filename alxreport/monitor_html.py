"""The monitor's screen as one HTML page that needs nothing else: no network, no other file."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from urllib.parse import quote

from alxreport.markup import MARKS, WEIGHTS, badge, mark, safe, worst
from alxreport.monitor_charts import figure
from alxreport.screens import AlertLine, Card, Cell, Column, Level, Screen, Table, View

LISTED_ALERTS = 100
MOST_UNCOUNTED = 15  # rows that a look counts by itself
MOST_ALERTS = 6  # more of them scroll in a box, so that the views stay near
MOST_BESIDE = 6  # cards
MOST_NARROW = 5  # columns of a table that shares the page's width with another one
COLOURS: dict[Level, str] = {"ok": "#1f7a45", "warning": "#c77700", "critical": "#c3281f"}


def page(screen: Screen, *, written: int | None = None) -> str:
    """Return the whole HTML document of a screen.

    With ``written``, the moment as seconds since 1970, the page tells how old it has become. A
    face that knows only a view's name may link to it: ``page.html#performance``.
    """
    style, script = _part("monitor.css"), _part("monitor.js")
    level = worst(line.level for line in screen.alerts if not line.acknowledged)
    level = level if screen.alerts else "ok"
    keys = view_ids([view.key for view in screen.views])
    views = "\n".join(_view(view, key) for view, key in zip(screen.views, keys, strict=True))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_policy(style, script)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="robots" content="noindex">
<title>{safe(_summary(screen.alerts))} – alxreport monitor</title>
<link rel="icon" href="{_icon(level)}">
<style>{style}</style>
<script>{script}</script>
</head>
<body>
<header>
<h1>alxreport <span>monitor</span></h1>
{_moment(screen.at, written)}
</header>
<main>
{_alerts(screen.alerts, level)}
{_tabs(screen.views, keys)}
{views}
</main>
</body>
</html>
"""


def view_ids(keys: Sequence[str]) -> list[str]:
    """Return for each view's key a name that an address can end with, each one once."""
    found: list[str] = []
    for place, key in enumerate(keys, start=1):
        name = re.sub("[^a-z0-9]+", "-", key.lower()).strip("-") or f"view-{place}"
        while name in found:
            name += f"-{place}"
        found.append(name)
    return found


@cache
def _part(name: str) -> str:
    return files("alxreport").joinpath("pages", name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    def allowed(text: str) -> str:
        digest = hashlib.sha256(text.encode()).digest()
        return f"'sha256-{base64.b64encode(digest).decode()}'"

    return (
        f"default-src 'none'; style-src {allowed(style)}; script-src {allowed(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _icon(level: Level) -> str:
    """Return the dot that shows the worst alert where a browser shows only the page's name."""
    drawing = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">'
        f'<circle cx="8" cy="8" r="7" fill="{COLOURS.get(level, "#5a6577")}"/></svg>'
    )
    return f"data:image/svg+xml,{quote(drawing)}"


def _moment(at: str, written: int | None) -> str:
    if written is None:
        return f'<p class="at">As of {safe(at)}</p>'
    moment = datetime.fromtimestamp(written, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return (
        f'<p class="at">As of <time datetime="{moment}">{safe(at)}</time><span class="age"></span>'
        '</p>\n<p class="old" hidden>This page is <b></b> old and does not renew itself. Write it '
        "anew with <code>alxreport monitor --html</code>.</p>"
    )


def _summary(alerts: Sequence[AlertLine]) -> str:
    if not alerts:
        return "No open alerts"
    counted = Counter("known" if line.acknowledged else line.level for line in alerts)
    words = {"critical": "critical", "warning": "warning", "known": "acknowledged"}
    told = [
        f"{counted[level]} {word}{'s' if level == 'warning' and counted[level] > 1 else ''}"
        for level, word in words.items()
        if counted[level]
    ]
    others = len(alerts) - sum(counted[level] for level in words)
    return ", ".join([*told, f"{others} other"] if others else told)


def _alerts(alerts: Sequence[AlertLine], level: Level) -> str:
    if not alerts:
        return f'<section class="alerts"><h2>{mark("ok")} {_summary(alerts)}</h2></section>'
    lines = "\n".join(_alert(line) for line in alerts[:LISTED_ALERTS])
    if len(alerts) > LISTED_ALERTS:
        left = f"And {len(alerts) - LISTED_ALERTS:,} more: alxreport alerts list"
        lines += f'\n<li class="alert"><p>{safe(left)}</p></li>'
    many = ' class="many" tabindex="0"' if len(alerts) > MOST_ALERTS else ""
    how = ""
    if any(line.number is not None and not line.acknowledged for line in alerts):
        how = "<p>To acknowledge one: <code>alxreport alerts ack NUMBER</code></p>\n"
    return (
        f'<section class="alerts {level}">\n<h2>Open alerts: {_summary(alerts)}</h2>\n'
        f"<ul{many}>\n{lines}\n</ul>\n{how}</section>"
    )


def _alert(line: AlertLine) -> str:
    facts = [safe(line.since)] if line.since else []
    if line.number is not None:
        # One that no check recorded yet was only just found: since no time.
        facts = [*(f"since {fact}" for fact in facts), f"number {line.number}"]
    if line.acknowledged:
        facts.append("acknowledged")
    known = " known" if line.acknowledged else ""
    return (
        f'<li class="alert {line.level}{known}"><p class="wrong">{badge(line.level)} '
        f'<strong>{safe(line.text)}</strong></p>\n<p class="advice">{safe(line.advice)}</p>'
        f'<p class="since">{" · ".join(facts)}</p></li>'
    )


def _tabs(views: Sequence[View], keys: Sequence[str]) -> str:
    """Return links to the views, which the script turns into tabs."""
    links = []
    for view, key in zip(views, keys, strict=True):
        levels = [card.level for card in view.cards]
        levels += [cell.level for table in view.tables for row in table.rows for cell in row]
        level = worst(levels)
        sign = f" {mark(level)}" if WEIGHTS[level] >= WEIGHTS["warning"] else ""
        links.append(f'<a href="#{key}">{safe(view.title)}{sign}</a>')
    return f'<nav class="tabs" aria-label="Views">{"".join(links)}</nav>'


def _view(view: View, key: str) -> str:
    cards = "\n".join(_card(card) for card in view.cards)
    tables = "\n".join(
        _table(table, wide) for table, wide in zip(view.tables, wide_ones(view.tables), strict=True)
    )
    chart = f"{figure(view.chart)}\n" if view.chart else ""
    return (
        f'<section class="view" id="{key}" aria-label="{safe(view.title)}">\n'
        f"<h2>{safe(view.title)}</h2>\n"
        f'<dl class="cards of{_beside(len(view.cards))}">\n{cards}\n</dl>\n'
        f'<div class="parts">\n{chart}{tables}\n</div>\n</section>'
    )


def _beside(cards: int) -> int:
    """Return how many cards of some stand in a row, so that the rows are about equally long."""
    return math.ceil(cards / math.ceil(cards / MOST_BESIDE)) if cards else 1


def wide_ones(tables: Sequence[Table]) -> list[bool]:
    """Return which tables take the page's whole width: big ones, and small ones without a pair."""
    wide = [
        len(table.columns) > MOST_NARROW
        # Two columns of names of any length do not fit beside another table.
        or (bool(table.rows) and sum(column.long for column in table.columns) > 1)
        for table in tables
    ]
    place = 0
    while place < len(wide):
        if not wide[place] and (place + 1 == len(wide) or wide[place + 1]):
            wide[place] = True
        place += 1 if wide[place] else 2
    return wide


def _card(card: Card) -> str:
    note = f'<dd class="note">{safe(card.note)}</dd>' if card.note else ""
    judged = f" {badge(card.level)}" if card.level in MARKS else ""
    return (
        f'<div class="card {card.level}"><dt>{safe(card.label)}</dt>'
        f'<dd class="value"><span>{safe(card.value)}</span>{judged}</dd>{note}</div>'
    )


def _table(table: Table, wide: bool) -> str:
    title, kind = safe(table.title), "table wide" if wide else "table"
    if not table.rows:
        return f'<div class="{kind}"><h3>{title}</h3><p class="empty">{safe(table.empty)}</p></div>'
    count = f" <small>{len(table.rows):,}</small>" if len(table.rows) > MOST_UNCOUNTED else ""
    heads = "".join(
        f'<th scope="col"{_kind(column, "plain")}>{safe(column.title)}</th>'
        for column in table.columns
    )
    rows = "\n".join(_row(table.columns, row) for row in table.rows)
    return (
        f'<div class="{kind}"><h3>{title}{count}</h3>\n'
        f'<div class="box" role="region" aria-label="{title}" tabindex="0"><table>\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div></div>"
    )


def _row(columns: Sequence[Column], row: Sequence[Cell]) -> str:
    cells = []
    for place, (column, cell) in enumerate(zip(columns, row, strict=True)):
        sign = f"{mark(cell.level)} " if cell.level in MARKS else ""
        # A name of any script stays apart from the sign beside it, and keeps its own direction.
        text = safe(cell.text) if column.right else f"<bdi>{safe(cell.text)}</bdi>"
        kind = _kind(column, cell.level)
        cells.append(
            f"<td{kind}>{sign}{text}</td>" if place else f'<th scope="row"{kind}>{sign}{text}</th>'
        )
    return f"<tr>{''.join(cells)}</tr>"


def _kind(column: Column, level: Level) -> str:
    kinds = [name for name, wanted in (("n", column.right), ("long", column.long)) if wanted]
    kinds += [level] if level != "plain" else []
    return f' class="{" ".join(kinds)}"' if kinds else ""
