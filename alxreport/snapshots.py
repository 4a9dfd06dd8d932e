"""The figures of the three views at one moment, as every face shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any

from alxreport.records import iso_time

HISTORY_DAYS = 7
P95_PERCENT = 95
# What a request is refused or failed with that is the caller's doing and no failure of ours.
CALLERS_FAULT = frozenset({
    "authorisation", "rate_limit", "disabled", "gone", "usage", "resync_required", "not_found",
    "aborted", "missing", "unsupported",
})  # fmt: skip
# The status of the sync as a whole.
ACTIVE, DISABLED, RUNNING = "Active", "Disabled", "Running"
FAILED, OVERDUE, NEVER_RUN = "Failed", "Overdue", "Never run"


@dataclass(frozen=True)
class DayOfRuns:
    """One day's finished runs; the rate is None on a day without any."""

    day: str  # in requests.timezone
    runs: int
    succeeded: int
    rate: float | None


@dataclass(frozen=True)
class CompanySync:
    """One company's last sync, and what its syncs of the last 24 hours did."""

    id: int
    company: str
    name: str
    status: str  # success, failed or never
    synced_at: int | None  # the last time that it succeeded
    rows: int
    created: int
    updated: int
    deleted: int
    errors: int
    duration_seconds: float | None  # of its last sync, None when that failed
    error: str


@dataclass(frozen=True)
class SourceReplica:
    """The replica that the last run read Moodle's data from."""

    lag_seconds: float | None  # behind its primary at that time; None where it was not told
    stopped: bool  # nothing arrived from its primary any more


@dataclass(frozen=True)
class AutoSync:
    """The first view. What was created, updated, deleted and failed is of the last 24 hours.

    None where no sync ever ran.
    """

    status: str
    error: str  # of the last run, when it failed
    companies_synced: int
    companies_failed: int
    companies_all: int
    last_sync_at: int | None  # the end of the last run, whatever became of it
    last_sync_status: str | None
    last_success_at: int | None  # the end of the last run that brought new data
    next_sync_at: int | None  # None where no line of cron runs the sync
    records: int | None  # created, updated and deleted
    created: int | None
    updated: int | None
    deleted: int | None
    errors: int | None  # failed company syncs, and runs that failed as a whole
    failed_runs: int | None  # those
    company_syncs: int
    success_rate_7d: float | None
    runs_7d: int
    success_by_day: tuple[DayOfRuns, ...]
    companies: tuple[CompanySync, ...]
    replica: SourceReplica | None = None  # None where Moodle's data come from no replica


@dataclass(frozen=True)
class HourOfCalls:
    """One hour's answered requests, and the response time of its pages in milliseconds."""

    start_at: int
    calls: int
    average_ms: float | None
    p95_ms: float | None


@dataclass(frozen=True)
class Consumer:
    """One company's answered requests of the last 24 hours."""

    id: int
    company: str
    calls: int
    rows: int
    average_ms: float | None
    share: float


@dataclass(frozen=True)
class StoreFigures:
    """The store itself."""

    bytes: int
    live_rows: int
    deleted_rows: int
    verified_at: int | None
    verify_result: str | None
    cache_entries: int
    cache_bytes: int
    oldest_log_at: int | None


@dataclass(frozen=True)
class Performance:
    """The second view, of the last 24 hours. Response times are of pages, not of exports.

    None where nothing was measured; calls and records are 0 when there were some before.
    """

    calls: int | None  # answered and failed; what was refused or asked wrongly is in the third view
    failures: int
    average_ms: float | None
    p95_ms: float | None
    success_rate: float | None
    cache_hit_rate: float | None
    cache_hits: int
    cache_misses: int
    records: int | None
    by_hour: tuple[HourOfCalls, ...]
    consumers: tuple[Consumer, ...]
    database: StoreFigures


@dataclass(frozen=True)
class Violation:
    """A company that asked beyond its limit in the last 24 hours."""

    id: int
    company: str
    used: int  # today
    limit: int
    refused: int  # in the last 24 hours
    last_at: int


@dataclass(frozen=True)
class ErrorFigure:
    """One request that was refused or failed."""

    at: int
    company: str
    caller: str
    endpoint: str
    error: str


