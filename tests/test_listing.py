"""A listing's rows say the same, byte for byte, whichever database holds and writes them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from alxreport.admission import Caller
from alxreport.database import open_store, writing
from alxreport.errors import UsageError
from alxreport.export import FORMATS, cell, csv_text, export
from alxreport.listing import (
    DEFAULT_FIELDS,
    FIELDS,
    IS_DELETED,
    KEYS,
    STATUSES,
    TEXTS,
    TIMES,
    Filter,
    Listing,
    cells_maker,
    conditions,
    order,
    parse_fields,
    parse_filter,
    raw_columns,
    record_maker,
    sqlite_cells,
    sqlite_json,
)
from alxreport.question import Question
from alxreport.records import CompanyState, iso_time
from alxreport.schema import prepare_store, store_tables
from alxreport.sessions import Store
from alxreport.settings import Settings, StoreSettings
from alxreport.store import save_company, save_revision

from .conftest import Backend
from .moodle_site import NAMES, NOW

TABLES = store_tables()
STATE = CompanyState(1, "acme", "Acme", False, False, 1, 9, 1, NOW, "success", "")
END_OF_TIME = 253_402_300_799  # 9999-12-31T23:59:59Z, the last that ISO 8601 writes in four digits
YEAR_1000 = -30_610_224_000
BEGIN_OF_TIME = -62_135_596_800  # 0001-01-01T00:00:00Z
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def row(number: int = 1, **values: Any) -> dict[str, Any]:
    return {
        "userid": number, "companyid": 1, "courseid": 7, "firstname": "", "lastname": "",
        "email": "", "username": "", "coursename": "", "timecompleted": 0, "timestarted": 0,
        "percentage": 0, "status": "completed", "last_updated": NOW, "is_deleted": 0,
        "revision": 5, **values,
    }  # fmt: skip


class Table:
    """A reporting table that is filled by hand, and what is read of it."""

    def __init__(self, url: str) -> None:
        self.settings = Settings(store=StoreSettings(url=url))
        self.engine = open_store(self.settings.store)
        prepare_store(self.engine, TABLES)
        with writing(self.engine) as connection:
            save_company(connection, TABLES, STATE)
            for revision in range(1, 10):
                save_revision(connection, TABLES, revision, company=1, now=NOW)
        self.store = Store(self.settings.store)

    def close(self) -> None:
        self.store.close()
        self.engine.dispose()

    def fill(self, rows: list[dict[str, Any]]) -> None:
        live = sum(not row["is_deleted"] for row in rows)
        with writing(self.engine) as connection:
            connection.execute(sa.delete(TABLES.reporting))
            connection.execute(sa.insert(TABLES.reporting), rows)
            connection.execute(sa.update(TABLES.sync_status).values(live_rows=live))

    def read(self, listing: Listing, columns: list[str]) -> list[Any]:
        where, values = conditions(listing)
        sql = f"SELECT {', '.join(columns)} FROM {{}} WHERE {where} {order(listing)}"
        return self.store.read(
            lambda session: list(session.rows(sql.format(session.names.reporting), **values))
        )

    def exported(self, form: str, **asked: Any) -> bytes:
        out, who = io.BytesIO(), Caller("export", company="acme")
        asked.setdefault("fields", FIELDS)
        ask = lambda: Question(everything=True, **asked)  # noqa: E731
        export(self.store, self.settings, who, ask, out, form=form, now=NOW)
        return out.getvalue()

    def records(self, **asked: Any) -> list[dict[str, Any]]:
        return list(json.loads(self.exported("json", **asked)))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Table]:
    made = Table(f"sqlite:///{tmp_path_factory.mktemp('listing')}/store.db")
    yield made
    made.close()


# A name in Moodle holds anything but NUL and lone surrogates.
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
words |= st.builds("{}{}".format, st.sampled_from((*FORMULA_STARTS, "'", '"', "\ufeff")), words)
moments = st.integers(BEGIN_OF_TIME - 10, END_OF_TIME + 10) | st.integers(0, 2**32)
moments |= st.sampled_from((0, 1, -1, YEAR_1000, END_OF_TIME, 2**63 - 1, -(2**63)))
contents: dict[str, Any] = {
    "firstname": words, "lastname": st.sampled_from(NAMES), "email": words, "username": words,
    "coursename": words, "timecompleted": moments, "timestarted": moments,
    "percentage": st.integers(0, 10_000).map(lambda hundredths: hundredths / 100),
    "status": st.sampled_from(STATUSES), "last_updated": moments,
}  # fmt: skip
rows = st.builds(
    row, st.integers(1, 2**63 - 1), courseid=st.integers(1, 2**63 - 1),
    is_deleted=st.sampled_from((0, 0, 1)), **contents,
)  # fmt: skip
fields = st.lists(st.sampled_from(FIELDS), min_size=1, unique=True).map(tuple)
listings = st.builds(
    Listing,
    company=st.just(1),
    fields=st.just(FIELDS) | fields,
    wanted=st.builds(Filter, st.just(()), st.none() | st.sampled_from(STATUSES)),
    tells_deleted=st.just(True),
    since=st.just(0),
    upto=st.just(9),
) | st.builds(Listing, company=st.just(1), fields=st.just(FIELDS) | fields)


@settings(max_examples=100)
@given(rows, listings)
def test_sqlite_writes_what_python_makes(
    table: Table, values: dict[str, Any], listing: Listing
) -> None:
    table.fill([values])
    found = table.read(listing, raw_columns(listing))
    assert len(found) == (listing.since is not None or not values["is_deleted"])
    record, cells = record_maker(listing), cells_maker(listing)
    written = [text for (text,) in table.read(listing, [sqlite_json(listing)])]
    assert [text.encode() for text in written] == [orjson.dumps(record(row)) for row in found]
    lines = table.read(listing, sqlite_cells(listing))
    assert csv_lines(lines) == csv_lines([cells(row) for row in found])


def csv_lines(rows: list[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue()


@given(rows, st.none() | st.sampled_from(STATUSES), fields)
def test_a_record_of_a_row_that_went_says_nothing_of_it(
    table: Table, values: dict[str, Any], status: str | None, fields: tuple[str, ...]
) -> None:
    """Neither of a deleted one nor of one that is no longer in the filter."""
    if values["is_deleted"]:
        values = values | dict.fromkeys(TEXTS, "") | {"timecompleted": 0, "timestarted": 0,
                                                         "percentage": 0}  # fmt: skip
    table.fill([values])
    listing = Listing(1, (*KEYS, *fields), Filter((), status), True, since=4, upto=5)
    [found] = [record_maker(listing)(row) for row in table.read(listing, raw_columns(listing))]
    went = bool(values["is_deleted"]) or status not in (None, values["status"])
    assert found[IS_DELETED] is went
    assert (found["userid"], found["courseid"]) == (values["userid"], values["courseid"])
    if went:
        told = {name: found[name] for name in found if name not in {*KEYS, IS_DELETED}}
        assert all(told.pop(name, 1) for name in ("companyid",))
        told.pop("last_updated", None)
        assert not any(told.values()), told


@pytest.mark.parametrize("time", [-1, -62_135_596_801, END_OF_TIME + 1, 2**40, 2**63 - 1, -(2**63)])
def test_a_time_beyond_the_calendar_breaks_no_listing(table: Table, time: int) -> None:
    """Imports write milliseconds for seconds; one such row must not end everybody's export."""
    table.fill([row(1, timecompleted=time, timestarted=time)])
    for form in ("json", "ndjson", "csv"):
        assert str(time).encode() in table.exported(form)
    [record] = table.records()
    assert record["timecompleted_unix"] == record["timestarted_unix"] == time
    [read_back] = parquet.read_table(io.BytesIO(table.exported("parquet"))).to_pylist()
    assert read_back["timecompleted_unix"] == time
    assert (read_back["timecompleted"] is None) == (record["timecompleted"] is None)


