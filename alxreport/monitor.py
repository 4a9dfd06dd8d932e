"""What the three views show: figures computed from recorded facts, at one moment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from alxreport import monitor_facts as facts
from alxreport import rate_limit
from alxreport.monitor_facts import CallGroup, RunFact
from alxreport.records import iso_time
from alxreport.sessions import Session
from alxreport.settings import Settings

MINUTE, HOUR, DAY = 60, 3_600, 86_400
HISTORY_DAYS = 7
OVERDUE_SECONDS = 2 * HOUR
P95 = 0.95
SUSPICIOUS_FAILURES, SUSPICIOUS_SECONDS = 5, 10 * MINUTE
SHOWN_CONSUMERS, SHOWN_VIOLATIONS, SHOWN_ERRORS = 10, 10, 10
# What a request is logged with when it was refused or asked wrongly: no failure of ours.
CALLERS_FAULT = ("usage", "resync_required", "not_found", "rate_limit", "not_authorised", "aborted")


@dataclass(frozen=True)
class DayOfRuns:
    """One day's runs; the rate is None on a day without any."""

    day: str
    runs: int
    succeeded: int
    rate: float | None


@dataclass(frozen=True)
class CompanySync:
    """One company's last sync, and what its syncs of the last 24 hours did."""

    id: int
    company: str
    status: str
    last_sync: str | None
    rows: int
    created: int
    updated: int
    deleted: int
    errors: int
    duration_seconds: float | None
    error: str


@dataclass(frozen=True)
class AutoSync:
    """The first view. Created, updated, deleted and errors are of the last 24 hours."""

    status: str
    companies_synced: int
    companies_all: int
    last_sync: str | None
    last_status: str | None
    next_sync: str | None
    created: int
    updated: int
    deleted: int
    errors: int
    success_rate_7d: float | None
    success_by_day: tuple[DayOfRuns, ...]
    companies: tuple[CompanySync, ...]


@dataclass(frozen=True)
class HourOfCalls:
    """One hour's calls and the response time of its pages, in milliseconds."""

    start: str
    calls: int
    average_ms: float | None
    p95_ms: float | None


@dataclass(frozen=True)
class Consumer:
    """One company's calls of the last 24 hours."""

    company: str
    calls: int
    rows: int
    average_ms: float | None
    share: float


@dataclass(frozen=True)
class StoreFigures:
    """The store itself."""

    bytes: int | None
    live_rows: int
    deleted_rows: int
    last_verify: str | None
    verify_result: str | None
    cache_entries: int
    oldest_log: str | None


@dataclass(frozen=True)
class Performance:
    """The second view, of the last 24 hours. Response times are of pages, not of exports."""

    calls: int
    average_ms: float | None
    p95_ms: float | None
    success_rate: float | None
    cache_hit_rate: float | None
    cache_hits: int
    cache_misses: int
    records: int
    by_hour: tuple[HourOfCalls, ...]
    consumers: tuple[Consumer, ...]
    database: StoreFigures


@dataclass(frozen=True)
class Violation:
    """A company that was refused requests beyond its limit."""

    company: str
    used: int
    limit: int
    refused: int
    last_at: str | None


@dataclass(frozen=True)
class LoggedError:
    """One request that went wrong."""

    at: str | None
    company: str
    caller: str
    endpoint: str
    error: str


@dataclass(frozen=True)
class ErrorCount:
    """How often one error was logged."""

    error: str
    count: int


@dataclass(frozen=True)
class Security:
    """The third view, of the last 24 hours."""

    active_tokens: int
    rate_limit_violations: int
    failed_authentications: int
    suspicious_callers: int
    violations: tuple[Violation, ...]
    recent_errors: tuple[LoggedError, ...]
    errors_by_type: tuple[ErrorCount, ...]


