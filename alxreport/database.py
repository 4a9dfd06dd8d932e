"""Connections: one consistent read-only view of Moodle, short transactions in the store."""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool, QueuePool

from alxreport.database_errors import source_error, store_error, where_known
from alxreport.dialects import SqliteSetHash, flavour
from alxreport.error_codes import LOST_CODES, error_code
from alxreport.errors import AlxError, ConfigError, NoStoreError, SourceError, StoreError
from alxreport.extras import install_hint
from alxreport.failover import (
    OTHERS,
    RECYCLE_SECONDS,
    Manner,
    abandon,
    connect_to_one,
    servers,
    split_hosts,
)
from alxreport.process_mark import LEASE_SECONDS
from alxreport.settings import DatabaseSettings, MoodleSettings, StoreSettings, read_password
from alxreport.tls import require_tls, tls_arguments

# They log what they meet while they clean up after an error that is told anyway.
for _name in ("sqlalchemy", "psycopg"):
    logging.getLogger(_name).addHandler(logging.NullHandler())

CONNECT_TIMEOUT_SECONDS = 10
LOCK_WAIT_SECONDS = 30
# How long a MySQL server may say nothing: to a sync's transaction, which waits for locks and for a
# cluster that counts its nodes; to one statement on Moodle's tables, the largest of which takes
# minutes on a very large site.
SYNC_SECONDS, SOURCE_SECONDS = 300, 3_600
# A PostgreSQL server whose machine is gone; one that computes answers these by itself.
KEEPALIVE = {
    "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}  # fmt: skip
# A host that died closes nothing. Without these its locks in the store would outlast its lease:
# two hours on PostgreSQL, and eight on MariaDB.
POSTGRES_GONE = "-c tcp_keepalives_idle=60 -c tcp_keepalives_interval=20 -c tcp_keepalives_count=6"
MARIADB_GONE = f"/*M!100300, idle_write_transaction_timeout = {LEASE_SECONDS} */"
DRIVERS = {
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
    "mysql+pymysql": "mysql+pymysql",
    "mariadb+pymysql": "mysql+pymysql",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
}
# Execution option of a connection whose user wants the database's own errors.
RAW_ERRORS = "alx_raw_errors"
TRANSLATION = "alx_translation"
EXAMPLES = (
    "mysql://user:password@host/database, postgresql://user:password@host/database"
    " or sqlite:////path/file.db"
)


def database_url(settings: DatabaseSettings, what: str) -> URL:
    """Return the complete URL of a database: driver, password and character set filled in.

    ``what`` names the setting in errors. Raises ConfigError for a URL of no known form.
    """
    text, others = split_hosts(settings.url)
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise ConfigError(f"{what} is not a database URL.", f"Write {EXAMPLES}.") from error
    if url.drivername not in DRIVERS:
        raise ConfigError(f"{what} begins with {url.drivername}://.", f"Write {EXAMPLES}.")
    if "@" in (url.host or ""):
        raise ConfigError(f"{what} has an @ in its password.", "Write %40 for it there.")
    url = url.set(drivername=DRIVERS[url.drivername])
    if settings.password_file and url.drivername != "sqlite":
        url = url.set(password=read_password(settings.password_file))
    if url.drivername != "sqlite" and not url.database:
        raise ConfigError(f"{what} names no database.", f"Write {EXAMPLES}.")
    if url.drivername == "mysql+pymysql":
        url = url.update_query_dict({"charset": "utf8mb4"})
    if others:
        url = url.update_query_dict({OTHERS: others})
        try:
            servers(url)
        except ValueError as error:
            raise ConfigError(
                f"{what} has a part between commas that is no host.",
                "Write mysql://user:password@host1,host2:3307,host3/database.",
            ) from error
    return url


def _connect_arguments(url: URL, settings: DatabaseSettings, what: str) -> dict[str, Any]:
    if url.drivername == "sqlite":
        return {"timeout": LOCK_WAIT_SECONDS}
    try:
        arguments = tls_arguments(url, settings)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"{what}: the TLS files cannot be used: {error.strerror or error}.",
            "Check tls_ca, tls_cert and tls_key.",
        ) from error
    if url.drivername == "mysql+pymysql" and url.password:
        # As PHP does: PyMySQL itself would encode a password of text as Latin-1.
        arguments["password"] = str(url.password).encode()
    if url.get_backend_name() == "postgresql":
        arguments = KEEPALIVE | arguments
    return arguments | {"connect_timeout": CONNECT_TIMEOUT_SECONDS}


