"""Moodle's database: only read, seen at one moment, and asked the same number of questions."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from alxreport import evidence, fingerprints, moodle
from alxreport.errors import SourceError
from alxreport.moodle_tables import OPTIONAL_COLUMNS, OPTIONAL_TABLES, moodle_tables
from alxreport.sync import run_sync
from benchmarks.big_site import build_big_site

from .conftest import Backend
from .crowd import add_crowd
from .harness import Harness
from .moodle_edits import random_edit

LEARNERS_ALONE = ("course_modules_completion", "company_users")  # only one statement has both
# Columns that exist in every Moodle, but that no statement needs.
UNREAD = {
    "timemodified", "timeenrolled", "reaggregate", "depth", "itemid", "component", "managertype",
    "departmentid", "instance",
}  # fmt: skip
UNREAD_IN = {
    ("course_categories", "name"), ("course_categories", "path"), ("course", "shortname"),
    ("enrol", "enrol"), ("course_modules", "visible"),
}  # fmt: skip


@contextmanager
def watching(url: str, see: Callable[[Any, str], None]) -> Iterator[None]:
    """Call ``see(cursor, statement)`` before each statement that the program sends to ``url``."""
    wanted = Path(str(sa.make_url(url).database)).name

    def before(connection: Any, cursor: Any, statement: str, *_rest: Any) -> None:
        options = str(connection.engine.url.database)
        if Path(options).name == wanted and connection.engine.dialect.name:
            see(cursor, statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", before)
    try:
        yield
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", before)


@pytest.fixture
def harness(backend: Backend, make_harness: Callable[[str], Harness]) -> Harness:
    return make_harness(backend.name)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Harness]:
    made = Harness(f"sqlite:///{tmp_path}/moodle.db", f"sqlite:///{tmp_path}/store.db")
    made.site.create()
    yield made
    made.close()


def contents(harness: Harness, backend: Backend) -> Any:
    """Return a digest of everything in the source."""
    if backend.server is None:
        path = Path(str(harness.source.url.database))
        files = sorted(path.parent.glob(f"{path.name}*"))
        return [(file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files]
    tables = sa.inspect(harness.source).get_table_names()
    with harness.source.connect() as connection:
        if backend.name == "mariadb":
            names = ", ".join(f"`{name}`" for name in tables)
            found = connection.exec_driver_sql(f"CHECKSUM TABLE {names}").all()
        else:
            sql = "SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM \"{}\" t"
            found = [
                (name, connection.exec_driver_sql(sql.format(name)).scalar()) for name in tables
            ]
    return sorted(map(tuple, found))


def test_a_user_with_select_alone_is_enough(harness: Harness, backend: Backend) -> None:
    harness.site.sample(3)
    before = contents(harness, backend)
    if backend.server is not None:
        url = backend.server.readonly_url(str(harness.source.url.database))
        moodle_settings = replace(harness.settings.moodle, url=url)
        harness.settings = replace(harness.settings, moodle=moodle_settings)
        engine = sa.create_engine(url)
        with pytest.raises(sa.exc.DBAPIError), engine.begin() as connection:
            connection.exec_driver_sql("UPDATE mdl_config SET value = '0'")
        engine.dispose()
    assert harness.sync().created
    assert harness.sync(full=True).status == "success"
    assert harness.sync(dry_run=True).status == "success"
    assert harness.verify().wrong == 0
    harness.check()
    assert contents(harness, backend) == before


def test_one_moment_of_the_source(harness: Harness, backend: Backend) -> None:
    """Somebody commits after the fingerprints were taken, before the learners are read."""
    crowd = add_crowd(harness.site, "crowd", 12)
    if backend.name == "sqlite":  # else a writer would wait for the reader
        with harness.source.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
    site, changed = harness.site, []

    def change() -> None:
        with site.transaction():
            site.change_user(crowd.users[0], harness.now, lastname=f"Changed{len(changed)}")
            site.delete("user_enrolments", userid=crowd.users[1 + len(changed)])
            site.update("course_completions", {"userid": crowd.users[9]}, timecompleted=7)
        changed.append(None)

    def see(_cursor: Any, statement: str) -> None:
        if all(name in statement for name in LEARNERS_ALONE) and len(changed) < wanted:
            change()

    for wanted in (1, 2):
        before = harness.expected()
        with watching(harness.settings.moodle.url, see):
            harness.sync()
        assert len(changed) == wanted
        assert harness.live() == before != harness.expected()
        if wanted == 1:  # so that the next run has a reason to read learners
            site.change_user(crowd.users[5], harness.now, lastname="Other")
            continue
        harness.sync()
        harness.check()


def count_statements(harness: Harness, **options: Any) -> int:
    seen: list[str] = []
    with watching(harness.settings.moodle.url, lambda _cursor, statement: seen.append(statement)):
        run_sync(harness.settings, harness.engine, harness.tables, now=harness.now, **options)
    return len(seen)


def test_the_number_of_statements_does_not_grow_with_the_site(harness: Harness) -> None:
    counts: list[dict[str, int]] = []
    for learners in (20, 400):
        harness.site.reset()
        harness.empty_store()
        crowd = add_crowd(harness.site, "crowd", learners)
        found = {"first": count_statements(harness), "none": count_statements(harness)}
        harness.site.change_user(crowd.users[3], harness.now, lastname="Changed")
        found["one change"] = count_statements(harness)
        harness.site.update("course", {"id": crowd.courses[0]}, fullname="Another name")
        found["course"] = count_statements(harness)
        found["full"] = count_statements(harness, full=True)
        harness.check()
        counts.append(found)
    assert counts[0] == counts[1]
    assert max(counts[0].values()) < 40


@pytest.mark.parametrize("prefix", [pytest.param("", marks=pytest.mark.soak), "m2_"])
def test_any_prefix(backend: Backend, prefix: str) -> None:
    harness = Harness(backend.new_url(), backend.new_url(), prefix)
    harness.site.create().sample(5)
    assert harness.sync().created
    harness.check()
    rng = random.Random(5)
    for _edit in range(8):
        random_edit(harness.site, rng.choice, harness.now)
    harness.sync_whatever()
    harness.check()
    harness.close()


def test_another_prefix_in_the_same_database_is_not_looked_at(local: Harness) -> None:
    local.site.sample(5)
    local.sync()
    moodle_tables("m2_").metadata.create_all(local.source)
    local.settings = replace(local.settings, moodle=replace(local.settings.moodle, prefix="m2_"))
    with pytest.raises(SourceError, match="m2_user is empty"):
        local.sync()
    local.settings = replace(local.settings, moodle=replace(local.settings.moodle, prefix="m3_"))
    with pytest.raises(SourceError, match="not a Moodle database"):
        local.sync()


def test_tables_and_columns_that_a_site_may_lack(harness: Harness) -> None:
    add_crowd(harness.site, "crowd", 5)
    harness.sync()
    before = harness.live()
    with harness.source.begin() as connection:
        for name in OPTIONAL_TABLES:
            connection.exec_driver_sql(f"DROP TABLE mdl_{name}")
        for name, column in OPTIONAL_COLUMNS:
            connection.exec_driver_sql(f"ALTER TABLE mdl_{name} DROP COLUMN {column}")
    assert harness.sync(full=True).status == "success"
    assert harness.live() == before
    harness.empty_store()
    harness.sync()
    assert harness.live() == before


def test_each_missing_table_is_named(harness: Harness) -> None:
    add_crowd(harness.site, "crowd", 5)
    harness.sync()
    before = harness.stored()
    quote = harness.source.dialect.identifier_preparer.quote
    for name in moodle_tables("mdl_").all().keys() - OPTIONAL_TABLES:
        there, away = quote(f"mdl_{name}"), quote("away")
        with harness.source.begin() as connection:
            connection.exec_driver_sql(f"ALTER TABLE {there} RENAME TO {away}")
        with pytest.raises(SourceError, match=rf"lacks mdl_{name}\."):
            harness.sync(allow_mass_delete=True)
        with harness.source.begin() as connection:
            connection.exec_driver_sql(f"ALTER TABLE {away} RENAME TO {there}")
    assert harness.stored() == before
    assert harness.sync().status == "success"


def test_each_missing_column_is_named(local: Harness) -> None:
    add_crowd(local.site, "crowd", 5)
    local.sync()
    before = local.stored()
    for name, table in moodle_tables("mdl_").all().items():
        for column in table.c.keys():  # noqa: SIM118  # a collection of columns, not a dictionary
            if name in OPTIONAL_TABLES or (name, column) in UNREAD_IN | OPTIONAL_COLUMNS.keys():
                continue
            rename = f"ALTER TABLE mdl_{name} RENAME COLUMN {{}} TO {{}}"
            with local.source.begin() as connection:
                connection.exec_driver_sql(rename.format(column, "away"))
            if column in UNREAD:
                assert local.sync(full=True).status == "success"
            else:
                with pytest.raises(SourceError, match=rf"lacks mdl_{name}\.{column}\."):
                    local.sync(full=True)
            with local.source.begin() as connection:
                connection.exec_driver_sql(rename.format("away", column))
    after = local.stored()
    assert [row["revision"] for row in after.values()] == [
        row["revision"] for row in before.values()
    ]


def test_a_list_that_the_server_cuts_short_makes_no_row(
    make_backend: Callable[[str], Backend], tmp_path: Path
) -> None:
    """Wherever the cut falls: in a number, after one, at a comma."""
    harness = Harness(make_backend("mariadb").new_url(), f"sqlite:///{tmp_path}/store.db")
    site = harness.site.create()
    crowd = add_crowd(site, "crowd", 1)
    # Ids of several lengths, so that a number cut short may be that of another activity.
    for number in (12, 120, 123, 1234, 12_345):
        site.insert("course_modules", id=number, course=crowd.courses[0], module=1, completion=1)
        site.set_state(number, crowd.users[0], 1, 1)
    expected = harness.expected()
    outcomes = set()
    for limit in range(4, 60):

        def shorten(cursor: Any, statement: str, limit: int = limit) -> None:
            if statement.startswith("START TRANSACTION"):
                cursor.execute(f"SET SESSION group_concat_max_len = {limit}")

        harness.empty_store()
        with watching(harness.settings.moodle.url, shorten):
            try:
                harness.sync()
            except SourceError as error:
                assert "cut a learner's list" in error.message  # noqa: PT017
                assert not harness.stored()
                outcomes.add("refused")
            else:
                assert harness.live() == expected, limit
                outcomes.add("right")
    assert outcomes == {"refused", "right"}
    harness.close()


def plan_of_mariadb(connection: sa.Connection, sql: str) -> Iterator[tuple[str, bool]]:
    for row in connection.exec_driver_sql(f"EXPLAIN {sql}").mappings():
        yield str(row["table"]), row["type"] not in {"ALL", "index"} and bool(row["key"])


def plan_of_postgres(connection: sa.Connection, sql: str) -> Iterator[tuple[str, bool]]:
    found = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {sql}").scalar()
    todo = [entry["Plan"] for entry in found]
    while todo:
        node = todo.pop()
        todo += node.get("Plans", [])
        if "Relation Name" in node:
            yield node["Relation Name"], node["Node Type"] != "Seq Scan"


@pytest.mark.parametrize("name", ["mariadb", "postgres"])
def test_each_list_of_a_learner_is_read_by_an_index(
    make_backend: Callable[[str], Backend], name: str
) -> None:
    engine = sa.create_engine(make_backend(name).new_url())
    build_big_site(engine, 0.03)
    plan = plan_of_mariadb if name == "mariadb" else plan_of_postgres
    with engine.connect() as connection:
        source = moodle.inspect(connection, "mdl_")
        for choice in (
            {"companies": range(1, 51)},
            {"companies": range(1, 51), "buckets": [130, 140], "whole_companies": [3]},
        ):
            statement = evidence.learners_statement(
                source, 2**31, roles=[5], bucket_bits=fingerprints.BUCKET_BITS, **choice
            )
            sql = statement.compile(engine, compile_kwargs={"literal_binds": True})
            by_index = list(plan(connection, str(sql)))
            # MariaDB names a table by its alias, which is the table's own name here.
            for big in ("user_enrolments", "course_completions", "course_modules_completion",
                        "role_assignments"):  # fmt: skip
                assert (f"mdl_{big}", True) in by_index, by_index
                assert (f"mdl_{big}", False) not in by_index
    engine.dispose()
