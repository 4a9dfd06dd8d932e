"""Each condition, from facts in the store: what opens an alert, what just does not, what closes."""

from __future__ import annotations

import time

import pytest

from alxreport import history
from alxreport.database import writing
from alxreport.errors import RateLimitError, UsageError
from alxreport.lease import sync_lease
from alxreport.limit_admin import reset_limit, set_limit
from alxreport.switch import set_switch

from .moodle_site import DAY, NOW
from .watching import ACME, BETA, BIG, HOUR, MINUTE, Watched

WARNING, CRITICAL = "warning", "critical"
SLOW, FAILING, CACHE = ("response_time", ""), ("success_rate", ""), ("cache_hit_rate", "")
LIMIT, UNUSUAL = ("rate_limit", ACME), ("unusual_activity", BETA)
ATTACK = ("failed_authentications", "caller:192.0.2.7")
OVERDUE, RATE, FAILED = ("sync_overdue", ""), ("sync_error_rate", ""), ("sync_failed", "")


@pytest.fixture
def desk(watched: Watched) -> Watched:
    return watched.furnish()


# The sync


def test_a_sync_without_its_source(desk: Watched) -> None:
    assert desk.found() == {}
    desk.sync_without_source()
    assert desk.found() == {FAILED: CRITICAL}
    alert, advice = desk.alert("sync_failed")
    assert alert.message.startswith("The last sync failed: ")
    assert "The data are of 20" in alert.message
    assert advice.endswith("alxreport sync")
    desk.now += MINUTE
    desk.sync_without_source()
    assert (desk.found(), len(desk.rows("alerts"))) == ({FAILED: CRITICAL}, 1)
    desk.now += MINUTE
    desk.harness.sync()
    assert desk.found() == {}
    assert desk.rows("alerts")[0]["closed_at"] == desk.now


def test_a_first_sync_that_fails_says_that_there_are_no_data(desk: Watched) -> None:
    desk.harness.empty_store()
    desk.sync_without_source()
    assert "never succeeded" in desk.alert("sync_failed")[0].message


def test_a_sync_that_was_killed(desk: Watched) -> None:
    with writing(desk.harness.engine) as connection:
        history.begin_run(connection, desk.harness.tables, "incremental", desk.now)
    assert desk.found() == {FAILED: CRITICAL}
    assert "ended in the middle" in desk.alert("sync_failed")[0].message
    desk.harness.sync()
    assert desk.found() == {}


def test_the_next_run_has_to_succeed_before_a_failure_is_over(desk: Watched) -> None:
    """A run that is under way may fail as the last one did."""
    desk.sync_without_source()
    assert desk.found() == {FAILED: CRITICAL}
    harness = desk.harness
    desk.now += HOUR
    with sync_lease(harness.engine, harness.tables, desk.now):
        with writing(harness.engine) as connection:
            history.begin_run(connection, harness.tables, "incremental", desk.now)
        assert desk.found() == {FAILED: CRITICAL}
    assert len(desk.rows("alerts")) == 1


def test_one_company_that_fails(desk: Watched) -> None:
    desk.furnish(acme=BIG)
    desk.now += MINUTE
    desk.lose_rows()
    assert desk.harness.sync().status == "partial"
    assert desk.found() == {("sync_failed", ACME): CRITICAL}
    alert, advice = desk.alert("sync_failed")
    assert alert.name == "acme"
    assert "acme failed: 50 of its 60 rows would go" in alert.message
    assert "--company id:1" in advice
    desk.harness.sync(allow_mass_delete=True)
    assert desk.found() == {}


def test_a_company_that_is_gone_has_no_alert(desk: Watched) -> None:
    desk.furnish(acme=BIG)
    desk.lose_rows()
    desk.harness.sync()
    assert desk.found() == {("sync_failed", ACME): CRITICAL}
    desk.site.delete("company", id=1)
    desk.harness.sync(allow_mass_delete=True)
    assert desk.found() == {}


def test_no_sync_for_two_hours(desk: Watched) -> None:
    assert desk.found(NOW + 2 * HOUR) == {}
    assert desk.found(NOW + 2 * HOUR + 1) == {OVERDUE: CRITICAL}
    switch = desk.harness.engine, desk.harness.tables
    set_switch(*switch, enabled=False)
    assert desk.found(NOW + 3 * HOUR) == {}
    set_switch(*switch, enabled=True)
    assert desk.found(NOW + 3 * HOUR) == {OVERDUE: CRITICAL}
    desk.now = NOW + 3 * HOUR
    desk.harness.sync()
    assert desk.found() == {}
    assert len(desk.rows("alerts")) == 2
    desk.limits(overdue_hours=3)
    assert desk.found(desk.now + 3 * HOUR) == {}
    assert desk.found(desk.now + 3 * HOUR + 1) == {OVERDUE: CRITICAL}


