"""Plain sessions with the store: SQL text that every server takes, for what has to start fast.

A request opens no SQLAlchemy where the store is a SQLite file: importing it takes longer than
answering. The SQL is written once, with ``:name`` for values; what differs between the servers is
in this file.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from alxreport.database_errors import too_slow
from alxreport.error_codes import SLOW_CODES, error_code
from alxreport.errors import AlxError, StoreError
from alxreport.settings import StoreSettings
from alxreport.sqlite_session import (
    LOCK_WAIT_SECONDS,
    Row,
    SqliteSession,
    plain_sqlite_path,
    translated,
)
from alxreport.store_names import SCHEMA_VERSION, StoreNames

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

# A transaction that lost against another one is tried again as a whole, this often: with the pauses
# between, some ten seconds, in which a cluster counts its nodes.
ATTEMPTS = 10
# But not for longer than this: who asks waits for it. A server that is silent for longer than it
# may wait for a lock is lost.
GIVE_UP_SECONDS, SILENCE_SECONDS = 40.0, LOCK_WAIT_SECONDS + 10
Result = TypeVar("Result")
Work = Callable[["Session"], Result]


class Session(Protocol):
    """One connection inside one transaction of the store."""

    kind: str  # sqlite, mysql or postgresql
    names: StoreNames

    def rows(self, sql: str, **values: Any) -> Sequence[Row]:
        """Return all rows of a SELECT."""

    def change(self, sql: str, **values: Any) -> int:
        """Run an INSERT, UPDATE or DELETE; return how many rows it matched."""

    def stream(self, sql: str, values: Mapping[str, Any], size: int) -> Iterator[Sequence[Row]]:
        """Yield the rows of a SELECT in slices, without holding all of them."""

    def bounded(self, seconds: float) -> AbstractContextManager[None]:
        """Stop the block's statements after so many seconds; UsageError where that happened."""


def first(session: Session, sql: str, **values: Any) -> Row | None:
    """Return the first row of a SELECT, or None."""
    found = session.rows(sql, **values)
    return found[0] if found else None


def insert_new(session: Session, table: str, columns: Sequence[str]) -> str:
    """Return an INSERT that does nothing where the row's key is there already."""
    values = ", ".join(f":{name}" for name in columns)
    into = f"INTO {table} ({', '.join(columns)}) VALUES ({values})"
    if session.kind == "mysql":
        return f"INSERT IGNORE {into}"
    return f"INSERT {into} ON CONFLICT DO NOTHING"


def add_to(
    session: Session, table: str, keys: Mapping[str, int], amounts: Mapping[str, int]
) -> None:
    """Add amounts to the row of a key, which is made where there is none; in one statement."""
    columns = [*keys, *amounts]
    values = ", ".join(f":{name}" for name in columns)
    if session.kind == "mysql":
        sums = ", ".join(f"{name} = {name} + :{name}" for name in amounts)
        end = f"ON DUPLICATE KEY UPDATE {sums}"
    else:
        sums = ", ".join(f"{name} = {table}.{name} + :{name}" for name in amounts)
        end = f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {sums}"
    session.change(
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values}) {end}",  # noqa: S608
        **keys, **amounts,
    )  # fmt: skip


def by_index(session: Session, table: str, index: str) -> str:
    """Return a table to be read along an index of ours.

    MySQL's optimizer, where it takes a company for most of the table, would read all of the
    company's part of the index up to the page that is wanted. The others need no telling.
    """
    if session.kind != "mysql":
        return getattr(session.names, table)  # type: ignore[no-any-return]
    return f"{getattr(session.names, table)} FORCE INDEX ({getattr(session.names, index)})"


def numbers(values: Sequence[int]) -> str:
    """Return whole numbers as the text of an IN list."""
    return ", ".join(str(int(value)) for value in values) or "NULL"


