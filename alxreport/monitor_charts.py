"""A monitor's chart as inline SVG, sharp at every width: bars for one series, lines for more."""

from __future__ import annotations

import math

from alxreport.markup import MARKS, WEIGHTS, safe
from alxreport.screens import LEVEL_WORDS, Chart, Point

# Pixels from the top of the drawing; places from left to right are shares of its width.
ROOF, FLOOR, AXIS, HEIGHT = 26, 206, 226, 236
LEAST_BAR = 2  # pixels: a measured zero is to be seen
BAR_SHARE = 0.56  # of the room between two neighbours
MOST_NUMBERED = 10  # bars that carry their value
NARROW, WIDE = 250, 640  # pixels of a drawing on a phone, on a small window
LETTER, GAP = 6.6, 14  # pixels that a letter of the axis takes, and the room between two labels
LONGEST_LABEL = 12
# A threshold further above the highest value would press the values to the floor.
MOST_ABOVE = 4
GREATEST = 1e15


def figure(chart: Chart) -> str:
    """Return a chart with its title, its legend and its values in words, or why there is none."""
    title = f"<h3>{safe(chart.title)}</h3>"
    if not _measured(chart):
        return f'<div class="chart">{title}<p class="empty">{safe(chart.empty)}</p></div>'
    few = " few" if len(chart.points) <= MOST_NUMBERED else ""
    told = "".join(f"<li>{_told(point)}</li>" for point in chart.points)
    return (
        f'<figure class="chart{few}"><figcaption>{title}{_legend(chart)}</figcaption>\n'
        f"{_drawing(chart)}\n"
        f"<details><summary>Values in words</summary><ul>{told}</ul></details></figure>"
    )


def scale(chart: Chart) -> float:
    """Return the value at the scale's end: the chart's own, else a round one above all values."""
    if chart.top is not None and 0 < chart.top <= GREATEST:
        return chart.top
    highest = max(_measured(chart), default=0.0)
    if _finite(chart.threshold) is not None and chart.threshold:
        threshold = min(chart.threshold, GREATEST)
        if threshold <= highest * MOST_ABOVE or not highest:
            highest = max(highest, threshold * 1.05)
    if highest < 1e-9:
        return 1.0
    unit: float = 10.0 ** math.floor(math.log10(highest))
    return next(step * unit for step in (1, 2, 4, 5, 6, 8, 10, 20) if step * unit >= highest)


def number(value: float) -> str:
    """Return a short number that never claims more than was measured: 99.996 is 99.99."""
    if value >= 1e6:
        return f"{value / 1e6:,.4g}M"
    if value >= 1e4:
        return f"{value / 1e3:,.4g}k"
    return f"{math.floor(round(value * 100, 6)) / 100:,.6g}"


def _finite(value: float | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return min(max(float(value), 0.0), GREATEST)


def _measured(chart: Chart) -> list[float]:
    found = (_finite(value) for point in chart.points for value in point.values)
    return [value for value in found if value is not None]


def _told(point: Point) -> str:
    level = f" ({LEVEL_WORDS[point.level]})" if point.level in MARKS else ""
    return f"{safe(point.label)}: {safe(point.told)}{level}"


def _beyond(chart: Chart) -> bool:
    threshold = _finite(chart.threshold)
    return threshold is not None and threshold > scale(chart)


def _legend(chart: Chart) -> str:
    keys = []
    if len(chart.series) > 1:
        keys = [
            f'<li><span class="key s{place % 4}"></span>{safe(name)}</li>'
            for place, name in enumerate(chart.series)
        ]
    if chart.threshold is not None and chart.threshold_told:
        above = " (above this scale)" if _beyond(chart) else ""
        keys.append(f'<li><span class="key limit"></span>{safe(chart.threshold_told)}{above}</li>')
    return f'<ul class="legend">{"".join(keys)}</ul>' if keys else ""


def _drawing(chart: Chart) -> str:
    top = scale(chart)
    said = f"{chart.title}: {len(chart.points)} values, {chart.points[0].label} to "
    said += f"{chart.points[-1].label}; they follow in words."
    parts = [_grid(chart, top)]
    if len(chart.series) > 1:
        parts += [_line(chart, place, top) for place in range(len(chart.series))]
    steps = _label_steps(chart.points)
    parts += [_place(chart, place, top, steps) for place in range(len(chart.points))]
    parts.append(_limit(chart, top))
    inner = "\n".join(part for part in parts if part)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" role="img" width="100%" '
        f'height="{HEIGHT}" aria-label="{safe(said)}">\n{inner}\n</svg>'
    )


