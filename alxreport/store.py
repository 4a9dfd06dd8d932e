"""The reporting table and what is known of each company: the only writer of both."""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Any

import orjson
from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Insert,
    Select,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from alxreport.dialects import bucket_of, flavour
from alxreport.merge import DELETE, SCRUB, Change, Stored
from alxreport.records import CompanyState, Content
from alxreport.schema import StoreTables

READ_ROWS = 5_000  # rows fetched with one statement
WRITTEN_ROWS = 1_000  # and written
LISTED_USERS = 500
# Values in one statement: doubled by escaping, still below the smallest max_allowed_packet in use.
PART_BYTES = 256 * 1024
KEY = ("companyid", "userid", "courseid")
# In the order of the table, in which Core numbers the values of an INSERT.
WRITTEN = (
    "userid", "companyid", *Content._fields[1:],
    "last_updated", "is_deleted", "created_at", "updated_at", "revision",
)  # fmt: skip
# What differs from row to row within one company and run.
DIFFERING = (*Content._fields, "is_deleted")
# created_at stays what it was when a row is written again.
REWRITTEN = tuple(name for name in WRITTEN if name not in {*KEY, "created_at"})


def company_states(
    connection: Connection, tables: StoreTables, company: int | None = None
) -> dict[int, CompanyState]:
    """Return what is known of every company that was ever synced, or of one, by id."""
    t = tables.sync_status.c
    wanted = [] if company is None else [t.companyid == company]
    rows = connection.execute(
        select(
            t.companyid, t.shortname, t.name, t.suspended, t.gone, t.position, t.revision,
            t.live_rows, t.synced_at, t.last_status, func.coalesce(t.last_error, ""),
            t.deleted_rows, t.duration_ms,
        ).where(*wanted).order_by(t.companyid)
    )  # fmt: skip
    return {row[0]: CompanyState(*row) for row in rows}


def unlisted_companies(connection: Connection, tables: StoreTables) -> dict[int, CompanyState]:
    """Return companies that have live rows but of which nothing is known: somebody wrote them."""
    rows, known = tables.reporting.c, tables.sync_status.c
    found = connection.scalars(
        select(rows.companyid)
        .where(rows.is_deleted == 0, rows.companyid.not_in(select(known.companyid)))
        .distinct()
    )
    return {
        company: CompanyState(company, f"id:{company}", "", False, False, None, 0, 0, None, "", "")
        for company in found
    }


def save_company(connection: Connection, tables: StoreTables, state: CompanyState) -> None:
    """Write what is known of one company."""
    t = tables.sync_status
    values = {
        "shortname": state.shortname,
        "name": state.name,
        "suspended": state.suspended,
        "gone": state.gone,
        "position": state.position,
        "revision": state.revision,
        "live_rows": state.rows,
        "deleted_rows": state.tombstones,
        "duration_ms": state.duration_ms,
        "synced_at": state.synced_at,
        "last_status": state.last_status,
        "last_error": state.last_error or None,
    }
    statement = update(t).where(t.c.companyid == state.id).values(values)
    if connection.execute(statement).rowcount == 0:
        connection.execute(insert(t).values(companyid=state.id, **values))


def save_revision(
    connection: Connection, tables: StoreTables, revision: int, *, company: int, now: int
) -> None:
    """Give a company's new revision its random mark.

    A store that was restored counts the same numbers again; the marks tell the histories apart.
    """
    t = tables.revisions
    connection.execute(delete(t).where(t.c.companyid == company, t.c.revision >= revision))
    connection.execute(
        insert(t).values(
            companyid=company, revision=revision, mark=secrets.token_hex(8), made_at=now
        )
    )


def touch_companies(
    connection: Connection, tables: StoreTables, companies: Collection[int], version: int, now: int
) -> None:
    """Move companies without any change to a position, as synced at ``now``."""
    t = tables.sync_status
    statement = (
        update(t)
        .where(t.c.companyid.in_(_numbers(companies)))
        .values(
            position=version, synced_at=now, last_status="success", last_error=None, duration_ms=0
        )
    )
    connection.execute(statement)


def load_position(connection: Connection, tables: StoreTables, version: int) -> bytes | None:
    """Return the bytes saved as position ``version``, or None."""
    t = tables.positions.c
    parts = connection.scalars(select(t.data).where(t.version == version).order_by(t.part)).all()
    return b"".join(parts) if parts else None


def save_position(connection: Connection, tables: StoreTables, data: bytes) -> int:
    """Save a position and return its version."""
    t = tables.positions
    version = int(connection.scalar(select(func.coalesce(func.max(t.c.version), 0))) or 0) + 1
    parts = [data[start : start + PART_BYTES] for start in range(0, len(data), PART_BYTES)]
    connection.execute(
        insert(t),
        [{"version": version, "part": n, "data": part} for n, part in enumerate(parts)],
    )
    return version


def drop_unused_positions(connection: Connection, tables: StoreTables) -> None:
    """Delete the positions at which no company stands any more."""
    t, states = tables.positions, tables.sync_status.c
    used = connection.scalars(
        select(states.position).where(states.position.is_not(None)).distinct()
    ).all()
    connection.execute(delete(t).where(t.c.version.not_in(list(used) or [-1])))


def stored_learners(
    connection: Connection,
    tables: StoreTables,
    *,
    company: int,
    users: Sequence[int] | None = None,
) -> Iterator[tuple[int, dict[int, Stored]]]:
    """Yield a company's rows, tombstones included, by learner in ascending order of his id.

    With ``users``, ascending, only theirs. Rows are fetched in slices, so that memory stays flat.
    """
    rows = (
        _all_rows(connection, tables, company)
        if users is None
        else _rows_of(connection, tables, company, users)
    )
    for userid, group in groupby(rows, key=lambda row: row[0]):
        yield (
            userid,
            {row[1]: Stored(Content._make(row[:-1]), bool(row[-1])) for row in group},
        )


