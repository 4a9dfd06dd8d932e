"""When something is an alert: each condition, its words, and the one thing to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from alxreport.records import iso_time
from alxreport.settings import AlertSettings
from alxreport.snapshots import SourceReplica
from alxreport.wording import span

WARNING, CRITICAL = "warning", "critical"
HOUR = 3_600
SYNC_FAILED, OVERDUE = "sync_failed", "sync_overdue"
ERROR_RATE, SLOW, FAILING = "sync_error_rate", "response_time", "success_rate"
CACHE, LIMIT, ATTACK, UNUSUAL, REPLICA = (
    "cache_hit_rate", "rate_limit", "failed_authentications", "unusual_activity", "replica_lag",
)  # fmt: skip


@dataclass(frozen=True)
class Condition:
    """One thing that is wrong at a moment."""

    kind: str
    severity: str
    message: str
    advice: str
    subject: str = ""
    name: str = ""


@dataclass(frozen=True)
class FailedCompany:
    """A company whose last sync failed."""

    id: int
    name: str
    error: str
    synced_at: int | None


@dataclass(frozen=True)
class Use:
    """What a company used of today's limit, and what it was refused."""

    id: int
    name: str
    used: int
    limit: int
    refused: int


@dataclass(frozen=True)
class Burst:
    """A company's requests of the last 60 minutes, and the most of an hour in the week before."""

    id: int
    name: str
    calls: int
    peak: int


@dataclass(frozen=True)
class Facts:
    """What the conditions are judged by."""

    now: int
    disabled: bool = False
    running: bool = False
    last_started_at: int | None = None
    last_failed: str | None = None  # why the last run failed as a whole; None when it did not
    last_success_at: int | None = None
    failed_companies: Sequence[FailedCompany] = ()
    company_syncs: int = 0
    company_failures: int = 0
    pages: int = 0
    p95_ms: float | None = None
    answered: int = 0
    failures: int = 0
    repeats: int = 0
    repeat_hits: int = 0
    uses: Sequence[Use] = ()
    bursts: Sequence[Burst] = ()
    attackers: dict[str, int] = field(default_factory=dict)
    replica: SourceReplica | None = None


def conditions(facts: Facts, limits: AlertSettings) -> list[Condition]:
    """Return everything that is wrong, the critical first."""
    found = [
        *_sync(facts, limits),
        *_replica(facts, limits),
        *_error_rate(facts, limits),
        *_requests(facts, limits),
        *_companies(facts, limits),
        *_callers(facts, limits),
    ]
    return sorted(found, key=lambda c: c.severity != CRITICAL)


def _sync(facts: Facts, limits: AlertSettings) -> Iterator[Condition]:
    if facts.last_failed is not None:
        reason = facts.last_failed.rstrip(".") or "the run ended in the middle"
        yield Condition(
            SYNC_FAILED, CRITICAL,
            f"The last sync failed: {reason}. {_last_success(facts.last_success_at)}",
            "Put right what it says, then run: alxreport sync",
        )  # fmt: skip
    for company in facts.failed_companies:
        yield Condition(
            SYNC_FAILED, CRITICAL,
            f"The sync of {company.name} failed: {company.error.rstrip('.')}."
            f" {_last_success(company.synced_at)}",
            f"Look into Moodle first; see it all: alxreport verify --company id:{company.id}"
            if "--allow-mass-delete" in company.error
            else f"Put right what it says, then run: alxreport sync --company id:{company.id}",
            f"company:{company.id}", company.name,
        )  # fmt: skip
    started = facts.last_started_at
    overdue = limits.overdue_hours * HOUR
    if facts.disabled or facts.running or not overdue or started is None:
        return
    if facts.now - started > overdue:
        yield Condition(
            OVERDUE, CRITICAL,
            f"No sync has begun since {iso_time(started)}, for more than"
            f" {_amount(limits.overdue_hours)} hours. {_last_success(facts.last_success_at)}",
            "Run: alxreport cron status",
        )  # fmt: skip


def _replica(facts: Facts, limits: AlertSettings) -> Iterator[Condition]:
    replica, most = facts.replica, limits.replica_lag_minutes * 60
    if replica is None or not most:
        return
    lag = replica.lag_seconds
    if lag is not None and lag > most:
        told = f"was {span(int(lag))} behind its primary"
    elif replica.stopped:
        told = "received nothing from its primary any more"
    else:
        return
    yield Condition(
        REPLICA, WARNING,
        f"Moodle's database is a replica that {told} at the last sync: newer progress is missing.",
        "Look at its replication, then at: alxreport doctor",
    )  # fmt: skip


