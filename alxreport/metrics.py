"""The monitor's figures as Prometheus text, for a textfile collector or a scrape."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from alxreport import snapshots
from alxreport.snapshots import AutoSync, Performance, Security, Snapshot

Labels = dict[str, str]
Sample = tuple[Labels, float | int | None]
STATUSES = (
    snapshots.ACTIVE, snapshots.DISABLED, snapshots.RUNNING, snapshots.FAILED, snapshots.OVERDUE,
    snapshots.NEVER_RUN,
)  # fmt: skip


def text(snapshot: Snapshot) -> str:
    """Return the figures of a snapshot in the exposition format 0.0.4.

    All are gauges: counts cover the last 24 hours. What was not measured yet is left out.
    """
    lines: list[str] = []
    for name, meaning, samples in [
        *_sync(snapshot.auto_sync),
        *_performance(snapshot.performance),
        *_security(snapshot.security),
        *_alerts(snapshot),
        ("snapshot_timestamp_seconds", "When these figures were taken.", [({}, snapshot.at)]),
    ]:
        known = [(labels, value) for labels, value in samples if value is not None]
        if known:
            lines += [f"# HELP alxreport_{name} {meaning}", f"# TYPE alxreport_{name} gauge"]
            lines += [f"alxreport_{name}{_labels(labels)} {value!r}" for labels, value in known]
    return "\n".join(lines) + "\n"


Family = tuple[str, str, Sequence[Sample]]


def _sync(view: AutoSync) -> Iterable[Family]:
    yield (
        "sync_status",
        "1 for the sync's status, 0 for the others.",
        [({"status": status}, int(status == view.status)) for status in STATUSES],
    )
    single: dict[str, tuple[str, float | int | None]] = {
        "sync_last_timestamp_seconds": ("End of the last run.", view.last_sync_at),
        "sync_last_success_timestamp_seconds": (
            "End of the last run that brought new data.", view.last_success_at,
        ),
        "sync_next_timestamp_seconds": ("Next run of the installed line.", view.next_sync_at),
        "sync_success_ratio_7d": ("Share of runs without a failure.", view.success_rate_7d),
        "companies": ("Companies.", view.companies_all),
        "companies_synced": ("Companies that were ever synced.", view.companies_synced),
        "companies_failed": ("Companies whose last sync failed.", view.companies_failed),
        "sync_created_24h": ("Rows created.", view.created),
        "sync_updated_24h": ("Rows updated.", view.updated),
        "sync_deleted_24h": ("Rows deleted.", view.deleted),
        "sync_errors_24h": ("Failed syncs of companies, and failed runs.", view.errors),
        "source_replica_lag_seconds": (
            "What Moodle's replica was behind at the last run.",
            view.replica.lag_seconds if view.replica else None,
        ),
    }  # fmt: skip
    for name, (meaning, value) in single.items():
        yield name, meaning, [({}, value)]
    company = [({"company": c.company, "id": str(c.id)}, c) for c in view.companies]
    yield (
        "company_synced_timestamp_seconds", "The company's last successful sync.",
        [(labels, c.synced_at) for labels, c in company],
    )  # fmt: skip
    yield "company_rows", "The company's live rows.", [(labels, c.rows) for labels, c in company]
    yield (
        "company_failed", "1 when the company's last sync failed.",
        [(labels, int(c.status == "failed")) for labels, c in company],
    )  # fmt: skip


def _performance(view: Performance) -> Iterable[Family]:
    store = view.database
    single: dict[str, tuple[str, float | int | None]] = {
        "calls_24h": ("Answered and failed requests.", view.calls),
        "call_failures_24h": ("Requests that failed.", view.failures),
        "response_average_seconds": ("Mean response time of pages.", _seconds(view.average_ms)),
        "response_p95_seconds": ("95th percentile of it.", _seconds(view.p95_ms)),
        "success_ratio": ("Share of answered requests.", view.success_rate),
        "cache_hit_ratio": ("Hits among hits and misses.", view.cache_hit_rate),
        "cache_hits_24h": ("Pages from the cache.", view.cache_hits),
        "cache_misses_24h": ("Pages that were not in the cache.", view.cache_misses),
        "records_24h": ("Records handed out.", view.records),
        "store_bytes": ("Size of the store.", store.bytes),
        "live_rows": ("Live rows of the reporting table.", store.live_rows),
        "deleted_rows": ("Deleted rows that are kept.", store.deleted_rows),
        "verified_timestamp_seconds": ("Last verify.", store.verified_at),
        "cache_entries": ("Cached pages.", store.cache_entries),
        "oldest_log_timestamp_seconds": ("Oldest log entry.", store.oldest_log_at),
    }
    for name, (meaning, value) in single.items():
        yield name, meaning, [({}, value)]


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _security(view: Security) -> Iterable[Family]:
    single: dict[str, tuple[str, int | None]] = {
        "active_tokens": ("Tokens that open something.", view.active_tokens),
        "rate_limit_violations_24h": (
            "Requests refused beyond the limit.", view.rate_limit_violations,
        ),
        "failed_authentications_24h": ("Failed authentications.", view.failed_authentications),
        "suspicious_callers_24h": (
            "Callers that failed to authenticate many times at once.", view.suspicious_callers,
        ),
    }  # fmt: skip
    for name, (meaning, value) in single.items():
        yield name, meaning, [({}, value)]
    yield (
        "errors_24h", "Refused and failed requests.",
        [({"error": error.error}, error.count) for error in view.errors_by_type],
    )  # fmt: skip


def _alerts(snapshot: Snapshot) -> Iterable[Family]:
    yield (
        "alerts", "Open alerts.",
        [
            ({"severity": severity}, sum(a.severity == severity for a in snapshot.alerts))
            for severity in ("critical", "warning")
        ],
    )  # fmt: skip


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    inner = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return "{" + inner + "}"


def _escaped(value: str) -> str:
    plain = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return "".join(c if c.isprintable() else "?" for c in plain)
