"""Moments, lengths of time, shares and sizes as people read them."""

from __future__ import annotations

from datetime import datetime, tzinfo

HOUR, DAY = 3_600, 86_400
NO_DATA = "no data yet"


class Clock:
    """Says moments as people read them."""

    def __init__(self, now: int, where: tzinfo) -> None:
        self.now, self.where = now, where

    def exact(self, at: int, form: str = "%Y-%m-%d %H:%M") -> str:
        """Return a moment in full."""
        return datetime.fromtimestamp(at, self.where).strftime(form)

    def near(self, at: int | None) -> str:
        """Return a moment with as much of its date as is needed beside the present one."""
        if at is None:
            return NO_DATA
        day, today = self.exact(at, "%Y-%m-%d"), self.exact(self.now, "%Y-%m-%d")
        return self.exact(at, "%H:%M") if day == today else self.exact(at)

    def age(self, at: int) -> str:
        """Return how long ago a moment is, or how soon."""
        seconds = self.now - at
        told = span(abs(seconds))
        return f"{told} ago" if seconds >= 0 else f"in {told}"


def span(seconds: int) -> str:
    """Return a length of time in its two largest units."""
    if seconds < 60:
        return f"{seconds} s"
    if seconds < HOUR:
        return f"{seconds // 60} min"
    if seconds < DAY:
        minutes = seconds % HOUR // 60
        return f"{seconds // HOUR} h {minutes} min" if minutes else f"{seconds // HOUR} h"
    hours = seconds % DAY // HOUR
    days = f"{seconds // DAY} day{'s' * (seconds >= 2 * DAY)}"
    return f"{days} {hours} h" if hours else days


def count(number: int | None) -> str:
    """Return a number of things; None is one that was never measured."""
    return NO_DATA if number is None else f"{number:,}"


def plural(number: int, one: str, many: str) -> str:
    """Return a number of things with their word."""
    return f"{number:,} {one if number == 1 else many}"


def percent(share: float | None) -> str:
    """Return a share as a percentage; it reads 100 % only when it is."""
    if share is None:
        return NO_DATA
    return "100 %" if share == 1 else f"{min(round(share * 100, 1), 99.9):.1f} %"


def milliseconds(value: float | None) -> str:
    """Return a response time with as many digits as tell something."""
    if value is None:
        return NO_DATA
    if value >= 1000:
        return f"{value / 1000:.2f} s"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def size(number: int) -> str:
    """Return a number of bytes in the unit that suits it."""
    value = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
