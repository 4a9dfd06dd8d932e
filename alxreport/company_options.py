"""What can be set for a single company: names, allowed values, and the defaults behind them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from alxreport.errors import UsageError
from alxreport.listing import DEFAULT_FIELDS, FIELDS
from alxreport.settings import SYNC_MODES, Settings

RATE_LIMIT = "rate_limit"
FIELD, COURSE = "field_", "course_"  # field_email = 0: hidden; course_7 = 0: switched off
LARGEST = 10**9


@dataclass(frozen=True)
class CompanyOptions:
    """One company's settings with the defaults filled in."""

    max_limit: int
    sync_mode: str
    sync_window_hours: int
    cache_minutes: int
    include_untracked: bool
    rate_limit: int
    fields: tuple[str, ...]  # shown in every answer
    hidden: frozenset[str]  # switched off by the administrator


def _number(least: int, most: int) -> Callable[[str], str | None]:
    def parse(text: str) -> str | None:
        plain = text.strip()
        if not (plain.isdecimal() and plain.isascii()) or len(plain) > 12:
            return None
        return str(int(plain)) if least <= int(plain) <= most else None

    return parse


def _switch(text: str) -> str | None:
    words = {"1": "1", "true": "1", "yes": "1", "on": "1",
             "0": "0", "false": "0", "no": "0", "off": "0"}  # fmt: skip
    return words.get(text.strip().lower())


def _mode(text: str) -> str | None:
    return text.strip().lower() if text.strip().lower() in SYNC_MODES else None


@dataclass(frozen=True)
class Option:
    """One setting: how a text becomes its value, and the words for what is allowed."""

    parse: Callable[[str], str | None]
    allowed: str
    meaning: str


OPTIONS: Mapping[str, Option] = {
    "max_limit": Option(_number(1, 100_000), "1 to 100000", "rows a page at the most"),
    "sync_mode": Option(_mode, ", ".join(SYNC_MODES), "mode of a request that names none"),
    "sync_window_hours": Option(
        _number(1, 24 * 365), "1 to 8760", "auto: older deltas are answered in full"
    ),
    "cache_minutes": Option(_number(0, 24 * 60), "0 to 1440, 0 = off", "how long pages are kept"),
    "include_untracked": Option(
        _switch, "0 or 1", "1: also people whom Moodle does not track, from the next sync on"
    ),
}
RATE_LIMIT_OPTION = Option(
    _number(0, LARGEST), "0 or more, 0 = unlimited", "requests a day; see 'alxreport limit'"
)


def parse_option(name: str, text: str) -> str:
    """Return the text to store for a setting; UsageError for an unknown name or bad value."""
    if name not in OPTIONS:
        if name == RATE_LIMIT:
            raise UsageError("The rate limit has its own command.", "See 'alxreport limit --help'.")
        near = difflib.get_close_matches(name, OPTIONS, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"The settings are {', '.join(OPTIONS)}."
        raise UsageError(f"There is no setting {name!r}.", hint)
    value = OPTIONS[name].parse(text)
    if value is None:
        raise UsageError(f"{name} cannot be {text!r}.", f"It is {OPTIONS[name].allowed}.")
    return value


def parse_rate_limit(text: str) -> str:
    """Return the text to store for a rate limit; UsageError for what is none."""
    value = RATE_LIMIT_OPTION.parse(text)
    if value is None:
        raise UsageError(f"A limit cannot be {text!r}.", f"It is {RATE_LIMIT_OPTION.allowed}.")
    return value


def default_options(settings: Settings) -> dict[str, str]:
    """Return every setting's value where a company has none of its own, as it would be stored."""
    requests = settings.requests
    values: dict[str, object] = {
        "max_limit": requests.max_limit,
        "sync_mode": requests.sync_mode,
        "sync_window_hours": requests.sync_window_hours,
        "cache_minutes": requests.cache_minutes,
        "include_untracked": int(settings.sync.include_untracked),
        RATE_LIMIT: requests.rate_limit,
    }
    fields = {FIELD + name: int(name in DEFAULT_FIELDS) for name in FIELDS}
    return {name: str(value) for name, value in (values | fields).items()}


def company_options(settings: Settings, own: Mapping[str, str]) -> CompanyOptions:
    """Return a company's options: its ``own`` stored settings before the defaults.

    A stored value that this version does not understand counts as not there.
    """
    values = default_options(settings)
    for name, text in own.items():
        option = RATE_LIMIT_OPTION if name == RATE_LIMIT else OPTIONS.get(name)
        known = option.parse(text) if option else _switch(text) if name in values else None
        if known is not None:
            values[name] = known
    return CompanyOptions(
        max_limit=int(values["max_limit"]),
        sync_mode=values["sync_mode"],
        sync_window_hours=int(values["sync_window_hours"]),
        cache_minutes=int(values["cache_minutes"]),
        include_untracked=values["include_untracked"] == "1",
        rate_limit=int(values[RATE_LIMIT]),
        fields=tuple(name for name in FIELDS if values[FIELD + name] == "1"),
        hidden=frozenset(name for name in FIELDS if own.get(FIELD + name) == "0"),
    )
