"""Each company's day has its budget: exact whoever asks at once, and never more of it than set."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alxreport import rate_limit
from alxreport.company_admin import company_fields, set_options
from alxreport.errors import (
    ConfigError,
    NeverSyncedError,
    NotAuthorisedError,
    RateLimitError,
    ResyncError,
    UsageError,
)
from alxreport.limit_admin import limits, reset_limit, set_limit
from alxreport.sessions import Session
from alxreport.token_form import new_token

from .asking import Desk, lasting_desk, open_desk
from .conftest import Backend
from .crowd import add_crowd
from .runs import ROOT
from .servers import OFFICES, MariaDBServer  # noqa: F401 - over HTTP, too

HOUR, DAY = 3600, 86_400
PROCESSES, EACH, LIMIT = 16, 25, 100
LEARNERS, COURSES = 4, 3
ROWS = LEARNERS * COURSES

# One process that has imported everything becomes many: each with connections of its own.
WORKERS = """
import json, os, sys
from collections import Counter
import alxreport.database
from alxreport.admission import Caller
from alxreport.errors import RateLimitError
from alxreport.query import query_page
from alxreport.question import Question
from alxreport.sessions import Store
from alxreport.settings import RequestSettings, Settings, StoreSettings

url, token, limit, now, processes, times = json.loads(sys.stdin.readline())
settings = Settings(requests=RequestSettings(rate_limit=limit))
caller = Caller("query", "127.0.0.1", "cli:worker", token)

def work():
    done, store = Counter(), Store(StoreSettings(url=url))
    store.read(lambda session: None)
    os.write(ready[1], b".")
    os.read(start[0], 1)
    for _ in range(times):
        try:
            query_page(store, settings, caller, Question, now)
            done["granted"] += 1
        except RateLimitError:
            done["refused"] += 1
        except Exception as error:
            done[repr(error)] += 1
    store.close()
    os.write(sys.stdout.fileno(), json.dumps(done).encode() + b"\\n")

ready, start = os.pipe(), os.pipe()
for _ in range(processes):
    if os.fork() == 0:
        os.close(start[1])
        try:
            work()
        finally:
            os._exit(0)
for _ in range(processes):
    os.read(ready[0], 1)
os.close(start[1])
for _ in range(processes):
    os.wait()