def test_a_sync_that_fails_each_hour_is_not_overdue(desk: Watched) -> None:
    desk.now += 2 * HOUR
    desk.sync_without_source()
    assert desk.found(desk.now + HOUR) == {FAILED: CRITICAL}


def test_syncs_of_companies_that_fail(desk: Watched) -> None:
    desk.furnish(acme=BIG)

    def sync(times: int, **options: bool) -> bool:
        for _ in range(times):
            desk.now += MINUTE
            desk.harness.sync(**options)
        return RATE in desk.found()

    assert not sync(8)
    desk.lose_rows()
    assert not sync(1)  # 1 of 20: no more than 5 %
    assert sync(1)  # 2 of 22
    assert desk.alert("sync_error_rate")[0].message.startswith("2 of 22 syncs of companies failed")
    assert sync(8, allow_mass_delete=True)  # 2 of 38
    assert not sync(1)  # 2 of 40


def test_twenty_syncs_of_companies_are_judged(desk: Watched) -> None:
    desk.furnish(acme=BIG)
    desk.lose_rows()
    for _ in range(8):
        desk.now += MINUTE
        desk.harness.sync()
    assert RATE not in desk.found()  # 8 of 18
    desk.harness.sync()
    assert RATE in desk.found()  # 9 of 20
    desk.now += DAY + HOUR
    desk.harness.sync(allow_mass_delete=True)
    assert desk.found() == {}


# Requests


def test_slow_pages(desk: Watched) -> None:
    desk.logged(18, at=NOW)
    desk.logged(1, at=NOW, ms=5_001)
    assert desk.found() == {}  # 19
    desk.logged(1, at=NOW, ms=5_001)
    assert desk.found() == {SLOW: WARNING}  # the 19th of 20
    assert "5.0 s" in desk.alert("response_time")[0].message
    desk.logged(20, at=NOW)
    assert desk.found() == {}
    desk.logged(10, at=NOW, ms=7_000)
    assert desk.found() == {SLOW: WARNING}
    assert SLOW not in desk.found(NOW + DAY)


@pytest.mark.parametrize(
    ("times", "ms", "endpoint", "wrong"),
    [(20, 5_000, "query", False), (20, 5_001, "query", True), (19, 60_000, "query", False),
     (40, 60_000, "export", False)],
)  # fmt: skip
def test_what_slow_is(desk: Watched, times: int, ms: int, endpoint: str, wrong: bool) -> None:
    desk.logged(times, at=NOW, ms=ms, endpoint=endpoint)
    assert (desk.found() == {SLOW: WARNING}) is wrong


def test_requests_that_fail(desk: Watched) -> None:
    desk.logged(17, at=NOW)
    desk.fail_requests(2)
    assert desk.found() == {}  # 2 of 19
    desk.logged(1, at=NOW)
    assert desk.found() == {FAILING: CRITICAL}  # 2 of 20
    assert "2 of 20 requests failed" in desk.alert("success_rate")[0].message
    desk.logged(19, at=NOW)
    assert desk.found() == {FAILING: CRITICAL}  # 94.9 %
    desk.logged(1, at=NOW)
    assert desk.found() == {}  # 95 %
    desk.fail_requests(1)
    assert desk.found() == {FAILING: CRITICAL}
    assert FAILING not in desk.found(NOW + DAY + MINUTE)


def test_what_is_the_callers_fault_is_no_failure(desk: Watched) -> None:
    token = desk.token("acme")
    desk.logged(20, at=NOW)
    for _ in range(30):
        with pytest.raises(UsageError):
            desk.page(token, limit=0)
    for caller in range(10):
        desk.intrude(3, ip=f"192.0.2.{caller}")
    desk.configure(rate_limit=1)
    desk.page(token)
    for _ in range(30):
        with pytest.raises(RateLimitError):
            desk.page(token)
    assert desk.found() == {LIMIT: CRITICAL}


def repeat(desk: Watched, token: str, *, hits: int, misses: int) -> None:
    """Ask what was asked before: from the cache, and with the cache emptied."""
    for _ in range(hits):
        assert desk.ask(token)["cached"]
    for _ in range(misses):
        desk.run_sql("DELETE FROM {cache}")
        assert not desk.ask(token)["cached"]


