"""One company's rows as records: which rows, which fields, in which order, in which form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from alxreport.errors import UsageError
from alxreport.records import iso_time

# The plugin's twelve, in its order, then those that can be switched on.
DEFAULT_FIELDS = (
    "userid", "firstname", "lastname", "email", "courseid", "coursename",
    "timecompleted", "timecompleted_unix", "timestarted", "timestarted_unix",
    "percentage", "status",
)  # fmt: skip
MORE_FIELDS = ("username", "companyid", "last_updated", "created_at")
FIELDS = DEFAULT_FIELDS + MORE_FIELDS
IS_DELETED = "is_deleted"  # told of each record of an increment, after its fields
STATUSES = ("completed", "in_progress", "not_started")
# Fields that show a column of another name.
COLUMNS = {"timecompleted_unix": "timecompleted", "timestarted_unix": "timestarted"}
TIMES = frozenset({"timecompleted", "timestarted", "last_updated", "created_at"})
TEXTS = frozenset({"firstname", "lastname", "email", "coursename", "username", "status"})
# Without these a reader cannot tell which of its rows a record replaces.
KEYS = ("userid", "courseid")
LARGEST_ID = 2**63 - 1
LONGEST_COURSES = 50_000  # characters of the list, which goes into every cursor
# The moments of the calendar that Python and OData have, the years 1 to 9999.
EARLIEST, LATEST = -62_135_596_800, 253_402_300_799
# A cell that begins like this is run as a formula by a spreadsheet.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


@dataclass(frozen=True)
class Filter:
    """Which of a company's rows are wanted."""

    courses: tuple[int, ...] = ()
    status: str | None = None

    def covers(self, other: Filter) -> bool:
        """Tell whether who has read the rows of this filter knows those of the other."""
        courses = not self.courses or (
            bool(other.courses) and set(other.courses) <= set(self.courses)
        )
        return courses and self.status in {None, other.status}


class Condition(Protocol):
    """A further condition on rows, in the terms of each kind of store."""

    @property
    def text(self) -> str:
        """What the condition says, for comparing it with others."""

    def sql(self, kind: str) -> tuple[str, dict[str, Any]]:
        """Return the condition for a kind of store, and its values."""


@dataclass(frozen=True)
class Order:
    """A column to sort by before the key; a time that is told as none comes before all others."""

    column: str
    descending: bool = False
    time: bool = False

    @property
    def value(self) -> str:
        """The SQL of what is sorted by."""
        if not self.time:
            return self.column
        return f"CASE WHEN {dated(self.column)} THEN {self.column} ELSE {EARLIEST - 1} END"

    def sql(self, kind: str) -> str:
        """Return the same in an order of its own: texts by code points on every store."""
        return binary(self.column, kind) if self.column in TEXTS else self.value


def dated(column: str) -> str:
    """Return the condition that a column holds a time, and one that a calendar has."""
    return f"({column} <> 0 AND {column} BETWEEN {EARLIEST} AND {LATEST})"


def binary(text: str, kind: str) -> str:
    """Return a text so that it compares by code points, blanks at its end included."""
    if kind == "mysql":
        return f"CAST({text} AS BINARY)"
    return f'({text}) COLLATE "C"' if kind == "postgresql" else text


@dataclass(frozen=True)
class Listing:
    """The rows of one answer and the form of their records.

    ``since`` and ``upto`` are revisions: rows that changed after the one and not after the other,
    deletions included. Without ``since`` all live rows are listed.
    With ``plugin_zone``, the name of a time zone, records are as the Moodle plugin writes them:
    local times without an offset, whole percentages without a decimal point.
    """

    company: int
    fields: tuple[str, ...]
    wanted: Filter = Filter()
    tells_deleted: bool = False
    since: int | None = None
    upto: int = 0
    plugin_zone: str = ""
    condition: Condition | None = None
    by: tuple[Order, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The keys of a record."""
        return (*self.fields, IS_DELETED) if self.tells_deleted else self.fields


@dataclass(frozen=True)
class Slice:
    """A page's records as the text of a JSON array."""

    body: bytes
    count: int
    more: bool  # whether rows follow
    last: tuple[Any, ...]  # of its last row: what it is sorted by, user and course


def parse_fields(text: str | None) -> tuple[str, ...] | None:
    """Return the fields named in a list such as ``userid,email``, None for no list.

    Raises UsageError for an unknown one.
    """
    if text is None:
        return None
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in FIELDS]
    if unknown or not names:
        raise UsageError(
            f"There is no field {unknown[0][:50]!r}." if unknown else "--fields names no field.",
            f"The fields are {', '.join(FIELDS)}.",
        )
    return names


