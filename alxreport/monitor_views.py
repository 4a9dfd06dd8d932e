"""The monitor on a terminal: the alerts, then each view's cards, chart and tables."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NoReturn

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from alxreport.errors import AlxError
from alxreport.screens import AlertLine, Card, Screen, View
from alxreport.terminal_charts import chart_lines
from alxreport.terminal_tables import MORE, table_lines
from alxreport.terminal_text import STYLES, Pen
from alxreport.views import console

__all__ = ["console", "show_screen", "watch"]

PRODUCT = "alxreport monitor"
WIDEST = 140  # a line that is longer is hard to follow across
NARROWEST_CARD, CARD_GAP, MOST_ABREAST = 18, 2, 6
MOST_ALERTS = 5
FEW_ROWS = 2  # in a low window, of alerts and of each table
LOOK_SECONDS = 0.25  # how soon a resized window is painted anew
# Of what does not fit, the block with the highest weight goes first.
HEADER, ALERTS, CARDS, TABLE, CHART, FURTHER = range(6)


@dataclass(frozen=True)
class _Block:
    """Lines that are shown together or not at all."""

    weight: tuple[int, int]
    name: str
    lines: Sequence[Text]


def show_screen(
    console: Console,
    screen: Screen,
    keys: Collection[str] | None = None,
    rows: int | None = None,
) -> None:
    """Print a screen: when it was taken, the open alerts, and the views.

    ``keys`` names the views, all by default; ``rows`` lowers how many rows a table shows.
    """
    pen = Pen(console, min(console.width, WIDEST))
    for line in _lines(_blocks(pen, screen, keys, rows)):
        console.print(line, soft_wrap=True)


def _lines(blocks: Sequence[_Block]) -> list[Text]:
    """Return the lines of blocks, none ending with spaces, with an empty one between two.

    Charts and tables that only say why they are empty stand together.
    """
    lines: list[Text] = []
    before = ""
    for block in blocks:
        kind = "empty" if len(block.lines) == 1 and block.weight[0] >= TABLE else "full"
        lines += [Text()] if lines and "full" in {before, kind} else []
        lines += block.lines
        before = kind
    for line in lines:
        line.rstrip()
        line.no_wrap, line.overflow = True, "ignore"
    return lines


def _blocks(
    pen: Pen, screen: Screen, keys: Collection[str] | None, rows: int | None, note: str = ""
) -> list[_Block]:
    few = MOST_ALERTS if rows is None else max(1, min(rows, MOST_ALERTS))
    blocks = [
        _Block((HEADER, 0), "", _header(pen, screen, note)),
        _Block((ALERTS, 0), "alerts", _alerts(pen, screen.alerts, few)),
    ]
    for place, view in enumerate(screen.views):
        if not keys or view.key in keys:
            blocks += _view(pen, view, place, rows)
    return blocks


def _header(pen: Pen, screen: Screen, note: str) -> list[Text]:
    name, at = Text(PRODUCT, "bold"), pen.text(screen.at + note)
    between = pen.width - name.cell_len - at.cell_len
    if between < 2:
        return [*pen.wrap(name, pen.width), *pen.wrap(at, pen.width)]
    return [Text.assemble(name, " " * between, at)]


def _alerts(pen: Pen, alerts: Sequence[AlertLine], most: int) -> list[Text]:
    if not alerts:
        return [pen.fit(Text(f"{pen.signs['ok']} No open alerts.", STYLES["ok"]), pen.width)]
    # What nobody takes care of yet comes before what somebody does.
    ordered = sorted(alerts, key=lambda line: line.acknowledged)
    lines = [line for alert in ordered[:most] for line in _alert(pen, alert)]
    if len(ordered) > most:
        more = pen.tally(alert.level for alert in ordered[most:])
        told = Text(f"{pen.signs['dots']} {MORE.format(len(ordered) - most)}", "dim")
        lines += pen.wrap(Text.assemble(told, more), pen.width)
    return lines


def _alert(pen: Pen, alert: AlertLine) -> list[Text]:
    facts = [alert.since] if alert.since else []
    if alert.number is not None:
        facts = [*(f"since {fact}" for fact in facts), f"alert {alert.number}"]
    facts += ["acknowledged"] if alert.acknowledged else []
    room = pen.width - 4
    tag, told = pen.tag(alert.level), pen.text(", ".join(facts), "dim")
    # Warning and Critical are the words; the shorter takes as much room as the longer.
    tag = pen.fit(tag, max(tag.cell_len, pen.tag("critical").cell_len))
    text = pen.text(alert.text, "" if alert.acknowledged else "bold")
    lines = pen.wrap(Text.assemble(tag, "  ", text), room)
    if lines[-1].cell_len + 2 + told.cell_len <= room:
        lines[-1] = Text.assemble(lines[-1], "  ", told)
    else:
        lines += pen.wrap(told, room)
    if alert.advice:
        lines += pen.wrap(Text.assemble(f"{pen.signs['arrow']} ", pen.text(alert.advice)), room)
    lines = [Text.assemble("  " if place else "", line) for place, line in enumerate(lines)]
    return pen.barred(lines, alert.level)


def _view(pen: Pen, view: View, place: int, rows: int | None) -> list[_Block]:
    blocks = [
        _Block((CARDS, place), view.title, [_rule(pen, view.title), *_cards(pen, view.cards)])
    ]
    if view.chart is not None:
        lines = chart_lines(pen, view.chart)
        blocks.append(_Block((CHART, place), view.chart.title, lines))
    for number, table in enumerate(view.tables):
        most = table.most if rows is None else min(rows, table.most)
        weight = FURTHER if number else TABLE
        blocks.append(_Block((weight, place), table.title, table_lines(pen, table, most)))
    return blocks


def _rule(pen: Pen, title: str) -> Text:
    dash = pen.signs["rule"]
    name = pen.fit(pen.text(title, "bold"), pen.width, pad=False)
    if name.cell_len + 6 > pen.width:
        return name
    rest = dash * (pen.width - name.cell_len - 4)
    return Text.assemble((dash * 2, "dim"), " ", name, " ", (rest, "dim"))


def _cards(pen: Pen, cards: Sequence[Card]) -> list[Text]:
    """Return cards in as many rows as they need, about the same number in each."""
    fit = (pen.width + CARD_GAP) // (NARROWEST_CARD + CARD_GAP)
    fit = max(1, min(fit, MOST_ABREAST))
    abreast = math.ceil(len(cards) / math.ceil(len(cards) / fit)) if cards else 1
    width = (pen.width - CARD_GAP * (abreast - 1)) // abreast
    lines: list[Text] = []
    for start in range(0, len(cards), abreast):
        boxes = [_card(pen, card, width) for card in cards[start : start + abreast]]
        height = max(map(len, boxes))
        lines += [Text()] if lines else []
        for number in range(height):
            cells = [box[number] if number < len(box) else Text() for box in boxes]
            lines.append(Text(" " * CARD_GAP).join([pen.fit(cell, width) for cell in cells]))
    return lines


def _card(pen: Pen, card: Card, width: int) -> list[Text]:
    inner, tag = width - 2, pen.tag(card.level)
    style = STYLES[card.level]
    value = pen.text(card.value, style if card.level == "muted" else f"bold {style}".strip())
    lines = [*pen.wrap(pen.text(card.label), inner)]
    if value.cell_len + 2 + tag.cell_len <= inner:
        lines.append(Text.assemble(value, "  ", tag))
    else:
        lines += [*pen.wrap(value, inner), *pen.wrap(tag, inner)]
    lines += pen.wrap(pen.text(card.note, "dim"), inner) if card.note else []
    return pen.barred(lines, card.level)


def watch(
    console: Console,
    take: Callable[[], Screen],
    seconds: float,
    keys: Collection[str] | None = None,
    *,
    rows: int | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> NoReturn:
    """Show a screen anew every so many seconds until Ctrl-C, which is raised as always.

    On a terminal the screen is painted over the last one, on a page of its own that is gone
    afterwards; elsewhere each is printed. A take that raises AlxError leaves the last screen, with
    what is wrong above it; the first one is raised, for there is nothing to show then.
    """
    watched = _Watched(take(), f", every {seconds:g} s, end with Ctrl-C", keys, rows)
    if not (console.is_interactive and console.file.isatty()):
        while True:
            watched.print(console)
            sleep(seconds)
            watched.take(take)
    live = Live(watched, console=console, screen=True, auto_refresh=False)
    try:
        # Not as a context: an interrupt in its first painting would leave the screen as it is.
        live.start(refresh=True)
        while True:
            until, size = clock() + seconds, console.size
            while (left := until - clock()) > 0:
                sleep(min(left, LOOK_SECONDS))
                if console.size != size:
                    size = console.size
                    live.refresh()
            watched.take(take)
            live.refresh()
    finally:
        live.stop()


class _Watched:
    """The last screen that could be taken, and why there is no newer one."""

    def __init__(
        self, screen: Screen, note: str, keys: Collection[str] | None, rows: int | None
    ) -> None:
        self.screen, self.note, self.keys, self.rows = screen, note, keys, rows
        self.failures, self.error = 0, AlxError("")

    def take(self, take: Callable[[], Screen]) -> None:
        """Replace the screen, or keep it and count the failure."""
        try:
            self.screen = take()
        except AlxError as error:
            self.failures, self.error = self.failures + 1, error
        else:
            self.failures = 0

    def print(self, console: Console) -> None:
        """Print the screen, or only what is wrong, with an empty line behind it."""
        if self.failures:
            pen = Pen(console, min(console.width, WIDEST))
            for line in _lines([self._failure(pen)]):
                console.print(line, soft_wrap=True)
        else:
            show_screen(console, self.screen, self.keys, self.rows)
        console.print()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        pen = Pen(console, min(options.max_width, WIDEST))
        yield from self.painted(pen, options.size.height)

    def painted(self, pen: Pen, height: int) -> list[Text]:
        """Return as much as fits a height: fewer rows first, then fewer blocks."""

        def blocks(rows: int) -> list[_Block]:
            found = _blocks(pen, self.screen, self.keys, rows, self.note)
            return [*found[:1], *([self._failure(pen)] if self.failures else []), *found[1:]]

        most = max((t.most for view in self.screen.views for t in view.tables), default=FEW_ROWS)
        most = most if self.rows is None else min(most, self.rows)
        few = blocks(min(FEW_ROWS, most))
        kept = _fitting(few, height)
        left_out = [
            block.name
            for block in few
            if block.weight not in kept
            # A view's name stands for all of it.
            and (block.weight[0] == CARDS or (CARDS, block.weight[1]) in kept)
        ]
        note: list[Text] = []
        if left_out:
            told = f"Left out, the window is low: {'; '.join(left_out)}"
            note = [pen.fit(pen.text(told, "dim"), pen.width, pad=False)]
        for rows in range(most, 0, -1):
            chosen = [block for block in blocks(rows) if block.weight in kept]
            lines = [*_lines(chosen), *note]
            if len(lines) <= height:
                return lines
        return [*lines[: height - len(note)], *note]

    def _failure(self, pen: Pen) -> _Block:
        times = f" ({self.failures} times)" if self.failures > 1 else ""
        text = f"No newer figures{times}: {self.error.message}"
        line = AlertLine("critical", text, f"these are of {self.screen.at}", self.error.hint)
        return _Block((HEADER, 1), "", _alert(pen, line))


def _fitting(blocks: Sequence[_Block], height: int) -> set[tuple[int, int]]:
    """Return the weights of the blocks that fit a height, the most important first."""
    kept: set[tuple[int, int]] = set()
    for block in sorted(blocks, key=lambda block: block.weight):
        chosen = [other for other in blocks if other.weight in {*kept, block.weight}]
        room = height if len(chosen) == len(blocks) else height - 1
        if len(_lines(chosen)) > room and block.weight[0] > ALERTS:
            break
        kept.add(block.weight)
    return kept
