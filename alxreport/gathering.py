"""What the views and the alerts need of the store alike, read once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo

from alxreport import alert_rules, call_facts, company_settings, monitor_facts, rate_limit
from alxreport.alert_rules import Condition, FailedCompany
from alxreport.call_facts import MINUTE, Calls
from alxreport.company_options import RATE_LIMIT, company_options
from alxreport.monitor_facts import CompanyFact, ResultSums, RunFact, StoreFacts
from alxreport.process_mark import is_held
from alxreport.request_log import AUTHORISATION
from alxreport.sessions import Session
from alxreport.settings import AlertSettings, Settings
from alxreport.snapshots import (
    CALLERS_FAULT,
    HISTORY_DAYS,
    P95_PERCENT,
    SourceReplica,
    bursts,
    percentile,
)
from alxreport.store_names import SOURCE_LAG

SWITCH, SWITCHED_OFF = "sync", "disabled"
ENDED_IN_THE_MIDDLE = "The process ended in the middle of the run."


@dataclass(frozen=True)
class Gathered:
    """What several views and the alerts need alike."""

    now: int
    where: tzinfo
    names: Mapping[int, str]
    companies: Sequence[CompanyFact]  # that are still there
    store: StoreFacts
    last: RunFact | None  # the newest run
    ended: RunFact | None  # the newest run that is over
    running: bool
    last_success_at: int | None
    results: Mapping[int, ResultSums]
    calls: Calls
    refused: Mapping[str, int]
    failures: int  # requests that failed through no fault of the caller
    used: Mapping[int, tuple[int, int]]
    limits: Mapping[int, int]
    conditions: Sequence[Condition]
    replica: SourceReplica | None  # that the last run read from

    @property
    def measured(self) -> bool:
        """Whether any request was ever logged, as far as the log goes back."""
        return self.store.oldest_log_at is not None


def gather(session: Session, settings: Settings, now: int) -> Gathered:
    """Return the facts behind the figures, with everything that is wrong at ``now``."""
    every = monitor_facts.companies(session)
    names = {company.id: company.shortname or f"id:{company.id}" for company in every}
    companies = [company for company in every if not company.gone]
    store = monitor_facts.store_facts(session)
    where = rate_limit.zone(settings.requests.timezone)
    last, ended, running = _last_runs(session, now)
    last_success_at = monitor_facts.last_good_end(session, now=now)
    since = call_facts.window_start(now)
    results = monitor_facts.results_since(session, since=since, now=now)
    calls = call_facts.calls_of_a_day(session, now=now)
    refused = call_facts.refused_by_kind(session, since=since, now=now)
    failures = sum(count for kind, count in refused.items() if kind not in CALLERS_FAULT)
    used = rate_limit.usage_of_day(session, day=rate_limit.day_of(now, where))
    limits = _limits(session, settings, used)
    total = calls.total
    failed = ended is not None and ended.status == "failed"
    replica = _replica(store)
    facts = alert_rules.Facts(
        now=now,
        disabled=store.meta.get(SWITCH) == SWITCHED_OFF,
        running=running,
        last_started_at=last.started_at if last else None,
        # A run in which every company failed is told by its companies.
        last_failed=ended.error if ended and failed and ended.error else None,
        last_success_at=last_success_at,
        failed_companies=[
            FailedCompany(company.id, company.shortname, company.error, company.synced_at)
            for company in companies
            if company.status == "failed"
        ],
        company_syncs=sum(result.syncs for result in results.values()),
        company_failures=sum(result.failed for result in results.values()),
        pages=total.timed,
        p95_ms=percentile(calls.all_latencies, P95_PERCENT),
        answered=total.calls,
        failures=failures,
        repeats=total.repeats,
        repeat_hits=total.repeat_hits,
        uses=[
            alert_rules.Use(company, names.get(company, f"id:{company}"), granted, limits[company],
                            beyond)
            for company, (granted, beyond) in sorted(used.items())
        ],
        bursts=_bursts(session, settings.alerts, names, now),
        attackers=_attackers(session, settings.alerts, now),
        replica=replica,
    )  # fmt: skip
    return Gathered(
        now, where, names, companies, store, last, ended, running, last_success_at, results, calls,
        refused, failures, used, limits, alert_rules.conditions(facts, settings.alerts),
        replica,
    )  # fmt: skip


def _last_runs(session: Session, now: int) -> tuple[RunFact | None, RunFact | None, bool]:
    """Return the newest run, the newest that is over, and whether one is running now."""
    newest = monitor_facts.newest_runs(session, now=now, most=2)
    if not newest:
        return None, None, False
    owner, expires_at = monitor_facts.lease(session)
    running = newest[0].status == "running" and is_held(owner, expires_at, now)
    if running:
        return newest[0], newest[1] if len(newest) > 1 else None, True
    last = newest[0]
    if last.status == "running":
        last = RunFact(last.id, last.started_at, None, "failed", ENDED_IN_THE_MIDDLE)
    return last, last, False


def _replica(store: StoreFacts) -> SourceReplica | None:
    told = store.meta.get(SOURCE_LAG)
    return SourceReplica(**json.loads(told)) if told else None


def _limits(
    session: Session, settings: Settings, used: Mapping[int, tuple[int, int]]
) -> dict[int, int]:
    own = company_settings.values_of(session, RATE_LIMIT)
    return {
        company: company_options(settings, {RATE_LIMIT: own[company]}).rate_limit
        if company in own
        else settings.requests.rate_limit
        for company in {*used, *own}
    }


def _bursts(
    session: Session, limits: AlertSettings, names: Mapping[int, str], now: int
) -> list[alert_rules.Burst]:
    busy = call_facts.busy_companies(session, now=now, least=limits.least_events)
    peaks = call_facts.hourly_peaks(session, sorted(busy), now=now, days=HISTORY_DAYS)
    return [
        alert_rules.Burst(company, names.get(company, f"id:{company}"), busy[company], peak)
        for company, peak in sorted(peaks.items())
    ]


def _attackers(session: Session, limits: AlertSettings, now: int) -> dict[str, int]:
    if not limits.failed_authentications:
        return {}
    seconds = limits.failed_authentication_minutes * MINUTE
    # A burst that began before these minutes and ends in them is one of them; so is one of the
    # rest of the minute in which the check ten minutes ago looked.
    since = now - now % MINUTE - 2 * seconds - 2 * MINUTE
    failures = call_facts.refused_of_kind(session, AUTHORISATION, since=since, now=now)
    return bursts(
        failures, least=limits.failed_authentications, seconds=seconds,
        ending_after=now - now % MINUTE - seconds - MINUTE,
    )  # fmt: skip
