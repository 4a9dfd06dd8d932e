"""SQLite files that are copied where a test wants tables: making these takes longer than a test."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import sqlalchemy as sa

from alxreport.database import open_store, reading
from alxreport.moodle_tables import moodle_tables
from alxreport.schema import prepare_store, store_tables
from alxreport.settings import StoreSettings

# Random names and keys of a store in its table ``meta``, with their bytes
DRAWN = {"store_id": 16, "mark_key": 32}


def _file_of(url: str | sa.URL) -> Path | None:
    """Return the file of a SQLite URL that has nothing in it yet; None for any other URL."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.query:
        return None
    path = Path(parsed.database)
    return path if not path.exists() or not path.stat().st_size else None


def _bytes(fill: Callable[[str], sa.Engine]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        fill(f"sqlite:///{folder}/template.db").dispose()
        return Path(folder, "template.db").read_bytes()


@cache
def _store() -> bytes:
    def fill(url: str) -> sa.Engine:
        engine = open_store(StoreSettings(url=url))
        prepare_store(engine, store_tables())
        with reading(engine) as connection:
            assert set(connection.scalars(sa.select(store_tables().meta.c.name))) == set(DRAWN)
        return engine

    return _bytes(fill)


@cache
def _moodle(prefix: str) -> bytes:
    def fill(url: str) -> sa.Engine:
        engine = sa.create_engine(url)
        moodle_tables(prefix).metadata.create_all(engine)
        return engine

    return _bytes(fill)


def name_anew(connection: sa.Connection) -> None:
    """Give a store what each one draws for itself when it is made, and nothing else of ``meta``."""
    meta = store_tables().meta
    connection.execute(sa.delete(meta).where(meta.c.name.not_in(DRAWN)))
    for name, size in DRAWN.items():
        drawn = sa.update(meta).where(meta.c.name == name).values(value=secrets.token_hex(size))
        assert connection.execute(drawn).rowcount == 1


def copy_store(url: str) -> None:
    """Make a store at ``url``, with a name of its own, if that is a file that is still to be."""
    if path := _file_of(url):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_store())
        os.chmod(path, 0o600)
        engine = sa.create_engine(f"sqlite:///{path}")
        with engine.begin() as connection:
            name_anew(connection)
        engine.dispose()


def copy_moodle(engine: sa.Engine, prefix: str) -> None:
    """Make Moodle's tables where ``engine`` leads, if that is a file that is still empty."""
    if path := _file_of(engine.url):
        engine.dispose()
        path.write_bytes(_moodle(prefix))