def _last_success(at: int | None) -> str:
    told = iso_time(at)
    return f"The data are of {told}." if told else "It never succeeded."


def _error_rate(facts: Facts, limits: AlertSettings) -> Iterator[Condition]:
    failed, every = facts.company_failures, facts.company_syncs
    if not limits.sync_error_percent or every < limits.least_events:
        return
    if failed * 100 > limits.sync_error_percent * every:
        yield Condition(
            ERROR_RATE, WARNING,
            f"{failed:,} of {every:,} syncs of companies failed in 24 hours"
            f" ({_percent(failed, every)}, limit {_amount(limits.sync_error_percent)} %).",
            "See which and why: alxreport monitor auto-sync",
        )  # fmt: skip


def _requests(facts: Facts, limits: AlertSettings) -> Iterator[Condition]:
    p95, most = facts.p95_ms, limits.p95_seconds * 1000
    if most and facts.pages >= limits.least_events and p95 is not None and p95 > most:
        yield Condition(
            SLOW, WARNING,
            f"One page in twenty took {p95 / 1000:.1f} s or longer in 24 hours"
            f" (limit {_amount(limits.p95_seconds)} s).",
            "See when and for whom: alxreport monitor performance",
        )  # fmt: skip
    judged = facts.answered + facts.failures
    if (
        judged >= limits.least_events
        and facts.answered * 100 < limits.success_percent * judged
    ):  # fmt: skip
        yield Condition(
            FAILING, CRITICAL,
            f"{facts.failures:,} of {judged:,} requests failed in 24 hours"
            f" ({_percent(facts.answered, judged)} succeeded, limit"
            f" {_amount(limits.success_percent)} %).",
            "See the errors: alxreport monitor security",
        )  # fmt: skip
    if (
        facts.repeats >= limits.least_cache_events
        and facts.repeat_hits * 100 < limits.cache_hit_percent * facts.repeats
    ):
        yield Condition(
            CACHE, WARNING,
            f"Of {facts.repeats:,} requests that repeated another, {facts.repeat_hits:,}"
            f" were answered from the cache ({_percent(facts.repeat_hits, facts.repeats)}, limit"
            f" {_amount(limits.cache_hit_percent)} %).",
            "See whether it is full: alxreport cache show (requests.cache_megabytes)",
        )  # fmt: skip


def _companies(facts: Facts, limits: AlertSettings) -> Iterator[Condition]:
    for use in facts.uses:
        percent = limits.limit_warning_percent
        exceeded = bool(use.limit) and use.used >= use.limit and use.refused > 0
        near = bool(use.limit and percent) and use.used * 100 >= percent * use.limit
        if not exceeded and not near:
            continue
        told = f"{use.name} used {use.used:,} of its {use.limit:,} requests of today"
        yield Condition(
            LIMIT, CRITICAL if exceeded else WARNING,
            f"{told}; {use.refused:,} more were refused." if exceeded else f"{told}.",
            f"Allow more, or ask why it needs them: alxreport limit set id:{use.id} N",
            f"company:{use.id}", use.name,
        )  # fmt: skip
    for burst in facts.bursts:
        factor = limits.unusual_factor
        if not factor or not burst.peak or burst.calls < limits.least_events:
            continue
        if burst.calls > factor * burst.peak:
            yield Condition(
                UNUSUAL, WARNING,
                f"{burst.name} made {burst.calls:,} requests in the last hour; in seven days"
                f" before it made {burst.peak:,} in an hour at the most.",
                f"Ask whether it is theirs; else: alxreport token list --company id:{burst.id}",
                f"company:{burst.id}", burst.name,
            )  # fmt: skip


def _callers(facts: Facts, limits: AlertSettings) -> Iterator[Condition]:
    for caller, count in sorted(facts.attackers.items()):
        told = "Callers too many to tell apart" if caller == "*" else caller or "An unknown caller"
        yield Condition(
            ATTACK, CRITICAL,
            f"{told} failed to authenticate {count:,} times within"
            f" {limits.failed_authentication_minutes} minutes.",
            "See the log for what asked there; correct it, or block the address in the firewall.",
            f"caller:{caller}", caller,
        )  # fmt: skip


def worst(severities: Iterable[str]) -> str | None:
    """Return the gravest of some severities, None for none."""
    found = set(severities)
    return CRITICAL if CRITICAL in found else WARNING if WARNING in found else None


def _percent(part: int, whole: int) -> str:
    # Rounded down to the side of its truth: 94.99 % must not read as 95 %.
    return f"{part * 1000 // whole / 10:.1f} %"


def _amount(number: float) -> str:
    return f"{number:g}"