class ServerSession:
    """A session through SQLAlchemy's connection, which keeps drivers, pools and TLS."""

    def __init__(self, connection: Connection, prefix: str) -> None:
        kind = connection.dialect.name
        self.kind = "mysql" if kind in {"mysql", "mariadb"} else kind
        self.names = StoreNames(prefix, "`" if self.kind == "mysql" else '"')
        self._connection = connection

    def _run(self, sql: str, values: Mapping[str, Any], **options: Any) -> Any:
        text = sql if self.kind == "sqlite" else _in_driver_form(sql)
        return self._connection.exec_driver_sql(text, dict(values), execution_options=options)

    def see_one_moment(self) -> None:
        """Let all statements of the transaction that begins see the same rows: MySQL's default."""
        if self.kind == "postgresql":
            self._run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY", {})

    def see_what_is_committed(self) -> None:
        """Let each statement of the transaction that begins see the newest rows.

        That is PostgreSQL's default. MySQL's own would count on a budget as it was before others
        spent of it, and MariaDB from 11.6 on refuse to.
        """
        if self.kind == "mysql":
            self._run("SET TRANSACTION ISOLATION LEVEL READ COMMITTED", {})

    def rows(self, sql: str, **values: Any) -> Sequence[Row]:
        """Return all rows of a SELECT."""
        found: Sequence[Row] = self._run(sql, values).all()
        return found

    def change(self, sql: str, **values: Any) -> int:
        """Run an INSERT, UPDATE or DELETE; return how many rows it matched."""
        return int(self._run(sql, values).rowcount)

    def stream(self, sql: str, values: Mapping[str, Any], size: int) -> Iterator[Sequence[Row]]:
        """Yield the rows of a SELECT in slices, through a cursor that stays on the server."""
        with self._run(sql, values, yield_per=size, stream_results=True) as result:
            yield from result.partitions()

    @contextmanager
    def bounded(self, seconds: float) -> Iterator[None]:
        """Stop each of the block's statements after so many seconds, and raise UsageError."""
        milliseconds = str(round(seconds * 1000))
        name = "statement_timeout"
        if self.kind == "mysql":
            is_mariadb = bool(getattr(self._connection.dialect, "is_mariadb", False))
            name = "max_statement_time" if is_mariadb else "max_execution_time"
            milliseconds = str(seconds) if is_mariadb else milliseconds
        scope = "LOCAL" if self.kind == "postgresql" else "SESSION"
        self._run(f"SET {scope} {name} = {milliseconds}", {})
        try:
            yield
        except Exception as error:
            if error_code(error.__cause__ or error) in SLOW_CODES:
                raise too_slow(seconds) from error
            raise
        finally:
            if self.kind == "mysql":  # the connection is used again
                self._run(f"SET SESSION {name} = DEFAULT", {})


@lru_cache(512)
def _in_driver_form(sql: str) -> str:
    return re.sub(r"(?<!:):([a-z_]\w*)", r"%(\1)s", sql.replace("%", "%%"))


