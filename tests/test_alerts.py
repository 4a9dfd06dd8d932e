"""Alerts from opening to closing on each kind of store, and who is told of what, once."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import pytest

from alxreport import alert_log, alerts
from alxreport.alert_log import CLAIM_SECONDS
from alxreport.errors import NotFoundError, StoreError, UsageError
from alxreport.limit_admin import set_limit

from .asking import lasting_desk
from .conftest import BACKENDS
from .moodle_site import DAY, NOW
from .runs import ROOT
from .watching import ACME, EVERYTHING, HOUR, MINUTE, Ear, Watched, wreck

PROCESSES, CALLERS = 8, 5

# One process that has imported everything becomes many, which begin each look together.
CHECKERS = """
import json, os, sys
import alxreport.database
from alxreport import alerts
from alxreport.sessions import Store
from alxreport.settings import AlertSettings, Settings, StoreSettings

url, moments, processes = json.loads(sys.stdin.readline())
settings = Settings(alerts=AlertSettings(overdue_hours=0))
def say(*words):
    os.write(sys.stdout.fileno(), json.dumps(words).encode() + b"\\n")

def work(place):
    store = Store(StoreSettings(url=url))
    store.read(lambda session: None)
    for number, now in enumerate(moments):
        os.write(ready[number][1], b".")
        os.read(start[number][0], 1)
        checked = alerts.check(store, settings, now)
        say("changed", number, checked.opened, checked.closed)
        targets = {
            name: lambda title, text, name=name: say("told", number, name, text) is None
            for name in ("one", "two")
        }
        assert not alerts.notify(store, settings, checked, targets, now)
    store.close()

ready, start = [os.pipe() for _ in moments], [os.pipe() for _ in moments]
for place in range(processes):
    if os.fork() == 0:
        for _read, write in start:
            os.close(write)
        code = 1
        try:
            work(place)
            code = 0
        finally:
            os._exit(code)
for number in range(len(moments)):
    for _ in range(processes):
        os.read(ready[number][0], 1)
    os.close(start[number][1])
    # The next look begins when all have ended this one: they wait at its door.
codes = [os.wait()[1] for _ in range(processes)]
sys.exit(any(codes))
"""
# Checks, claims, and never comes back from telling.
DYING = """
import os, signal, sys
from alxreport import alerts
from alxreport.sessions import Store
from alxreport.settings import Settings, StoreSettings

def die(title, text):
    os.kill(os.getpid(), signal.SIGKILL)

