"""A store of the schema before the monitor becomes one of today, whatever interrupts it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, event

from alxreport import monitor
from alxreport.database import open_store, reading, writing
from alxreport.schema import prepare_store, require_store, schema_version, store_tables
from alxreport.sessions import Store
from alxreport.settings import Settings, StoreSettings
from alxreport.store_names import SCHEMA_VERSION

from .conftest import Backend
from .moodle_site import NOW

HOUR = 3_600
DURATIONS = (0, 1, 999, 1_000, 1_001, 1_999, 5_000_000, 90_000_000, 3 * 10**9)
CHANGES = ("CREATE", "ALTER", "INSERT", "UPDATE", "DELETE", "DROP")
ADDED = ("activity", "latency", "alerts", "deliveries")


@dataclass
class Old:
    """A store that was made at schema 0002."""

    engine: Engine
    settings: StoreSettings

    @property
    def tables(self) -> Any:
        return store_tables(self.settings.table_prefix)

    @property
    def version(self) -> str | None:
        with reading(self.engine) as connection:
            return schema_version(connection, self.tables)

    def migrate(self, version: str) -> None:
        """Run the migrations up to a version, as the program runs them up to the newest."""
        config = Config()
        config.set_main_option("script_location", "alxreport:migrations")
        config.set_main_option("path_separator", "os")
        config.attributes.update(engine=self.engine, tables=self.tables)
        command.upgrade(config, version)

    def table(self, name: str) -> sa.Table:
        full = f"{self.settings.table_prefix}local_alx_api_{name}"
        return sa.Table(full, sa.MetaData(), autoload_with=self.engine)

    def insert(self, name: str, rows: list[dict[str, Any]]) -> None:
        table = self.table(name)
        with writing(self.engine) as connection:
            connection.execute(sa.insert(table), rows)

    def rows(self, name: str) -> list[dict[str, Any]]:
        table = self.table(name)
        with reading(self.engine) as connection:
            query = sa.select(table).order_by(*table.primary_key.columns)
            return [dict(row) for row in connection.execute(query).mappings()]

    def content(self) -> dict[str, list[dict[str, Any]]]:
        start = f"{self.settings.table_prefix}local_alx_api_"
        names = sa.inspect(self.engine).get_table_names()
        return {
            name.removeprefix(start): self.rows(name.removeprefix(start))
            for name in names if name != f"{start}schema"
        }  # fmt: skip


@pytest.fixture(
    params=[("sqlite", ""), ("mariadb", "alx_"), ("postgres", "")], ids=lambda param: param[0]
)
def old(make_backend: Callable[[str], Backend], request: pytest.FixtureRequest) -> Iterator[Old]:
    name, prefix = request.param
    settings = StoreSettings(url=make_backend(name).new_url(), table_prefix=prefix)
    made = Old(open_store(settings), settings)
    made.migrate("0002")
    assert made.version == "0002"
    yield made
    made.engine.dispose()


def request(rng: random.Random) -> dict[str, Any]:
    hour = NOW - NOW % HOUR - rng.randrange(30) * HOUR
    endpoint = rng.choice(("query", "query", "export", "serve"))
    return {
        "at": hour + rng.choice((0, 1, 1_799, HOUR - 1)), "companyid": rng.randrange(4),
        "endpoint": endpoint, "row_count": rng.randrange(1_000),
        "duration_us": rng.choice((*DURATIONS, rng.randrange(10**6))),
        "cache": "" if endpoint == "export" else rng.choice(("hit", "miss", "")),
        "error": rng.choice(("", "", "", "failure", "not_authorised:unknown")),
        "question": rng.choice(("a", "b")), "ip": "192.0.2.1", "agent": "old",
    }  # fmt: skip


def fill(old: Old, requests: int = 300) -> None:
    rng = random.Random(requests)
    old.insert("logs", [request(rng) for _ in range(requests)])
    old.insert(
        "reporting",
        [
            {"userid": user, "companyid": company, "courseid": 1, "is_deleted": gone}
            for company, live, deleted in ((1, 3, 4), (2, 5, 0), (3, 0, 2), (9, 1, 1))
            for user, gone in enumerate((0,) * live + (1,) * deleted)
        ],
    )
    old.insert(
        "sync_status",
        [
            {"companyid": company, "shortname": f"c{company}", "revision": 1, "live_rows": 5,
             "synced_at": NOW - 5, "last_status": "success"}
            for company in (1, 2, 3, 4)
        ],
    )  # fmt: skip
    old.insert("refusals", [{"minute": NOW - NOW % 60, "kind": "failure", "subject": "1",
                             "companyid": 1, "refused": 7}])  # fmt: skip


def check_sums(old: Old) -> None:
    """Assert that what the migration added says what the rows say, worked out one by one."""
    activity: dict[tuple[int, int], Counter[str]] = {}
    latency: Counter[tuple[int, int]] = Counter()
    for row in old.rows("logs"):
        assert (row["revision"], row["repeated"]) == (0, 0)
        if row["error"]:
            continue
        hour, page = row["at"] // HOUR * HOUR, row["endpoint"] != "export"
        activity.setdefault((hour, row["companyid"]), Counter()).update(
            calls=1, row_count=row["row_count"], timed=page, total_us=row["duration_us"] * page,
            hits=row["cache"] == "hit", misses=row["cache"] == "miss", repeats=0, repeat_hits=0,
        )  # fmt: skip
        if page:
            latency[hour, -(-row["duration_us"] // 1000)] += 1
    found = {(row.pop("hour"), row.pop("companyid")): row for row in old.rows("activity")}
    assert found == {key: dict(sums) for key, sums in activity.items()}
    assert {(row["hour"], row["ms"]): row["calls"] for row in old.rows("latency")} == latency
    deleted = Counter(row["companyid"] for row in old.rows("reporting") if row["is_deleted"])
    for row in old.rows("sync_status"):
        assert (row["deleted_rows"], row["duration_ms"]) == (deleted[row["companyid"]], 0)


def check_monitor(old: Old) -> None:
    store = Store(old.settings)
    try:
        found = monitor.take(store, Settings(store=old.settings), now=NOW, next_sync_at=None)
    finally:
        store.close()
    day = [row for row in old.rows("logs") if row["at"] // 60 > NOW // 60 - 1_440
           and row["at"] <= NOW and not row["error"]]  # fmt: skip
    pages = [-(-row["duration_us"] // 1000) for row in day if row["endpoint"] != "export"]
    assert found.performance.calls == len(day) + 7
    assert found.performance.records == sum(row["row_count"] for row in day)
    assert found.performance.p95_ms == sorted(pages)[-(-len(pages) * 95 // 100) - 1]
    assert found.performance.database.deleted_rows == 6
    assert [company.duration_seconds for company in found.auto_sync.companies] == [0.0] * 4


def test_the_sums_are_those_of_the_log_and_the_same_when_made_again(old: Old) -> None:
    fill(old)
    before = old.content()
    require_store(old.engine, old.tables)
    assert old.version == SCHEMA_VERSION
    check_sums(old)
    check_monitor(old)
    now = old.content()
    assert now.keys() == before.keys() | set(ADDED)
    assert (now["alerts"], now["deliveries"]) == ([], [])
    # What was there is there still, to the last value.
    for name, rows in before.items():
        kept = [{column: row[column] for column in rows[0]} for row in now[name]] if rows else []
        assert kept == rows, name
    look = sa.inspect(old.engine)
    for table in old.tables.metadata.sorted_tables:
        indexes = {tuple(i["column_names"]) for i in look.get_indexes(table.name)}
        assert {tuple(i.columns.keys()) for i in table.indexes} <= indexes
    prepare_store(old.engine, old.tables)
    assert old.content() == now
    with writing(old.engine) as connection:
        connection.execute(sa.text(f"UPDATE {old.tables.version} SET version_num = '0002'"))
    prepare_store(old.engine, old.tables)
    assert (old.version, old.content()) == (SCHEMA_VERSION, now)


def test_an_empty_store_is_migrated_too(old: Old) -> None:
    prepare_store(old.engine, old.tables)
    assert old.version == SCHEMA_VERSION
    assert all(old.rows(name) == [] for name in ADDED)


class _Cut(BaseException):
    """The end of a process, in the middle of its work."""


@pytest.mark.soak_on("postgres")
def test_interrupted_at_any_step_it_goes_on(old: Old) -> None:
    """Each run ends right after the first statement after which none ended before it."""
    fill(old, 60)
    seen: list[str] = []

    def cut(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.lstrip().upper().startswith(CHANGES) and statement not in seen:
            seen.append(statement)
            raise _Cut

    event.listen(old.engine, "after_cursor_execute", cut)
    rng = random.Random(7)
    while True:
        try:
            prepare_store(old.engine, old.tables)
        except _Cut:
            assert old.version == "0002"
            # Requests go on meanwhile, of the program as it was.
            with old.engine.connect() as raw:
                table = old.table("logs")
                values = {name: value for name, value in request(rng).items() if name in table.c}
                changed = raw.execution_options(alx_writing=True)
                event.remove(old.engine, "after_cursor_execute", cut)
                changed.execute(sa.insert(table).values(values))
                changed.commit()
                event.listen(old.engine, "after_cursor_execute", cut)
        else:
            break
    event.remove(old.engine, "after_cursor_execute", cut)
    words = [statement.split()[0].upper() for statement in seen]
    assert Counter(words) == {
        "ALTER": 4, "CREATE": 7, "DELETE": 2, "DROP": 1, "INSERT": 2, "UPDATE": 2,
    }  # fmt: skip
    assert old.version == SCHEMA_VERSION
    check_sums(old)
    assert len(old.rows("logs")) == 60 + len(seen)
    check_monitor(old)