def _grid(chart: Chart, top: float) -> str:
    lines = []
    for value in (0.0, top / 2, top):
        y = _height(value, top)
        lines.append(
            f'<line class="grid" x1="0" x2="100%" y1="{y}" y2="{y}"/>'
            f'<text class="tick" x="-8" y="{y + 4:g}">{number(value)} {safe(chart.unit)}</text>'
        )
    return "".join(lines)


def _limit(chart: Chart, top: float) -> str:
    threshold = _finite(chart.threshold)
    if threshold is None or _beyond(chart):
        return ""
    y = _height(threshold, top)
    return f'<line class="limit" x1="0" x2="100%" y1="{y}" y2="{y}"/>'


def _height(value: float, top: float) -> float:
    return round(FLOOR - min(value / top, 1.0) * (FLOOR - ROOF), 1)


def _middle(place: int, count: int) -> str:
    return f"{(place + 0.5) * 100 / count:.2f}%"


def _value(point: Point, series: int) -> float | None:
    return _finite(point.values[series]) if series < len(point.values) else None


def _line(chart: Chart, series: int, top: float) -> str:
    """Return one series' line: pieces between neighbours, so that a gap stays a gap."""
    heights = [
        None if (value := _value(point, series)) is None else _height(value, top)
        for point in chart.points
    ]
    count, parts = len(heights), []
    for place, height in enumerate(heights):
        if height is None:
            continue
        x = _middle(place, count)
        after = heights[place + 1] if place + 1 < count else None
        if after is not None:
            parts.append(
                f'<line x1="{x}" y1="{height}" x2="{_middle(place + 1, count)}" y2="{after}"/>'
            )
        parts.append(f'<circle cx="{x}" cy="{height}" r="2.5"/>')
    return f'<g class="line s{series % 4}">{"".join(parts)}</g>'


def _place(chart: Chart, place: int, top: float, steps: tuple[int, int]) -> str:
    """Return what stands above one place of the axis, with its words for a pointer."""
    point, count = chart.points[place], len(chart.points)
    values = [value for series in range(len(point.values))
              if (value := _value(point, series)) is not None]  # fmt: skip
    middle = _middle(place, count)
    highest = _height(max(values), top) if values else FLOOR
    parts = [f"<title>{_told(point)}</title>"]
    # The whole column answers to a pointer, not only what is drawn in it.
    parts.append(
        f'<rect class="touch" x="{place * 100 / count:.2f}%" y="{ROOF}" '
        f'width="{100 / count:.2f}%" height="{FLOOR - ROOF}"/>'
    )
    if len(chart.series) <= 1:
        parts.append(_bar(place, count, point, highest if values else None))
    written = [MARKS[point.level]] if WEIGHTS[point.level] >= WEIGHTS["warning"] else []
    if values and len(chart.series) <= 1 and count <= MOST_NUMBERED:
        written.append(number(values[0]))
    if written:
        parts.append(
            f'<text class="value {point.level}" x="{middle}" y="{highest - 6:g}">'
            f"{' '.join(written)}</text>"
        )
    parts.append(_label(place, point.label, middle, count, steps))
    return f"<g>{''.join(parts)}</g>"


def _bar(place: int, count: int, point: Point, highest: float | None) -> str:
    if highest is None:
        return f'<text class="none" x="{_middle(place, count)}" y="{FLOOR - 6}">–</text>'
    x, height = (place + 0.5 - BAR_SHARE / 2) * 100 / count, max(FLOOR - highest, LEAST_BAR)
    return (
        f'<rect class="bar {point.level}" x="{x:.2f}%" y="{FLOOR - height:g}" '
        f'width="{BAR_SHARE * 100 / count:.2f}%" height="{height:g}" rx="2"/>'
    )


def _label_steps(points: tuple[Point, ...]) -> tuple[int, int]:
    """Return of how many labels one is written: where room is short, and else."""
    longest = max(min(len(point.label), LONGEST_LABEL) for point in points)
    room = len(points) * (longest * LETTER + GAP)
    wide = math.ceil(room / WIDE)
    return math.ceil(room / NARROW / wide) * wide, wide


def _label(place: int, label: str, middle: str, count: int, steps: tuple[int, int]) -> str:
    narrow, wide = steps
    back = count - 1 - place  # the newest one is always written
    if back % wide:
        return ""
    kind = "label" if back % narrow == 0 else "label roomy"
    short = label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}…"
    return f'<text class="{kind}" x="{middle}" y="{AXIS}">{safe(short)}</text>'
