"""The demonstration: a made-up site, synced, changed, synced again; no server, no network."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from alxreport.database import open_store
from alxreport.demo_site import DemoChange, build_demo_site, play_an_hour
from alxreport.errors import UsageError
from alxreport.records import RunReport
from alxreport.schema import prepare_store, store_tables
from alxreport.settings import MoodleSettings, Settings, StoreSettings
from alxreport.sync import run_sync

HOUR_SECONDS = 3_600
MARK = "config.toml"


@dataclass(frozen=True)
class DemoReport:
    """What the demonstration did."""

    directory: Path
    config: Path
    first: RunReport
    changes: tuple[DemoChange, ...]
    second: RunReport
    company: str  # one to look at


def run_demo(directory: Path, now: int) -> DemoReport:
    """Build the demonstration in ``directory`` and return what happened.

    A directory of an earlier demonstration is made anew; any other that is not empty is refused
    with UsageError.
    """
    directory = directory.absolute()
    files = ("moodle.db", "alxreport.db")
    if directory.exists():
        foreign = {path.name for path in directory.iterdir()} - {
            MARK, *(name + end for name in files for end in ("", "-wal", "-shm"))
        }  # fmt: skip
        if foreign or not directory.is_dir():
            raise UsageError(
                f"{directory} is not empty.", "Name a new directory: alxreport demo DIR"
            )
        shutil.rmtree(directory)
    try:
        directory.mkdir(parents=True, mode=0o700)
    except OSError as error:
        raise UsageError(
            f"{directory} cannot be made: {error.strerror}.", "Name another: alxreport demo DIR"
        ) from error
    settings = Settings(
        moodle=MoodleSettings(url=f"sqlite:///{directory / 'moodle.db'}"),
        store=StoreSettings(url=f"sqlite:///{directory / 'alxreport.db'}"),
    )
    config = directory / MARK
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
    engine.dispose()
    largest = max(second.companies, key=lambda company: company.rows)
    return DemoReport(directory, config, first, tuple(changes), second, largest.company)