def parse_filter(courses: str | None, status: str | None) -> Filter:
    """Return the filter of ``--courses 7,9`` and ``--status S``; UsageError for what cannot be."""
    ids: tuple[int, ...] = ()
    if courses is not None:
        parts = [part.strip() for part in courses.split(",") if part.strip()]
        if not parts or not all(part.isdecimal() and part.isascii() for part in parts):
            raise UsageError("--courses is not a list of course ids.", "Write --courses 7,9")
        ids = tuple(sorted({int(part[-20:]) if len(part) <= 20 else 2**64 for part in parts}))
        if ids[-1] > LARGEST_ID:
            raise UsageError("--courses has a number that no course has.", "Write --courses 7,9")
        if sum(len(str(number)) + 1 for number in ids) > LONGEST_COURSES:
            raise UsageError("--courses names too many courses.", "Ask for fewer, or for all.")
    if status is not None and status not in STATUSES:
        hint = f"It is one of {', '.join(STATUSES)}."
        raise UsageError(f"There is no status {status[:50]!r}.", hint)
    return Filter(ids, status)


def field_bits(fields: Sequence[str]) -> int:
    """Return the set of fields as a number."""
    return sum(1 << FIELDS.index(name) for name in set(fields))


def conditions(
    listing: Listing, after: tuple[Any, ...] | None = None, *, walk: bool = True,
    kind: str = "sqlite",
) -> tuple[str, dict[str, Any]]:  # fmt: skip
    """Return what follows WHERE, and its values; ``after`` is the place of the row before.

    ``walk`` says which index is to be used: the key's, in whose order the rows are listed, or the
    revision's. A column with ``+ 0`` is taken from neither on any server.
    """
    free, bound = ("", " + 0") if walk else (" + 0", "")
    parts, values = ["companyid = :company"], {"company": listing.company}
    if listing.since is None:
        parts.append("is_deleted = 0")
        if listing.wanted.status:
            parts.append("status = :status")
    else:
        parts.append(f"revision{bound} > :since AND revision{bound} <= :upto")
        values |= {"since": listing.since, "upto": listing.upto}
    if listing.wanted.status:
        values["status"] = listing.wanted.status  # type: ignore[assignment]
    if listing.wanted.courses:
        parts.append(f"courseid IN ({', '.join(map(str, listing.wanted.courses))})")
    if listing.condition is not None:
        text, bound_values = listing.condition.sql(kind)
        parts.append(f"({text})")
        values |= bound_values
    if after is not None and listing.by:
        places = {f"after_{number}": value for number, value in enumerate(after)}
        parts.append(_beyond([*listing.by, *map(Order, KEYS)], kind))
        values |= places
    elif after is not None:
        # The one form of "after this key" that all three servers answer from the index.
        parts.append(
            f"userid{free} >= :after_user AND (userid > :after_user OR courseid > :after_course)"
        )
        values |= {"after_user": after[0], "after_course": after[1]}
    return " AND ".join(parts), values


def _beyond(by: Sequence[Order], kind: str) -> str:
    """Return the condition that a row comes after the place whose values are ``after_0`` ..."""
    text = ""
    for number in reversed(range(len(by))):
        column, place = by[number].sql(kind), _place(by[number], number, kind)
        further = f"{column} {'<' if by[number].descending else '>'} {place}"
        text = f"({further} OR ({column} = {place} AND {text}))" if text else f"({further})"
    return text


def _place(order: Order, number: int, kind: str) -> str:
    text = order.column in TEXTS
    if text and kind == "mysql":
        return f"CAST(:after_{number} AS BINARY)"
    return f"CAST(:after_{number} AS text)" if text and kind == "postgresql" else f":after_{number}"


