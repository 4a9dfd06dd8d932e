"""The store's schema on every database: made, completed, refused, and cleared of what is old."""

from __future__ import annotations

import gc
import json
import stat
from dataclasses import replace

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from alxreport.database import open_store, reading, writing
from alxreport.errors import StoreError
from alxreport.schema import (
    SCHEMA_VERSION,
    prepare_store,
    require_store,
    schema_version,
    store_id,
    store_tables,
)
from alxreport.settings import StoreSettings

from .command_line import awkward_site, run, write_config
from .moodle_site import DAY

TABLES = store_tables()
PLUGIN = [
    "id", "userid", "companyid", "courseid", "firstname", "lastname", "email", "coursename",
    "timecompleted", "timestarted", "percentage", "status", "last_updated", "is_deleted",
    "created_at", "updated_at",
]  # fmt: skip


@pytest.fixture
def store(backend):
    engine = open_store(StoreSettings(url=backend.new_url()))
    yield engine
    engine.dispose()


def names(engine):
    return set(sa.inspect(engine).get_table_names())


def version_in(engine):
    with reading(engine) as connection:
        return schema_version(connection, TABLES)


def said(default):
    return default and str(default.arg)


def content(engine):
    """Return every table's definition and rows."""
    meta = sa.MetaData()
    meta.reflect(engine)
    with reading(engine) as connection:
        return {
            name: (
                [(c.name, str(c.type), c.nullable, said(c.server_default)) for c in table.columns],
                [tuple(row) for row in connection.execute(sa.select(table))],
            )
            for name, table in sorted(meta.tables.items())
        }


@pytest.mark.parametrize("prefix", ["", "alx_"])
def test_the_migrations_make_what_is_declared(store, prefix):
    tables = store_tables(prefix)
    prepare_store(store, tables)
    with reading(store) as connection:
        options = {"version_table": tables.version, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, tables.metadata) == []
    assert names(store) == {*tables.metadata.tables, tables.version}
    assert all(name.startswith(f"{prefix}local_alx_api_") for name in names(store))


def test_every_table_has_a_primary_key_and_the_plugins_columns(store):
    prepare_store(store, TABLES)
    look = sa.inspect(store)
    for name in names(store):
        assert look.get_pk_constraint(name)["constrained_columns"], name
    columns = {column["name"] for column in look.get_columns("local_alx_api_reporting")}
    assert set(PLUGIN) <= columns


def test_preparing_twice_changes_nothing(store):
    prepare_store(store, TABLES)
    before = content(store)
    prepare_store(store, TABLES)
    require_store(store, TABLES)
    assert content(store) == before
    assert version_in(store) == SCHEMA_VERSION


@pytest.mark.parametrize("lost", [(), ("meta", "leases"), ("reporting", "sync_runs", "settings")])
def test_an_interrupted_first_migration_is_completed(store, lost):
    prepare_store(store, TABLES)
    with reading(store) as connection:
        ours = store_id(connection, TABLES)
    with writing(store) as connection:
        connection.execute(sa.text(f"DELETE FROM {TABLES.version}"))
        for name in lost:
            connection.execute(sa.text(f"DROP TABLE local_alx_api_{name}"))
    assert version_in(store) == ""
    prepare_store(store, TABLES)
    assert version_in(store) == SCHEMA_VERSION
    assert names(store) == {*TABLES.metadata.tables, TABLES.version}
    with reading(store) as connection:
        leases = connection.scalars(sa.select(TABLES.leases.c.name)).all()
        assert leases == ["sync"]
        now = store_id(connection, TABLES)
        assert now == ours or ("meta" in lost and len(now) == 32)


def test_two_first_runs_at_once_leave_one_version(store):
    """DDL is not undone on MySQL: both record theirs, and one of them came further."""
    prepare_store(store, TABLES)
    before = content(store)
    with writing(store) as connection:
        connection.execute(sa.text(f"UPDATE {TABLES.version} SET version_num = '0002'"))
        connection.execute(sa.text(f"INSERT INTO {TABLES.version} VALUES ('0001')"))
    prepare_store(store, TABLES)
    assert content(store) == before


def test_a_newer_schema_is_refused(store):
    prepare_store(store, TABLES)
    with writing(store) as connection:
        connection.execute(sa.text(f"UPDATE {TABLES.version} SET version_num = '9999'"))
    before = content(store)
    for use in (prepare_store, require_store):
        with pytest.raises(StoreError, match="newer alxreport"):
            use(store, TABLES)
    assert content(store) == before


