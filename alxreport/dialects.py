"""What differs between MariaDB/MySQL, PostgreSQL and SQLite, in one place per difference."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Dialect,
    Insert,
    String,
    and_,
    case,
    func,
    literal_column,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite

# Separates the fields of one row under a hash: names and numbers do not contain it.
FIELD_SEPARATOR = "\x1f"
# Largest list that GROUP_CONCAT may build in one cell; the server lowers it to max_allowed_packet.
GROUP_CONCAT_BYTES = 2**30


@dataclass(frozen=True)
class Flavour:
    """The SQL of one kind of database.

    ``pack`` turns the rows of a group into the text ``count,[a,b],[a,b]``, for one column
    ``count,sum,a,b``; count, brackets and sum let the reader notice a list that was cut short.
    ``set_hash`` is a fingerprint of the set of rows in a group: a sum or exclusive or over 64-bit
    hashes that are not linear in the row, so that two changes cannot cancel each other out.
    """

    name: str
    snapshot: tuple[str, ...]  # opens one consistent read-only view of the source
    session: tuple[str, ...]  # settings of a source session, each within an ordinary user's rights
    optional_session: tuple[str, ...]  # the same, unknown to some versions
    text: Callable[[ColumnElement[Any]], ColumnElement[Any]]  # a text column as Unicode
    pack: Callable[..., ColumnElement[Any]]
    set_hash: Callable[..., ColumnElement[Any]]
    upsert: Callable[[Insert, Sequence[str], Sequence[str]], Insert]
    columns_sql: str = ""
    # Members of an object as name, column and whether it is a unix time to be shown as a date.
    json_object: (
        Callable[[Sequence[tuple[str, ColumnElement[Any], bool]]], ColumnElement[str]] | None
    ) = None
    # All columns by name, those that differ from row to row, the values of the others.
    rows_from_json: (
        Callable[[Sequence[str], Mapping[str, Column[Any]], Mapping[str, int], Dialect], str | None]
        | None
    ) = None


def _items(columns: Sequence[ColumnElement[Any]]) -> ColumnElement[Any]:
    """Return one item of a packed list, ``[a,b]``, for servers that have CONCAT."""
    parts: list[Any] = []
    for column in columns:
        parts += [",", column]
    return func.concat("[", *parts[1:], "]")


def _mysql_pack(*columns: ColumnElement[Any]) -> ColumnElement[Any]:
    if len(columns) == 1:
        total = func.sum(columns[0])
        return func.concat_ws(",", func.count(), total, func.group_concat(columns[0]))
    return func.concat_ws(",", func.count(), func.group_concat(_items(columns)))


def _mysql_set_hash(*columns: ColumnElement[Any]) -> ColumnElement[Any]:
    # CRC32 alone is linear: over an exclusive or, two opposite changes cancel out. The product of
    # two differently arranged ones is not, and BIT_XOR of integers costs half of SUM, which
    # MariaDB computes in decimals.
    forward = func.crc32(func.concat_ws(FIELD_SEPARATOR, *columns))
    backward = func.crc32(func.concat_ws(FIELD_SEPARATOR, *reversed(columns), 40503))
    return func.concat_ws(":", func.count(), func.bit_xor(forward.op("*")(backward)))


def _mysql_upsert(insert: Insert, keys: Sequence[str], columns: Sequence[str]) -> Insert:
    # VALUES() is understood by every MariaDB and MySQL; the newer row alias only by MySQL 8.
    del keys  # MySQL goes by any unique key; the reporting table has one besides its id
    values: dict[str, Any] = {name: literal_column(f"VALUES({name})") for name in columns}
    return mysql.insert(insert.table).on_duplicate_key_update(values)


def _mysql_rows_from_json(
    names: Sequence[str],
    differing: Mapping[str, Column[Any]],
    same: Mapping[str, int],
    dialect: Dialect,
) -> str | None:
    """Return SQL that selects rows out of one JSON array of arrays, if this server can.

    PyMySQL writes every value into the statement in Python, 20 microseconds a row; one JSON text
    leaves that work to the server.
    """
    version = dialect.server_version_info or (0,)
    if version < ((10, 6) if getattr(dialect, "is_mariadb", False) else (8, 0, 4)):
        return None
    # Else MariaDB takes the database's character set, and says nothing about what it loses.
    utf8 = " CHARACTER SET utf8mb4 COLLATE utf8mb4_bin" if dialect.is_mariadb else ""  # type: ignore[attr-defined]
    parts = ", ".join(
        f"{name} {column.type.compile(dialect)}{utf8 if isinstance(column.type, String) else ''}"
        f" PATH '$[{place}]'"
        for place, (name, column) in enumerate(differing.items())
    )
    chosen = ", ".join(str(int(same[name])) if name in same else f"j.{name}" for name in names)
    return f"SELECT {chosen} FROM JSON_TABLE(%s, '$[*]' COLUMNS ({parts})) j"  # noqa: S608


def _postgres_pack(*columns: ColumnElement[Any]) -> ColumnElement[Any]:
    if len(columns) == 1:
        items = func.string_agg(func.concat(columns[0]), ",")
        return func.concat_ws(",", func.count(), func.sum(columns[0]), items)
    return func.concat_ws(",", func.count(), func.string_agg(_items(columns), ","))


def _postgres_set_hash(*columns: ColumnElement[Any]) -> ColumnElement[Any]:
    row = func.hashtextextended(func.concat_ws(FIELD_SEPARATOR, *columns), 0)
    return func.concat_ws(":", func.count(), func.sum(row))


def _postgres_upsert(insert: Insert, keys: Sequence[str], columns: Sequence[str]) -> Insert:
    statement = postgresql.insert(insert.table)
    return statement.on_conflict_do_update(
        index_elements=list(keys), set_={name: statement.excluded[name] for name in columns}
    )


def _sqlite_pack(*columns: ColumnElement[Any]) -> ColumnElement[Any]:
    if len(columns) == 1:
        listed = func.printf("%d,%s", func.sum(columns[0]), func.group_concat(columns[0]))
    else:
        item = func.printf("[" + ",".join(["%d"] * len(columns)) + "]", *columns)
        listed = func.group_concat(item)
    return case((func.count() == 0, "0"), else_=func.count().op("||")(",").op("||")(listed))


def _sqlite_set_hash(*columns: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.alx_set_hash(*columns)


def _sqlite_upsert(insert: Insert, keys: Sequence[str], columns: Sequence[str]) -> Insert:
    statement = sqlite.insert(insert.table)
    return statement.on_conflict_do_update(
        index_elements=list(keys), set_={name: statement.excluded[name] for name in columns}
    )


def _sqlite_json_object(
    members: Sequence[tuple[str, ColumnElement[Any], bool]],
) -> ColumnElement[str]:
    parts: list[Any] = []
    for name, column, is_time in members:
        value: Any = column
        if is_time:
            # The years that Python's calendar has, too.
            dated = and_(column != 0, column.between(-62_135_596_800, 253_402_300_799))
            value = case((dated, func.strftime("%Y-%m-%dT%H:%M:%SZ", column, "unixepoch")))
        parts += [name, value]
    return func.json_object(*parts)


class SqliteSetHash:
    """The aggregate behind ``alx_set_hash`` on SQLite: rows counted, and their hashes summed."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0

    def step(self, *values: Any) -> None:
        """Take one row in."""
        text = FIELD_SEPARATOR.join(map(str, values)).encode("utf-8", "surrogatepass")
        self.count += 1
        self.total += int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())

    def finalize(self) -> str:
        """Return ``count:hash``."""
        return f"{self.count}:{self.total % 2**64}"


