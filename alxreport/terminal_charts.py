"""A chart of the monitor in a terminal's characters: a bar a day, or columns over the hours."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.text import Text

from alxreport.screens import LEVEL_WORDS, Chart, Level, Point
from alxreport.terminal_text import STYLES, Pen

WIDEST_BAR, NARROWEST_BAR = 40, 8
WIDEST_STEP = 4  # cells from one point to the next
STRIP_ROWS = 3
EIGHTHS = 8
# A threshold further above the highest value would press the values to the floor.
MOST_ABOVE = 4.0
SERIES_STYLES = ("cyan", "magenta", "blue")


def chart_lines(pen: Pen, chart: Chart) -> list[Text]:
    """Return a chart with its title and what its threshold is, or why it is empty."""
    title = pen.text(chart.title, "bold")
    if not any(_number(value) is not None for point in chart.points for value in point.values):
        return pen.wrap(Text.assemble(title, "  ", pen.text(chart.empty, "dim")), pen.width)
    title = Text.assemble(title, pen.tally(point.level for point in chart.points))
    notes = [chart.threshold_told] if chart.threshold_told else []
    lines = len(chart.series) > 1
    if lines and any(_number(value) is None for point in chart.points for value in point.values):
        notes.append(f"{pen.signs['gap']} nothing measured")
    if notes:
        title.append_text(pen.text(f"  ({', '.join(notes)})", "dim"))
    paint = _strips if lines else _bars
    return [*pen.wrap(title, pen.width), *paint(pen, chart)]


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else max(value, 0.0)


def _top(chart: Chart) -> float:
    """Return the scale's end: the chart's own, else the highest value or a threshold near it."""
    top = _number(chart.top)
    if top:
        return top
    found = (_number(value) for point in chart.points for value in point.values)
    highest = max((value for value in found if value is not None), default=0.0)
    threshold = _number(chart.threshold) or 0.0
    return max(highest, threshold if threshold <= highest * MOST_ABOVE else 0.0) or 1.0


def _eighths(value: float, top: float, cells: int) -> int:
    """Return how many eighths of a cell a value fills; full only when it is all there is.

    Something measured is always seen: even nothing of it is one eighth.
    """
    return max(int(min(value / top, 1.0) * cells * EIGHTHS), 1)


def _bars(pen: Pen, chart: Chart) -> list[Text]:
    """Return a line for each point: its label, its bar, its value in words."""
    top, width = _top(chart), pen.width
    labels = [pen.text(point.label) for point in chart.points]
    told = [Text.assemble(_mark(pen, point.level), pen.text(point.told, STYLES[point.level]))
            for point in chart.points]  # fmt: skip
    first = min(max(label.cell_len for label in labels), width // 3)
    room = width - first - 4 - max(text.cell_len for text in told)
    room = min(room, WIDEST_BAR) if room >= NARROWEST_BAR else 0
    lines = []
    for point, label, words in zip(chart.points, labels, told, strict=True):
        value = _number(point.values[0]) if point.values else None
        bar = Text.assemble((_bar(pen, value, top, room), STYLES[point.level] or "cyan"))
        start = Text.assemble(pen.fit(label, first), "  ")
        if room:
            start = Text.assemble(start, pen.fit(bar, room), "  ")
        for piece in pen.wrap(words, width - start.cell_len):
            lines.append(Text.assemble(start, piece))
            start = Text(" " * start.cell_len)
    return lines


def _mark(pen: Pen, level: Level) -> Text:
    judged = level in LEVEL_WORDS
    return Text(f"{pen.signs[level]} " if judged else "  ", style=STYLES[level])


def _bar(pen: Pen, value: float | None, top: float, room: int) -> str:
    if value is None or not room:
        return pen.signs["gap"] if room else ""
    whole, rest = divmod(_eighths(value, top, room), EIGHTHS)
    return pen.signs["full"] * whole + pen.signs["ends"][rest].strip()


def _strips(pen: Pen, chart: Chart) -> list[Text]:
    """Return a strip of columns for each series, all on one scale, over one axis."""
    names = [pen.text(name) for name in chart.series]
    first = max(name.cell_len for name in names) + 2
    if first + len(chart.points) > pen.width:
        first = 0  # the names get lines of their own
    room = pen.width - first
    points = chart.points[-room:]
    # No gap is needed behind the last column.
    step = max(min((room + 1) // len(points), WIDEST_STEP), 1)
    top, lines = _top(chart), []
    for place, name in enumerate(names):
        values = [_number(p.values[place]) if place < len(p.values) else None for p in points]
        rows = _columns(pen, values, top, step)
        style = SERIES_STYLES[place % len(SERIES_STYLES)]
        lines += [Text()] if place else []
        if not first:
            lines.append(pen.fit(name, pen.width, pad=False))
        for row in rows:
            label = pen.fit(name if row is rows[-1] else Text(), first)
            lines.append(Text.assemble(label if first else "", (row, style)))
    lines += [
        Text.assemble(" " * first, line) for line in _axis(pen, points, step, pen.width - first)
    ]
    return [*lines, *_extremes(pen, chart, points)]


def _columns(pen: Pen, values: Sequence[float | None], top: float, step: int) -> list[str]:
    """Return the rows of a strip, from its highest value down; a gap is a dot on the floor."""
    rows, broad = [], max(step - 1, 1)
    for row in range(STRIP_ROWS - 1, -1, -1):
        cells = []
        for value in values:
            if value is None:
                sign = " " if row else pen.signs["gap"]
                cells.append(sign.ljust(step))
                continue
            filled = _eighths(value, top, STRIP_ROWS) - row * EIGHTHS
            sign = pen.signs["parts"][max(0, min(filled, EIGHTHS))]
            cells.append((sign * broad).ljust(step))
        rows.append("".join(cells).rstrip())
    return [row for row in rows if row]


def _axis(pen: Pen, points: Sequence[Point], step: int, room: int) -> list[Text]:
    """Return the signs of the points that are judged badly, and as many labels as fit."""
    lines = []
    if any(point.level in {"warning", "critical"} for point in points):
        signs = Text()
        for point in points:
            sign = pen.signs[point.level] if point.level in {"warning", "critical"} else ""
            signs.append(sign.ljust(step), style=STYLES[point.level])
        lines.append(signs)
    labels, at, width = Text(), 0, min(len(points) * step, room)
    for place, point in enumerate(points):
        label = pen.text(point.label, "dim")
        if place * step >= at and place * step + label.cell_len <= width:
            labels.append(" " * (place * step - labels.cell_len))
            labels.append_text(label)
            at = labels.cell_len + 2
    return [*lines, labels]


def _extremes(pen: Pen, chart: Chart, points: Sequence[Point]) -> list[Text]:
    """Return in words what the highest and the latest point are."""
    measured = [
        (max(found), point)
        for point in chart.points
        if (found := [number for value in point.values if (number := _number(value)) is not None])
    ]
    highest, latest = max(measured, key=lambda pair: pair[0])[1], measured[-1][1]
    told = [("Highest", highest)] if highest is latest else [("Highest", highest),
                                                            ("Latest", latest)]  # fmt: skip
    lines = []
    for word, point in told:
        line = pen.text(f"{word} {point.label}: {point.told}")
        tag = pen.tag(point.level)
        lines += pen.wrap(Text.assemble(line, "  " if tag else "", tag), pen.width)
    if len(points) < len(chart.points):
        note = f"The last {len(points)} of {len(chart.points)} are drawn."
        lines += pen.wrap(Text(note, "dim"), pen.width)
    return lines