def _engine(url: URL, what: str, manner: Manner, **arguments: Any) -> Engine:
    there = servers(url)
    if len(there) > 1 and "poolclass" not in arguments:
        arguments["pool_recycle"] = RECYCLE_SECONDS
    try:
        engine = create_engine(url.difference_update_query([OTHERS]), **arguments)
        if url.get_backend_name() != "sqlite":
            connect_to_one(engine, there, manner)
        return engine
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{what} needs the package {error.name}.", install_hint("postgres")
        ) from error


def open_source(settings: MoodleSettings) -> Engine:
    """Return an engine on Moodle's database that begins no transaction by itself."""
    if not settings.url:
        raise ConfigError(
            "No Moodle database is configured.",
            "Run 'alxreport init', or set ALXREPORT_MOODLE_URL.",
        )
    url = database_url(settings, "moodle.url")
    arguments = _connect_arguments(url, settings, "moodle.url")
    if url.drivername == "sqlite":
        path = _sqlite_path(url, "moodle.url")
        if not path.is_file():
            raise SourceError(f"There is no Moodle database file {path}.", "Check moodle.url.")
        # Opened read-only by SQLite itself: no code here could write by mistake.
        url = url.set(database=f"file:{_uri_quoted(path)}", query={"mode": "ro", "uri": "true"})
    engine = _engine(
        url, "moodle.url", Manner(SOURCE_SECONDS), isolation_level="AUTOCOMMIT",
        poolclass=NullPool, connect_args=arguments,
    )  # fmt: skip
    if url.drivername == "sqlite":

        @event.listens_for(engine, "connect")
        def register(connection: Any, _record: Any) -> None:
            connection.create_aggregate("alx_set_hash", -1, SqliteSetHash)

    return _translate(engine, source_error)


def _sqlite_path(url: URL, what: str) -> Path:
    if url.host or not url.database or url.database == ":memory:":
        raise ConfigError(f"{what} names no file.", "Write sqlite:////absolute/path.db.")
    return Path(url.database)


def _uri_quoted(path: Path) -> str:
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


@contextmanager
def snapshot(
    engine: Engine, settings: MoodleSettings, before: Callable[[Connection], object] | None = None
) -> Iterator[Connection]:
    """Yield a connection on which every SELECT sees the same moment of Moodle's data.

    Nothing can be written through it: the transaction is read-only on every server, and the file
    is opened read-only on SQLite. ``before`` is called on the connection just before that moment.
    """
    sql = flavour(engine.dialect)
    with connecting(engine) as connection:
        if settings.tls != "off" and sql.name == "mysql":
            require_tls(connection)
        for statement in sql.session:
            connection.exec_driver_sql(statement)
        for statement in sql.optional_session:
            with where_known():
                connection.exec_driver_sql(statement)
        if before is not None:
            before(connection)
        for statement in sql.snapshot:
            connection.exec_driver_sql(statement)
        try:
            yield connection
        finally:
            # After a lost connection there is nothing to roll back, and the first error counts.
            with suppress(SourceError, SQLAlchemyError):
                connection.exec_driver_sql("ROLLBACK")


