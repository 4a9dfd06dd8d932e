"""A session on a SQLite file, straight through Python's own driver."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from alxreport.database_errors import store_error, too_slow
from alxreport.errors import StoreError
from alxreport.store_names import StoreNames
from alxreport.whole_file import file_of

LOCK_WAIT_SECONDS = 30
SQLITE_URLS = ("sqlite:///", "sqlite+pysqlite:///")
# Steps of SQLite's machine between two looks at the clock: some ten rows of a costly condition.
LOOK_EVERY = 1_000
Row = Sequence[Any]


class SqliteSession:
    """A session on a SQLite file, straight through Python's own driver."""

    kind = "sqlite"

    def __init__(self, path: Path, prefix: str) -> None:
        self.names = StoreNames(prefix)
        self.connection = sqlite3.connect(
            f"file:{_quoted(path)}?mode=rw", uri=True, timeout=LOCK_WAIT_SECONDS,
            isolation_level=None, check_same_thread=False,
        )  # fmt: skip
        self.connection.execute("PRAGMA synchronous = NORMAL")
        self._path, self._file = path, file_of(path)

    def is_current(self) -> bool:
        """Tell whether the file that is open still has that name."""
        return self._file == file_of(self._path)

    def rows(self, sql: str, **values: Any) -> Sequence[Row]:
        """Return all rows of a SELECT."""
        with translated():
            return self.connection.execute(sql, values).fetchall()

    def change(self, sql: str, **values: Any) -> int:
        """Run an INSERT, UPDATE or DELETE; return how many rows it matched."""
        with translated():
            return self.connection.execute(sql, values).rowcount

    def stream(self, sql: str, values: Mapping[str, Any], size: int) -> Iterator[Sequence[Row]]:
        """Yield the rows of a SELECT in slices."""
        with translated():
            cursor = self.connection.execute(sql, dict(values))
            while found := cursor.fetchmany(size):
                yield found

    @contextmanager
    def bounded(self, seconds: float) -> Iterator[None]:
        """Stop the block's statements after so many seconds; UsageError where that happened."""
        until = time.monotonic() + seconds
        self.connection.set_progress_handler(lambda: time.monotonic() > until, LOOK_EVERY)
        try:
            yield
        except StoreError as error:
            if time.monotonic() > until:
                raise too_slow(seconds) from error
            raise
        finally:
            self.connection.set_progress_handler(None, 0)

    @contextmanager
    def transaction(self, begin: str) -> Iterator[None]:
        """Commit when the block succeeds, else roll back."""
        with translated():
            self.connection.execute(begin)
        try:
            yield
            with translated():
                self.connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self.connection.execute("ROLLBACK")
            raise


@contextmanager
def translated() -> Iterator[None]:
    """Turn what the driver raises in the block into a StoreError."""
    try:
        yield
    except sqlite3.Error as error:
        raise store_error(error) from error


def plain_sqlite_path(url: str) -> Path | None:
    """Return the file of a SQLite URL without options; anything else is left to SQLAlchemy."""
    for start in SQLITE_URLS:
        name = url.removeprefix(start)
        if name != url and name and "?" not in name and name != ":memory:":
            return Path(name)
    return None


def _quoted(path: Path) -> str:
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
