"""What administrators set for companies in the PHP plugin, in the words of alxreport."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, column, select, table

from alxreport.database import columns_of
from alxreport.errors import SourceError
from alxreport.moodle_tables import moodle_tables

PLUGIN = "local_alx_report_api"
SETTINGS = "local_alx_api_settings"
COLUMNS = {"companyid", "setting_name", "setting_value"}
SITE_WIDE = "config_plugins"
SITE_COLUMNS = {"plugin", "name", "value"}
SITE_NAMES = ("max_records", "rate_limit")

FIELDS = (
    "userid", "firstname", "lastname", "email", "courseid", "coursename", "timecompleted",
    "timecompleted_unix", "timestarted", "timestarted_unix", "percentage", "status",
)  # fmt: skip
MODES = {0: "auto", 1: "incremental", 2: "full", 3: "disabled"}
PLUGIN_MAX_RECORDS = 1000  # what the plugin makes of an empty or impossible max_records
LIMITS = {
    "sync_window_hours": 24 * 365, "cache_minutes": 24 * 60, "max_limit": 10_000,
    "rate_limit": 10**9,
}  # fmt: skip
# Read elsewhere, or without any effect in the plugin.
PASSED_OVER = {
    "sync_mode", "sync_window_hours", "cache_enabled", "cache_ttl_minutes", "rate_limit",
    "first_sync_hours", *(f"field_{name}" for name in FIELDS),
}  # fmt: skip
_COURSE = re.compile(r"course_([0-9]{1,18})")
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")
SHOWN_CHARACTERS = 40


@dataclass(frozen=True)
class PluginCompany:
    """One company's settings: what to store, and what people should know about the rest."""

    companyid: int
    values: dict[str, str]  # settings of alxreport that differ from its defaults, as text
    notes: tuple[str, ...]


def plugin_settings(
    connection: Connection, prefix: str, defaults: Mapping[str, str]
) -> list[PluginCompany]:
    """Return the companies with settings in the PHP plugin, in the order of their ids.

    Given are a connection to Moodle's database, Moodle's table prefix, and alxreport's defaults by
    name. Numbers mean what the plugin's lib.php (modes, windows) and externallib.php (limits) made
    of them. Its settings for the whole site hold for every company, so with those there are
    companies without settings of their own too. Raises SourceError when the plugin's table of
    settings is missing.
    """
    columns = _columns(connection, prefix)
    if not columns[SETTINGS]:
        raise SourceError(
            f"Moodle's database has no settings of the PHP plugin ({prefix}{SETTINGS}).",
            f"The plugin {PLUGIN} is not installed there, or this user may not read its tables.",
        )
    if lost := sorted(COLUMNS - columns[SETTINGS]):
        raise SourceError(
            f"{prefix}{SETTINGS} lacks {', '.join(lost)}.",
            f"Update the plugin {PLUGIN} in Moodle, then try again.",
        )
    own = _own(connection, prefix)
    site = _site_wide(connection, prefix) if columns[SITE_WIDE] >= SITE_COLUMNS else {}
    company = moodle_tables(prefix).company
    known = set(connection.execute(select(company.c.id)).scalars())
    found: list[PluginCompany] = []
    for number in sorted(known | own.keys()):
        if number not in known:
            note = "This company does not exist in Moodle any more: nothing was carried over."
            found.append(PluginCompany(number, {}, (note,)))
            continue
        copy = _Copy(own.get(number, {}), site, defaults)
        copy.run()
        if number in own or copy.values:
            found.append(PluginCompany(number, copy.values, tuple(copy.notes)))
    return found


def _columns(connection: Connection, prefix: str) -> dict[str, set[str]]:
    there = columns_of(connection, [prefix + name for name in (SETTINGS, SITE_WIDE)])
    return {name: there.get((prefix + name).lower(), set()) for name in (SETTINGS, SITE_WIDE)}


def _own(connection: Connection, prefix: str) -> dict[int, dict[str, str]]:
    settings = table(prefix + SETTINGS, *map(column, sorted(COLUMNS))).c
    statement = select(settings.companyid, settings.setting_name, settings.setting_value)
    found: dict[int, dict[str, str]] = defaultdict(dict)
    for company, name, value in connection.execute(statement):
        found[company][name] = "" if value is None else str(value)
    return found