_MYSQL = Flavour(
    name="mysql",
    snapshot=(
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
    ),
    session=(
        f"SET SESSION group_concat_max_len = {GROUP_CONCAT_BYTES}",
        "SET SESSION net_write_timeout = 600",  # the store may be busy while rows wait here
    ),
    # Above 1,000 constants MariaDB would turn a list of learners into a join with a subquery.
    optional_session=("SET SESSION in_predicate_conversion_threshold = 0",),
    # A column of another character set holds other bytes for the same text, or the same bytes
    # for another text.
    text=lambda column: func.convert(column.op("USING")(literal_column("utf8mb4"))),
    pack=_mysql_pack,
    set_hash=_mysql_set_hash,
    upsert=_mysql_upsert,
    rows_from_json=_mysql_rows_from_json,
    columns_sql=(
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = DATABASE() AND table_name IN :names"
    ),
)

FLAVOURS: dict[str, Flavour] = {
    "mysql": _MYSQL,
    "mariadb": _MYSQL,
    "postgresql": Flavour(
        name="postgresql",
        snapshot=("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",),
        session=(),
        optional_session=(),
        text=lambda column: column,
        pack=_postgres_pack,
        set_hash=_postgres_set_hash,
        upsert=_postgres_upsert,
        columns_sql=(
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_schema = ANY (current_schemas(false)) AND table_name IN :names"
        ),
    ),
    "sqlite": Flavour(
        name="sqlite",
        snapshot=("BEGIN",),
        session=(),
        optional_session=(),
        text=lambda column: column,
        pack=_sqlite_pack,
        set_hash=_sqlite_set_hash,
        upsert=_sqlite_upsert,
        json_object=_sqlite_json_object,
        columns_sql=(
            "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c"
            " WHERE m.type IN ('table', 'view') AND m.name IN :names"
        ),
    ),
}


def bucket_of(userid: ColumnElement[Any], bits: int) -> ColumnElement[Any]:
    """Return the bucket of a learner's id: learners that differ in the lowest bits share one."""
    # A number in the text: PostgreSQL knows no shift of a bigint by a bigint.
    return userid.op(">>")(literal_column(str(int(bits))))


def flavour(dialect: Dialect) -> Flavour:
    """Return the SQL of the database behind ``dialect``."""
    return FLAVOURS[dialect.name]
