"""The recorded facts of syncs behind the monitor, one short statement each."""

from __future__ import annotations

from dataclasses import dataclass

from alxreport.sessions import Session, first, numbers
from alxreport.store_size import store_bytes

_RUNS = "SELECT id, started_at, finished_at, status, coalesce(error, '')"


@dataclass(frozen=True)
class RunFact:
    """One run of the sync."""

    id: int
    started_at: int
    finished_at: int | None
    status: str  # running, success, partial or failed
    error: str


@dataclass(frozen=True)
class CompanyFact:
    """One company as its last sync left it."""

    id: int
    shortname: str
    name: str
    gone: bool
    synced_at: int | None
    rows: int
    tombstones: int
    status: str
    error: str
    duration_ms: int


@dataclass(frozen=True)
class ResultSums:
    """What the runs of a time did to one company."""

    syncs: int = 0
    failed: int = 0
    created: int = 0
    updated: int = 0
    deleted: int = 0


@dataclass(frozen=True)
class StoreFacts:
    """The store itself."""

    bytes: int
    oldest_log_at: int | None
    meta: dict[str, str]


def runs_since(session: Session, *, since: int) -> list[RunFact]:
    """Return the runs that began since a moment, the oldest first."""
    sql = f"{_RUNS} FROM {session.names.sync_runs} WHERE started_at >= :since"
    return [RunFact(*row) for row in session.rows(f"{sql} ORDER BY started_at, id", since=since)]


def newest_runs(session: Session, *, now: int, most: int) -> list[RunFact]:
    """Return the last runs, the newest first; those of a clock that was ahead do not count."""
    sql = (
        f"{_RUNS} FROM {session.names.sync_runs} WHERE started_at <= :now"
        f" ORDER BY started_at DESC, id DESC LIMIT {int(most)}"
    )
    return [RunFact(*row) for row in session.rows(sql, now=now)]


def last_good_end(session: Session, *, now: int) -> int | None:
    """Return when the newest run ended of which at least a part succeeded."""
    found = first(
        session,
        f"SELECT finished_at FROM {session.names.sync_runs}"  # noqa: S608
        " WHERE status IN ('success', 'partial') AND started_at <= :now"
        " ORDER BY started_at DESC, id DESC LIMIT 1",
        now=now,
    )
    return None if found is None else found[0]


def companies(session: Session) -> list[CompanyFact]:
    """Return every company that a sync ever saw, by id."""
    found = session.rows(
        "SELECT companyid, shortname, name, gone, synced_at, live_rows, deleted_rows, last_status,"  # noqa: S608
        f" coalesce(last_error, ''), duration_ms FROM {session.names.sync_status}"
        " ORDER BY companyid"
    )
    return [
        CompanyFact(company, shortname, name, bool(gone), *rest)
        for company, shortname, name, gone, *rest in found
    ]


def results_since(session: Session, *, since: int, now: int) -> dict[int, ResultSums]:
    """Return what the runs since a moment did, by company."""
    runs = session.rows(
        f"SELECT id FROM {session.names.sync_runs}"  # noqa: S608
        " WHERE started_at >= :since AND started_at <= :now",
        since=since,
        now=now,
    )
    # Named one by one: as a join, PostgreSQL would read the results of all runs.
    found = session.rows(
        "SELECT companyid, count(*), sum(CASE WHEN status = 'failed' THEN 1 ELSE 0 END),"  # noqa: S608
        f" sum(created), sum(updated), sum(deleted) FROM {session.names.sync_results}"
        f" WHERE runid IN ({numbers([run[0] for run in runs])}) GROUP BY companyid"
    )
    return {int(row[0]): ResultSums(*map(int, row[1:])) for row in found}


def lease(session: Session) -> tuple[str, int]:
    """Return who holds the sync's lease, "" for nobody, and until when."""
    sql = f"SELECT owner, expires_at FROM {session.names.leases} WHERE name = 'sync'"  # noqa: S608
    found = first(session, sql)
    return ("", 0) if found is None else (str(found[0]), int(found[1]))


def store_facts(session: Session) -> StoreFacts:
    """Return the size of the store, its oldest log entry and its small facts."""
    oldest = first(session, f"SELECT min(at) FROM {session.names.logs}")  # noqa: S608
    meta = session.rows(f"SELECT name, value FROM {session.names.meta}")  # noqa: S608
    return StoreFacts(
        store_bytes(session), oldest[0] if oldest else None, {str(k): str(v) for k, v in meta}
    )


def active_tokens(session: Session, *, now: int) -> int:
    """Return how many tokens open something at a moment."""
    sql = (
        f"SELECT count(*) FROM {session.names.tokens}"  # noqa: S608
        " WHERE revoked_at = 0 AND (expires_at = 0 OR expires_at > :now)"
    )
    return int(session.rows(sql, now=now)[0][0])


def tombstones(session: Session) -> int:
    """Return how many deleted rows are still kept, of companies that are gone too."""
    found = session.rows(f"SELECT sum(deleted_rows) FROM {session.names.sync_status}")  # noqa: S608
    return int(found[0][0] or 0)