"""


def fill(desk: Desk) -> None:
    add_crowd(desk.site, "acme", LEARNERS, COURSES)
    add_crowd(desk.site, "beta", 1)
    desk.harness.sync()


@pytest.fixture(scope="module")
def office(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Desk]:
    """A desk on each backend and over HTTP, made once."""
    folder = tmp_path_factory.mktemp("limits")
    with lasting_desk(request.param, request, folder, word="limits") as made:
        fill(made)
        yield made


@pytest.fixture
def desk(office: Desk) -> Iterator[Desk]:
    """The office as it is in the morning: synced, without a token, nothing asked."""
    settings, now = office.settings, office.now
    yield office
    office.harness.settings, office.now = settings, now
    for name in ("usage", "series", "refusals", "logs", "cache", "tokens", "settings"):
        office.run_sql(f"DELETE FROM {{{name}}}")
    office.run_sql("UPDATE {sync_status} SET synced_at = :now", now=now)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Desk]:
    """A desk on SQLite, for what no server decides."""
    with open_desk(tmp_path, f"sqlite:///{tmp_path}/store.db") as made:
        fill(made)
        yield made


def spent(desk: Desk) -> int:
    return sum(row["calls"] for row in desk.rows("usage"))


def cost(desk: Desk, work: Any, *errors: type[Exception]) -> int:
    """Return how many requests some work cost; ``errors`` is what it has to raise."""
    before = spent(desk)
    if errors:
        with pytest.raises(errors):
            work()
    else:
        work()
    return spent(desk) - before


# Concurrency


def ask_at_once(desk: Desk, token: str, limit: int) -> Counter[str]:
    """Ask from many processes at the same moment; count what became of the requests."""
    order = json.dumps([desk.settings.store.url, token, limit, desk.now, PROCESSES, EACH])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WORKERS], input=f"{order}\n", text=True, cwd=ROOT,
        stdout=subprocess.PIPE, timeout=120, check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert len(lines) == PROCESSES
    return sum((Counter(json.loads(line)) for line in lines), Counter())


@pytest.mark.soak_on("postgres")
def test_processes_at_once_get_exactly_the_limit(desk: Desk) -> None:
    token = desk.token("acme")
    found = ask_at_once(desk, token, LIMIT)
    assert found == {"granted": LIMIT, "refused": PROCESSES * EACH - LIMIT}
    [usage] = desk.rows("usage")
    assert (usage["calls"], usage["refused"]) == (LIMIT, PROCESSES * EACH - LIMIT)
    log = Counter(row["error"] for row in desk.log())
    assert log == {"": LIMIT, "rate_limit": 5}


def ask_in_threads(desk: Desk, token: str, threads: int, times: int) -> Counter[str]:
    start = threading.Barrier(threads)

    def work(_number: int) -> Counter[str]:
        found: Counter[str] = Counter()
        start.wait()
        for _ in range(times):
            try:
                desk.page(token)
                found["granted"] += 1
            except RateLimitError:
                found["refused"] += 1
        return found

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(work, range(threads)), Counter())


@pytest.mark.parametrize("limit", [0, 1000])
def test_the_first_requests_of_a_day_are_let_through_together(desk: Desk, limit: int) -> None:
    """Both find no count of this day yet; the second waits until the first has made it."""
    desk.configure(rate_limit=limit)
    token = desk.token("acme")
    company = desk.rows("tokens")[0]["companyid"]
    day = rate_limit.day_of(desk.now, rate_limit.zone("UTC"))
    begun, go_on = threading.Event(), threading.Event()

    def first(session: Session) -> bool:
        done = rate_limit.spend(session, company=company, day=day, limit=limit, now=desk.now)
        begun.set()
        go_on.wait(0.4)
        return done

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(desk.store.write, first)
        assert begun.wait(10)
        other = pool.submit(desk.page, token)
        assert one.result()
        assert other.result().head["count"] == ROWS
    assert spent(desk) == 2


def test_fewer_requests_at_once_than_the_limit_are_all_let_through(desk: Desk) -> None:
    assert ask_in_threads(desk, desk.token("acme"), 8, 5) == {"granted": 40}
    assert spent(desk) == 40


def test_a_server_that_refuses_stale_reads_loses_no_request(
    mariadb_server: MariaDBServer, make_backend: Callable[[str], Backend], tmp_path: Path
) -> None:
    """As MariaDB does from 11.6 on by itself: a row changed since the snapshot is an error."""
    if not mariadb_server.execute("SHOW GLOBAL VARIABLES LIKE 'innodb_snapshot_isolation'"):
        pytest.skip("this MariaDB is too old for it")
    with open_desk(tmp_path, make_backend("mariadb").new_url()) as desk:
        fill(desk)
        desk.configure(rate_limit=15)
        token = desk.token("acme")
        mariadb_server.execute("SET GLOBAL innodb_snapshot_isolation = ON")
        try:
            found = ask_in_threads(desk, token, 6, 4)
        finally:
            mariadb_server.execute("SET GLOBAL innodb_snapshot_isolation = OFF")
        assert found == {"granted": 15, "refused": 9}
        assert spent(desk) == 15


# Days


ZONES = (
    "UTC", "Europe/Madrid", "Pacific/Auckland", "America/New_York", "Australia/Lord_Howe",
    "Asia/Kathmandu", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Africa/Cairo", "Asia/Beirut",
    "America/Havana", "America/Santiago", "America/Scoresbysund", "Atlantic/Azores", "Asia/Gaza",
)  # fmt: skip


def begin(zone: str, year: int, month: int, day: int) -> int:
    return int(datetime(year, month, day, tzinfo=ZoneInfo(zone)).timestamp())


@pytest.mark.parametrize(
    ("zone", "date", "hours"),
    [
        ("UTC", (2026, 3, 29), 24),
        ("Europe/Madrid", (2026, 3, 29), 23),
        ("Europe/Madrid", (2026, 10, 25), 25),
        ("Pacific/Auckland", (2026, 9, 27), 23),
        ("Pacific/Auckland", (2026, 4, 5), 25),
        ("Africa/Cairo", (2026, 4, 24), 23),  # its clocks have no midnight on this day
        ("Asia/Kathmandu", (2026, 4, 24), 24),
    ],
)
def test_a_day_is_one_of_the_time_zone(
    local: Desk, zone: str, date: tuple[int, int, int], hours: int
) -> None:
    desk, first = local, begin(zone, *date)
    after = (datetime(*date) + timedelta(days=1)).date()
    following = begin(zone, after.year, after.month, after.day)
    assert following - first == hours * HOUR
    desk.configure(timezone=zone, rate_limit=2, cache_minutes=0)
    token = desk.token("acme", now=first)

    def granted(moment: int) -> bool:
        try:
            budget: Any = desk.page(token, now=moment).budget
        except RateLimitError as error:
            budget = error
        assert budget.resets_at > moment
        assert budget.limit == 2
        return not isinstance(budget, RateLimitError)

    asked = (first - 1, first - 1, first - 1, first, following - 1, following - 1, following,
             following + 1, following + 2, first + 1, first - HOUR)  # fmt: skip
    assert [granted(moment) for moment in asked] == [
        True, True, False, True, True, False, True, True, False, False, False,
    ]  # fmt: skip
    used = {row["day"]: (row["calls"], row["refused"]) for row in desk.rows("usage")}
    assert used[datetime(*date).date().isoformat()] == (2, 2)


@given(zone=st.sampled_from(ZONES), now=st.integers(1_700_000_000, 2_100_000_000))
def test_the_next_day_begins_where_the_date_changes(zone: str, now: int) -> None:
    where = rate_limit.zone(zone)
    resets_at = rate_limit.next_day(now, where)
    assert now < resets_at <= now + 26 * HOUR
    assert rate_limit.day_of(resets_at - 1, where) == rate_limit.day_of(now, where)
    assert rate_limit.day_of(resets_at, where) > rate_limit.day_of(now, where)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../../etc/passwd", "Europe", "/", "\0"])
def test_a_time_zone_that_is_none_is_a_fault_of_the_configuration(local: Desk, zone: str) -> None:
    token = local.token("acme")
    local.configure(timezone=zone)
    with pytest.raises(ConfigError, match="time zone"):
        local.ask(token)


def test_no_day_grants_more_than_its_limit_however_the_clock_jumps(local: Desk) -> None:
    desk = local
    desk.configure(timezone="Pacific/Auckland", cache_minutes=0)
    token = desk.token("acme")
    jumps = st.integers(-3 * DAY, 3 * DAY) | st.sampled_from((0, 1, -1, HOUR, -HOUR, DAY, -DAY))

    @settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
    @given(limit=st.integers(1, 4), steps=st.lists(jumps, min_size=5, max_size=40))
    def run(limit: int, steps: list[int]) -> None:
        desk.run_sql("DELETE FROM {usage}")
        desk.configure(rate_limit=limit)
        now, asked, granted = desk.now, Counter[str](), Counter[str]()
        for step in steps:
            now += step
            day = datetime.fromtimestamp(now, ZoneInfo("Pacific/Auckland")).date().isoformat()
            asked[day] += 1
            try:
                desk.page(token, now=now)
                granted[day] += 1
            except RateLimitError:
                pass
            if step == DAY:
                desk.harness.now = now
                desk.harness.sync()
        assert granted == {day: min(times, limit) for day, times in asked.items()}
        rows = {row["day"]: (row["calls"], row["refused"]) for row in desk.rows("usage")}
        assert rows == {day: (granted[day], asked[day] - granted[day]) for day in asked}

    run()


# The limit itself


def granted(desk: Desk, token: str, times: int) -> int:
    done = 0
    for _ in range(times):
        try:
            desk.page(token)
            done += 1
        except RateLimitError:
            pass
    return done


def test_the_limit_is_what_it_is_set_to_now(desk: Desk) -> None:
    desk.configure(rate_limit=3)
    token, other = desk.token("acme"), desk.token("beta")
    second = desk.token("acme")

    def shown() -> dict[str, Any]:
        [found] = limits(desk.store, desk.settings, "acme", desk.now)
        return {k: found.as_dict(desk.now)[k] for k in ("limit", "used", "left", "state")}

    assert shown() == {"limit": 3, "used": 0, "left": 3, "state": "ok"}
    assert granted(desk, token, 2) + granted(desk, second, 2) == 3  # one budget for all tokens
    assert shown() == {"limit": 3, "used": 3, "left": 0, "state": "exceeded"}
    assert granted(desk, other, 1) == 1
    set_limit(desk.store, desk.settings, "acme", "5", desk.now)
    assert granted(desk, token, 4) == 2
    set_limit(desk.store, desk.settings, "acme", "2", desk.now)  # below what was used
    assert granted(desk, token, 2) == 0
    assert shown() == {"limit": 2, "used": 5, "left": 0, "state": "exceeded"}
    assert reset_limit(desk.store, desk.settings, "acme", desk.now) == 5
    assert granted(desk, token, 4) == 2
    set_limit(desk.store, desk.settings, "acme", "0", desk.now)
    assert granted(desk, token, 20) == 20
    assert shown() == {"limit": 0, "used": 22, "left": None, "state": "unlimited"}
    set_limit(desk.store, desk.settings, "acme", "22", desk.now)
    assert granted(desk, token, 1) == 0
    acme, beta = desk.rows("usage")
    # What was refused before the reset is over; the record of refusals keeps it.
    assert (acme["calls"], acme["refused"], beta["calls"]) == (22, 2 + 1, 1)


def test_the_operator_is_not_limited(local: Desk) -> None:
    local.configure(rate_limit=1)
    for _ in range(4):
        assert local.page(None, company="acme").budget is None
    local.export(None, company="acme")
    assert local.rows("usage") == []
    assert [row["error"] for row in local.log()] == [""] * 5


def test_what_is_refused_costs_nothing_and_cannot_flood_the_log(desk: Desk) -> None:
    desk.configure(rate_limit=1)
    token = desk.token("acme")
    desk.page(token)
    assert granted(desk, token, 30) == 0
    with pytest.raises(RateLimitError):
        desk.export(token)
    [usage] = desk.rows("usage")
    assert (usage["calls"], usage["refused"]) == (1, 31)
    assert [row["error"] for row in desk.log()] == ["", *["rate_limit"] * 5]
    [refusals] = desk.rows("refusals")
    assert (refusals["kind"], refusals["refused"]) == ("rate_limit", 31)
    desk.now += 60
    assert granted(desk, token, 7) == 0
    assert len(desk.log()) == 11


WRONG: tuple[dict[str, Any], ...] = (
    {"limit": 0}, {"limit": -1}, {"limit": 1001}, {"limit": 2**70}, {"offset": -1},
    {"offset": 2**63}, {"mode": "all"}, {"fields": "userid,nothing"}, {"fields": ""},
    {"fields": "username"}, {"fields": "email", "mode": "incremental"}, {"courses": "a"},
    {"courses": ""}, {"courses": "-1"}, {"courses": "9" * 30}, {"status": "done"}, {"cursor": ""},
    {"cursor": "C"}, {"cursor": "nonsense"}, {"mode": "incremental", "since": ""},
    {"mode": "incremental", "since": "Tnonsense"}, {"since": "Ünïcödé"}, {"since": "\ud800"},
    {"cursor": "\ud800"}, {"status": "completed\0"},
)  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_usage_error_costs_nothing(local: Desk, wrong: dict[str, Any]) -> None:
    token = local.token("acme")
    assert cost(local, lambda: local.page(token, **wrong), UsageError) == 0
    assert local.rows("usage") == []
    assert [row["error"] for row in local.log()] in (["usage"], ["resync_required"])


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_usage_error_is_told_after_the_credential_only(
    local: Desk, wrong: dict[str, Any]
) -> None:
    token = local.token("acme")
    bad = (token[:-1] + ("a" if token[-1] != "a" else "b"), new_token(), "", "0" * 32)
    for other in bad:
        with pytest.raises(NotAuthorisedError):
            local.page(other, **wrong)
    with pytest.raises(NotAuthorisedError):
        local.page(token, company="beta", **wrong)
    with pytest.raises(NotAuthorisedError):
        local.page(token, company="nobody at all", **wrong)


def test_other_refusals_cost_nothing_either(local: Desk) -> None:
    desk = local
    token, foreign = desk.token("acme"), desk.token("beta")
    delta = desk.ask(token)["delta"]
    spent_on_it = spent(desk)
    with pytest.raises(ResyncError):
        desk.page(foreign, mode="incremental", since=delta)
    with pytest.raises(ResyncError):
        desk.export(token, mode="incremental", since=delta[:-1])
    set_options(desk.store, "acme", {"sync_mode": "disabled"}, desk.now)
    with pytest.raises(NotAuthorisedError):
        desk.page(token)
    desk.run_sql("UPDATE {sync_status} SET synced_at = NULL")
    with pytest.raises(NeverSyncedError):
        desk.page(foreign)
    assert spent(desk) == spent_on_it == 1
    assert desk.rows("usage")[0]["refused"] == 0


# Series


def test_a_cursor_series_is_one_request(desk: Desk) -> None:
    token = desk.token("acme")
    assert cost(desk, lambda: list(desk.pages(token, limit=5))) == 1
    assert cost(desk, lambda: list(desk.pages(token, limit=1))) == 1
    assert cost(desk, lambda: list(desk.pages(token, limit=5, mode="incremental"))) == 1
    assert cost(desk, lambda: list(desk.pages(token, limit=5, status="in_progress"))) == 1
    # Cut off before its first row: the series that begins there is one, too.
    assert cost(desk, lambda: list(desk.pages(token, limit=5, offset=4))) == 1


def test_offset_pages_and_exports_are_one_each(desk: Desk) -> None:
    token = desk.token("acme")
    for offset in range(0, ROWS + 10, 5):
        assert cost(desk, lambda: desk.page(token, limit=5, offset=offset)) == 1  # noqa: B023
    for form in ("json", "ndjson", "csv", "parquet"):
        assert cost(desk, lambda: desk.export(token, form=form)) == 1  # noqa: B023


def test_a_page_that_is_asked_again_costs_one(desk: Desk) -> None:
    token = desk.token("acme")
    first = desk.ask(token, limit=5)["next"]
    second = desk.ask(token, limit=5, cursor=first)["next"]
    assert spent(desk) == 1
    assert cost(desk, lambda: desk.page(token, limit=5, cursor=first)) == 1
    assert cost(desk, lambda: desk.page(token, limit=5, cursor=first)) == 1
    # Three times was the page before it answered, and each time this one was promised.
    for price in (0, 0, 0, 1, 1):
        assert cost(desk, lambda: desk.page(token, limit=5, cursor=second)) == price


def test_a_page_after_an_hour_costs_one(desk: Desk) -> None:
    token, began = desk.token("acme"), desk.now
    cursor = desk.ask(token, limit=3)["next"]
    desk.now = began + HOUR - 1
    cursor = desk.ask(token, limit=3, cursor=cursor)["next"]
    assert spent(desk) == 1
    desk.now = began + HOUR  # an hour after the first page, however young the second
    cursor = desk.ask(token, limit=3, cursor=cursor)["next"]
    assert spent(desk) == 2
    desk.now = began + 2 * HOUR - 1  # who paid has another hour
    assert cost(desk, lambda: desk.page(token, limit=3, cursor=cursor)) == 0


def test_two_readers_of_the_same_pages_pay_once_each(desk: Desk) -> None:
    token, same = desk.token("acme"), {"limit": 2}
    one, other = desk.ask(token, **same), desk.ask(token, **same)
    assert other["cached"]
    assert one["next"] == other["next"]
    while one["next"]:
        one, other = (desk.ask(token, cursor=page["next"], **same) for page in (one, other))
        assert one["next"] == other["next"]
    assert spent(desk) == 2


def test_two_tokens_share_no_promise(desk: Desk) -> None:
    token, other = desk.token("acme"), desk.token("acme")
    cursor = desk.ask(token, limit=2)["next"]
    assert cost(desk, lambda: desk.page(other, limit=2, cursor=cursor)) == 1
    assert cost(desk, lambda: desk.page(token, limit=2, cursor=cursor)) == 0


def test_a_late_reader_has_his_own_hour(desk: Desk) -> None:
    """One reads the first page and goes; another with the same token begins much later."""
    token, began = desk.token("acme"), desk.now
    desk.page(token, limit=2)
    desk.now = began + HOUR - 50
    cursor = desk.ask(token, limit=2)["next"]
    assert spent(desk) == 2
    while cursor:
        desk.now += 20  # each page within an hour of his first, and asked once
        cursor = desk.ask(token, limit=2, cursor=cursor)["next"]
    assert spent(desk) == 2


def test_readers_that_begin_at_any_time_pay_for_what_they_asked(local: Desk) -> None:
    """Whatever way their pages come one after another, within the hour each series is one."""
    desk = local
    token = desk.token("acme")

    @settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
    @given(st.randoms(use_true_random=False), st.integers(1, 4))
    def run(rng: random.Random, readers: int) -> None:
        desk.run_sql("DELETE FROM {series}")
        now, before = desk.now, spent(desk)
        at: list[str | None] = [""] * readers
        while going := [number for number in range(readers) if at[number] is not None]:
            now += rng.choice((0, 0, 1, 30))  # at most half an hour in all
            number = rng.choice(going)
            at[number] = desk.ask(token, now=now, limit=4, cursor=at[number] or None)["next"]
        assert spent(desk) - before == readers

    desk.configure(rate_limit=0)
    run()


def test_a_series_goes_on_when_the_budget_is_used_up(desk: Desk) -> None:
    desk.configure(rate_limit=2)
    token = desk.token("acme")
    cursor = desk.ask(token, limit=5)["next"]
    desk.page(token)
    with pytest.raises(RateLimitError):
        desk.page(token)
    following = desk.ask(token, limit=5, cursor=cursor)["next"]
    with pytest.raises(RateLimitError):
        desk.page(token, limit=5, cursor=cursor)
    assert desk.ask(token, limit=5, cursor=following)["next"] is None


def test_a_refused_page_of_a_series_can_be_asked_again(desk: Desk) -> None:
    token = desk.token("acme")
    cursor = desk.ask(token, limit=5)["next"]
    for wrong in ({"limit": 0}, {"offset": 3}, {"mode": "incremental"}, {"status": "completed"}):
        with pytest.raises(UsageError):
            desk.page(token, cursor=cursor, **wrong)
    company_fields(desk.store, desk.settings, "acme", desk.now, hide=["email"])
    with pytest.raises(UsageError):
        desk.page(token, cursor=cursor)
    company_fields(desk.store, desk.settings, "acme", desk.now, show=["email"])
    assert cost(desk, lambda: desk.page(token, cursor=cursor)) == 0
    assert spent(desk) == 1


def test_promises_are_cleared_away_by_the_sync(desk: Desk) -> None:
    token = desk.token("acme")
    desk.page(token, limit=5)
    desk.now += HOUR - 1
    desk.harness.sync()
    assert sum(row["credits"] for row in desk.rows("series")) == 1
    desk.now += 1
    desk.harness.sync()
    assert desk.rows("series") == []
    assert spent(desk) == 1
    desk.now += 100 * DAY
    desk.harness.sync()
    assert desk.rows("usage") == []
