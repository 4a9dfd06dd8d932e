"""The demonstration: a made-up site, synced, changed, synced again; no server, no network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from alxreport.database import open_store
from alxreport.demo_history import write_requests, write_runs
from alxreport.demo_site import DemoChange, build_demo_site, play_an_hour
from alxreport.errors import UsageError
from alxreport.monitor import take
from alxreport.records import CompanyResult, RunReport
from alxreport.schema import prepare_store, store_tables
from alxreport.sessions import open_requests
from alxreport.settings import MoodleSettings, Settings, StoreSettings
from alxreport.snapshots import Snapshot
from alxreport.sync import run_sync
from alxreport.token_admin import create_token

HOUR_SECONDS = 3_600
CONFIG, TOKEN = "config.toml", "demo.token"
# Says that everything of these names in a directory was made by a demonstration.
MARK = ".alxreport-demo"
DATABASES = ("moodle.db", "alxreport.db")


@dataclass(frozen=True)
class DemoReport:
    """What the demonstration did."""

    directory: Path
    config: Path
    first: RunReport
    changes: tuple[DemoChange, ...]
    second: RunReport
    company: str  # one to look at
    token_file: Path  # opens that company
    settings: Settings
    snapshot: Snapshot  # of the monitor, with a made-up week behind it


def run_demo(directory: Path, now: int) -> DemoReport:
    """Build the demonstration in ``directory`` and return what happened.

    A directory of an earlier demonstration is made anew; any other that is not empty is refused
    with UsageError.
    """
    directory = directory.absolute()
    try:
        _make_room(directory)
    except OSError as error:
        raise UsageError(
            f"{directory} cannot be made: {error.strerror}.", "Name another: alxreport demo DIR"
        ) from error
    settings = Settings(
        moodle=MoodleSettings(url=f"sqlite:///{directory / 'moodle.db'}"),
        store=StoreSettings(url=f"sqlite:///{directory / 'alxreport.db'}"),
    )
    config = directory / CONFIG
    config.touch(mode=0o600)
    config.write_text(
        f'[moodle]\nurl = "{settings.moodle.url}"\n\n[store]\nurl = "{settings.store.url}"\n',
        encoding="utf-8",
    )
    site = create_engine(settings.moodle.url, poolclass=NullPool)
    build_demo_site(site, now - HOUR_SECONDS)
    engine = open_store(settings.store)
    tables = store_tables()
    prepare_store(engine, tables)
    first = run_sync(settings, engine, tables, now=now - HOUR_SECONDS)
    changes = play_an_hour(site, now)
    second = run_sync(settings, engine, tables, now=now)
    busiest = sorted(second.companies, key=lambda company: -company.rows)
    write_runs(engine, tables, second.companies, now)
    engine.dispose()
    largest = busiest[0]
    token_file = directory / TOKEN
    _write_token(settings, largest, token_file, now)
    store = open_requests(settings.store)
    write_requests(store, busiest, now)
    snapshot = take(store, settings, now=now, next_sync_at=None)
    store.close()
    return DemoReport(
        directory, config, first, tuple(changes), second, largest.company, token_file, settings,
        snapshot,
    )  # fmt: skip


def _write_token(settings: Settings, company: CompanyResult, path: Path, now: int) -> None:
    store = open_requests(settings.store)
    name = f"id:{company.id}"
    _token, secret = create_token(store, company=name, name="Demonstration", now=now)
    store.close()
    path.touch(mode=0o600)
    path.write_text(f"{secret}\n", encoding="ascii")


def _make_room(directory: Path) -> None:
    """Make the directory, or clear it of an earlier demonstration; nothing else is deleted."""
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"{directory} is a file.", "Name a new directory: alxreport demo DIR")
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = {
        MARK,
        CONFIG,
        TOKEN,
        *(name + end for name in DATABASES for end in ("", "-wal", "-shm")),
    }
    found = {path.name for path in directory.iterdir()}
    if found and (MARK not in found or found - made):
        raise UsageError(f"{directory} is not empty.", "Name a new directory: alxreport demo DIR")
    for name in found:
        (directory / name).unlink()
    (directory / MARK).touch()
