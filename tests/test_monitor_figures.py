"""The monitor's figures: those of a second, plain computation, from facts that are kept exactly."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alxreport import alerts, company_sync, history, monitor, request_log
from alxreport.database import writing
from alxreport.errors import RateLimitError
from alxreport.lease import sync_lease
from alxreport.sessions import Row, Session, Store
from alxreport.snapshots import (
    ACTIVE,
    DISABLED,
    FAILED,
    NEVER_RUN,
    OVERDUE,
    RUNNING,
    Snapshot,
    bursts,
    percentile,
)
from alxreport.switch import set_switch

from .asking import Desk, lasting_desk
from .conftest import BACKENDS
from .crowd import add_crowd
from .moodle_edits import random_edit
from .moodle_site import DAY
from .plain_figures import (
    HOUR,
    MINUTE,
    ZONES,
    Entry,
    Failure,
    Past,
    Plain,
    random_past,
    write_past,
    write_requests,
)
from .watching import Watched

# More of everything, for a night: ALXREPORT_DEPTH=20.
DEPTH = int(os.environ.get("ALXREPORT_DEPTH", "1"))
PASTS = {"sqlite": 40 * DEPTH, "mariadb": 3 * DEPTH, "postgresql": 3 * DEPTH}
EDITED = {"sqlite": 2 * DEPTH, "mariadb": DEPTH, "postgresql": DEPTH}
SLOW = (HealthCheck.too_slow, HealthCheck.function_scoped_fixture)


@pytest.fixture(scope="module", params=BACKENDS)
def office(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    with lasting_desk(request.param, request, tmp_path_factory.mktemp("monitor"), Watched) as made:
        yield made


@pytest.fixture
def desk(office: Watched) -> Watched:
    office.renew()
    set_switch(office.harness.engine, office.harness.tables, enabled=True)
    office.run_sql("DELETE FROM {meta} WHERE name IN ('verified', 'pruned_at')")
    return office


@pytest.fixture(scope="module")
def lasting_local(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    with lasting_desk("sqlite", request, tmp_path_factory.mktemp("local"), Watched) as made:
        yield made


@pytest.fixture
def local(lasting_local: Watched) -> Watched:
    lasting_local.renew()
    set_switch(lasting_local.harness.engine, lasting_local.harness.tables, enabled=True)
    return lasting_local


def dialect(desk: Desk) -> str:
    return desk.harness.engine.dialect.name.replace("mysql", "mariadb")


def taken(desk: Desk, now: int | None = None, next_sync_at: int | None = None) -> Snapshot:
    now = desk.now if now is None else now
    return monitor.take(desk.store, desk.settings, now=now, next_sync_at=next_sync_at)


# The figures


def check(desk: Watched, past: Past, *, times: int = 5, minutes: int = 10) -> None:
    desk.configure(timezone=past.zone)
    desk.limits(failed_authentications=times, failed_authentication_minutes=minutes)
    found, plain = taken(desk, past.now, past.now + 77), Plain(past)
    assert asdict(found.auto_sync) == plain.auto_sync()
    assert asdict(found.performance) == plain.performance()
    assert asdict(found.security) == plain.security(times=max(times, 1), minutes=minutes)
    assert (found.at, found.timezone) == (past.now, past.zone)
    every, hits = plain.repeats()
    total = monitor.call_facts.calls_of_a_day
    sums = desk.store.read(lambda session: total(session, now=past.now)).total
    assert (sums.repeats, sums.repeat_hits) == (every, hits)
    assert found.performance.database.bytes > 0


def test_the_figures_are_those_of_a_plain_computation(desk: Watched) -> None:
    @settings(max_examples=PASTS[dialect(desk)], suppress_health_check=SLOW)
    @given(
        seed=st.integers(0, 2**32), size=st.integers(0, 20), times=st.sampled_from((5, 5, 0, 1, 3)),
        minutes=st.sampled_from((10, 10, 1, 30)),
    )  # fmt: skip
    def one(seed: int, size: int, times: int, minutes: int) -> None:
        past = random_past(random.Random(seed), size)
        write_past(desk, past)
        check(desk, past, times=times, minutes=minutes)

    one()


def test_one_past_seen_from_many_moments(local: Watched) -> None:
    """What is at the edge of a window is in it to the second and not a second longer."""
    for seed in range(5 * DEPTH):
        past = random_past(random.Random(seed), 12)
        write_past(local, past)
        for moment in {request.at for request in past.requests if isinstance(request, Entry)}:
            at = moment + random.Random(moment).choice(
                (-1, 0, 1, 59, 60, HOUR - 1, HOUR, DAY - MINUTE - 1, DAY - MINUTE, DAY - 1, DAY)
            )
            runs = [run for run in past.runs if run["started_at"] <= at]
            if runs == past.runs:
                check(local, replace(past, now=at))


@pytest.mark.parametrize(("zone", "day"), ZONES, ids=str)
def test_a_day_begins_when_the_clock_on_the_wall_says_so(
    local: Watched, zone: str, day: Any
) -> None:
    past = Past(zone, 0)
    middle = past.midnight(day)
    moments = [middle + back for back in range(-DAY, DAY + 1, HOUR // 2)]
    moments += [middle - 1, middle + 1]
    past.runs = [
        {"id": number, "started_at": at, "finished_at": at, "status": status, "error": None}
        for number, (at, status) in enumerate(
            ((at, status) for at in sorted(moments) for status in ("success", "failed")), 1
        )
    ]  # fmt: skip
    write_past(local, replace(past, now=middle))
    local.configure(timezone=zone)
    for now in (middle + DAY, middle + 3 * DAY, middle + 6 * DAY - 1, middle + 6 * DAY,
                middle + 7 * DAY - 1, middle + 7 * DAY, middle + 7 * DAY + HOUR):  # fmt: skip
        found = asdict(taken(local, now).auto_sync)["success_by_day"]
        assert found == Plain(replace(past, now=now)).days(), now


@given(counts=st.dictionaries(st.integers(0, 10**6), st.integers(1, 50), max_size=30),
       percent=st.integers(1, 100))  # fmt: skip
@settings(max_examples=60 * DEPTH)
def test_a_percentile_is_the_nearest_rank(counts: dict[int, int], percent: int) -> None:
    every = sorted(Counter(counts).elements())
    rank = next((n for n in range(1, len(every) + 1) if n * 100 >= percent * len(every)), 0)
    assert percentile(counts, percent) == (every[rank - 1] if every else None)


@given(failed=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 40), st.integers(1, 4)),
                       max_size=30, unique_by=lambda item: item[:2]),
       least=st.integers(1, 9), minutes=st.integers(1, 15), ending=st.integers(-1, 40))  # fmt: skip
@settings(max_examples=60 * DEPTH)
def test_a_burst_is_found_wherever_it_lies(
    failed: list[tuple[str, int, int]], least: int, minutes: int, ending: int
) -> None:
    failed.sort(key=lambda item: item[1])
    found = bursts(((who, at * 60, count) for who, at, count in failed),
                   least=least, seconds=minutes * 60, ending_after=ending * 60)  # fmt: skip
    expected: dict[str, int] = {}
    for who, last, _count in failed:
        total = sum(n for other, at, n in failed if other == who and last - minutes <= at <= last)
        if total >= least and last > ending:
            expected[who] = max(total, expected.get(who, 0))
    assert found == expected


def test_more_callers_and_companies_than_are_shown(local: Watched) -> None:
    now = local.now
    past = Past("UTC", now)
    for number in range(1, 40):
        at, ip = now - number * 90, f"192.0.2.{number}"
        past.requests += [Entry(at, ip, "", "query", company=number)] * (number % 7 + 1)
        word = replace(past.requests[-1], error="rate_limit")
        past.requests += [Failure("rate_limit", str(number), word)] * 2
        word = replace(word, error="not_authorised:unknown", company=0)
        past.requests += [Failure("authorisation", ip, word)] * 6
    write_past(local, past)
    check(local, past)
    found = taken(local)
    assert (len(found.performance.consumers), len(found.security.violations)) == (10, 20)
    assert (found.security.suspicious_callers, len(found.security.recent_errors)) == (39, 10)


def test_a_crowd_of_callers_in_one_minute_shares_a_count(local: Watched) -> None:
    begin = local.now - local.now % MINUTE
    word = Entry(begin, "", "", "query", error="not_authorised:unknown")
    crowd = [replace(word, ip=f"10.0.{n // 256}.{n % 256}") for n in range(130)]
    failures = [Failure("authorisation", entry.ip, entry) for entry in crowd]
    local.store.write(lambda session: write_requests(session, failures))
    found = taken(local).security
    assert found.failed_authentications == 130
    assert found.suspicious_callers == 1  # the thirty that are not told apart
    assert len(found.recent_errors) == 10


# The status


def test_never_run_then_active_then_overdue(local: Watched) -> None:
    assert taken(local).auto_sync.status == NEVER_RUN
    add_crowd(local.site, "acme", 3)
    local.harness.sync()
    ages = (0, HOUR, 2 * HOUR, 2 * HOUR + 1)
    found = [taken(local, local.now + age).auto_sync.status for age in ages]
    assert found == [ACTIVE, ACTIVE, ACTIVE, OVERDUE]
    local.limits(overdue_hours=3)
    assert taken(local, local.now + 3 * HOUR).auto_sync.status == ACTIVE
    assert taken(local, local.now + 3 * HOUR + 1).auto_sync.status == OVERDUE
    local.limits(overdue_hours=0)
    assert taken(local, local.now + 30 * DAY).auto_sync.status == ACTIVE
    local.limits(overdue_hours=2)


def test_disabled_whatever_else_holds(local: Watched) -> None:
    switch = local.harness.engine, local.harness.tables
    set_switch(*switch, enabled=False)
    assert taken(local).auto_sync.status == DISABLED
    set_switch(*switch, enabled=True)
    add_crowd(local.site, "acme", 3)
    local.harness.sync()
    local.sync_without_source()
    set_switch(*switch, enabled=False)
    assert taken(local, local.now + 3 * HOUR).auto_sync.status == DISABLED
    set_switch(*switch, enabled=True)
    assert taken(local, local.now + 3 * HOUR).auto_sync.status == FAILED


def test_a_run_of_a_clock_that_was_ahead_hides_no_failure(desk: Watched) -> None:
    desk.furnish(acme=3)
    desk.now -= DAY
    desk.sync_without_source()
    found = taken(desk).auto_sync
    assert (found.status, found.last_sync_status, found.errors) == (FAILED, "failed", 1)
    assert found.last_success_at is None


def test_failed_as_a_whole_and_in_part(desk: Watched) -> None:
    desk.furnish(acme=60)
    good = desk.now
    desk.now += MINUTE
    desk.sync_without_source()
    found = taken(desk).auto_sync
    assert (found.status, found.last_sync_status) == (FAILED, "failed")
    assert "nowhere" in found.error
    assert (found.last_success_at, found.companies_failed) == (good, 0)
    assert (found.runs_7d, found.success_rate_7d) == (2, 0.5)
    desk.now += MINUTE
    desk.lose_rows()
    assert desk.harness.sync().status == "partial"
    found = taken(desk).auto_sync
    assert (found.status, found.error, found.companies_failed) == (FAILED, "", 1)
    assert (found.last_success_at, found.errors, found.company_syncs) == (desk.now, 2, 4)
    assert [company.synced_at for company in found.companies] == [good, desk.now]
    desk.harness.sync(allow_mass_delete=True)
    assert taken(desk).auto_sync.status == ACTIVE


HOLD = """
import sys, time
from alxreport import history
from alxreport.database import open_store, writing
from alxreport.errors import RateLimitError
from alxreport.lease import sync_lease
from alxreport.schema import store_tables
from alxreport.settings import StoreSettings
url, now = sys.argv[1], int(sys.argv[2])
engine, tables = open_store(StoreSettings(url=url)), store_tables()
with sync_lease(engine, tables, now):
    with writing(engine) as connection:
        history.begin_run(connection, tables, "incremental", now)
    print("begun", flush=True)
    time.sleep(60)
