"""The monitor: what the store recorded, as figures of one moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from tempfile import TemporaryDirectory

from alxreport import alert_log, cache, call_facts, monitor_facts
from alxreport.alert_rules import Condition
from alxreport.call_facts import HOUR, MINUTE, Calls
from alxreport.gathering import SWITCH, SWITCHED_OFF, Gathered, gather
from alxreport.monitor_facts import ResultSums
from alxreport.request_log import AUTHORISATION
from alxreport.request_log import RATE_LIMIT as BEYOND_LIMIT
from alxreport.sessions import Session, Store
from alxreport.settings import Settings, StoreSettings
from alxreport.snapshots import (
    ACTIVE,
    DISABLED,
    FAILED,
    NEVER_RUN,
    OVERDUE,
    P95_PERCENT,
    RUNNING,
    AutoSync,
    CompanySync,
    Consumer,
    ErrorCount,
    ErrorFigure,
    HourOfCalls,
    OpenAlert,
    Performance,
    Security,
    Snapshot,
    StoreFigures,
    Violation,
    bursts,
    day_starts,
    percentile,
    ratio,
    success_by_day,
)

SHOWN_CONSUMERS, SHOWN_VIOLATIONS, SHOWN_ERRORS = 10, 20, 10
VERIFIED = "verified"


@contextmanager
def stand_in() -> Iterator[Store]:
    """Yield an empty store, for figures of an installation that never synced."""
    from alxreport.database import open_store
    from alxreport.schema import prepare_store, store_tables

    with TemporaryDirectory(prefix="alxreport-") as folder:
        settings = StoreSettings(url=f"sqlite:///{folder}/empty.db")
        engine = open_store(settings)
        prepare_store(engine, store_tables())
        engine.dispose()
        store = Store(settings)
        try:
            yield store
        finally:
            store.close()


def take(store: Store, settings: Settings, *, now: int, next_sync_at: int | None) -> Snapshot:
    """Return the figures of all three views at ``now``, read in one transaction.

    ``next_sync_at`` is when the installed line of cron runs the sync next. Raises StoreError, and
    ConfigError for a time zone that this machine does not know.
    """

    def work(session: Session) -> Snapshot:
        gathered = gather(session, settings, now)
        return Snapshot(
            at=now,
            timezone=settings.requests.timezone,
            auto_sync=_auto_sync(session, settings, gathered, next_sync_at),
            performance=_performance(session, gathered),
            security=_security(session, settings, gathered),
            alerts=_alerts(session, gathered.conditions, now),
        )

    return store.read(work)


def _auto_sync(
    session: Session, settings: Settings, known: Gathered, next_sync_at: int | None
) -> AutoSync:
    days = day_starts(known.now, known.where)
    last = known.last  # which says failed of a run that was killed, whose row cannot
    since = call_facts.window_start(known.now)
    runs = [
        last if last and run.id == last.id else run
        for run in monitor_facts.runs_since(session, since=min(days[0][1], since))
    ]
    by_day = success_by_day(((run.started_at, run.status) for run in runs), days, known.now)
    failed_runs = sum(
        run.status == "failed" and bool(run.error) and since <= run.started_at <= known.now
        for run in runs
    )
    nothing = ResultSums()
    done = [known.results.get(company.id, nothing) for company in known.companies]
    ended, every = known.ended, list(known.results.values())
    finished, good = sum(day.runs for day in by_day), sum(day.succeeded for day in by_day)
    return AutoSync(
        status=_status(known, settings),
        error=ended.error if ended and ended.status == "failed" else "",
        companies_synced=sum(company.synced_at is not None for company in known.companies),
        companies_failed=sum(company.status == "failed" for company in known.companies),
        companies_all=len(known.companies),
        last_sync_at=(ended.finished_at or ended.started_at) if ended else None,
        last_sync_status=ended.status if ended else None,
        last_success_at=known.last_success_at,
        next_sync_at=next_sync_at,
        records=sum(r.created + r.updated + r.deleted for r in every) if known.last else None,
        created=sum(result.created for result in every) if known.last else None,
        updated=sum(result.updated for result in every) if known.last else None,
        deleted=sum(result.deleted for result in every) if known.last else None,
        errors=failed_runs + sum(r.failed for r in every) if known.last else None,
        failed_runs=failed_runs if known.last else None,
        company_syncs=sum(result.syncs for result in every),
        success_rate_7d=ratio(good, finished),
        runs_7d=finished,
        success_by_day=by_day,
        companies=tuple(
            CompanySync(
                company.id, company.shortname, company.name, company.status or "never",
                company.synced_at, company.rows, result.created, result.updated, result.deleted,
                result.failed,
                None if company.synced_at is None or company.status == "failed"
                else company.duration_ms / 1000,
                company.error,
            )
            for company, result in zip(known.companies, done, strict=True)
        ),
        replica=known.replica,
    )  # fmt: skip


def _status(known: Gathered, settings: Settings) -> str:
    """Return the sync's status; of several that hold, the one that asks for the most."""
    if known.store.meta.get(SWITCH) == SWITCHED_OFF:
        return DISABLED
    if known.running:
        return RUNNING
    if known.last is None:
        return NEVER_RUN
    if known.last.status != "success":
        return FAILED
    hours = settings.alerts.overdue_hours
    return OVERDUE if hours and known.now - known.last.started_at > hours * HOUR else ACTIVE