def test_a_cache_that_does_not_hit(desk: Watched) -> None:
    desk.configure(rate_limit=0)
    token = desk.token("acme")
    desk.page(token)
    repeat(desk, token, hits=33, misses=16)
    assert desk.found() == {}  # 49, 67 %
    repeat(desk, token, hits=1, misses=0)
    assert desk.found() == {CACHE: WARNING}  # 34 of 50
    assert "34" in desk.alert("cache_hit_rate")[0].message
    repeat(desk, token, hits=3, misses=0)
    assert desk.found() == {CACHE: WARNING}  # 37 of 53
    repeat(desk, token, hits=1, misses=0)
    assert desk.found() == {}  # 38 of 54
    repeat(desk, token, hits=0, misses=1)
    assert desk.found() == {CACHE: WARNING}  # 38 of 55
    assert CACHE not in desk.found(NOW + DAY)


def test_seventy_percent_of_fifty(desk: Watched) -> None:
    desk.configure(rate_limit=0)
    token = desk.token("acme")
    desk.page(token)
    repeat(desk, token, hits=35, misses=15)
    assert desk.found() == {}


@pytest.mark.parametrize("later", [HOUR - 1, HOUR])
def test_pages_that_are_read_once_are_no_fault(desk: Watched, later: int) -> None:
    """Sixty pages, each once; and once more when they are still kept, or no longer."""
    desk.configure(rate_limit=0)
    token = desk.token("acme")
    for limit in range(1, 61):
        assert not desk.ask(token, limit=limit)["cached"]
    assert desk.found() == {}
    desk.run_sql("DELETE FROM {cache}")
    for limit in range(1, 61):
        assert not desk.ask(token, limit=limit, now=NOW + later)["cached"]
    assert desk.found(NOW + later) == ({CACHE: WARNING} if later < HOUR else {})


def test_a_page_of_new_data_repeats_none(desk: Watched) -> None:
    desk.configure(rate_limit=0)
    token = desk.token("acme")
    for limit in range(1, 61):
        desk.page(token, limit=limit)
    desk.site.update("user", {"id": desk.crowds["acme"].users[0]}, firstname="Other")
    desk.harness.sync()
    for limit in range(1, 61):
        assert not desk.ask(token, limit=limit)["cached"]
    assert desk.found() == {}


# Companies


def ask(desk: Watched, token: str, times: int) -> None:
    for _ in range(times):
        desk.page(token)


def test_a_limit_that_is_nearly_used_up_and_then_exceeded(desk: Watched) -> None:
    desk.configure(rate_limit=10)
    token = desk.token("acme")
    ask(desk, token, 7)
    assert desk.found() == {}
    ask(desk, token, 1)
    assert desk.found() == {LIMIT: WARNING}
    first, advice = desk.alert("rate_limit")
    assert first.message == "acme used 8 of its 10 requests of today."
    assert "limit set id:1 N" in advice
    ask(desk, token, 2)
    assert desk.found() == {LIMIT: WARNING}
    with pytest.raises(RateLimitError):
        desk.page(token)
    assert desk.found() == {LIMIT: CRITICAL}
    second = desk.alert("rate_limit")[0]
    assert second.id == first.id
    assert second.message == "acme used 10 of its 10 requests of today; 1 more were refused."
    reset_limit(desk.store, desk.settings, "acme", desk.now)
    assert desk.found() == {}
    ask(desk, token, 8)
    assert desk.found() == {LIMIT: WARNING}
    assert desk.alert("rate_limit")[0].id != first.id
    set_limit(desk.store, desk.settings, "acme", "11", desk.now)
    assert desk.found() == {}
    set_limit(desk.store, desk.settings, "acme", "9", desk.now)
    assert desk.found() == {LIMIT: WARNING}
    set_limit(desk.store, desk.settings, "acme", "0", desk.now)
    assert desk.found() == {}


def test_a_new_day_has_a_new_budget(desk: Watched) -> None:
    desk.ask_beyond_limit()
    assert desk.found() == {LIMIT: CRITICAL}
    midnight = NOW - NOW % DAY + DAY
    desk.limits(overdue_hours=0)
    assert desk.found(midnight - 1) == {LIMIT: CRITICAL}
    assert desk.found(midnight) == {}


def test_the_warnings_share_has_no_say_in_what_is_exceeded(desk: Watched) -> None:
    desk.ask_beyond_limit()
    for percent in (0, 100, 150):
        desk.limits(limit_warning_percent=percent)
        assert desk.found() == {LIMIT: CRITICAL}
    reset_limit(desk.store, desk.settings, "acme", desk.now)
    token = desk.token("acme")
    ask(desk, token, 1)
    for percent, wrong in ((51, False), (50, True), (0, False)):
        desk.limits(limit_warning_percent=percent)
        assert desk.found() == ({LIMIT: WARNING} if wrong else {})


