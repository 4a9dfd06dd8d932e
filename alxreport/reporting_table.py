"""What a request reads of a company: its state, its rows, the marks of its revisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from alxreport.errors import ResyncError, StoreError
from alxreport.listing import (
    Listing,
    Slice,
    conditions,
    order,
    raw_columns,
    record_maker,
    sqlite_json,
)
from alxreport.plugin_records import plugin_array
from alxreport.sessions import Session, by_index, first

# An increment of fewer rows than this share of the company is sorted instead of walked to.
SORTED_SHARE = 0.1


@dataclass(frozen=True)
class Standing:
    """A company as requests see it."""

    id: int
    shortname: str
    name: str
    suspended: bool
    gone: bool
    revision: int
    rows: int
    purged_revision: int  # deletions up to this revision are no longer all there
    synced_at: int | None


def standing(session: Session, *, company: int) -> Standing | None:
    """Return a company's state, None for one that was never seen."""
    found = first(session, f"{_select(session)} WHERE companyid = :company", company=company)
    return None if found is None else _standing(found)


def standings(session: Session) -> list[Standing]:
    """Return every company that the last sync saw."""
    return [_standing(row) for row in session.rows(f"{_select(session)} WHERE NOT gone")]


def by_name(session: Session) -> list[Standing]:
    """Return the same in the order of the companies' names."""
    return sorted(standings(session), key=lambda c: (c.name.casefold(), c.id))


def _select(session: Session) -> str:
    return (
        "SELECT companyid, shortname, name, suspended, gone, revision, live_rows,"  # noqa: S608
        f" purged_revision, synced_at FROM {session.names.sync_status}"
    )


def _standing(row: Sequence[Any]) -> Standing:
    company, shortname, name, suspended, gone, *rest = row
    return Standing(company, shortname, name, bool(suspended), bool(gone), *rest)


def mark_of(session: Session, *, company: int, revision: int) -> str | None:
    """Return the random mark of a company's revision; None for one that never was, here."""
    if revision == 0:
        return ""  # before the first row: every history begins alike
    sql = (
        f"SELECT mark FROM {session.names.revisions}"  # noqa: S608
        " WHERE companyid = :company AND revision = :revision"
    )
    found = first(session, sql, company=company, revision=revision)
    return None if found is None else str(found[0])


def mark_key(session: Session) -> bytes:
    """Return the key that seals this store's marks; StoreError where it is lost."""
    sql = f"SELECT value FROM {session.names.meta} WHERE name = 'mark_key'"  # noqa: S608
    found = first(session, sql)
    if found is None or not found[0]:
        raise StoreError(
            "The store has lost the key of its marks.", "Restore local_alx_api_meta from a backup."
        )
    return bytes.fromhex(str(found[0]))


def read_slice(
    session: Session,
    listing: Listing,
    *,
    limit: int,
    after: tuple[Any, ...] | None = None,
    offset: int = 0,
    walk: bool = True,
) -> Slice:
    """Return up to ``limit`` rows of a listing after a key, or after ``offset`` rows."""
    where, values = conditions(listing, after, walk=walk, kind=session.kind)
    written = session.kind == "sqlite" and not listing.plugin_zone
    columns = [f"{sqlite_json(listing)} AS record"] if written else raw_columns(listing)
    places = [f"{by.value} AS key_{number}" for number, by in enumerate(listing.by)]
    places += ["userid AS key_user", "courseid AS key_course"]
    ordered = order(listing, walk=walk, kind=session.kind)
    sql = (
        f"SELECT {', '.join(columns + places)}"  # noqa: S608
        f" FROM {rows_table(session, walk=walk)} WHERE {where} {ordered}"
        f" LIMIT {limit + 1}" + (f" OFFSET {offset}" if offset else "")
    )
    if written and not listing.by:
        return _joined(session, sql, values, limit, after)
    rows = session.rows(sql, **values)
    more, rows = len(rows) > limit, rows[:limit]
    last = tuple(rows[-1][-len(places) :]) if rows else (after or (0, 0))
    if written:
        text = ",".join([row[0] for row in rows]).encode()
        return Slice(b"[" + text + b"]", len(rows), more, last)
    values_of = [row[: -len(places)] for row in rows]
    if listing.plugin_zone:
        return Slice(plugin_array(listing, values_of), len(rows), more, last)
    record = record_maker(listing)
    return Slice(orjson.dumps([record(row) for row in values_of]), len(rows), more, last)


def _joined(
    session: Session, sql: str, values: dict[str, Any], limit: int, after: tuple[Any, ...] | None
) -> Slice:
    """Let SQLite put a page's records together, in one step of its own.

    Fetched one by one, each of a thousand records would wait for Python's other threads.
    """
    where = "key_user || ' ' || key_course || ' ' || length(CAST(record AS BLOB))"
    joined = (
        f"SELECT count(*), CAST(group_concat(record, ',') AS BLOB), group_concat({where}, ',')"  # noqa: S608
        f" FROM ({sql})"
    )
    count, text, places = session.rows(joined, **values)[0]
    if not count or not limit:
        return Slice(b"[]", 0, bool(count), after or (0, 0))
    found: list[str] = ["", *str(places).rsplit(",", 2)]
    more = int(count) > limit
    if more:  # the last one only tells that there is more
        text = text[: -int(found[-1].split()[2]) - 1]
    user, course, _size = found[-2 if more else -1].split()
    return Slice(b"[" + text + b"]", min(count, limit), more, (int(user), int(course)))


def still_told(session: Session, listing: Listing) -> Standing | None:
    """Return the company as it stands in this transaction.

    Raises ResyncError when deletions that an increment is to tell were purged meanwhile.
    """
    now = standing(session, company=listing.company)
    if now is not None and listing.since is not None and listing.since < now.purged_revision:
        raise ResyncError("Deletions since then are forgotten by now.", "Resync with --mode full.")
    return now


def rows_table(session: Session, *, walk: bool) -> str:
    """Return the reporting table as it is to be read: in the key's order, or by revision."""
    return by_index(session, "reporting", "reporting_key" if walk else "reporting_rev")


def count_rows(session: Session, listing: Listing) -> int:
    """Return how many rows a listing has."""
    where, values = conditions(listing, walk=listing.since is None, kind=session.kind)
    sql = f"SELECT count(*) FROM {session.names.reporting} WHERE {where}"  # noqa: S608
    return int(session.rows(sql, **values)[0][0])


def walks(listing: Listing, total: int, rows: int) -> bool:
    """Tell whether a listing of ``total`` rows out of ``rows`` is read in the key's order.

    A small increment is found by its revision and sorted; a large one costs less to walk to.
    """
    return listing.since is None or total > SORTED_SHARE * rows