def open_store(
    settings: StoreSettings, *, create: bool = True, silence: float = SYNC_SECONDS
) -> Engine:
    """Return an engine on the store; a SQLite file is made when missing, mode 0600.

    Without ``create`` a missing file is a StoreError. A MySQL server that says nothing for so many
    seconds of ``silence`` counts as lost.
    """
    url = database_url(settings, "store.url")
    arguments = _connect_arguments(url, settings, "store.url")
    if url.drivername == "mysql+pymysql":
        # The server may be set up to cut a text that is too long, or to read quotes otherwise.
        arguments["init_command"] = (
            "SET SESSION sql_mode = 'STRICT_ALL_TABLES',"
            f" innodb_lock_wait_timeout = {LOCK_WAIT_SECONDS}"
            f" {MARIADB_GONE}"
        )
    elif url.drivername != "sqlite":
        arguments["options"] = f"-c lock_timeout={LOCK_WAIT_SECONDS}s {POSTGRES_GONE}"
    if url.drivername != "sqlite":
        # Values by place, not by name: the bulk writer hands its tuples over as they are.
        manner = Manner(silence, writing=True)
        engine = _engine(url, "store.url", manner, connect_args=arguments, paramstyle="format")
        return _translate(engine, store_error)
    path = _sqlite_path(url, "store.url")
    if not create and not path.exists():
        raise NoStoreError(
            f"There is no store at {path} yet.",
            "Run 'alxreport sync' first, or name another configuration with --config.",
        )
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StoreError(
            f"The store {path} cannot be made: {error.strerror}.",
            "Name another place in store.url, or let this user write there.",
        ) from error
    engine = _engine(url, "store.url", Manner(), connect_args=arguments, poolclass=QueuePool)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin below, not in the driver
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer takes its lock at once: a later upgrade could fail half way.
        writing = connection.get_execution_options().get("alx_writing")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return _translate(engine, store_error)


@contextmanager
def connecting(engine: Engine) -> Iterator[Connection]:
    """Yield a connection in no transaction.

    Raises ConfigError for options in the URL that the driver does not take.
    """
    try:
        connection = engine.connect()
    except (TypeError, ValueError) as error:  # UnicodeError, of an odd host name, is a ValueError
        # Without its options: a password may stand there, too.
        shown = engine.url.set(query={}).render_as_string(hide_password=True)
        raise ConfigError(
            f"The database URL {shown} has a part that its driver does not take: {error}.",
            "Check the host and what stands after the question mark.",
        ) from error
    except DBAPIError as error:
        # SQLAlchemy's first look at a server failed, and so did its rollback, which it tells raw.
        raise engine.get_execution_options()[TRANSLATION](error) from error
    with connection:
        yield connection


def store_exists(settings: StoreSettings) -> bool:
    """Tell whether there is anything to connect to: false only for a missing SQLite file."""
    url = database_url(settings, "store.url")
    return url.drivername != "sqlite" or _sqlite_path(url, "store.url").exists()


def is_file(engine: Engine) -> bool:
    """Tell whether a store is a file of this machine."""
    return engine.dialect.name == "sqlite"


def columns_of(connection: Connection, tables: Iterable[str]) -> dict[str, set[str]]:
    """Return the columns of those of ``tables`` that are there; every name in lower case."""
    sql = text(flavour(connection.dialect).columns_sql)
    statement = sql.bindparams(bindparam("names", expanding=True))
    found: dict[str, set[str]] = {}
    for table, column in connection.execute(statement, {"names": list(tables)}):
        found.setdefault(table.lower(), set()).add(column.lower())
    return found


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Yield a connection in a read transaction of the store."""
    with connecting(engine) as connection:
        transaction = connection.begin()
        try:
            yield connection
        finally:
            # What was read was read: a connection that is lost at the end takes nothing of it away.
            with suppress(AlxError, SQLAlchemyError):
                transaction.rollback()


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Yield a connection in a write transaction of the store: all of it happens, or nothing."""
    with connecting(engine) as raw:
        connection = raw.execution_options(alx_writing=True)
        with connection.begin():
            yield connection


def _translate(engine: Engine, translate: Callable[[DBAPIError], AlxError]) -> Engine:
    """Let every database error on an engine leave as an error for people, whoever caused it."""

    @event.listens_for(engine, "handle_error")
    def handle(context: ExceptionContext) -> None:
        found = context.sqlalchemy_exception
        raw = context.connection is not None and context.connection.get_execution_options().get(
            RAW_ERRORS
        )
        if error_code(context.original_exception) in LOST_CODES:
            context.is_disconnect = True  # some of these SQLAlchemy would go on with
            abandon(context.connection)
        if isinstance(found, DBAPIError) and not raw:
            raise translate(found) from context.original_exception

    engine.update_execution_options(**{TRANSLATION: translate})
    return engine
