"""A listing's rows say the same, byte for byte, whichever database holds and writes them."""

from __future__ import annotations

import io

import orjson
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from alxreport.database import open_store, reading, writing
from alxreport.dialects import flavour
from alxreport.export import cell, csv_text, export
from alxreport.listing import (
    DEFAULT_FIELDS,
    MORE_FIELDS,
    Filter,
    field_columns,
    json_text,
    record_maker,
    rows_statement,
)
from alxreport.records import CompanyState
from alxreport.schema import prepare_store, store_tables
from alxreport.settings import StoreSettings
from alxreport.store import save_company

from .moodle_site import NAMES, NOW

TABLES = store_tables()
FIELDS = DEFAULT_FIELDS + MORE_FIELDS
STATE = CompanyState(1, "acme", "Acme", False, False, 1, 1, 0, NOW, "success", "")
END_OF_TIME = 253_402_300_799  # 9999-12-31T23:59:59Z, the last that ISO 8601 writes in four digits


def row(number, **values):
    return {
        "userid": number, "companyid": 1, "courseid": 7, "firstname": "", "lastname": "",
        "email": "", "username": "", "coursename": "", "timecompleted": 0, "timestarted": 0,
        "percentage": 0, "status": "completed", "last_updated": NOW, **values,
    }  # fmt: skip


def opened(url):
    engine = open_store(StoreSettings(url=url))
    prepare_store(engine, TABLES)
    with writing(engine) as connection:
        save_company(connection, TABLES, STATE)
    return engine


def fill(engine, rows):
    with writing(engine) as connection:
        connection.execute(sa.delete(TABLES.reporting))
        connection.execute(sa.insert(TABLES.reporting), rows)


def exported(engine, form):
    out = io.BytesIO()
    choice = {"company": "acme", "form": form, "fields": FIELDS, "wanted": Filter()}
    export(engine, TABLES, out, **choice)
    return out.getvalue()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    engine = opened(f"sqlite:///{tmp_path_factory.mktemp('listing')}/store.db")
    yield engine
    engine.dispose()


# A name in Moodle holds anything but NUL and lone surrogates.
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
moments = st.one_of(st.integers(0, END_OF_TIME), st.integers(0, 2**32))
rows = st.builds(
    row, st.just(1), firstname=words, lastname=st.sampled_from(NAMES), email=words,
    username=words, coursename=words, timecompleted=moments, timestarted=moments,
    percentage=st.integers(0, 10_000).map(lambda hundredths: hundredths / 100),
    last_updated=moments,
)  # fmt: skip


@given(rows)
def test_sqlite_writes_the_records_that_python_makes(store, values):
    fill(store, [values])
    every = {"company": 1, "wanted": Filter()}
    with reading(store) as connection:
        columns = field_columns(TABLES, FIELDS)
        found = connection.execute(rows_statement(TABLES, **every, columns=columns)).one()
        columns = [json_text(TABLES, FIELDS, flavour(store.dialect))]
        text = connection.execute(rows_statement(TABLES, **every, columns=columns)).scalar_one()
    record = record_maker(FIELDS)(found)
    assert orjson.loads(text) == record
    assert text.encode() == orjson.dumps(record)


@pytest.mark.parametrize("time", [-1, -62_135_596_801, END_OF_TIME + 1, 2**40, 2**63 - 1])
def test_a_time_beyond_the_calendar_breaks_no_listing(store, time):
    """Imports write milliseconds for seconds; one such row must not end everybody's export."""
    fill(store, [row(1, timecompleted=time, timestarted=time)])
    for form in ("json", "csv"):
        assert str(time).encode() in exported(store, form)
    with reading(store) as connection:
        columns = field_columns(TABLES, FIELDS)
        statement = rows_statement(TABLES, company=1, wanted=Filter(), columns=columns)
        record = record_maker(FIELDS)(connection.execute(statement).one())
    assert orjson.loads(exported(store, "json")) == [record]


@pytest.mark.parametrize("name", ["mariadb", "postgres"])
def test_every_store_exports_the_same_bytes(make_backend, store, name):
    rows = [
        row(number, firstname=one, lastname=other, coursename=f"{one}\x01\x1f\x7f{other}",
            timecompleted=number * 10_000_000, percentage=number * 7 % 10_001 / 100)
        for number, (one, other) in enumerate(
            ((one, other) for one in NAMES for other in NAMES), start=1
        )
    ]  # fmt: skip
    engine = opened(make_backend(name).new_url())
    for target in (store, engine):
        fill(target, rows)
    for form in ("json", "ndjson", "csv"):
        assert exported(engine, form) == exported(store, form)
    engine.dispose()


@given(words)
def test_a_cell_never_begins_as_a_formula(text):
    shown = cell(text)
    assert shown.removeprefix("'") == text.removeprefix("'")
    assert not shown.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert csv_text([{"a": text}], ("a",)).startswith(b"a\r\n")