@dataclass(frozen=True)
class Snapshot:
    """Everything that the views show."""

    at: str | None
    auto_sync: AutoSync
    performance: Performance
    security: Security
    alerts: tuple[Any, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for ``monitor --json``."""
        return asdict(self)


def snapshot(session: Session, settings: Settings, *, now: int, next_sync: int | None) -> Snapshot:
    """Return the figures at ``now``; ``next_sync`` is the moment of the installed cron line."""
    names = facts.company_names(session)
    where = rate_limit.zone(settings.requests.timezone)
    return Snapshot(
        at=iso_time(now),
        auto_sync=auto_sync(session, where, now=now, next_sync=next_sync),
        performance=performance(session, names, now=now),
        security=security(session, settings, names, where, now=now),
    )


def auto_sync(session: Session, where: tzinfo, *, now: int, next_sync: int | None) -> AutoSync:
    """Return the figures of the first view."""
    days = day_starts(now, where)
    runs = facts.runs_since(session, since=days[0][1])
    states = facts.company_states(session)
    done = facts.results_since(session, since=now - DAY)
    last = facts.last_finished(session)
    companies = tuple(
        CompanySync(
            state.id, state.shortname, state.last_status or "never", iso_time(state.synced_at),
            state.rows, *done.get(state.id, (0, 0, 0, 0)), facts.seconds(state.duration_ms),
            state.last_error,
        )
        for state in states
    )  # fmt: skip
    by_day = success_by_day(runs, days)
    finished = sum(day.runs for day in by_day)
    return AutoSync(
        status=sync_status(session, last, now=now),
        companies_synced=sum(state.synced_at is not None for state in states),
        companies_all=len(states),
        last_sync=iso_time(last.finished_at) if last else None,
        last_status=last.status if last else None,
        next_sync=iso_time(next_sync),
        created=sum(company.created for company in companies),
        updated=sum(company.updated for company in companies),
        deleted=sum(company.deleted for company in companies),
        errors=sum(company.errors for company in companies),
        success_rate_7d=ratio(sum(day.succeeded for day in by_day), finished),
        success_by_day=by_day,
        companies=companies,
    )


def sync_status(session: Session, last: RunFact | None, *, now: int) -> str:
    """Return Active, Disabled, Running, Failed, Overdue or Never run."""
    if facts.is_disabled(session):
        return "Disabled"
    if facts.is_running(session, now=now):
        return "Running"
    if last is None:
        return "Never run"
    if last.status != "success":
        return "Failed"
    overdue = now - last.started_at > OVERDUE_SECONDS
    return "Overdue" if overdue else "Active"


def day_starts(now: int, where: tzinfo) -> list[tuple[str, int]]:
    """Return the last seven days, today last: their dates and their first seconds."""
    today = datetime.fromtimestamp(now, where).date()
    days = [today - timedelta(days=back) for back in range(HISTORY_DAYS - 1, -1, -1)]
    return [
        (day.isoformat(), int(datetime(day.year, day.month, day.day, tzinfo=where).timestamp()))
        for day in days
    ]


def success_by_day(
    runs: Iterable[RunFact], days: Sequence[tuple[str, int]]
) -> tuple[DayOfRuns, ...]:
    """Return how many of each day's finished runs left no company behind."""
    counts = {day: [0, 0] for day, _start in days}
    for run in runs:
        begun = [day for day, start in days if start <= run.started_at]
        if begun and run.status != "running":
            counts[begun[-1]][0] += 1
            counts[begun[-1]][1] += run.status == "success"
    return tuple(
        DayOfRuns(day, all_runs, good, ratio(good, all_runs))
        for day, (all_runs, good) in counts.items()
    )


def performance(session: Session, names: Mapping[int, str], *, now: int) -> Performance:
    """Return the figures of the second view."""
    groups = facts.calls_since(session, since=now - DAY + 1, until=now)
    calls = sum(group.count for group in groups)
    failures = sum(group.count for group in groups if is_failure(group.error))
    judged = failures + sum(group.count for group in groups if not group.error)
    hits = sum(group.count for group in groups if group.cache == "hit")
    misses = sum(group.count for group in groups if group.cache == "miss")
    timed = [group for group in groups if group.is_page]
    return Performance(
        calls=calls,
        average_ms=average_ms(timed),
        p95_ms=percentile_ms(timed, P95),
        success_rate=ratio(judged - failures, judged),
        cache_hit_rate=ratio(hits, hits + misses),
        cache_hits=hits,
        cache_misses=misses,
        records=sum(group.rows for group in groups),
        by_hour=_by_hour(groups, now),
        consumers=_consumers(groups, names, calls),
        database=facts.store_figures(session),
    )


def is_failure(error: str) -> bool:
    """Tell whether a logged error is a failure: refusals and usage errors are none."""
    return bool(error) and not error.startswith(CALLERS_FAULT)


def ratio(part: int, whole: int) -> float | None:
    """Return a share, None where nothing was measured."""
    return round(part / whole, 6) if whole else None


def average_ms(groups: Iterable[CallGroup]) -> float | None:
    """Return the mean response time in milliseconds."""
    found = list(groups)
    count = sum(group.count for group in found)
    return round(sum(group.total_us for group in found) / count / 1000, 3) if count else None


def percentile_ms(groups: Iterable[CallGroup], share: float) -> float | None:
    """Return the response time, in whole milliseconds, that ``share`` of the calls keep to.

    The nearest-rank percentile over times rounded down to the millisecond.
    """
    found = sorted(groups, key=lambda group: group.ms)
    count = sum(group.count for group in found)
    rank = -(-count * round(share * 100) // 100)
    for group in found:
        rank -= group.count
        if rank <= 0:
            return float(group.ms)
    return None


def _by_hour(groups: Sequence[CallGroup], now: int) -> tuple[HourOfCalls, ...]:
    """Return the 24 hours that end with the present one, each an interval of its own."""
    first = (now // HOUR - 23) * HOUR
    hours = []
    for start in range(first, first + 24 * HOUR, HOUR):
        mine = [group for group in groups if group.hour == start]
        timed = [group for group in mine if group.is_page]
        moment = datetime.fromtimestamp(start, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        hours.append(
            HourOfCalls(
                moment, sum(group.count for group in mine), average_ms(timed),
                percentile_ms(timed, P95),
            )
        )  # fmt: skip
    return tuple(hours)


def _consumers(
    groups: Sequence[CallGroup], names: Mapping[int, str], calls: int
) -> tuple[Consumer, ...]:
    by_company: dict[int, list[CallGroup]] = {}
    for group in groups:
        by_company.setdefault(group.company, []).append(group)
    found = [
        Consumer(
            names.get(company, f"id:{company}" if company else "unknown"),
            sum(group.count for group in mine),
            sum(group.rows for group in mine),
            average_ms([group for group in mine if group.is_page]),
            ratio(sum(group.count for group in mine), calls) or 0.0,
        )
        for company, mine in by_company.items()
    ]
    return tuple(sorted(found, key=lambda c: (-c.calls, c.company))[:SHOWN_CONSUMERS])


def security(
    session: Session, settings: Settings, names: Mapping[int, str], where: tzinfo, *, now: int
) -> Security:
    """Return the figures of the third view."""
    since = now - DAY + 1
    failures = facts.failed_authentications(session, since=since)
    refused = facts.refused_by_company(session, since=since)
    used = rate_limit.usage_of_day(session, day=rate_limit.day_of(now, where))
    limits = facts.limits(session, settings)
    violations = [
        Violation(
            names.get(company, f"id:{company}"), used.get(company, (0, 0))[0],
            limits.get(company, settings.requests.rate_limit), count, iso_time(last),
        )
        for company, (count, last) in refused.items()
    ]  # fmt: skip
    return Security(
        active_tokens=facts.active_tokens(session, now=now),
        rate_limit_violations=sum(violation.refused for violation in violations),
        failed_authentications=sum(count for _caller, _minute, count in failures),
        suspicious_callers=len(suspicious(failures)),
        violations=tuple(
            sorted(violations, key=lambda v: (v.last_at or "", v.company), reverse=True)
        )[:SHOWN_VIOLATIONS],
        recent_errors=tuple(
            LoggedError(iso_time(at), names.get(company, ""), caller, endpoint, error)
            for at, company, caller, endpoint, error in facts.recent_errors(
                session, since=since, most=SHOWN_ERRORS
            )
        ),
        errors_by_type=tuple(
            ErrorCount(error, count) for error, count in facts.errors_by_type(session, since=since)
        ),
    )


def suspicious(failures: Iterable[tuple[str, int, int]]) -> set[str]:
    """Return the callers that failed to authenticate five times within ten minutes.

    Given are the failures of each caller by the minute, in the order of time.
    """
    windows: dict[str, list[tuple[int, int]]] = {}
    found = set()
    for caller, minute, count in failures:
        window = [
            item for item in windows.get(caller, []) if item[0] > minute - SUSPICIOUS_SECONDS
        ]
        window.append((minute, count))
        windows[caller] = window
        if sum(number for _minute, number in window) >= SUSPICIOUS_FAILURES:
            found.add(caller)
    return found