def _compared(tables: StoreTables, company: int) -> Select[Any]:
    t = tables.reporting.c
    return (
        select(*(t[name] for name in Content._fields), t.is_deleted)
        .where(t.companyid == company)
        .order_by(t.userid, t.courseid)
    )


def after_key(tables: StoreTables, userid: int, courseid: int) -> ColumnElement[bool]:
    """Return the condition "after this row in the listing", in the form all servers index well."""
    t = tables.reporting.c
    return and_(t.userid >= userid, or_(t.userid > userid, t.courseid > courseid))


def _all_rows(connection: Connection, tables: StoreTables, company: int) -> Iterator[Any]:
    statement = _compared(tables, company).limit(READ_ROWS)
    rows = connection.execute(statement).all()
    while rows:
        yield from rows
        if len(rows) < READ_ROWS:
            return
        rows = connection.execute(statement.where(after_key(tables, *rows[-1][:2]))).all()


def _rows_of(
    connection: Connection, tables: StoreTables, company: int, users: Sequence[int]
) -> Iterator[Any]:
    statement = _compared(tables, company).where(
        tables.reporting.c.userid.in_(bindparam("users", expanding=True, literal_execute=True))
    )
    for start in range(0, len(users), LISTED_USERS):
        chunk = list(users[start : start + LISTED_USERS])
        yield from connection.execute(statement, {"users": chunk}).all()


def _numbers(ids: Iterable[int]) -> BindParameter[Any]:
    # Written into the statement: thousands of bound values are slow on every driver.
    return bindparam(None, sorted(ids), expanding=True, literal_execute=True)


def users_with_rows(
    connection: Connection, tables: StoreTables, buckets: Collection[int], bucket_bits: int
) -> dict[int, list[int]]:
    """Return, by company, the learners of ``buckets`` that have rows, in ascending order."""
    t = tables.reporting.c
    listed: BindParameter[Any] = bindparam(
        None, sorted(buckets), expanding=True, literal_execute=True
    )
    statement = (
        select(t.companyid, t.userid)
        .where(bucket_of(t.userid, bucket_bits).in_(listed))
        .distinct()
        .order_by(t.companyid, t.userid)
    )
    found: dict[int, list[int]] = {}
    for company, userid in connection.execute(statement):
        found.setdefault(company, []).append(userid)
    return found


def buckets_with_courses(
    connection: Connection, tables: StoreTables, courses: Collection[int], bucket_bits: int
) -> set[int]:
    """Return the buckets of the learners that have live rows about one of ``courses``."""
    t = tables.reporting.c
    listed: BindParameter[Any] = bindparam(
        None, sorted(courses), expanding=True, literal_execute=True
    )
    statement = (
        select(bucket_of(t.userid, bucket_bits))
        .where(t.courseid.in_(listed), t.is_deleted == 0)
        .distinct()
    )
    return {int(bucket) for bucket in connection.scalars(statement)}


def write_changes(
    connection: Connection,
    tables: StoreTables,
    changes: Iterable[Change],
    *,
    company: int,
    revision: int,
    now: int,
) -> None:
    """Write changes of one company's rows under one revision, in slices."""
    plain = insert(tables.reporting)
    again = flavour(connection.dialect).upsert(plain, KEY, REWRITTEN)
    same = {"companyid": company, "last_updated": now, "created_at": now, "updated_at": now,
            "revision": revision}  # fmt: skip

    source = iter(changes)
    while batch := list(islice(source, WRITTEN_ROWS)):
        for statement, chosen in (
            (plain, [change for change in batch if change.before is None]),
            (again, [change for change in batch if change.before is not None]),
        ):
            if chosen:
                _write(connection, tables, statement, chosen, same)


def _write(
    connection: Connection,
    tables: StoreTables,
    statement: Insert,
    changes: list[Change],
    same: Mapping[str, int],
) -> None:
    """Write changes with one statement; ``same`` holds the columns that all of them share."""
    dialect = connection.dialect
    compiled = statement.compile(dialect=dialect, column_keys=list(WRITTEN))
    assert tuple(compiled.positiontup or ()) == WRITTEN, "the table's columns were reordered"  # noqa: S101
    rows = [(*change.content, 1 if change.kind in {DELETE, SCRUB} else 0) for change in changes]
    columns = {name: tables.reporting.c[name] for name in DIFFERING}
    from_json = flavour(dialect).rows_from_json
    selected = from_json and from_json(WRITTEN, columns, same, dialect)
    if selected:
        document = orjson.dumps(rows).decode()
        if len(document) > PART_BYTES and len(changes) > 1:
            half = len(changes) // 2
            _write(connection, tables, statement, changes[:half], same)
            _write(connection, tables, statement, changes[half:], same)
            return
        head, _values, tail = re.split(r"(VALUES \([^)]*\))", str(compiled), maxsplit=1)
        connection.exec_driver_sql(head + selected + tail, (document,))
        return
    company, now, revision = same["companyid"], same["last_updated"], same["revision"]
    # The driver gets tuples as they are: turning each into a dictionary and back, as Core's own
    # executemany does, takes five times as long as SQLite takes to store it.
    connection.exec_driver_sql(
        str(compiled),
        [
            (userid, company, *rest, now, deleted, now, now, revision)
            for userid, *rest, deleted in rows
        ],
    )