def many_rows() -> list[dict[str, Any]]:
    return [
        row(
            number, firstname=one, lastname=other, coursename=f"{one}\x01\x1f\x7f\u2028{other}",
            email=f"{other}@x", username=one * 2, timecompleted=number % 5 * number * 10_000_000,
            timestarted=-number * 150_000_000, percentage=number * 7 % 10_001 / 100,
            courseid=2**40 - number, status=STATUSES[number % 3], revision=1 + number % 9,
            is_deleted=int(number % 11 == 0),
        )
        for number, (one, other) in enumerate(
            ((one, other) for one in NAMES for other in NAMES), start=1
        )
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["mariadb", "postgres"])
def test_every_store_exports_the_same_bytes(
    make_backend: Callable[[str], Backend], table: Table, name: str
) -> None:
    server = Table(make_backend(name).new_url())
    try:
        for target in (table, server):
            target.fill(many_rows())
        for form in FORMATS:
            for asked in (
                {}, {"fields": DEFAULT_FIELDS}, {"mode": "incremental"},
                {"wanted": Filter((), "completed")}, {"wanted": Filter((2**40 - 5, 2**40 - 9))},
            ):  # fmt: skip
                assert server.exported(form, **asked) == table.exported(form, **asked)
        # Of an increment, too: each store seals its marks with a key of its own.
        for status in (None, "in_progress"):
            since = Listing(1, FIELDS, Filter((), status), True, since=3, upto=8)
            for walk in (True, False):
                found = [
                    [record_maker(since)(row) for row in read(target, since, walk)]
                    for target in (table, server)
                ]
                assert orjson.dumps(found[0]) == orjson.dumps(found[1])
                assert [row["userid"] for row in found[0]] == sorted(
                    row["userid"] for row in many_rows() if 3 < row["revision"] <= 8
                )
    finally:
        server.close()