def test_unusual_activity(desk: Watched) -> None:
    desk.logged(20, at=NOW - 2 * DAY)
    desk.logged(60, at=NOW - HOUR + 1)
    assert desk.found() == {}
    desk.logged(1, at=NOW)
    assert desk.found() == {UNUSUAL: WARNING}
    alert, advice = desk.alert("unusual_activity")
    assert (alert.name, "61" in alert.message, "20" in alert.message) == ("beta", True, True)
    assert "token list --company id:2" in advice
    desk.limits(unusual_factor=3.05)
    assert desk.found() == {}
    desk.limits(unusual_factor=3.04)
    assert desk.found() == {UNUSUAL: WARNING}
    assert desk.found(NOW + 1) == {}  # an hour after the 60
    assert len(desk.rows("alerts")) == 2


@pytest.mark.parametrize(
    ("company", "peak", "age", "calls", "wrong"),
    [
        (2, 0, DAY, 500, False),
        (1, 1, DAY, 500, False),  # another company's history
        (2, 1, DAY, 19, False),
        (2, 1, DAY, 20, True),
        (2, 1, 7 * DAY, 20, True),
        (2, 1, 7 * DAY + HOUR, 500, False),
        (2, 200, 2 * HOUR, 500, False),
    ],
)
def test_what_unusual_is(
    desk: Watched, company: int, peak: int, age: int, calls: int, wrong: bool
) -> None:
    desk.logged(peak, at=NOW - age, company=company)
    desk.logged(calls, at=NOW - MINUTE)
    assert (desk.found() == {UNUSUAL: WARNING}) is wrong


# Callers


def test_five_failed_authentications(desk: Watched) -> None:
    desk.intrude(4)
    assert desk.found() == {}
    desk.intrude(1)
    assert desk.found() == {ATTACK: CRITICAL}
    alert, advice = desk.alert("failed_authentications")
    assert "192.0.2.7 failed to authenticate 5 times within 10 minutes" in alert.message
    assert "firewall" in advice
    assert desk.found(NOW + 9 * MINUTE) == {ATTACK: CRITICAL}
    assert desk.found(NOW + 12 * MINUTE) == {}
    desk.limits(failed_authentications=6)
    assert desk.found() == {}


@pytest.mark.parametrize(("minutes", "wrong"), [(9, True), (11, False)])
def test_within_how_many_minutes(desk: Watched, minutes: int, wrong: bool) -> None:
    desk.intrude(4, NOW)
    desk.intrude(1, NOW + minutes * MINUTE)
    assert (desk.found(NOW + minutes * MINUTE) == {ATTACK: CRITICAL}) is wrong
    desk.limits(failed_authentication_minutes=12)
    assert desk.found(NOW + minutes * MINUTE) == {ATTACK: CRITICAL}


def test_callers_are_judged_each_by_itself(desk: Watched) -> None:
    desk.intrude(3, ip="192.0.2.7")
    desk.intrude(3, ip="192.0.2.8")
    assert desk.found() == {}
    desk.intrude(2, ip="192.0.2.8")
    assert desk.found() == {("failed_authentications", "caller:192.0.2.8"): CRITICAL}


def test_a_callers_name_may_be_long_and_strange(desk: Watched) -> None:
    for agent in ("Agent" * 40, "agent | x\nCRITICAL", "Agent", "agent"):
        desk.intrude(5, ip="", agent=agent)
    found = {subject for kind, subject in desk.found() if kind == ATTACK[0]}
    assert len(found) == 4
    assert {"caller:Agent", "caller:agent"} < found
    assert desk.found(NOW + HOUR) == {}
    assert len(desk.rows("alerts")) == 4


@pytest.mark.parametrize("second", [0, 1, 30, 58])
def test_a_burst_between_two_checks_is_found(desk: Watched, second: int) -> None:
    """Whatever second of its minute cron comes in, nothing falls between two checks."""
    first = NOW - NOW % MINUTE + second
    assert desk.found(first) == {}
    desk.intrude(5, first + 1)
    assert desk.found(first + 10 * MINUTE) == {ATTACK: CRITICAL}


def test_nothing_is_wrong_with_what_was_just_installed(desk: Watched) -> None:
    desk.harness.empty_store()
    for now in (NOW, NOW + 30 * DAY, int(time.time())):
        checked = desk.check(now)
        assert (checked.status, checked.open) == ("OK", ())
        assert "no data yet" in checked.line()
    assert desk.rows("alerts") == []