"""


def test_running_while_the_process_lives_and_failed_when_it_was_killed(local: Watched) -> None:
    local.furnish()
    synced = local.now
    local.now += 3 * HOUR
    words = [sys.executable, "-c", HOLD, local.settings.store.url, str(local.now)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        found = taken(local, local.now + 5).auto_sync
        assert (found.status, found.error) == (RUNNING, "")
        assert (found.last_sync_at, found.last_sync_status) == (synced, "success")
        assert found.runs_7d == 1
        # A lease that nobody renewed for fifteen minutes may be taken over.
        assert taken(local, local.now + 901).auto_sync.status == FAILED
        process.kill()
    found = taken(local, local.now + 5).auto_sync
    assert (found.status, found.last_sync_status) == (FAILED, "failed")
    assert "in the middle" in found.error
    assert (found.last_sync_at, found.last_success_at) == (local.now, synced)
    assert (found.runs_7d, found.success_rate_7d) == (2, 0.5)
    local.now += MINUTE
    local.harness.sync()
    found = taken(local).auto_sync
    assert (found.status, found.runs_7d) == (ACTIVE, 3)
    assert found.success_rate_7d == pytest.approx(2 / 3, abs=1e-6)


def test_the_first_run_of_all_is_running(local: Watched) -> None:
    engine, tables = local.harness.engine, local.harness.tables
    with sync_lease(engine, tables, local.now):
        with writing(engine) as connection:
            history.begin_run(connection, tables, "incremental", local.now)
        found = taken(local).auto_sync
        assert (found.status, found.last_sync_at, found.runs_7d) == (RUNNING, None, 0)
    assert taken(local).auto_sync.status == FAILED


# What the figures stand on


def tombstones(desk: Desk) -> tuple[Counter[int], Counter[int]]:
    """Return the deleted rows of each company as they are, and as they are counted."""
    kept = Counter(key[0] for key, row in desk.harness.stored().items() if row["is_deleted"])
    counted = Counter({row["companyid"]: row["deleted_rows"] for row in desk.rows("sync_status")})
    return kept, +counted


def test_deleted_rows_are_counted_through_edits_syncs_and_purges(desk: Watched) -> None:
    purged = list[bool]()

    @settings(max_examples=EDITED[dialect(desk)], suppress_health_check=SLOW, derandomize=True)
    @given(seed=st.integers(0, 2**32))
    def history_of(seed: int) -> None:
        rng = random.Random(seed)
        desk.site.reset().sample(seed, companies=3, users=10, courses=4)
        desk.harness.empty_store()
        desk.now = desk.site.now
        desk.harness.sync_whatever()
        for step in range(7):
            for _ in range(rng.choice((1, 5))):
                random_edit(desk.site, rng.choice, desk.now)
            if step in {1, 2, 4}:  # rows go, come back, and go for good
                desk.site.suspend_company(1, int(step != 2))
            desk.now += rng.choice((1, HOUR, DAY)) if step != 5 else 91 * DAY
            before = tombstones(desk)[0]
            desk.harness.sync_whatever(full=rng.random() < 0.2)
            kept, counted = tombstones(desk)
            assert kept == counted
            assert taken(desk).performance.database.deleted_rows == sum(kept.values())
            purged.append(step == 5 and any(kept[company] < before[company] for company in before))

    history_of()
    assert any(purged)


def test_a_sync_that_is_undone_counts_no_deleted_rows(desk: Watched) -> None:
    desk.furnish(acme=60)
    desk.site.delete("company_users", userid=desk.crowds["beta"].users)
    desk.lose_rows()
    desk.now += MINUTE
    assert desk.harness.sync().status == "partial"
    kept, counted = tombstones(desk)
    assert kept == counted == {2: 1}
    desk.harness.sync(allow_mass_delete=True)
    kept, counted = tombstones(desk)
    assert kept == counted == {1: 50, 2: 1}


def test_how_long_each_company_took(local: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that moves on by a quarter of a second whenever somebody looks."""
    for name in ("acme", "beta"):
        add_crowd(local.site, name, 2)
    ticks = iter(range(1_000))
    clock = SimpleNamespace(
        monotonic=lambda: next(ticks) / 4, time=time.time, sleep=time.sleep
    )  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(company_sync, "time", clock)
        local.harness.sync()
    assert [row["duration_ms"] for row in local.rows("results")] == [250, 250]
    companies = taken(local).auto_sync.companies
    assert [company.duration_seconds for company in companies] == [0.25, 0.25]