store, now = Store(StoreSettings(url=sys.argv[1])), int(sys.argv[2])
checked = alerts.check(store, Settings(), now)
alerts.notify(store, Settings(), checked, {"ear 1": die}, now)
"""


@pytest.fixture(scope="module", params=BACKENDS)
def lasting(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("alerts")
    with lasting_desk(request.param, request, folder, Watched) as opened:
        yield opened


@pytest.fixture
def desk(watched: Watched) -> Watched:
    return watched.furnish()


LAXER: tuple[tuple[str, float, str], ...] = (
    ("overdue_hours", 0, "sync_overdue"),
    ("overdue_hours", 4, "sync_overdue"),
    ("sync_error_percent", 0, "sync_error_rate"),
    ("sync_error_percent", 46, "sync_error_rate"),
    ("p95_seconds", 0, "response_time"),
    ("p95_seconds", 6.5, "response_time"),
    ("success_percent", 0, "success_rate"),
    ("success_percent", 80, "success_rate"),
    ("cache_hit_percent", 0, "cache_hit_rate"),
    ("least_cache_events", 62, "cache_hit_rate"),
    ("failed_authentications", 0, "failed_authentications"),
    ("failed_authentications", 6, "failed_authentications"),
    ("unusual_factor", 0, "unusual_activity"),
    ("unusual_factor", 4, "unusual_activity"),
)


def test_everything_opens_and_closes(lasting: Watched) -> None:
    desk, ear = lasting, Ear()
    wreck(desk)
    assert desk.found() == EVERYTHING
    severities = [condition.severity for condition in desk.check().gathered.conditions]
    assert severities == sorted(severities)
    sound = desk.settings
    for name, value, gone in LAXER:
        desk.limits(**{name: value})
        left = {key: severity for key, severity in EVERYTHING.items() if key[0] != gone}
        assert desk.found() == left, (name, value)
        desk.harness.settings = sound
    assert desk.found() == EVERYTHING
    desk.tell(ear)
    assert "(and 9 more)" in ear.heard[0][0]
    assert ear.take().count("To do: ") == len(EVERYTHING)
    desk.now += DAY + HOUR
    desk.harness.sync(allow_mass_delete=True)
    assert desk.found() == {}
    desk.tell(ear)
    assert ear.take().count("RESOLVED (") == len(EVERYTHING)
    rows = desk.rows("alerts")
    assert len(rows) == len(EVERYTHING) + len({gone for _name, _value, gone in LAXER})
    assert all(row["ended"] == row["id"] for row in rows)


# Many at once


@pytest.mark.soak_on("postgres")
def test_many_checks_at_once_open_close_and_tell_once(lasting: Watched) -> None:
    desk = lasting
    desk.furnish()
    begins = (NOW, NOW + 3 * HOUR)
    for begin in begins:
        for caller in range(CALLERS):
            desk.intrude(5, begin, ip=f"192.0.2.{caller}")
    moments = [at for begin in begins for at in (begin + MINUTE, begin + HOUR)]
    words = json.dumps([desk.settings.store.url, moments, PROCESSES]) + "\n"
    done = subprocess.run(
        [sys.executable, "-c", CHECKERS], input=words, capture_output=True, text=True, timeout=60,
        cwd=ROOT, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    changed, told = Counter[str](), Counter[tuple[str, str, str]]()
    for line in done.stdout.splitlines():
        what, number, *rest = json.loads(line)
        if what == "changed":
            changed[f"opened {number}"] += rest[0]
            changed[f"closed {number}"] += rest[1]
            continue
        target, text = rest
        for found in re.findall(r"alerts ack (\d+)", text):
            told["opened", target, found] += 1
        for found in re.findall(r"RESOLVED \((.*)\): (\S+) failed", text):
            told["closed", target, " ".join(found)] += 1
    assert +changed == {"opened 0": 5, "closed 1": 5, "opened 2": 5, "closed 3": 5}
    assert set(told.values()) == {1}
    assert len(told) == 2 * 2 * 2 * CALLERS
    rows = desk.rows("alerts")
    assert len(rows) == 2 * CALLERS
    assert all(row["ended"] == row["id"] and row["closed_at"] for row in rows)
    deliveries = desk.rows("deliveries")
    assert len(deliveries) == 2 * 2 * 2 * CALLERS
    assert {(row["attempts"], row["claimed_until"]) for row in deliveries} == {(1, 0)}
    assert all(row["told_at"] for row in deliveries)


def test_who_comes_second_changes_nothing(desk: Watched) -> None:
    """What a check that looked a moment too early does: close, claim and settle once more."""
    desk.intrude(5)
    [alert] = desk.check().open
    key = {"number": alert.id, "event": "opened:critical", "target": "ear 1"}

    def write(what: Callable[..., Any], *words: Any, **values: Any) -> Any:
        return desk.store.write(lambda session: what(session, *words, **values))

    assert write(alert_log.claim, **key, who="a", now=NOW)
    assert not write(alert_log.claim, **key, who="b", now=NOW)
    write(alert_log.settle, **key, who="b", told_at=NOW + 1)
    assert desk.rows("deliveries")[0]["told_at"] == 0
    write(alert_log.settle, **key, who="a", told_at=NOW + 2)
    assert not write(alert_log.claim, **key, who="b", now=NOW + CLAIM_SECONDS)
    assert write(alert_log.close, alert, now=NOW + 3)
    assert not write(alert_log.close, alert, now=NOW + 4)
    write(alert_log.refresh, alert, severity="warning", message="late", now=NOW + 5)
    [row] = desk.rows("alerts")
    assert (row["closed_at"], row["message"]) == (NOW + 3, alert.message)


def test_the_claim_of_a_checker_that_died_is_taken_over(desk: Watched) -> None:
    ear = Ear()
    desk.intrude(5)
    died = subprocess.run(
        [sys.executable, "-c", DYING, desk.settings.store.url, str(NOW)], cwd=ROOT, check=False
    )
    assert died.returncode == -signal.SIGKILL
    [claim] = desk.rows("deliveries")
    assert (claim["told_at"], claim["claimed_until"]) == (0, NOW + CLAIM_SECONDS)
    for now in (NOW, NOW + 1, NOW + CLAIM_SECONDS - 1):
        assert desk.tell(ear, now=now) == []
        assert ear.take() == ""
    desk.tell(ear, now=NOW + CLAIM_SECONDS)
    assert "failed to authenticate" in ear.take()
    assert [row["attempts"] for row in desk.rows("deliveries")] == [2]


def test_a_claim_from_a_clock_that_was_set_back_holds_nobody(desk: Watched) -> None:
    ear = Ear()
    desk.intrude(5)
    desk.tell(Ear(hears=False))
    desk.run_sql("UPDATE {deliveries} SET claimed_until = :far", far=NOW + DAY)
    desk.tell(ear)
    assert ear.take()


def test_who_is_told_late_cannot_end_anothers_claim(desk: Watched) -> None:
    desk.intrude(5)
    checked = desk.check()
    second = Ear()

    def slow(title: str, text: str) -> bool:
        later = NOW + CLAIM_SECONDS
        assert alerts.notify(desk.store, desk.settings, checked, {"ear 1": second}, later) == []
        return False

    alerts.notify(desk.store, desk.settings, checked, {"ear 1": slow}, NOW)
    assert len(second.heard) == 1
    [row] = desk.rows("deliveries")
    assert (row["told_at"], row["attempts"]) == (NOW + CLAIM_SECONDS, 2)


# Who is told, and when


def test_a_target_that_fails_is_tried_again_and_the_other_is_not_told_twice(desk: Watched) -> None:
    good, bad = Ear(), Ear(hears=False)
    desk.intrude(5)
    assert desk.tell(bad, good) == ["ear 1"]
    assert (bad.missed, len(good.heard)) == (1, 1)
    assert desk.tell(bad, good, now=NOW + 1) == ["ear 1"]
    assert (bad.missed, len(good.heard)) == (2, 1)
    told = {row["target"]: row["told_at"] for row in desk.rows("deliveries")}
    assert told == {"ear 1": 0, "ear 2": NOW}
    bad.hears = True
    assert desk.tell(bad, good, now=NOW + 2) == []
    assert "failed to authenticate" in bad.take()
    assert len(good.heard) == 1
    assert desk.tell(bad, good, now=NOW + 3) == []
    assert bad.take() == ""


def test_a_target_that_raises_is_free_to_be_told_again(desk: Watched) -> None:
    def broken(title: str, text: str) -> bool:
        raise KeyboardInterrupt

    ear = Ear()
    desk.intrude(5)
    with pytest.raises(KeyboardInterrupt):
        alerts.notify(desk.store, desk.settings, desk.check(), {"ear 1": broken}, NOW)
    desk.tell(ear, now=NOW + 1)
    assert ear.take()


def test_addresses_that_hang_make_no_later_claim_end_early(
    desk: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of five addresses takes its minute; the sixth is claimed for as long as any."""
    clock = [0.0]
    monkeypatch.setattr(alerts.time, "monotonic", lambda: clock[0])
    desk.intrude(5)
    checked = desk.check()
    last, until = Ear(), []

    def hang(title: str, text: str) -> bool:
        clock[0] += 60
        return False

    def tell(title: str, text: str) -> bool:
        until.extend(r["claimed_until"] for r in desk.rows("deliveries") if r["target"] == "last")
        return last(title, text)

    targets: dict[str, Callable[[str, str], bool]] = {f"slow {n}": hang for n in range(5)}
    alerts.notify(desk.store, desk.settings, checked, targets | {"last": tell}, NOW)
    assert until == [NOW + 300 + CLAIM_SECONDS]


