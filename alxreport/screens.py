"""What a monitor's screen says, worded once: cards, charts and tables for every face to paint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# plain: nothing to judge; muted: nothing measured yet.
Level = Literal["plain", "muted", "ok", "warning", "critical"]
LEVEL_WORDS: dict[Level, str] = {"ok": "OK", "warning": "Warning", "critical": "Critical"}


@dataclass(frozen=True)
class Card:
    """One figure: its name, its text, how it is judged, and a few words about it."""

    label: str
    value: str
    level: Level = "plain"
    note: str = ""


@dataclass(frozen=True)
class Column:
    """A table's column; of two, the one with the higher rank goes first where room is short."""

    title: str
    right: bool = False
    rank: int = 0  # 0 is never left out
    long: bool = False  # texts of any length: gives room before the others do


@dataclass(frozen=True)
class Cell:
    """One cell of a table."""

    text: str
    level: Level = "plain"


@dataclass(frozen=True)
class Table:
    """Rows in the order of their weight: a face that has little room shows the first ones."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    empty: str  # said instead of a table without rows
    most: int = 15  # rows on a terminal


@dataclass(frozen=True)
class Point:
    """One place of a chart's axis: a value for each series, None where nothing was measured."""

    label: str
    values: tuple[float | None, ...]
    told: str  # the values in words
    level: Level = "plain"


@dataclass(frozen=True)
class Chart:
    """Values over time; bars for one series, lines for more."""

    title: str
    unit: str
    series: tuple[str, ...]
    points: tuple[Point, ...]
    empty: str  # said instead of a chart without any value
    top: float | None = None  # the scale's end, where it is fixed
    threshold: float | None = None
    threshold_told: str = ""


@dataclass(frozen=True)
class AlertLine:
    """One open alert."""

    level: Level
    text: str  # what is wrong, with its subject
    since: str
    advice: str  # the one thing to do
    acknowledged: bool = False
    number: int | None = None  # for 'alxreport alerts ack'; None when no check recorded it yet


@dataclass(frozen=True)
class View:
    """One of the three views."""

    key: str
    title: str
    cards: tuple[Card, ...]
    chart: Chart | None
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class Screen:
    """Everything that is painted, at one moment."""

    at: str  # the moment, with its time zone
    alerts: tuple[AlertLine, ...]
    views: tuple[View, ...]