def read(table: Table, listing: Listing, walk: bool) -> list[Any]:
    where, values = conditions(listing, walk=walk)
    columns, ordered = ", ".join(raw_columns(listing)), order(listing, walk=walk)
    sql = f"SELECT {columns} FROM {{}} WHERE {where} {ordered}"
    return table.store.read(
        lambda session: list(session.rows(sql.format(session.names.reporting), **values))
    )


@given(st.lists(rows, max_size=4, unique_by=lambda row: (row["userid"], row["courseid"])), fields)
def test_csv_can_be_read_back(
    table: Table, found: list[dict[str, Any]], fields: tuple[str, ...]
) -> None:
    table.fill(found or [row(is_deleted=1)])
    records = table.records(fields=fields)
    text = table.exported("csv", fields=fields).decode()
    head, *lines = list(csv.reader(io.StringIO(text, newline="")))
    assert tuple(head) == fields
    assert len(lines) == len(records)
    for line, record in zip(lines, records, strict=True):
        assert not any(text.startswith(FORMULA_STARTS) for text in _texts(record, line))
        assert [_read_back(name, text) for name, text in zip(head, line, strict=True)] == [
            _plain(name, value) for name, value in record.items()
        ]
    assert text == csv_text(records, fields).decode()


def _texts(record: dict[str, Any], line: list[str]) -> list[str]:
    """Return the cells that people wrote: a negative number is no formula."""
    return [text for name, text in zip(record, line, strict=True) if name in TEXTS | TIMES]


def _read_back(name: str, text: str) -> Any:
    if name in TEXTS:
        guarded = text[:1] == "'" and text[1:2] in FORMULA_STARTS and len(text) > 1
        return text[1:] if guarded else text
    if name in TIMES:
        return text
    return float(text) if name == "percentage" else int(text)


def _plain(name: str, value: Any) -> Any:
    if name in TEXTS:
        # What a person wrote with the guard's own quote in front cannot be told from it.
        return value[1:] if value[:1] == "'" and value[1:].startswith(FORMULA_STARTS) else value
    return "" if value is None else value


@given(st.lists(rows, max_size=4, unique_by=lambda row: (row["userid"], row["courseid"])))
@settings(max_examples=30)
def test_parquet_says_what_json_says(table: Table, found: list[dict[str, Any]]) -> None:
    table.fill(found or [row(is_deleted=1)])
    for asked in ({}, {"mode": "incremental"}):
        records = table.records(**asked)
        read_back = parquet.read_table(io.BytesIO(table.exported("parquet", **asked)))
        assert read_back.schema.names == [*FIELDS, *([IS_DELETED] if asked else [])]
        assert [_as_json(record) for record in read_back.to_pylist()] == records
    kinds = {field.name: str(field.type) for field in read_back.schema}
    assert {kinds[name] for name in TIMES} == {"timestamp[ms, tz=UTC]"}
    assert {kinds[name] for name in TEXTS} == {"string"}
    assert (kinds["percentage"], kinds[IS_DELETED], kinds["userid"]) == ("double", "bool", "int64")


