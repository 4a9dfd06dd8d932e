"""When a cron line runs: whether that is every hour, and the next time."""

from __future__ import annotations

import re
from datetime import datetime, tzinfo

from cronsim import CronSim, CronSimError

SPECIAL = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
# What cron takes in a field; cronsim knows more, such as L and #.
_ITEM = r"(\*(/\d+)?|(\d+|[A-Za-z]{3})(-(\d+|[A-Za-z]{3})(/\d+)?)?)"
_FIELDS = re.compile(rf"{_ITEM}(,{_ITEM})*([ \t]+{_ITEM}(,{_ITEM})*){{4}}")
# The calendar expressions of systemd that say "every hour" or "every so many minutes".
_HOURLY = re.compile(r"(?:\*-\*-\* )?\*:(\d{1,2})(?::00?)?")
_EVERY = re.compile(r"(?:\*-\*-\* )?\*:0{1,2}/(\d{1,2})(?::00?)?")


def is_understood(times: str) -> bool:
    """Tell whether these are times of cron; @reboot is one that never comes by the clock."""
    return times.lower() == "@reboot" or _simulation(times, datetime(2026, 1, 1)) is not None


def is_hourly(times: str) -> bool:
    """Tell whether a line with these times runs in every hour of every day."""
    found = _simulation(times, datetime(2026, 1, 1))
    if found is None:
        return False
    every_date = len(found.days) == 31
    every_weekday = {day % 7 for day in found.weekdays if isinstance(day, int)} == set(range(7))
    days = (every_date and every_weekday) if found.day_and else (every_date or every_weekday)
    return days and len(found.hours) == 24 and len(found.months) == 12


def next_run(times: str, after: int, zone: tzinfo) -> int | None:
    """Return the next time after a moment, None when there is none by the clock.

    ``zone`` is the time zone in which cron reads its lines, the machine's.
    """
    found = _simulation(times, datetime.fromtimestamp(after, zone))
    if found is None:
        return None
    try:
        return int(next(found).timestamp())
    except (StopIteration, OverflowError):
        return None


def calendar_times(calendar: str) -> str:
    """Return a timer's calendar expression as times of cron, or as it is when they have none."""
    text = calendar.strip()
    if text == "hourly":
        return SPECIAL["@hourly"]
    if hourly := _HOURLY.fullmatch(text):
        return f"{int(hourly[1])} * * * *"
    if every := _EVERY.fullmatch(text):
        return f"*/{int(every[1])} * * * *"
    return text


def _simulation(times: str, start: datetime) -> CronSim | None:
    fields = SPECIAL.get(times.lower(), times)
    if not _FIELDS.fullmatch(fields):
        return None
    try:
        return CronSim(fields, start)
    except CronSimError:
        return None