def test_reminders(desk: Watched) -> None:
    ear = Ear()
    desk.sync_without_source()
    desk.limits(overdue_hours=0)
    day = 24 * HOUR
    desk.tell(ear)
    assert "Still" not in ear.take()
    heard = []
    for now in (day - 1, day, day + 1, 2 * day - 1, 2 * day, 3 * day):
        desk.tell(ear, now=NOW + now)
        heard.append("Still CRITICAL since 2026-11-23T" in ear.take())
    assert heard == [False, True, False, False, True, True]
    [alert] = desk.check(NOW + 3 * day).open
    alerts.acknowledge(desk.store, alert.id, who="ops", now=NOW + 3 * day)
    desk.tell(ear, now=NOW + 9 * day)
    assert ear.take() == ""
    assert desk.check(NOW + 9 * day).status == "CRITICAL"


@pytest.mark.parametrize(("hours", "after", "told"), [(1, HOUR, 1), (1, HOUR - 1, 0), (0, DAY, 0)])
def test_how_often_is_configured(desk: Watched, hours: int, after: int, told: int) -> None:
    ear = Ear()
    desk.limits(remind_hours=hours, overdue_hours=0)
    desk.sync_without_source()
    desk.tell(ear)
    ear.take()
    desk.tell(ear, now=NOW + after)
    assert len(ear.heard) == told


