"""What a look at the monitor costs beside plain queries, on a store with years of traffic in it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from alxreport import alerts, monitor
from alxreport.database import open_store, writing
from alxreport.schema import prepare_store, store_tables
from alxreport.sessions import Session, open_requests
from alxreport.settings import Settings, StoreSettings

COMPANIES, ROWS_EACH, DAYS = 1_000, 1_000, 90
DAY = 86_400
REPEATS = 7


def numbers(engine: sa.Engine, count: int) -> str:
    """Return a FROM item with the numbers 1 to ``count`` in its column n."""
    if engine.dialect.name == "sqlite":
        return ("(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL"
                f" SELECT n + 1 FROM s WHERE n < {count}) SELECT n FROM s) s")  # fmt: skip
    if engine.dialect.name == "postgresql":
        return f"generate_series(1::bigint, {count}) s(n)"
    return f"(SELECT seq AS n FROM seq_1_to_{count}) s"


def build(target: str, requests: int, now: int) -> dict[str, Any]:
    """Fill an empty store: companies, rows, hourly runs, and requests at an even pace."""
    engine = open_store(StoreSettings(url=target))
    prepare_store(engine, store_tables())
    p, whole = (
        "local_alx_api_",
        "DIV" if engine.dialect.name not in {"sqlite", "postgresql"} else "/",
    )
    start = now - DAYS * DAY
    hours = DAYS * 24
    # Pseudo-random, without a pattern that the hours or the companies would share. One request
    # every 0.778 s, however many: more of them reach further back.
    noise = "((n * 7919) % 10007)"
    at = f"{now} - (({requests} - n) * 778) {whole} 1000"
    statements = [
        f"INSERT INTO {p}sync_status (companyid, shortname, name, position, revision, live_rows,"
        " synced_at, last_status) SELECT n, 'company', 'Company', 1, 9, 1000,"
        f" {now - 600}, 'success' FROM {numbers(engine, COMPANIES)}",
        f"UPDATE {p}sync_status SET shortname = {_joined(engine, 'company', 'companyid')}",
        f"INSERT INTO {p}reporting (companyid, userid, courseid, firstname, lastname, email,"
        " username, coursename, last_updated, created_at, updated_at, revision)"
        f" SELECT 1 + n % {COMPANIES}, n, 7, 'Ana', 'Ruiz', 'ana@example.org', 'ana', 'Safety',"
        f" {now}, {now}, {now}, 9 FROM {numbers(engine, COMPANIES * ROWS_EACH)}",
        f"INSERT INTO {p}sync_runs (started_at, finished_at, mode, status, created)"
        f" SELECT {start} + n * 3600 - 600, {start} + n * 3600 - 590, 'incremental', 'success', 5"
        f" FROM {numbers(engine, hours)}",
        f"INSERT INTO {p}sync_results (runid, companyid, status, live_rows, created)"
        f" SELECT r.id, c.companyid, 'success', 1000, 1 FROM {p}sync_runs r, {p}sync_status c",
        f"INSERT INTO {p}logs (at, companyid, tokenid, ip, agent, endpoint, mode, row_count,"
        " duration_us, cache, question, revision)"
        f" SELECT {at}, 1 + {noise} % {COMPANIES}, 1, '192.0.2.1', 'Power BI', 'query', 'full',"
        f" 100, 800 + ({noise} * {noise}) % 190000, CASE WHEN {noise} % 4 = 0 THEN 'miss'"
        f" ELSE 'hit' END, 'q', 9 FROM {numbers(engine, requests)}",
        f"INSERT INTO {p}activity (hour, companyid, calls, row_count, timed, total_us, hits,"
        " misses) SELECT at - at % 3600, companyid, count(*), sum(row_count), count(*),"
        " sum(duration_us), sum(CASE WHEN cache = 'hit' THEN 1 ELSE 0 END),"
        f" sum(CASE WHEN cache = 'miss' THEN 1 ELSE 0 END) FROM {p}logs"
        " GROUP BY at - at % 3600, companyid",
        f"INSERT INTO {p}latency (hour, ms, calls) SELECT at - at % 3600,"
        f" (duration_us + 999) {whole} 1000, count(*) FROM {p}logs"
        f" GROUP BY at - at % 3600, (duration_us + 999) {whole} 1000",
        f"INSERT INTO {p}refusals (minute, kind, subject, companyid, refused)"
        f" SELECT {start - start % 60} + n * 60, 'authorisation', '203.0.113.9', 0, 1"
        f" FROM {numbers(engine, DAYS * 1440)}",
        f"INSERT INTO {p}usage (companyid, day, calls)"
        f" SELECT companyid, '2000-01-01', 5 FROM {p}sync_status",
    ]  # fmt: skip
    for statement in statements:
        with writing(engine) as connection:
            connection.exec_driver_sql(statement.replace("%", _percent(engine)))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("ANALYZE")
    engine.dispose()
    return {"requests": requests}


def _percent(engine: sa.Engine) -> str:
    return "%" if engine.dialect.name == "sqlite" else "%%"


def _joined(engine: sa.Engine, word: str, column: str) -> str:
    if engine.dialect.name in {"sqlite", "postgresql"}:
        return f"'{word}' || {column}"
    return f"concat('{word}', {column})"


def looks(target: str, moment: str) -> dict[str, Any]:
    """Return seconds, each the median of some: three plain queries, a look, a check of alerts."""
    settings, now = Settings(store=StoreSettings(url=target)), int(moment)
    store = open_requests(settings.store)

    def three(session: Session) -> None:
        names = session.names
        session.rows(
            "SELECT companyid, count(*), avg(duration_us), max(duration_us)"
            f" FROM {names.logs} WHERE at > :since GROUP BY companyid", since=now - DAY
        )  # fmt: skip
        session.rows(
            f"SELECT r.companyid, sum(r.created), max(r.duration_ms) FROM {names.sync_results} r"
            f" JOIN {names.sync_runs} s ON s.id = r.runid WHERE s.started_at > :since"
            " GROUP BY r.companyid", since=now - DAY
        )  # fmt: skip
        session.rows(f"SELECT * FROM {names.sync_status}")

    found = {
        "floor": _median(lambda: store.read(three)),
        "look": _median(lambda: monitor.take(store, settings, now=now, next_sync_at=None)),
        "check": _median(lambda: alerts.check(store, settings, now)),
    }
    snapshot = monitor.take(store, settings, now=now, next_sync_at=None)
    store.close()
    return found | {"calls": snapshot.performance.calls, "p95_ms": snapshot.performance.p95_ms}


def _median(work: Callable[[], Any]) -> float:
    work()
    took = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        took.append(time.perf_counter() - started)
    return statistics.median(took)