def test_a_verify_of_everything_leaves_its_moment_and_verdict(desk: Watched) -> None:
    def said() -> tuple[int | None, str | None]:
        database = taken(desk).performance.database
        return database.verified_at, database.verify_result

    desk.furnish()
    desk.harness.verify(companies=["acme"])
    assert said() == (None, None)
    first = desk.now
    desk.harness.verify()
    assert said() == (first, "ok")
    desk.run_sql("UPDATE {reporting} SET firstname = 'Somebody else' WHERE companyid = 1")
    desk.now += MINUTE
    for some in (["acme"], ["beta"], ["acme", "beta"]):
        desk.harness.verify(companies=some)
        assert said() == (first, "ok")
    desk.harness.verify()
    assert said() == (desk.now, "3 wrong")
    desk.now += MINUTE
    desk.harness.verify(repair=True)
    assert said() == (desk.now, "ok")


def sums_of(log: Sequence[dict[str, Any]]) -> tuple[Any, Any]:
    """Return what the sums of the log have to be, by hour and company, and by hour and time."""
    activity: dict[Any, Counter[str]] = {}
    latency: Counter[Any] = Counter()
    for row in log:
        if row["error"]:
            continue
        hour = row["at"] // HOUR * HOUR
        paged = row["endpoint"] != "export"
        activity.setdefault((hour, row["companyid"]), Counter()).update(
            calls=1, row_count=row["row_count"], timed=paged, total_us=row["duration_us"] * paged,
            hits=row["cache"] == "hit", misses=row["cache"] == "miss", repeats=row["repeated"],
            repeat_hits=row["repeated"] * (row["cache"] == "hit"),
        )  # fmt: skip
        if paged:
            latency[hour, -(-row["duration_us"] // 1000)] += 1
    return {key: dict(sums) for key, sums in activity.items()}, dict(latency)


def kept_sums(desk: Desk, since: int = 0) -> tuple[Any, Any]:
    activity = {
        (row.pop("hour"), row.pop("companyid")): row for row in desk.rows("activity")
    }  # fmt: skip
    latency = {(row["hour"], row["ms"]): row["calls"] for row in desk.rows("latency")}
    return (
        {key: sums for key, sums in activity.items() if key[0] >= since},
        {key: calls for key, calls in latency.items() if key[0] >= since},
    )


def test_the_sums_of_the_log_are_the_log_also_when_it_was_pruned(desk: Watched) -> None:
    seeds = range(20 if dialect(desk) == "sqlite" else 3)
    for seed in seeds:
        rng = random.Random(seed)
        past = random_past(rng, 20)
        write_past(desk, past)
        assert kept_sums(desk) == sums_of(desk.log())
        # The hour in which a pruning ends is not whole any more: it begins with the next one.
        before = past.now - rng.choice((0, 59, HOUR, DAY, DAY + 1, 7 * DAY))
        begin = -(-before // HOUR) * HOUR
        while desk.store.write(lambda session, at=before: request_log.prune(session, before=at)):
            pass
        log = [row for row in desk.log() if row["at"] >= begin]
        assert kept_sums(desk, begin) == sums_of(log)
        assert all(key[0] >= before - HOUR for key in kept_sums(desk)[0])
        assert all(row["at"] >= before - HOUR for row in desk.log())
        assert all(row["minute"] >= before - HOUR for row in desk.rows("refusals"))


def test_requests_as_they_come_add_up(desk: Watched) -> None:
    desk.furnish()
    token = desk.token("acme")
    page = desk.ask(token, limit=2)
    for asked in ({"limit": 2}, {"limit": 2}, {"limit": 1}, {"limit": 2, "cursor": page["next"]}):
        desk.ask(token, **asked)
    desk.export(token)
    desk.export(desk.token("beta"), form="csv")
    desk.now += HOUR
    desk.ask(token, limit=2)
    desk.fail_requests(1)
    desk.intrude(2)
    desk.configure(rate_limit=1)
    with pytest.raises(RateLimitError):
        desk.ask(token)
    assert kept_sums(desk) == sums_of(desk.log())
    found = taken(desk)
    assert (found.performance.cache_hits, found.performance.cache_misses) == (2, 4)
    assert (found.performance.calls, found.performance.failures) == (9, 1)
    assert found.security.failed_authentications == 2
    assert found.security.rate_limit_violations == 1


# How much is read


class Recorder(Store):
    """A store that keeps every SELECT of its sessions."""

    selects: list[tuple[str, dict[str, Any]]]

    def read(self, work: Callable[[Session], Any]) -> Any:
        return super().read(lambda session: work(_Recording(session, self.selects)))


class _Recording:
    def __init__(self, session: Session, selects: list[tuple[str, dict[str, Any]]]) -> None:
        self._session, self._selects = session, selects

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def rows(self, sql: str, **values: Any) -> Sequence[Row]:
        self._selects.append((sql, values))
        return self._session.rows(sql, **values)


BIG = ("logs", "sync_results", "reporting", "activity", "latency", "refusals")
DAYS, COMPANIES = 40, 12


def crowded(desk: Desk) -> None:
    """Fill the store with a long history: 57,600 log rows, 115,200 results, forty days of sums."""
    now, tables = desk.now, desk.harness.tables
    seconds = DAYS * DAY
    numbers = {
        "sqlite": "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {0})",
        "mariadb": "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {0})",
        "postgresql": "WITH s AS (SELECT * FROM generate_series(1, {0}) AS g(n))",
    }[dialect(desk)]
    wrapped = dialect(desk) == "mariadb"  # which has its WITH after the INSERT

    def fill(table: sa.Table, columns: str, values: str, count: int, where: str = "") -> str:
        into, chosen = f"INSERT INTO {table.name} ({columns})", f"SELECT {values} FROM s{where}"
        head = numbers.format(count)
        return f"{into} {head} {chosen}" if wrapped else f"{head} {into} {chosen}"

    rows, runs = 57_600, DAYS * 48
    at = f"{now} - {seconds} + n * {seconds // rows}"
    error = "CASE WHEN n % 9 = 0 THEN 'failure' ELSE '' END"
    statements = [
        fill(tables.logs, "at, companyid, endpoint, duration_us, cache, error, question, revision",
             f"{at}, n % {COMPANIES} + 1, 'query', n, 'miss', {error}, 'q', n", rows),
        fill(tables.refusals, "minute, kind, subject, refused",
             f"({at}) - ({at}) % 60, 'failure', n, 1", rows, " WHERE n % 9 = 0"),
        fill(tables.runs, "id, started_at, finished_at, status",
             f"n, {now} - {seconds} + n * 1800, {now} - {seconds} + n * 1800 + 5, 'success'", runs),
        fill(tables.results, "runid, companyid, status", f"n % {runs} + 1, n / {runs}, 'success'",
             runs * 61 - 1, f" WHERE n >= {runs}"),
        fill(tables.activity, "hour, companyid, calls, timed",
             f"{now} - {now} % 3600 - n * 3600, {COMPANIES}, 5, 5", DAYS * 24),
        fill(tables.latency, "hour, ms, calls", f"{now} - {now} % 3600 - n * 3600, 3, 5",
             DAYS * 24),
    ]  # fmt: skip
    with writing(desk.harness.engine) as connection:
        if wrapped:
            connection.exec_driver_sql("SET max_recursive_iterations = 1000000")
        for statement in statements:
            connection.execute(sa.text(statement))
        for table in (tables.logs, tables.refusals, tables.runs, tables.results, tables.activity,
                      tables.latency):  # fmt: skip
            kind = "ANALYZE TABLE" if wrapped else "ANALYZE"
            connection.exec_driver_sql(f"{kind} {table.name}")


def scanned(session: Session, sql: str, values: dict[str, Any]) -> list[tuple[str, float]]:
    """Return what a SELECT reads of each table: the rows that the server counted.

    SQLite does not count: there a walk without a condition reads everything, another nothing.
    """
    if session.kind == "sqlite":
        plan = [str(row[3]) for row in session.rows(f"EXPLAIN QUERY PLAN {sql}", **values)]
        alias = dict(re.findall(r'"?(local_alx_api_\w+)"?\s+([a-z])\b', sql))
        short = {letter: table for table, letter in alias.items()}
        found = [re.match(r"SCAN (\w+)", line) for line in plan]
        return [(short.get(match[1], match[1]), 1e9) for match in found if match]
    if session.kind == "mysql":
        told = json.loads(session.rows(f"ANALYZE FORMAT=JSON {sql}", **values)[0][0])
        return [
            (_full(sql, node["table_name"]), node["r_rows"] * node["r_loops"])
            for node in _nodes(told) if node.get("r_rows") and "table_name" in node
        ]  # fmt: skip
    told = session.rows(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", **values)[0][0]
    return [
        (node["Relation Name"],
         (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
        for node in _nodes(told) if "Relation Name" in node
    ]  # fmt: skip


def _full(sql: str, name: str) -> str:
    found = re.search(rf"`?(local_alx_api_\w+)`? {name}\b", sql)
    return found[1] if found else name


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
    for part in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _nodes(part)


def test_nothing_walks_the_whole_log(desk: Watched) -> None:
    """A day of forty, and a week of sums, is all that is read, however the server plans it."""
    crowded(desk)
    check_what_is_read(desk)


def test_nothing_walks_it_where_nobody_looked_at_its_tables(local: Watched) -> None:
    crowded(local)
    local.run_sql("DELETE FROM sqlite_stat1")
    check_what_is_read(local)


def check_what_is_read(desk: Watched) -> None:
    recorder = Recorder(desk.settings.store)
    recorder.selects = []
    try:
        found = monitor.take(recorder, desk.settings, now=desk.now, next_sync_at=None)
        alerts.check(recorder, desk.settings, desk.now)
    finally:
        recorder.close()
    assert found.performance.calls
    assert found.security.recent_errors
    assert found.auto_sync.company_syncs == 48 * 60
    texts = [sql for sql, _values in recorder.selects]
    assert not [sql for sql in texts if "api_reporting" in sql]
    read: Counter[str] = Counter()
    with desk.store.reading() as session:
        for sql, values in recorder.selects:
            for table, rows in scanned(session, sql, values):
                name = table.strip('"`').removeprefix("local_alx_api_")
                if name in BIG:
                    read[name] = max(read[name], int(rows))
                    assert rows <= 3_000, (sql, values, table, rows)
    if dialect(desk) != "sqlite":
        assert {"logs", "sync_results", "activity", "refusals"} <= read.keys()
