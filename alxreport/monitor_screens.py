"""The figures of a snapshot in words: which cards, chart and tables each view has."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, tzinfo

from alxreport import snapshots
from alxreport.screens import (
    AlertLine,
    Card,
    Cell,
    Chart,
    Column,
    Level,
    Point,
    Screen,
    Table,
    View,
)
from alxreport.settings import AlertSettings
from alxreport.snapshots import AutoSync, CompanySync, OpenAlert, Performance, Security, Snapshot
from alxreport.wording import NO_DATA, Clock, count, milliseconds, percent, plural, size, span

FULL = "%Y-%m-%d %H:%M:%S"
KEYS = ("auto-sync", "performance", "security")
STATUS_LEVELS: dict[str, Level] = {
    snapshots.ACTIVE: "ok",
    snapshots.RUNNING: "ok",
    snapshots.DISABLED: "warning",
    snapshots.OVERDUE: "critical",
    snapshots.FAILED: "critical",
    snapshots.NEVER_RUN: "muted",
}


def screen(snapshot: Snapshot, limits: AlertSettings, where: tzinfo) -> Screen:
    """Return what is shown of a snapshot; times are told in the time zone ``where``."""
    clock = Clock(snapshot.at, where)
    return Screen(
        at=f"{clock.exact(snapshot.at, FULL)} {snapshot.timezone}",
        alerts=tuple(_alert(alert, clock) for alert in snapshot.alerts),
        views=(
            _auto_sync(snapshot.auto_sync, limits, clock),
            _performance(snapshot.performance, limits, clock),
            _security(snapshot.security, clock),
        ),
    )


def _alert(alert: OpenAlert, clock: Clock) -> AlertLine:
    level: Level = "critical" if alert.severity == "critical" else "warning"
    since = f"{clock.near(alert.opened_at)} ({clock.age(alert.opened_at)})"
    return AlertLine(
        level, alert.message, since if alert.id else "just found", alert.advice,
        alert.acknowledged_at is not None, alert.id,
    )  # fmt: skip


def _auto_sync(view: AutoSync, limits: AlertSettings, clock: Clock) -> View:
    never = view.records is None
    rate = view.success_rate_7d
    return View(
        KEYS[0],
        "Auto-Sync",
        cards=(
            Card("Status", view.status, STATUS_LEVELS[view.status], _status_note(view, limits)),
            _last_sync(view, clock),
            _next_sync(view, clock),
            Card(
                "Companies",
                f"{view.companies_synced:,} / {view.companies_all:,}" if view.companies_all
                else NO_DATA,
                "muted" if not view.companies_all
                else "critical" if view.companies_failed
                else "ok" if view.companies_synced == view.companies_all else "warning",
                f"{view.companies_failed:,} failed" if view.companies_failed
                else "synced / all" if view.companies_all else "",
            ),
            Card("Records 24 h", count(view.records), "muted" if never else "plain",
                 "" if never
                 else f"{view.created:,} new, {view.updated:,} changed, {view.deleted:,} gone"),
            Card("Errors 24 h", count(view.errors),
                 "muted" if never else "critical" if view.errors else "ok",
                 "" if never
                 else f"{plural(view.failed_runs, 'whole run', 'whole runs')}" if view.failed_runs
                 else f"of {view.company_syncs:,} company syncs"),
            Card(
                "Success 7 days",
                percent(rate),
                "muted" if rate is None else "ok" if rate == 1 else "warning",
                f"of {plural(view.runs_7d, 'run', 'runs')}" if view.runs_7d else "",
            ),
        ),
        chart=_success_chart(view),
        tables=(_companies(view, clock),),
    )  # fmt: skip


def _status_note(view: AutoSync, limits: AlertSettings) -> str:
    return {
        snapshots.NEVER_RUN: "run: alxreport sync",
        snapshots.DISABLED: "run: alxreport sync-state enable",
        snapshots.OVERDUE: f"none for {limits.overdue_hours:g} h",
        snapshots.FAILED: f"{plural(view.companies_failed, 'company', 'companies')} failed"
        if view.last_sync_status == "partial"
        else "Power BI shows old data",
    }.get(view.status, "")


def _last_sync(view: AutoSync, clock: Clock) -> Card:
    at, good = view.last_sync_at, view.last_success_at
    if at is None:
        return Card("Last Sync", NO_DATA, "muted")
    if view.last_sync_status == "failed":
        note = f"failed; data of {clock.near(good)}" if good else "failed; no data yet"
        return Card("Last Sync", clock.near(at), "critical", note)
    behind = view.replica.lag_seconds if view.replica else None
    note = clock.age(at) + (f", data {span(int(behind))} older" if behind and behind >= 1 else "")
    return Card("Last Sync", clock.near(at), "plain", note)


def _next_sync(view: AutoSync, clock: Clock) -> Card:
    at = view.next_sync_at
    if at is None:
        # Before the first sync that is only the next step, afterwards the data will grow old.
        level: Level = "muted" if view.status == snapshots.NEVER_RUN else "warning"
        return Card("Next Sync", "not scheduled", level, "run: alxreport cron install")
    return Card("Next Sync", clock.near(at), "plain", clock.age(at))


def _success_chart(view: AutoSync) -> Chart:
    points = []
    for day in view.success_by_day:
        label = datetime.fromisoformat(day.day).strftime("%a %d")
        if day.rate is None:
            points.append(Point(label, (None,), "no run", "muted"))
            continue
        told = f"{percent(day.rate)}, {day.succeeded} of {day.runs}"
        points.append(Point(label, (day.rate * 100,), told, "ok" if day.rate == 1 else "warning"))
    return Chart(
        "Sync success, 7 days", "%", ("successful runs",), tuple(points),
        "No sync has run in these seven days.", top=100.0,
    )  # fmt: skip


def _companies(view: AutoSync, clock: Clock) -> Table:
    columns = (
        Column("Company", long=True),
        Column("Status"),
        Column("Last sync", rank=1),
        Column("Rows", right=True),
        Column("Created", right=True, rank=3),
        Column("Updated", right=True, rank=3),
        Column("Deleted", right=True, rank=3),
        Column("Errors", right=True, rank=2),
        Column("Duration", right=True, rank=4),
    )
    order: Callable[[CompanySync], tuple[bool, bool, int, str]] = lambda c: (  # noqa: E731
        c.status != "failed", c.synced_at is not None, -(c.created + c.updated + c.deleted),
        c.company.casefold(),
    )  # fmt: skip
    rows = []
    for c in sorted(view.companies, key=order):
        level: Level = "critical" if c.status == "failed" else "muted"
        status = Cell("ok" if c.status == "success" else c.status,
                      "ok" if c.status == "success" else level)  # fmt: skip
        duration = "" if c.duration_seconds is None else f"{c.duration_seconds:.1f} s"
        rows.append(
            (
                Cell(c.company), status,
                Cell(clock.near(c.synced_at) if c.synced_at else "never"), Cell(f"{c.rows:,}"),
                Cell(f"{c.created:,}"), Cell(f"{c.updated:,}"), Cell(f"{c.deleted:,}"),
                Cell(f"{c.errors:,}", "critical" if c.errors else "plain"), Cell(duration),
            )
        )  # fmt: skip
    return Table(
        "Companies, changes of 24 hours", columns, tuple(rows), "No company was synced yet."
    )


def _performance(view: Performance, limits: AlertSettings, clock: Clock) -> View:
    p95, success = view.p95_ms, view.success_rate
    slow = bool(p95 is not None and limits.p95_seconds and p95 > limits.p95_seconds * 1000)
    failing = success is not None and success * 100 < limits.success_percent
    looked, never = view.cache_hits + view.cache_misses, view.calls is None
    return View(
        KEYS[1],
        "Performance",
        cards=(
            Card("API calls 24 h", count(view.calls), "muted" if never else "plain"),
            Card("Average response", milliseconds(view.average_ms),
                 "muted" if view.average_ms is None else "plain"),
            Card("p95 response", milliseconds(p95),
                 "muted" if p95 is None else "warning" if slow else "ok",
                 "" if p95 is None
                 else f"{'above' if slow else 'limit'} {limits.p95_seconds:g} s"),
            Card("Success", percent(success),
                 "muted" if success is None else "critical" if failing else "ok",
                 "" if success is None
                 else f"below {limits.success_percent:g} %" if failing
                 else f"{view.failures:,} failed"),
            Card("Cache hits", percent(view.cache_hit_rate), "plain" if looked else "muted",
                 f"{view.cache_hits:,} of {looked:,}" if looked else ""),
            Card("Records 24 h", count(view.records), "muted" if never else "plain",
                 "" if never else "handed out"),
        ),
        chart=_response_chart(view, limits, clock),
        tables=(_consumers(view), _database(view, clock)),
    )  # fmt: skip


def _response_chart(view: Performance, limits: AlertSettings, clock: Clock) -> Chart:
    points = []
    for hour in view.by_hour:
        slow = hour.p95_ms is not None and hour.p95_ms > limits.p95_seconds * 1000 > 0
        told = (
            "no page" if hour.average_ms is None
            else f"average {milliseconds(hour.average_ms)}, p95 {milliseconds(hour.p95_ms)}"
        )  # fmt: skip
        level: Level = "muted" if hour.average_ms is None else "warning" if slow else "plain"
        points.append(
            Point(clock.exact(hour.start_at, "%H:%M"), (hour.average_ms, hour.p95_ms), told, level)
        )
    threshold = limits.p95_seconds * 1000 or None
    return Chart(
        "Response time, 24 hours", "ms", ("average", "p95"), tuple(points),
        "No page was asked for in these 24 hours.", threshold=threshold,
        threshold_told=f"limit {limits.p95_seconds:g} s" if threshold else "",
    )  # fmt: skip


def _consumers(view: Performance) -> Table:
    columns = (
        Column("Company", long=True),
        Column("Calls", right=True),
        Column("Rows", right=True, rank=1),
        Column("Average", right=True, rank=2),
        Column("Share", right=True),
    )
    rows = [
        (
            Cell(c.company), Cell(f"{c.calls:,}"), Cell(f"{c.rows:,}"),
            Cell(milliseconds(c.average_ms) if c.average_ms is not None else ""),
            Cell(percent(c.share)),
        )
        for c in view.consumers
    ]  # fmt: skip
    return Table("Top consumers, 24 hours", columns, tuple(rows), "Nobody asked in 24 hours.")


def _database(view: Performance, clock: Clock) -> Table:
    store = view.database
    verified = Cell("never; run: alxreport verify", "muted")
    if store.verified_at is not None:
        fine = store.verify_result == "ok"
        told = "nothing wrong" if fine else store.verify_result or ""
        verified = Cell(f"{clock.near(store.verified_at)}, {told}", "ok" if fine else "critical")
    log = store.oldest_log_at
    rows = (
        (Cell("Size"), Cell(size(store.bytes))),
        (Cell("Live rows"), Cell(f"{store.live_rows:,}")),
        (Cell("Deleted rows kept"), Cell(f"{store.deleted_rows:,}")),
        (Cell("Last verify"), verified),
        (Cell("Cached pages"), Cell(f"{store.cache_entries:,} ({size(store.cache_bytes)})")),
        (Cell("Oldest log entry"), Cell(clock.near(log), "plain" if log else "muted")),
    )
    return Table("Database", (Column("Figure"), Column("Value", long=True)), rows, "")


def _security(view: Security, clock: Clock) -> View:
    def card(label: str, number: int | None, bad: Level, note: str) -> Card:
        if number is None:
            return Card(label, NO_DATA, "muted")
        return Card(label, f"{number:,}", bad if number else "ok", note if number else "none")

    return View(
        KEYS[2],
        "Security",
        cards=(
            Card("Active tokens", f"{view.active_tokens:,}"),
            card("Over the limit 24 h", view.rate_limit_violations, "warning", "refused"),
            card("Failed log-ins 24 h", view.failed_authentications, "warning", "refused"),
            card("Suspicious callers 24 h", view.suspicious_callers, "critical", "see below"),
        ),
        chart=None,
        tables=(_violations(view, clock), _errors(view, clock), _error_types(view)),
    )


def _violations(view: Security, clock: Clock) -> Table:
    columns = (
        Column("Company", long=True),
        Column("Used / limit today", right=True),
        Column("Refused", right=True),
        Column("Last", rank=1),
    )
    rows = [
        (
            Cell(v.company),
            Cell(f"{v.used:,} / {v.limit:,}" if v.limit else f"{v.used:,} / unlimited"),
            Cell(f"{v.refused:,}", "warning"), Cell(clock.near(v.last_at)),
        )
        for v in view.violations
    ]  # fmt: skip
    return Table(
        "Beyond the rate limit, 24 hours", columns, tuple(rows), "Nobody went beyond the limit."
    )


def _errors(view: Security, clock: Clock) -> Table:
    columns = (
        Column("When"),
        Column("Caller", long=True),
        Column("Company", rank=2, long=True),
        Column("Asked", rank=3),
        Column("Error"),
    )
    rows = [
        (Cell(clock.near(e.at)), Cell(e.caller), Cell(e.company), Cell(e.endpoint), Cell(e.error))
        for e in view.recent_errors
    ]
    return Table("Recent errors", columns, tuple(rows), "No request was refused or failed.")


def _error_types(view: Security) -> Table:
    columns = (Column("Error"), Column("Count", right=True))
    rows = [(Cell(e.error), Cell(f"{e.count:,}")) for e in view.errors_by_type]
    return Table("Errors by type, 24 hours", columns, tuple(rows), "None.")