class Store:
    """The store as requests use it: short transactions on pooled connections.

    Safe to share between threads.
    """

    def __init__(self, settings: StoreSettings) -> None:
        self.settings = settings
        self._path = plain_sqlite_path(settings.url)
        self._idle: list[SqliteSession] = []
        self._lock = threading.Lock()
        # Writers of this process stand in a queue: SQLite itself lets each try again by the clock.
        self._turn = threading.Lock()
        self._engine: Engine | None = None

    @property
    def is_file(self) -> bool:
        """Whether it is a file of this machine, that one at a time may write to."""
        return self._path is not None

    @property
    def may_lose_an_end(self) -> bool:
        """Whether a commit may succeed without our hearing of it: a server may end meanwhile."""
        return self._path is None

    def read(self, work: Work[Result]) -> Result:
        """Return what ``work`` does in one transaction that sees one moment of the store."""
        return self._tried(work, ATTEMPTS, writing=False)

    def write(self, work: Work[Result], attempts: int = ATTEMPTS) -> Result:
        """Return what ``work`` does in one transaction: all of it happens, or nothing.

        One that gave way to another writer is done again; ``work`` must bear that. Raises what
        ``work`` raises, and StoreError.
        """
        return self._tried(work, attempts, writing=True)

    def _tried(self, work: Work[Result], attempts: int, *, writing: bool) -> Result:
        until = time.monotonic() + GIVE_UP_SECONDS
        for attempt in range(1, attempts + 1):
            try:
                with self._session(writing=writing) as session:
                    return work(session)
            except StoreError as error:
                if not error.transient or self._path or attempt == attempts:
                    raise
                if time.monotonic() > until:
                    raise
                time.sleep(random.uniform(0.002, 0.02) * 2**attempt)  # noqa: S311
        raise AssertionError  # the last attempt returned or raised

    def write_later(self, work: Work[None]) -> None:
        """Do ``work`` in a transaction, not necessarily before this returns; here it is at once.

        Raises what ``write`` raises where it is done at once.
        """
        self.write(work)

    def reading(self) -> AbstractContextManager[Session]:
        """Return a context with a session that sees one moment of the store."""
        return self._session(writing=False)

    @contextmanager
    def _session(self, *, writing: bool) -> Iterator[Session]:
        if self._path is None:
            from alxreport import database

            opened = database.writing if writing else database.reading
            with opened(self._server()) as connection:
                session = ServerSession(connection, self.settings.table_prefix)
                if writing:
                    session.see_what_is_committed()
                else:
                    session.see_one_moment()
                yield session
            return
        with self._lock:
            plain = self._idle.pop() if self._idle else None
        if plain is not None and not plain.is_current():
            plain.connection.close()
            plain = None
        if plain is None:
            with translated():
                plain = SqliteSession(self._path, self.settings.table_prefix)
        sound = False
        try:
            with (
                self._turn_to_write() if writing else nullcontext(),
                plain.transaction("BEGIN IMMEDIATE" if writing else "BEGIN"),
            ):
                yield plain
            sound = True
        except AlxError as error:
            sound = not isinstance(error, StoreError)  # a refusal says nothing of the connection
            raise
        finally:
            if sound:
                with self._lock:
                    self._idle.append(plain)
            else:
                plain.connection.close()

    @contextmanager
    def _turn_to_write(self) -> Iterator[None]:
        if not self._turn.acquire(timeout=LOCK_WAIT_SECONDS):
            raise StoreError("The store is busy: other requests write into it.", "Try again.")
        try:
            yield
        finally:
            self._turn.release()

    def _server(self) -> Engine:
        with self._lock:
            if self._engine is None:
                from alxreport.database import open_store

                self._engine = open_store(self.settings, create=False, silence=SILENCE_SECONDS)
            return self._engine

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            for session in self._idle:
                session.connection.close()
            self._idle.clear()
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None


SomeStore = TypeVar("SomeStore", bound=Store)


def open_requests(settings: StoreSettings) -> Store:
    """Return the store for requests; see ``ready``."""
    return ready(Store(settings))


def ready(store: SomeStore) -> SomeStore:
    """Return a store for requests; it has to be there, and is migrated when it is older.

    Raises ConfigError or StoreError.
    """
    try:
        if not store.read(_is_current):
            _prepare(store.settings)
    except StoreError:
        try:
            _prepare(store.settings)  # tells what is wrong, or mends it
        except BaseException:
            store.close()
            raise
    return store


def _is_current(session: Session) -> bool:
    found = first(session, f"SELECT max(version_num) FROM {session.names.schema}")  # noqa: S608
    return found is not None and found[0] == SCHEMA_VERSION


def _prepare(settings: StoreSettings) -> None:
    from alxreport.database import open_store
    from alxreport.schema import require_store, store_tables

    engine = open_store(settings, create=False)
    try:
        require_store(engine, store_tables(settings.table_prefix))
    finally:
        engine.dispose()
