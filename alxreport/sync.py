"""The sync: brings the reporting table to what a full rebuild would give at this moment."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC
from tempfile import TemporaryDirectory

from sqlalchemy import Connection, Engine

from alxreport import (
    alert_log,
    cache,
    fingerprints,
    history,
    rate_limit,
    request_log,
    retention,
    store,
    switch,
)
from alxreport import survey as surveys
from alxreport.again import until_done, written
from alxreport.companies import Named, find_company
from alxreport.company_sync import finish_untouched, sync_companies
from alxreport.database import (
    connecting,
    open_store,
    reading,
    store_exists,
)
from alxreport.errors import AlxError, StoreError
from alxreport.fingerprints import Movement, Position
from alxreport.lease import Lease, sync_lease
from alxreport.ping import ping
from alxreport.records import CompanyState, RunReport
from alxreport.run import Observer, Run, unobserved
from alxreport.schema import (
    StoreTables,
    prepare_store,
    refuse_foreign,
    schema_version,
    store_tables,
)
from alxreport.sessions import ServerSession
from alxreport.settings import Settings, StoreSettings
from alxreport.store_names import SCHEMA_VERSION
from alxreport.survey import Survey
from alxreport.token_form import without_secrets
from alxreport.watched_source import Watched, remember, watched

DAY_SECONDS = 86_400
# Parts of the log that one run clears away at the most; the next one goes on.
PRUNED_PARTS = 100


def run_sync(
    settings: Settings,
    engine: Engine,
    tables: StoreTables,
    *,
    companies: Sequence[str] = (),
    full: bool = False,
    dry_run: bool = False,
    allow_mass_delete: bool = False,
    now: int | None = None,
    observer: Observer = unobserved,
) -> RunReport:
    """Run one sync into a prepared store and return what it did.

    Given ``companies`` (names), only theirs; ``full`` derives everything again, changed or not;
    ``dry_run`` writes nothing. ``now`` is the moment in unix seconds at which rows must be live.
    Raises AlreadyRunningError, SourceError or StoreError; nothing is half-written then.
    """
    now = int(time.time()) if now is None else now
    task = _Task(
        settings, engine, tables, companies, full, allow_mass_delete, now, observer,
        started=time.monotonic(),
    )  # fmt: skip
    if switch.is_disabled(engine, tables):
        return RunReport(None, "incremental", "disabled", now, now, 0.0, dry_run=dry_run)
    if dry_run:
        return _attempt(task, None, None)
    watcher = settings.sync.ping_url
    with sync_lease(engine, tables, int(time.time())) as lease:
        number = written(engine, lambda to: history.begin_run(to, tables, task.mode, now))
        try:
            ping(watcher, "start")
            report = until_done(
                lambda attempt: _attempt(task, lease, number, attempt),
                lambda error: isinstance(error, StoreError) or bool(task.reached),
            )
        except BaseException as error:
            text = error.message if isinstance(error, AlxError) else type(error).__name__
            _record_failure(task, number, text)
            ping(watcher, "fail", without_secrets(text))
            raise
    failed, every = report.errors, len(report.companies)
    if failed:
        ping(watcher, "fail", f"{failed} of {every} companies failed")
    else:
        ping(watcher, "success")
    return report


@dataclass(frozen=True)
class _Task:
    """What one run was asked to do."""

    settings: Settings
    engine: Engine
    tables: StoreTables
    companies: Sequence[str]
    full: bool
    allow_mass_delete: bool
    now: int
    observer: Observer
    started: float  # of the monotonic clock, in seconds
    reached: list[bool] = field(default_factory=list)  # an attempt met Moodle's database
    first: list[bool] = field(default_factory=list)  # whether an attempt found nothing in the store

    @property
    def mode(self) -> str:
        """The mode that was asked for; a first run is full in any case."""
        return "full" if self.full else "incremental"


@contextmanager
def dry_store(settings: Settings) -> Iterator[tuple[Engine, StoreTables]]:
    """Yield a store for a dry run: the real one, or where there is none yet an empty stand-in.

    Nothing is made or migrated. Raises StoreError for a store of another schema version.
    """
    tables = store_tables(settings.store.table_prefix)
    if store_exists(settings.store):
        engine = open_store(settings.store)
        with connecting(engine) as connection:
            version = schema_version(connection, tables)
            if version is None:
                refuse_foreign(connection, tables)
        if version is not None:
            if version != SCHEMA_VERSION:
                raise StoreError(
                    f"The store has schema {version or 'none'}, not {SCHEMA_VERSION}.",
                    "Run 'alxreport sync' without --dry-run once.",
                )
            yield engine, tables
            return
    with TemporaryDirectory(prefix="alxreport-") as folder:
        stand_in = open_store(StoreSettings(url=f"sqlite:///{folder}/dry.db"))
        prepare_store(stand_in, tables)
        try:
            yield stand_in, tables
        finally:
            stand_in.dispose()


def _record_failure(task: _Task, number: int, text: str) -> None:
    seconds = time.monotonic() - task.started
    report = RunReport(number, task.mode, "failed", task.now, int(task.now + seconds), seconds)
    try:
        written(task.engine, lambda to: history.end_run(to, task.tables, report, text))
    except StoreError:
        # The store itself may be what failed; the first error is the one to tell.
        return


def _attempt(task: _Task, lease: Lease | None, number: int | None, attempt: int = 1) -> RunReport:
    """Do the run; one that is begun again goes on with what the earlier attempts left to do."""
    settings, engine, tables = task.settings, task.engine, task.tables
    with watched(settings.moodle, engine, tables, allow=task.allow_mass_delete) as moodle:
        source = moodle.connection
        task.reached.append(True)
        with reading(engine) as stored:
            seen = surveys.take(source, stored, tables, settings, task.now)
            states = store.company_states(stored, tables)
            task.first.append(not any(state.position for state in states.values()))
            earlier = (
                history.recorded_results(stored, tables, number)
                if attempt > 1 and number is not None
                else {}
            )
            if task.full:
                states |= store.unlisted_companies(stored, tables)
            positions = surveys.load_positions(stored, tables, states)
            surveys.refuse_emptied(
                seen,
                positions[max(positions)] if positions else None,
                prefix=settings.moodle.prefix,
                allow=task.allow_mass_delete,
            )
            moved = _moved(seen, states, positions, task)
            scope = surveys.scope_of(source, stored, tables, seen, moved)
            users = (
                store.users_with_rows(stored, tables, scope.buckets, fingerprints.BUCKET_BITS)
                if scope.picked
                else {}
            )
        run = Run(
            engine, tables, lease, number, task.now, task.allow_mass_delete, task.observer, source,
            seen, states, positions, scope, total=len(moved), users=users,
            earlier=earlier,
        )  # fmt: skip
        run.version = _version(run, moodle)
        sync_companies(run, moved)
    finish_untouched(run)
    report = _report(run, task)
    if lease is not None:
        _close(run, report, settings)
    return report


def _report(run: Run, task: _Task) -> RunReport:
    seconds = time.monotonic() - task.started
    failed = sum(result.status == "failed" for result in run.results.values())
    return RunReport(
        run=run.run,
        mode="full" if task.first[0] else task.mode,
        status="success" if not failed else "failed" if failed == len(run.results) else "partial",
        started_at=task.now,
        finished_at=int(task.now + seconds),
        duration_seconds=round(seconds, 3),
        companies=tuple(run.results[company] for company in sorted(run.results)),
        dry_run=run.lease is None,
    )


def _moved(
    seen: Survey,
    states: Mapping[int, CompanyState],
    positions: Mapping[int, Position],
    task: _Task,
) -> dict[int, Movement | None]:
    """Return what moved for each company of this run; None means everything."""
    moved = surveys.movements(seen, states, positions)
    here = seen.catalogue.companies
    left = {c: s for c, s in states.items() if c not in here and (s.rows or not s.gone)}
    chosen: Collection[int] = here.keys() | left.keys()
    if task.companies:
        known: list[Named] = [*here.values(), *left.values()]
        chosen = {find_company(known, name).id for name in task.companies}
    return {company: None if task.full else moved[company] for company in sorted(chosen)}


def _version(run: Run, moodle: Watched) -> int:
    """Return the version of this run's position, saved unless an equal one is there."""
    versions = {state.position for state in run.states.values() if state.position is not None}
    if run.lease is None:
        return 0
    latest = max(versions, default=0)
    known = latest in run.positions and run.positions[latest] == run.seen.position
    lease, at = run.lease, moodle.position()
    data = b"" if known else fingerprints.encode(run.seen.position)

    def save(connection: Connection) -> int:
        lease.renew(connection, int(time.time()))
        remember(connection, run.tables, at, moodle.standing)
        return latest if known else store.save_position(connection, run.tables, data)

    return written(run.engine, save)