def test_a_closing_is_told_to_who_was_told_of_the_opening(desk: Watched) -> None:
    told, deaf, new = Ear(), Ear(hears=False), Ear()
    desk.intrude(5)
    desk.tell(told, deaf)
    assert told.take().startswith("alxreport on ")
    deaf.hears = True
    desk.tell(told, deaf, new, now=NOW + HOUR)
    assert re.search(r"Resolved: .*\n(.*\n)*RESOLVED \(2026-11-23T02:13:20Z to ", told.take())
    assert deaf.take() + new.take() == ""
    desk.tell(told, deaf, new, now=NOW + HOUR + 1)
    assert told.take() + deaf.take() + new.take() == ""


@pytest.mark.parametrize(("days", "told"), [(7, True), (8, False)])
def test_a_closing_is_worth_telling_for_a_week(desk: Watched, days: int, told: bool) -> None:
    ear = Ear()
    desk.limits(overdue_hours=0)
    desk.intrude(5)
    desk.tell(ear)
    ear.hears = False
    assert desk.tell(ear, now=NOW + HOUR) == ["ear 1"]
    ear.hears, ear.heard = True, []
    desk.tell(ear, now=NOW + days * DAY)
    assert ("RESOLVED" in ear.take()) is told


def test_what_comes_again_is_a_new_alert(desk: Watched) -> None:
    ear = Ear()
    desk.limits(overdue_hours=0)
    for place in range(3):
        desk.intrude(5, NOW + place * HOUR)
        desk.tell(ear, now=NOW + place * HOUR)
        assert "CRITICAL" in ear.take()
        desk.tell(ear, now=NOW + place * HOUR + 30 * MINUTE)
        assert "RESOLVED" in ear.take()
    assert [row["ended"] - row["id"] for row in desk.rows("alerts")] == [0, 0, 0]


def test_an_alert_that_gets_graver_is_told_and_no_longer_seen_to(desk: Watched) -> None:
    ear = Ear()
    desk.configure(rate_limit=2)
    desk.limits(limit_warning_percent=50)
    token = desk.token("acme")
    desk.page(token)
    desk.tell(ear)
    assert ": Warning: acme used 1 of its 2 requests of today." in ear.take()
    [alert] = desk.check().open
    alerts.acknowledge(desk.store, alert.id, who="ops", now=NOW)
    desk.page(token)
    desk.tell(ear)
    [same] = desk.check().open
    assert (same.acknowledged_by, ear.take()) == ("ops", "")
    with pytest.raises(Exception, match="used up"):
        desk.page(token)
    desk.tell(ear)
    assert ": CRITICAL: acme used 2 of its 2 requests of today; 1 more were" in ear.take()
    [graver] = desk.check().open
    assert (graver.id, graver.severity) == (alert.id, "critical")
    assert (graver.acknowledged_at, graver.acknowledged_by) == (None, "")
    desk.tell(ear)
    assert ear.take() == ""
    set_limit(desk.store, desk.settings, "acme", "3", desk.now)
    desk.tell(ear)
    [same] = desk.check().open
    assert (same.id, same.severity, ear.take()) == (alert.id, "warning", ""), "an easing is no news"
    set_limit(desk.store, desk.settings, "acme", "2", desk.now)
    desk.tell(ear)
    assert ": CRITICAL: acme used 2" in ear.take(), "graver again is"
    set_limit(desk.store, desk.settings, "acme", "100", desk.now)
    desk.tell(ear)
    assert ear.take().count("RESOLVED") == 1
    assert [row["subject"] for row in desk.rows("alerts")] == [ACME]