@dataclass(frozen=True)
class ErrorCount:
    """How many requests of the last 24 hours ended with one kind of error."""

    error: str
    count: int


@dataclass(frozen=True)
class Security:
    """The third view, of the last 24 hours; None where no request was ever logged."""

    active_tokens: int
    rate_limit_violations: int | None
    failed_authentications: int | None
    suspicious_callers: int | None
    violations: tuple[Violation, ...]
    recent_errors: tuple[ErrorFigure, ...]
    errors_by_type: tuple[ErrorCount, ...]


@dataclass(frozen=True)
class OpenAlert:
    """One alert whose cause is there at this moment."""

    id: int | None  # None when no check has recorded it yet
    kind: str
    subject: str  # such as company:7 or caller:192.0.2.1; "" for the whole
    name: str  # of the subject, for people
    severity: str  # warning or critical
    message: str
    advice: str
    opened_at: int
    acknowledged_at: int | None
    acknowledged_by: str


@dataclass(frozen=True)
class Snapshot:
    """Everything that the views show."""

    at: int
    timezone: str  # in which days begin, and in which people read times
    auto_sync: AutoSync
    performance: Performance
    security: Security
    alerts: tuple[OpenAlert, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for ``monitor --json``; moments as ISO 8601 in UTC."""
        return _plain(self)  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {
            field.name: iso_time(getattr(value, field.name))
            if field.name == "at" or field.name.endswith("_at")
            else _plain(getattr(value, field.name))
            for field in fields(value)
        }
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def ratio(part: int, whole: int) -> float | None:
    """Return a share between 0 and 1, None where nothing was measured."""
    return round(part / whole, 6) if whole else None


def percentile(counts: Mapping[int, int], percent: int) -> float | None:
    """Return the nearest-rank percentile of whole numbers, each given with how often it was.

    None for no numbers at all.
    """
    rank = -(-sum(counts.values()) * percent // 100)
    for number in sorted(counts):
        rank -= counts[number]
        if rank <= 0:
            return float(number)
    return None


def day_starts(now: int, where: tzinfo) -> list[tuple[str, int]]:
    """Return the last seven days, today last: their dates, and the moments at which they began.

    A day has 23 or 25 hours where the clocks change, and may begin at another hour than 0.
    """
    today = datetime.fromtimestamp(now, where).date()
    days = [today - timedelta(days=back) for back in range(HISTORY_DAYS - 1, -1, -1)]
    return [
        (day.isoformat(), int(datetime(day.year, day.month, day.day, tzinfo=where).timestamp()))
        for day in days
    ]


def success_by_day(
    runs: Iterable[tuple[int, str]], days: Sequence[tuple[str, int]], now: int
) -> tuple[DayOfRuns, ...]:
    """Return how many of each day's finished runs left no company behind.

    ``runs`` are their beginnings and their status.
    """
    every, good = Counter[str](), Counter[str]()
    for started_at, status in runs:
        begun = [day for day, start in days if start <= started_at]
        if begun and started_at <= now and status != "running":
            every[begun[-1]] += 1
            good[begun[-1]] += status == "success"
    return tuple(
        DayOfRuns(day, every[day], good[day], ratio(good[day], every[day])) for day, _start in days
    )


def bursts(
    failures: Iterable[tuple[str, int, int]], *, least: int, seconds: int, ending_after: int = 0
) -> dict[str, int]:
    """Return the callers that failed ``least`` times within ``seconds``, and how often at most.

    Given are caller, minute and count, in the order of time. As failures are counted by the
    minute, none within the time is missed, and one that took up to a minute longer may be found.
    A burst counts when its last failure is after ``ending_after``.
    """
    windows: dict[str, list[tuple[int, int]]] = {}
    found: dict[str, int] = {}
    for caller, minute, count in failures:
        window = [item for item in windows.get(caller, []) if item[0] >= minute - seconds]
        window.append((minute, count))
        windows[caller] = window
        total = sum(number for _minute, number in window)
        if total >= least and minute > ending_after:
            found[caller] = max(total, found.get(caller, 0))
    return found