def _close(run: Run, report: RunReport, settings: Settings) -> None:
    """Record the run's end and clear away what is past its time."""
    keep, tables = settings.sync, run.tables

    def close(connection: Connection) -> None:
        run.renew(connection)
        history.end_run(connection, tables, report)
        store.drop_unused_positions(connection, tables)
        if switch.is_due(connection, tables, "pruned_at", run.now, DAY_SECONDS):
            kept = run.now - keep.tombstone_days * DAY_SECONDS
            retention.purge_tombstones(connection, tables, kept)
            retention.prune_revisions(connection, tables, kept - DAY_SECONDS)
            history.prune_history(connection, tables, run.now - keep.history_days * DAY_SECONDS)

    written(run.engine, close)
    _prune_requests(run, settings)


def _prune_requests(run: Run, settings: Settings) -> None:
    """Clear away what requests left behind, in short transactions: they go on meanwhile."""
    before = run.now - settings.requests.log_retention_days * DAY_SECONDS

    def prune(connection: Connection) -> None:
        session = ServerSession(connection, run.tables.prefix)
        cache.prune(session, now=run.now)
        oldest_day = rate_limit.day_of(before - DAY_SECONDS, UTC)
        rate_limit.prune(session, now=run.now, before_day=oldest_day)
        alert_log.prune(session, before=before)

    def prune_log(connection: Connection) -> int:
        return request_log.prune(ServerSession(connection, run.tables.prefix), before=before)

    written(run.engine, prune)
    for _ in range(PRUNED_PARTS):
        if written(run.engine, prune_log) < request_log.PRUNED_ROWS:
            return