def test_more_than_a_message_shows(desk: Watched) -> None:
    ear = Ear()
    for caller in range(30):
        desk.intrude(5, ip=f"192.0.2.{caller}")
    desk.tell(ear)
    [(title, text)] = ear.heard
    assert "(and 29 more)" in title
    assert "And 10 more: alxreport alerts list" in text
    assert text.count("alerts ack") == alerts.SHOWN_IN_MESSAGE
    assert len(desk.rows("deliveries")) == 30


# Acknowledging


def test_acknowledging(desk: Watched) -> None:
    desk.intrude(5)
    [alert] = desk.check().open
    with pytest.raises(NotFoundError) as unknown:
        alerts.acknowledge(desk.store, alert.id + 1, who="ops", now=NOW)
    assert unknown.value.exit_code == 6
    first, done = alerts.acknowledge(desk.store, alert.id, who="ops", now=NOW)
    assert (done, first.acknowledged_at, first.acknowledged_by) == (True, NOW, "ops")
    second, done = alerts.acknowledge(desk.store, alert.id, who="other", now=NOW + 1)
    assert (done, asdict(second)) == (False, asdict(first))
    desk.check(NOW + HOUR)
    with pytest.raises(UsageError, match="closed at") as closed:
        alerts.acknowledge(desk.store, alert.id, who="ops", now=NOW + HOUR)
    assert closed.value.exit_code == 2
    listed = alerts.list_alerts(desk.store, NOW + HOUR)
    assert (listed.open, [a.id for a in listed.closed]) == ((), [alert.id])
    assert alerts.list_alerts(desk.store, NOW + HOUR + 8 * DAY).closed == ()


# Retention


def test_what_closed_long_ago_is_pruned_by_the_hourly_run(lasting: Watched) -> None:
    desk, ear = lasting, Ear()
    desk.furnish()
    desk.limits(overdue_hours=0)
    desk.configure(log_retention_days=30, cache_minutes=0)
    desk.intrude(5)
    desk.tell(ear)
    desk.tell(ear, now=NOW + HOUR)  # closes
    desk.intrude(5, NOW + HOUR, ip="192.0.2.9")
    desk.tell(ear, now=NOW + HOUR)  # stays open: nobody looks again
    before = len(desk.rows("deliveries"))
    assert before == 3

    def kept(now: int) -> tuple[int, int]:
        desk.now = now
        desk.harness.sync()
        return len(desk.rows("alerts")), len(desk.rows("deliveries"))

    assert kept(NOW + HOUR + 30 * DAY) == (2, 3)
    assert kept(NOW + HOUR + 30 * DAY + 1) == (1, 1)
    assert kept(NOW + 900 * DAY) == (1, 1)
    [left] = desk.rows("alerts")
    assert (left["subject"], left["ended"]) == ("caller:192.0.2.9", 0)


def test_a_store_that_goes_away_between_check_and_telling(desk: Watched) -> None:
    desk.intrude(5)
    checked = desk.check()
    desk.run_sql("ALTER TABLE {deliveries} RENAME TO elsewhere")
    try:
        with pytest.raises(StoreError):
            alerts.notify(desk.store, desk.settings, checked, {"ear 1": Ear()}, NOW)
    finally:
        desk.run_sql("ALTER TABLE elsewhere RENAME TO {deliveries}")
