"""The store's tables, declared once, and the check that a database is a store of this version."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy import (
    REAL,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    MetaData,
    Numeric,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    inspect,
    select,
    text,
)
from sqlalchemy.types import TypeEngine

from alxreport.database import connecting
from alxreport.errors import NoStoreError, StoreError
from alxreport.request_schema import MYSQL, Blob, Id, number, request_tables, words
from alxreport.store_names import PLUGIN_PREFIX, SCHEMA_VERSION

# SQLite would keep 100.00 as the integer 100 in a NUMERIC column.
Percent: TypeEngine[float] = Numeric(5, 2, asdecimal=False).with_variant(REAL(), "sqlite")


@dataclass(frozen=True)
class StoreTables:
    """One attribute per store table."""

    metadata: MetaData
    prefix: str
    version: str  # name of the table that records the schema's version
    reporting: Table
    sync_status: Table
    positions: Table
    runs: Table
    results: Table
    settings: Table
    leases: Table
    meta: Table
    revisions: Table
    tokens: Table
    usage: Table
    series: Table
    refusals: Table
    cache: Table
    logs: Table
    activity: Table
    latency: Table
    alerts: Table
    deliveries: Table


@lru_cache
def store_tables(prefix: str = "") -> StoreTables:
    """Return the store's tables behind ``store.table_prefix``."""
    meta = MetaData()
    name = prefix + PLUGIN_PREFIX

    return StoreTables(
        metadata=meta,
        prefix=prefix,
        version=f"{name}schema",
        reporting=Table(
            f"{name}reporting",
            meta,
            Column("id", Id, primary_key=True),
            number("userid", None),
            number("companyid", None),
            number("courseid", None),
            words("firstname", 255),
            words("lastname", 255),
            words("email", 255),
            words("username", 255),
            words("coursename", 1333),
            number("timecompleted"),
            number("timestarted"),
            Column("percentage", Percent, nullable=False, server_default="0"),
            Column("status", String(20), nullable=False, server_default="not_started"),
            number("last_updated"),
            Column("is_deleted", SmallInteger, nullable=False, server_default="0"),
            number("created_at"),
            number("updated_at"),
            number("revision"),
            # The order of every listing, so that a page is one walk along this index.
            UniqueConstraint("companyid", "userid", "courseid", name=f"{name}reporting_key"),
            Index(f"{name}reporting_rev", "companyid", "revision"),
            **MYSQL,
        ),
        sync_status=Table(
            f"{name}sync_status",
            meta,
            Column("companyid", BigInteger, primary_key=True, autoincrement=False),
            words("shortname", 255),
            words("name", 255),
            Column("suspended", Boolean, nullable=False, server_default="0"),
            Column("gone", Boolean, nullable=False, server_default="0"),
            Column("position", BigInteger),
            number("revision"),
            number("live_rows"),
            number("deleted_rows"),
            number("purged_revision"),
            number("duration_ms"),
            Column("synced_at", BigInteger),
            words("last_status", 20),
            Column("last_error", Text),
            **MYSQL,
        ),
        positions=Table(
            f"{name}positions",
            meta,
            Column("version", BigInteger, primary_key=True, autoincrement=False),
            Column("part", Integer, primary_key=True, autoincrement=False),
            Column("data", Blob, nullable=False),
            **MYSQL,
        ),
        runs=Table(
            f"{name}sync_runs",
            meta,
            Column("id", Id, primary_key=True),
            number("started_at", None),
            Column("finished_at", BigInteger),
            words("mode", 20),
            words("status", 20),
            words("host", 255),
            number("pid"),
            number("duration_ms"),
            number("created"),
            number("updated"),
            number("deleted"),
            number("errors"),
            Column("error", Text),
            Index(f"{name}sync_runs_at", "started_at"),
            **MYSQL,
        ),
        results=Table(
            f"{name}sync_results",
            meta,
            Column("runid", BigInteger, primary_key=True, autoincrement=False),
            Column("companyid", BigInteger, primary_key=True, autoincrement=False),
            words("status", 20),
            number("live_rows"),
            number("created"),
            number("updated"),
            number("deleted"),
            number("duration_ms"),
            Column("error", Text),
            **MYSQL,
        ),
        settings=Table(
            f"{name}settings",
            meta,
            Column("companyid", BigInteger, primary_key=True, autoincrement=False),
            Column("name", String(100), primary_key=True),
            words("value", 255),
            number("changed_at"),
            **MYSQL,
        ),
        leases=Table(
            f"{name}leases",
            meta,
            Column("name", String(50), primary_key=True),
            words("owner", 255),
            number("expires_at"),
            **MYSQL,
        ),
        meta=Table(
            f"{name}meta",
            meta,
            Column("name", String(50), primary_key=True),
            words("value", 255),
            **MYSQL,
        ),
        **request_tables(meta, name),
    )


def schema_version(connection: Connection, tables: StoreTables) -> str | None:
    """Return the schema's version: None for no store at all, "" for one begun but not finished."""
    if tables.version not in inspect(connection).get_table_names():
        return None
    version = connection.execute(text(f"SELECT max(version_num) FROM {tables.version}"))  # noqa: S608
    return str(version.scalar() or "")


def prepare_store(engine: Engine, tables: StoreTables) -> None:
    """Bring the store's schema to this version, making its tables in an empty database.

    Raises StoreError when the database holds tables of these names that alxreport did not make, or
    a schema of a newer alxreport. Nothing is altered then.
    """
    with connecting(engine) as connection:
        version = schema_version(connection, tables)
        if version == SCHEMA_VERSION:
            return
        if version is None:
            refuse_foreign(connection, tables)
        elif version > SCHEMA_VERSION:
            raise StoreError(
                f"The store was made by a newer alxreport (schema {version}).",
                "Upgrade alxreport on this machine.",
            )
    from alxreport.migrations import upgrade  # Alembic is slow to import

    def is_current() -> bool:
        with connecting(engine) as connection:
            return schema_version(connection, tables) == SCHEMA_VERSION

    upgrade(engine, tables, is_current)


def require_store(engine: Engine, tables: StoreTables) -> None:
    """Check that there is a store to read from; StoreError if nothing was ever synced into it."""
    with connecting(engine) as connection:
        version = schema_version(connection, tables)
        if version is None:
            refuse_foreign(connection, tables)
            raise NoStoreError("The store is empty.", "Run 'alxreport sync' first.")
    if version != SCHEMA_VERSION:
        prepare_store(engine, tables)


def refuse_foreign(connection: Connection, tables: StoreTables) -> None:
    """Raise StoreError if tables of our names are there that alxreport did not make."""
    ours = {table.name for table in tables.metadata.sorted_tables}
    plugin = {f"{tables.prefix}{PLUGIN_PREFIX}{name}" for name in ("logs", "cache", "alerts")}
    taken = sorted((ours | plugin) & set(inspect(connection).get_table_names()))
    if taken:
        raise StoreError(
            f"The database holds a table {taken[0]} that alxreport did not make"
            " (the Moodle plugin's?).",
            "Name a database of its own in store.url, or set store.table_prefix.",
        )


def store_id(connection: Connection, tables: StoreTables) -> str:
    """Return the random name that this store got when it was made."""
    found = connection.scalar(select(tables.meta.c.value).where(tables.meta.c.name == "store_id"))
    return str(found or "")