# A command leaves its connections to the end of its process, which does not come here.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_tables_that_alxreport_did_not_make_are_left_alone(backend, store, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    columns = [sa.Column(name, sa.String(50)) for name in PLUGIN[1:]]
    plugin = sa.Table(
        "local_alx_api_reporting", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True),
        *columns,
    )  # fmt: skip
    logs = sa.Table(
        "local_alx_api_logs", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True)
    )
    with writing(store) as connection:
        plugin.create(connection)
        logs.create(connection)
        connection.execute(sa.insert(plugin), dict.fromkeys(PLUGIN, "1"))
    before = content(store)
    moodle = f"sqlite:///{tmp_path}/moodle.db"
    awkward_site(moodle)
    url = store.url.set(drivername=store.url.get_backend_name())
    url = url.render_as_string(hide_password=False)
    config = write_config(tmp_path, moodle, url)
    new = tmp_path / "new.toml"
    init = ("init", "--moodle-url", moodle, "--store-url", url, "--config", new)
    for words in (
        ("sync", "--config", config),
        ("sync", "--full", "--allow-mass-delete", "--config", config),
        ("sync", "--dry-run", "--config", config),
        ("sync-state", "disable", "--config", config),
        ("query", "--company", "acme", "--config", config),
        ("export", "--company", "acme", "--config", config),
        ("verify", "--repair", "--config", config),
        init,
    ):
        done = run(*words, stdin="\n")  # init asks for a password: there is none
        assert (done.code, done.out) == (3, b""), (words, done.err)
        assert "did not make" in done.err
        assert content(store) == before, words
    assert not new.exists()
    # A prefix of one's own keeps the two apart.
    config = write_config(tmp_path, moodle, url, 'table_prefix = "alx_"\n')
    assert run("sync", "--quiet", "--config", config).code == 0
    page = run("query", "--company", "acme", "--config", config).json()
    rows = json.loads(run("export", "--company", "acme", "--config", config).out)
    assert len(rows) == page["total"] == 14
    assert rows == page["data"]
    now = content(store)
    assert {name: now[name] for name in before} == before
    gc.collect()


def test_a_store_file_is_for_its_owner_alone(tmp_path):
    path = tmp_path / "new" / "folder" / "store.db"
    engine = open_store(StoreSettings(url=f"sqlite:///{path}"))
    prepare_store(engine, TABLES)
    with writing(engine) as connection:
        connection.execute(sa.update(TABLES.meta).values(value="x"))
        found = sorted(path.parent.iterdir())
        assert [file.name for file in found] == ["store.db", "store.db-shm", "store.db-wal"]
        assert {stat.S_IMODE(file.stat().st_mode) for file in found} == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    engine.dispose()


def test_a_place_where_nothing_can_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be made"):
        open_store(StoreSettings(url=f"sqlite:///{tmp_path}/file/store.db"))


@pytest.fixture
def harness(backend, make_harness):
    made = make_harness(backend.name)
    made.site.sample(1)
    return made


def tombstones(harness):
    return {key for key, row in harness.stored().items() if row["is_deleted"]}


def test_tombstones_go_after_their_days(harness):
    harness.sync()
    company = next(iter(harness.live()))[0]
    harness.site.suspend_company(company)
    harness.now += 60
    harness.sync()
    gone = tombstones(harness)
    assert gone
    for days, left in ((89, gone), (91, set())):
        harness.now = harness.site.now + days * DAY
        harness.sync()
        assert tombstones(harness) & gone == left, days
    harness.check()


def test_a_row_that_returned_is_not_purged(harness):
    harness.sync()
    company = next(iter(harness.live()))[0]
    harness.site.suspend_company(company)
    harness.sync()
    gone = tombstones(harness)
    harness.now += 80 * DAY
    harness.site.suspend_company(company, 0)
    harness.sync()
    harness.now += 20 * DAY
    harness.sync()
    assert gone & harness.live().keys()
    harness.check()


def test_the_history_of_runs_is_pruned(harness):
    harness.settings = replace(
        harness.settings, sync=replace(harness.settings.sync, history_days=30)
    )
    numbers = []
    for _ in range(3):
        numbers.append(harness.sync().run)
        harness.now += 20 * DAY
    with reading(harness.engine) as connection:
        runs = connection.scalars(sa.select(harness.tables.runs.c.id)).all()
        results = connection.scalars(sa.select(harness.tables.results.c.runid).distinct()).all()
    assert sorted(runs) == sorted(results) == numbers[1:]


def test_a_path_may_hold_signs_that_mean_something_in_a_url(tmp_path):
    for name in ("a b.db", "50%.db", "q?.db", "#1.db", "ü.db"):
        url = sa.URL.create("sqlite", database=str(tmp_path / name)).render_as_string()
        engine = open_store(StoreSettings(url=url))
        prepare_store(engine, TABLES)
        engine.dispose()
        assert (tmp_path / name).exists(), name
