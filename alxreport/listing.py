"""One company's rows as records: which fields, in which order, in which form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, select

from alxreport.dialects import Flavour
from alxreport.errors import UsageError
from alxreport.records import iso_time
from alxreport.schema import StoreTables

# The plugin's twelve, in its order, then those that can be switched on.
DEFAULT_FIELDS = (
    "userid", "firstname", "lastname", "email", "courseid", "coursename",
    "timecompleted", "timecompleted_unix", "timestarted", "timestarted_unix",
    "percentage", "status",
)  # fmt: skip
MORE_FIELDS = ("username", "companyid", "last_updated")
STATUSES = ("completed", "in_progress", "not_started")
# Fields that show a column of another name.
COLUMNS = {"timecompleted_unix": "timecompleted", "timestarted_unix": "timestarted"}
TIMES = frozenset({"timecompleted", "timestarted", "last_updated"})


@dataclass(frozen=True)
class Filter:
    """Which of a company's rows are wanted."""

    courses: tuple[int, ...] = ()
    status: str | None = None


def parse_fields(text: str | None) -> tuple[str, ...]:
    """Return the fields named in a list such as ``userid,email``; UsageError for an unknown one."""
    if text is None:
        return DEFAULT_FIELDS
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in DEFAULT_FIELDS + MORE_FIELDS]
    if unknown or not names:
        raise UsageError(
            f"There is no field {unknown[0]!r}." if unknown else "--fields names no field.",
            f"The fields are {', '.join(DEFAULT_FIELDS + MORE_FIELDS)}.",
        )
    return names


def parse_filter(courses: str | None, status: str | None) -> Filter:
    """Return the filter of ``--courses 7,9`` and ``--status S``; UsageError for what cannot be."""
    ids: tuple[int, ...] = ()
    if courses is not None:
        parts = [part.strip() for part in courses.split(",") if part.strip()]
        if not parts or not all(part.isdecimal() and part.isascii() for part in parts):
            raise UsageError("--courses is not a list of course ids.", "Write --courses 7,9")
        ids = tuple(int(part) for part in parts)
        if max(ids) >= 2**63:
            raise UsageError("--courses has a number that no course has.", "Write --courses 7,9")
    if status is not None and status not in STATUSES:
        raise UsageError(f"There is no status {status!r}.", f"It is one of {', '.join(STATUSES)}.")
    return Filter(ids, status)


def rows_statement(
    tables: StoreTables, *, company: int, wanted: Filter, columns: Iterable[ColumnElement[Any]]
) -> Select[Any]:
    """Return the SELECT of a company's live rows in the order of every listing."""
    t = tables.reporting.c
    statement = (
        select(*columns)
        .where(t.companyid == company, t.is_deleted == 0)
        .order_by(t.userid, t.courseid)
    )
    if wanted.courses:
        statement = statement.where(t.courseid.in_(wanted.courses))
    if wanted.status:
        statement = statement.where(t.status == wanted.status)
    return statement


def field_columns(tables: StoreTables, fields: Sequence[str]) -> list[ColumnElement[Any]]:
    """Return the table's column behind each field."""
    t = tables.reporting.c
    return [t[COLUMNS.get(name, name)].label(name) for name in fields]


def record_maker(fields: Sequence[str]) -> Callable[[Sequence[Any]], dict[str, Any]]:
    """Return a function from the values of ``field_columns`` to a record for JSON."""
    names = tuple(fields)
    times = [place for place, name in enumerate(names) if name in TIMES]

    def record(values: Sequence[Any]) -> dict[str, Any]:
        row = list(values)
        for place in times:
            row[place] = iso_time(row[place])
        return dict(zip(names, row, strict=True))

    return record


def json_text(
    tables: StoreTables, fields: Sequence[str], sql: Flavour
) -> ColumnElement[str] | None:
    """Return the expression by which the server writes a record's JSON text, if it does that well.

    It says what ``record_maker`` says; a test compares the two. SQLite builds the text in half of
    the time that it takes here.
    """
    if sql.json_object is None:
        return None
    t = tables.reporting.c
    return sql.json_object([(name, t[COLUMNS.get(name, name)], name in TIMES) for name in fields])