def _as_json(record: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value
        for name, value in record.items()
    }


def test_more_rows_than_are_read_at_once_are_one_table(table: Table) -> None:
    table.fill([row(number, firstname=f"N{number}") for number in range(1, 4_502)])
    records = table.records()
    assert [record["userid"] for record in records] == list(range(1, 4_502))
    assert [json.loads(line) for line in table.exported("ndjson").splitlines()] == records
    assert table.exported("csv").count(b"\r\n") == 4_502
    assert parquet.read_table(io.BytesIO(table.exported("parquet"))).num_rows == 4_501


@pytest.mark.parametrize("form", FORMATS)
def test_no_rows_are_an_empty_table(table: Table, form: str) -> None:
    table.fill([row(is_deleted=1)])
    data = table.exported(form)
    if form == "parquet":
        assert parquet.read_table(io.BytesIO(data)).num_rows == 0
    else:
        assert data == {"json": b"[]\n", "ndjson": b"", "csv": f"{','.join(FIELDS)}\r\n".encode()}[
            form
        ]  # fmt: skip


@given(words)
def test_a_cell_never_begins_as_a_formula(text: str) -> None:
    shown = cell(text)
    assert shown.removeprefix("'") == text.removeprefix("'")
    assert not shown.startswith(FORMULA_STARTS)
    assert csv_text([{"a": text}], ("a",)).startswith(b"a\r\n")


@pytest.mark.parametrize("moment", [BEGIN_OF_TIME, -50_000_000_000, YEAR_1000 - 1, -1, 1, NOW])
def test_a_time_is_written_in_iso_8601(table: Table, moment: int) -> None:
    shown = datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")
    assert iso_time(moment) == shown  # four digits of the year, for what no SQLite writes
    table.fill([row(timecompleted=moment)])
    [record] = table.records()
    assert (record["timecompleted"], record["timecompleted_unix"]) == (shown, moment)


def test_a_listing_shows_its_fields_in_the_order_that_was_asked_for(table: Table) -> None:
    table.fill([row(12, firstname="Ana")])
    assert list(table.records()[0]) == list(FIELDS)
    for text in ("email,userid", " userid , email,,email ", "status"):
        fields = parse_fields(text)
        [record] = table.records(fields=fields)
        assert tuple(record) == fields
    assert parse_fields(None) is None
    for text in ("", ",", "userid,name", "USERID", "id"):
        with pytest.raises(UsageError):
            parse_fields(text)


def test_a_filter_is_what_was_written_or_an_error() -> None:
    assert parse_filter("9,7, 7", "completed") == Filter((7, 9), "completed")
    assert parse_filter(None, None) == Filter()
    assert parse_filter(str(2**63 - 1), None) == Filter((2**63 - 1,))
    for courses in ("", ",", "a", "7;9", "-7", "7.0", "²", "٧", str(2**63), "1" + "0" * 40):
        with pytest.raises(UsageError):
            parse_filter(courses, None)
    for status in ("", "Completed", "done"):
        with pytest.raises(UsageError):
            parse_filter(None, status)


@given(
    st.lists(st.builds(Filter, st.sets(st.integers(1, 3)).map(lambda s: tuple(sorted(s))),
                       st.none() | st.sampled_from(STATUSES)), min_size=2, max_size=2)
)  # fmt: skip
def test_a_filter_covers_another_when_all_its_rows_are_in_it(pair: list[Filter]) -> None:
    def rows(wanted: Filter) -> set[tuple[int, str]]:
        return {(course, status) for course in range(1, 5) for status in STATUSES
                if (not wanted.courses or course in wanted.courses)
                and wanted.status in (None, status)}  # fmt: skip

    assert pair[0].covers(pair[1]) == (rows(pair[1]) <= rows(pair[0]))