def order(listing: Listing, *, walk: bool = True, kind: str = "sqlite") -> str:
    """Return the order of a listing; see ``conditions`` for ``walk``."""
    if listing.by:
        columns = [f"{o.sql(kind)} {'DESC' if o.descending else 'ASC'}" for o in listing.by]
        return f"ORDER BY {', '.join(columns)}, userid, courseid"
    return "ORDER BY userid, courseid" if walk else "ORDER BY userid + 0, courseid + 0"


def _gone(listing: Listing) -> str:
    """Return the condition under which a record is told as deleted.

    A row that left the filter is one: whoever keeps the filtered rows has to drop it.
    """
    if listing.since is None:
        return "1 = 0"
    return "is_deleted = 1 OR status <> :status" if listing.wanted.status else "is_deleted = 1"


def raw_columns(listing: Listing) -> list[str]:
    """Return the SQL of each field's value as stored, and of ``is_deleted`` where it is told."""
    columns = [COLUMNS.get(name, name) for name in listing.fields]
    if listing.since is not None and listing.wanted.status:
        hidden = _gone(listing)
        columns = [
            name if name in {*KEYS, "companyid", "last_updated"}
            else f"CASE WHEN {hidden} THEN {_blank(name)} ELSE {name} END"
            for name in columns
        ]  # fmt: skip
    if listing.tells_deleted:
        columns.append(f"CASE WHEN {_gone(listing)} THEN 1 ELSE 0 END")
    return columns


def _blank(column: str) -> str:
    if column == "percentage":
        return "0.0"
    return "''" if column in TEXTS else "0"


def record_maker(listing: Listing) -> Callable[[Sequence[Any]], dict[str, Any]]:
    """Return a function from the values of ``raw_columns`` to a record for JSON."""
    names = listing.names
    makers: list[tuple[int, Callable[[Any], Any]]] = []
    for place, name in enumerate(names):
        if name in TIMES:
            makers.append((place, iso_time))
        elif name == "percentage":
            makers.append((place, float))
        elif name == IS_DELETED:
            makers.append((place, bool))

    def record(values: Sequence[Any]) -> dict[str, Any]:
        row = list(values)
        for place, make in makers:
            row[place] = make(row[place])
        return dict(zip(names, row, strict=True))

    return record


def sqlite_json(listing: Listing) -> str:
    """Return the SQL by which SQLite writes a record as JSON text.

    It says what ``record_maker`` says, in half of the time that Python takes; a test compares them.
    """
    members: list[str] = []
    for name, column in zip(listing.names, raw_columns(listing), strict=True):
        value = column
        if name in TIMES:
            value = _sqlite_time(column)
        elif name == IS_DELETED:
            value = f"json(CASE WHEN {_gone(listing)} THEN 'true' ELSE 'false' END)"
        members.append(f"'{name}', {value}")
    return f"json_object({', '.join(members)})"


def sqlite_cells(listing: Listing) -> list[str]:
    """Return the SQL by which SQLite writes the cells of a CSV line; see ``cells_maker``."""
    cells: list[str] = []
    for name, column in zip(listing.names, raw_columns(listing), strict=True):
        if name in TIMES:
            cells.append(_sqlite_time(column))
        elif name == IS_DELETED:
            cells.append(f"CASE WHEN {_gone(listing)} THEN 'true' ELSE 'false' END")
        elif name in TEXTS:
            starts = ", ".join(f"char({ord(start)})" for start in FORMULA_STARTS)
            cells.append(
                f"CASE WHEN substr({column}, 1, 1) IN ({starts}) THEN '''' || {column}"
                f" ELSE {column} END"
            )
        else:
            cells.append(column)
    return cells


def _sqlite_time(column: str) -> str:
    form = "'%Y-%m-%dT%H:%M:%SZ'"
    return f"CASE WHEN {dated(column)} THEN strftime({form}, {column}, 'unixepoch') END"


def cell(value: Any) -> Any:
    """Return a record's value as a cell that no spreadsheet runs: a text in front where needed."""
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else value


def cells_maker(listing: Listing) -> Callable[[Sequence[Any]], list[Any]]:
    """Return a function from the values of ``raw_columns`` to the cells of a CSV line."""
    record = record_maker(listing)
    return lambda values: [cell(value) for value in record(values).values()]