def _performance(session: Session, known: Gathered) -> Performance:
    calls, total = known.calls, known.calls.total
    judged = total.calls + known.failures
    entries, size = cache.figures(session)
    verified_at, _space, verdict = known.store.meta.get(VERIFIED, "").partition(" ")
    hours = [known.now - known.now % HOUR - back * HOUR for back in range(23, -1, -1)]
    return Performance(
        calls=judged if known.measured else None,
        failures=known.failures,
        average_ms=total.average_ms,
        p95_ms=percentile(calls.all_latencies, P95_PERCENT),
        success_rate=ratio(total.calls, judged),
        cache_hit_rate=ratio(total.hits, total.hits + total.misses),
        cache_hits=total.hits,
        cache_misses=total.misses,
        records=total.rows if known.measured else None,
        by_hour=tuple(_hour(calls, start) for start in hours),
        consumers=_consumers(known),
        database=StoreFigures(
            bytes=known.store.bytes,
            live_rows=sum(company.rows for company in known.companies),
            deleted_rows=monitor_facts.tombstones(session),
            verified_at=int(verified_at) if verified_at.isdecimal() else None,
            verify_result=verdict or None,
            cache_entries=entries,
            cache_bytes=size,
            oldest_log_at=known.store.oldest_log_at,
        ),
    )


def _hour(calls: Calls, start: int) -> HourOfCalls:
    sums = calls.by_hour.get(start)
    if sums is None:
        return HourOfCalls(start, 0, None, None)
    p95 = percentile(calls.latency.get(start, {}), P95_PERCENT)
    return HourOfCalls(start, sums.calls, sums.average_ms, p95)


def _consumers(known: Gathered) -> tuple[Consumer, ...]:
    every = known.calls.by_company
    calls = sum(sums.calls for sums in every.values())
    first = sorted(every, key=lambda company: (-every[company].calls, company))[:SHOWN_CONSUMERS]
    return tuple(
        Consumer(
            company, known.names.get(company, f"id:{company}"), every[company].calls,
            every[company].rows, every[company].average_ms, every[company].calls / calls,
        )
        for company in first
    )  # fmt: skip


def _security(session: Session, settings: Settings, known: Gathered) -> Security:
    since, now, limits = call_facts.window_start(known.now), known.now, settings.alerts
    failures = call_facts.refused_of_kind(session, AUTHORISATION, since=since, now=now)
    suspicious = bursts(
        failures,
        least=limits.failed_authentications or 1,
        seconds=limits.failed_authentication_minutes * MINUTE,
    )
    beyond = call_facts.refused_subjects(
        session, BEYOND_LIMIT, since=since, now=now, most=SHOWN_VIOLATIONS
    )
    return Security(
        active_tokens=monitor_facts.active_tokens(session, now=now),
        rate_limit_violations=known.refused.get(BEYOND_LIMIT, 0) if known.measured else None,
        failed_authentications=known.refused.get(AUTHORISATION, 0) if known.measured else None,
        suspicious_callers=len(suspicious) if known.measured else None,
        violations=tuple(
            _violation(known, settings, subject, count, last) for subject, count, last in beyond
        ),
        recent_errors=tuple(
            ErrorFigure(
                error.at, known.names.get(error.company, ""), error.caller, error.endpoint,
                error.error,
            )
            for error in call_facts.recent_errors(
                session, since=since, now=now, most=SHOWN_ERRORS
            )
        ),
        errors_by_type=tuple(
            ErrorCount(kind, known.refused[kind])
            for kind in sorted(known.refused, key=lambda k: (-known.refused[k], k))
        ),
    )  # fmt: skip


def _violation(
    known: Gathered, settings: Settings, subject: str, refused: int, last_at: int
) -> Violation:
    company = int(subject) if subject.isdecimal() else 0
    return Violation(
        company, known.names.get(company, f"id:{subject}"), known.used.get(company, (0, 0))[0],
        known.limits.get(company, settings.requests.rate_limit), refused, last_at,
    )  # fmt: skip


def _alerts(session: Session, found: Sequence[Condition], now: int) -> tuple[OpenAlert, ...]:
    """Return what is wrong now, with what earlier checks recorded of it."""
    recorded = {(alert.kind, alert.subject): alert for alert in alert_log.open_alerts(session)}
    alerts = []
    for condition in found:
        known = recorded.get((condition.kind, condition.subject))
        alerts.append(
            OpenAlert(
                known.id if known else None, condition.kind, condition.subject, condition.name,
                condition.severity, condition.message, condition.advice,
                known.opened_at if known else now,
                known.acknowledged_at if known else None,
                known.acknowledged_by if known else "",
            )
        )  # fmt: skip
    return tuple(alerts)