def _site_wide(connection: Connection, prefix: str) -> dict[str, str]:
    config = table(prefix + SITE_WIDE, *map(column, sorted(SITE_COLUMNS))).c
    statement = select(config.name, config.value).where(
        config.plugin == PLUGIN, config.name.in_(SITE_NAMES)
    )
    return {name: value or "" for name, value in connection.execute(statement)}


class _Copy:
    """One company's settings on their way from the plugin's names and numbers to ours."""

    def __init__(
        self, own: Mapping[str, str], site: Mapping[str, str], defaults: Mapping[str, str]
    ) -> None:
        self.own = own
        self.site = site
        self.defaults = defaults
        self.values: dict[str, str] = {}
        self.notes: list[str] = []

    def run(self) -> None:
        """Fill ``values`` and ``notes``."""
        for name in FIELDS:
            self._switch(f"field_{name}", f"field_{name}")
        for name in sorted(self.own.keys() - PASSED_OVER):
            if match := _COURSE.fullmatch(name):
                self._switch(name, f"course_{int(match[1])}")
            else:
                self.notes.append(f"{_shown(name)} is no known setting: left out.")
        self._mode()
        self._cache()
        self._max_limit()
        self._rate_limit()

    def _number(self, given: Mapping[str, str], name: str) -> int | None:
        """Return a setting's number, None when it is not set or, with a note, no number."""
        value = given.get(name, "").strip()
        if value == "" or _NUMBER.fullmatch(value):
            return int(value) if value else None
        self.notes.append(f"{name} = {_shown(value)} is not a number: left out.")
        return None

    def _put(self, name: str, value: str) -> bool:
        # Fields and courses are on where nobody said otherwise.
        if self.defaults.get(name, "1") == value:
            return False
        self.values[name] = value
        return True

    def _put_number(self, name: str, value: int, source: str) -> bool:
        if value > LIMITS[name]:
            self.notes.append(f"{source} = {value} is more than is possible: {LIMITS[name]} now.")
        return self._put(name, str(min(value, LIMITS[name])))

    def _switch(self, name: str, ours: str) -> None:
        value = self._number(self.own, name)
        if value in (0, 1):
            self._put(ours, str(value))
        elif value is not None:
            self.notes.append(f"{name} = {value} is neither 0 nor 1: left out.")

    def _mode(self) -> None:
        number = self._number(self.own, "sync_mode")
        if number is not None:
            self._put("sync_mode", MODES.get(number, MODES[0]))
            if number not in MODES:
                self.notes.append(f"sync_mode = {number} meant auto to the plugin: auto now.")
            elif number == 1:
                self.notes.append(
                    "Incremental: the plugin remembered what a token had read; now the reader"
                    " keeps the delta of an answer and gives it back, or gets everything."
                )
            elif number == 3:
                self.notes.append("Disabled: requests are refused now; the plugin answered them.")
        window = self._number(self.own, "sync_window_hours")
        if window is not None and window > 0:
            self._put_number("sync_window_hours", window, "sync_window_hours")
        elif window is not None and MODES.get(number or 0) in (None, "auto"):
            self.notes.append(
                f"sync_window_hours = {window}, by which the plugin answered everything in full,"
                " is not possible: left out."
            )

    def _cache(self) -> None:
        if self._number(self.own, "cache_enabled") == 0:
            self._put("cache_minutes", "0")
        elif (minutes := self._number(self.own, "cache_ttl_minutes") or 0) > 0:
            self._put_number("cache_minutes", minutes, "cache_ttl_minutes")

    def _max_limit(self) -> None:
        given = self._number(self.site, "max_records")
        if given is not None:
            rows = given if given > 0 else PLUGIN_MAX_RECORDS
            self._put_number("max_limit", rows, "max_records")

    def _rate_limit(self) -> None:
        limit = self._number(self.own, "rate_limit") or 0
        if limit <= 0:
            limit = self._number(self.site, "rate_limit") or 0
        if limit > 0 and self._put_number("rate_limit", limit, "rate_limit"):
            self.notes.append(
                f"The plugin gave {limit} requests a day to each user;"
                " now they are one budget of the whole company."
            )


def _shown(value: str) -> str:
    return repr(value if len(value) <= SHOWN_CHARACTERS else value[:SHOWN_CHARACTERS] + "…")
