"""The doctor's look at the store: can it be written, is it current, and how the syncs went."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, select, update
from sqlalchemy.engine import URL

from alxreport import switch
from alxreport.address import same_database, shown, sqlite_file
from alxreport.checks import Check, age_text, failed
from alxreport.database import columns_of, database_url, open_store, reading, writing
from alxreport.errors import AlxError, ConfigError, StoreError
from alxreport.records import CompanyState
from alxreport.schema import (
    StoreTables,
    refuse_foreign,
    schema_version,
    store_tables,
)
from alxreport.settings import Settings
from alxreport.store import company_states
from alxreport.store_names import SCHEMA_VERSION

HOUR_SECONDS = 3600
SHOWN_COMPANIES = 5
NEVER = Check("last sync", "warning", "No sync has run yet.", "Run: alxreport sync")


@dataclass(frozen=True)
class _History:
    """What the store tells of the syncs."""

    disabled: bool
    last: Any  # the newest row of the runs, or None
    states: tuple[CompanyState, ...]


def store_checks(settings: Settings, now: int) -> list[Check]:
    """Look at the store without making or altering anything; broken parts end the look."""
    try:
        url = database_url(settings.store, "store.url")
        if missing := _missing_file(url):
            return [_unmade(missing), _separation(settings, url, shared=False), NEVER]
        engine = open_store(settings.store)
    except AlxError as error:
        return [failed("store", error)]
    try:
        return _look(settings, url, engine, now)
    finally:
        engine.dispose()


def _missing_file(url: URL) -> Path | None:
    path = sqlite_file(url)
    if path is None:
        return None
    return None if path.exists() else path


def _unmade(path: Path) -> Check:
    folder = next(parent for parent in path.parents if parent.exists())
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return Check("store", "ok", f"{path} is not there yet; the first sync makes it.")
    return Check(
        "store",
        "problem",
        f"{path} is not there yet, and this user cannot write to {folder}.",
        f"Let this user write to {folder}, or name another place in store.url.",
    )


def _look(settings: Settings, url: URL, engine: Engine, now: int) -> list[Check]:
    tables = store_tables(settings.store.table_prefix)
    checks: list[Check] = []
    history: _History | None = None
    looking_at = "store"
    try:
        with reading(engine) as connection:
            looking_at = "schema"
            version = schema_version(connection, tables)
            shared = _holds_moodle(connection, settings.moodle.prefix)
            checks.append(_schema(connection, tables, version))
            if version == SCHEMA_VERSION:
                looking_at = "last sync"
                history = _history(connection, tables, now)
        looking_at = "store"
        checks.append(_writable(engine, tables, url, version))
    except AlxError as error:
        # Only a connection that was there can fail over anything but the store as such.
        return [*checks, failed(looking_at if checks else "store", error)]
    checks.append(_separation(settings, url, shared=shared))
    if history is not None:
        checks += [
            _switch(history),
            _last_sync(history, settings.alerts.overdue_hours, now),
            *_failed_companies(history),
        ]
    elif version is None and checks[0].verdict != "problem":
        checks.append(NEVER)
    return checks


def _holds_moodle(connection: Connection, prefix: str) -> bool:
    return bool(columns_of(connection, [f"{prefix}course_modules_completion"]))


def _schema(connection: Connection, tables: StoreTables, version: str | None) -> Check:
    if version is None:
        try:
            refuse_foreign(connection, tables)
        except StoreError as error:
            return failed("schema", error)
        return Check("schema", "ok", "The database is empty; the first sync makes the tables.")
    if version == SCHEMA_VERSION:
        return Check("schema", "ok", f"Schema {version} is current.")
    if version > SCHEMA_VERSION:
        return Check(
            "schema",
            "problem",
            f"The store was made by a newer alxreport (schema {version}).",
            "Upgrade alxreport on this machine.",
        )
    begun = f"is of an older version ({version})" if version else "was begun and not finished"
    return Check(
        "schema", "warning", f"The schema {begun}.", "The next sync upgrades it: alxreport sync"
    )


def _writable(engine: Engine, tables: StoreTables, url: URL, version: str | None) -> Check:
    finding = f"{shown(url)} can be read"
    if version == SCHEMA_VERSION:
        t = tables.meta
        try:
            with writing(engine) as connection:
                # Sets a value to itself: a write like any other, and nothing is changed.
                same = update(t).where(t.c.name == "store_id").values(value=t.c.value)
                connection.execute(same)
        except StoreError as error:
            if error.transient:
                return Check("store", "warning", error.message, error.hint)
            raise
        finding += " and written"
    file = sqlite_file(url)
    if file is not None and os.name == "posix":
        mode = stat.S_IMODE(file.stat().st_mode)
        if mode & (stat.S_IROTH | stat.S_IWOTH):
            return Check(
                "store",
                "warning",
                f"{finding}, by everybody on this machine (mode {mode:04o}).",
                f"It holds people's names: run: chmod 600 {url.database}",
            )
    return Check("store", "ok", f"{finding}.")


def _separation(settings: Settings, url: URL, *, shared: bool) -> Check:
    try:
        source = database_url(settings.moodle, "moodle.url") if settings.moodle.url else None
    except ConfigError:
        source = None  # said where the source is looked at
    if shared or (source is not None and same_database(source, url)):
        return Check(
            "separation",
            "warning",
            "The store lies in Moodle's own database.",
            "Give it a database of its own in store.url: Moodle's upgrades and backups then"
            " leave it alone, and Moodle's user needs no rights on it.",
        )
    return Check("separation", "ok", "The store is apart from Moodle's database.")


def _history(connection: Connection, tables: StoreTables, now: int) -> _History:
    runs = tables.runs
    # As the monitor has it: a run of a clock that was ahead hides none.
    newest = (
        select(runs)
        .where(runs.c.started_at <= now)
        .order_by(runs.c.started_at.desc(), runs.c.id.desc())
        .limit(1)
    )
    return _History(
        disabled=switch.read(connection, tables, switch.SWITCH) == switch.DISABLED,
        last=connection.execute(newest).first(),
        states=tuple(company_states(connection, tables).values()),
    )


def _switch(history: _History) -> Check:
    if not history.disabled:
        return Check("switch", "ok", "The sync is enabled.")
    return Check(
        "switch",
        "warning",
        "The sync is disabled: the rows grow old.",
        "Run: alxreport sync-state enable",
    )


def _last_sync(history: _History, overdue_hours: int, now: int) -> Check:
    last = history.last
    if last is None:
        return NEVER
    age = now - (last.finished_at or last.started_at)
    overdue = 0 < overdue_hours * HOUR_SECONDS < age and not history.disabled
    if last.status == "failed":
        good = max((state.synced_at or 0 for state in history.states), default=0)
        since = f" The last success was {age_text(now - good)} ago." if good else ""
        return Check(
            "last sync",
            "problem",
            f"Failed {age_text(age)} ago: {last.error or 'see the companies below'}{since}",
            "Put right what it says, then run: alxreport sync",
        )
    if last.status == "running":
        finding = f"One has been running for {age_text(age)}."
        advice = "If no such process is there, run: alxreport sync"
        return Check("last sync", "warning" if overdue else "ok", finding, advice * overdue)
    finding = f"{last.status.capitalize()}, {age_text(age)} ago."
    if overdue:
        advice = "It should run every hour: check the cron line, then run: alxreport sync"
        return Check("last sync", "warning", finding, advice)
    if last.status != "success":
        return Check("last sync", "warning", finding, "See which companies failed, and why.")
    return Check("last sync", "ok", finding)


def _failed_companies(history: _History) -> list[Check]:
    if not history.states:
        return []
    broken = [state for state in history.states if state.last_status == "failed"]
    if not broken:
        return [Check("company syncs", "ok", f"None of {len(history.states):,} failed.")]
    told = "; ".join(f"{s.shortname}: {s.last_error}" for s in broken[:SHOWN_COMPANIES])
    more = f"; and {len(broken) - SHOWN_COMPANIES} more" if len(broken) > SHOWN_COMPANIES else ""
    return [
        Check(
            "company syncs",
            "problem",
            f"{len(broken):,} of {len(history.states):,} failed at their last sync: {told}{more}",
            "Put right what it says, then run: alxreport sync",
        )
    ]
