"""The sync: brings the reporting table to what a full rebuild would give at this moment."""

from __future__ import annotations

import random
import time
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import attrgetter
from tempfile import TemporaryDirectory

from sqlalchemy import Connection, Engine

from alxreport import evidence, fingerprints, guard, history, merge, store, switch
from alxreport import survey as surveys
from alxreport.companies import find_company
from alxreport.database import (
    connecting,
    open_source,
    open_store,
    reading,
    snapshot,
    store_exists,
    writing,
)
from alxreport.errors import AlreadyRunningError, AlxError, SourceError, StoreError
from alxreport.fingerprints import Movement, Position
from alxreport.lease import Lease, sync_lease
from alxreport.progress import learner_rows
from alxreport.records import CompanyResult, CompanyState, Learner, RunReport
from alxreport.schema import (
    SCHEMA_VERSION,
    StoreTables,
    prepare_store,
    refuse_foreign,
    schema_version,
    store_tables,
)
from alxreport.settings import Settings, StoreSettings
from alxreport.survey import Scope, Survey

DAY_SECONDS = 86_400
# A company's transaction that lost against another one is tried again as a whole, this often.
ATTEMPTS = 4

Observer = Callable[[int, int], None]  # companies done, companies in all


class _MassDeletionError(Exception):
    """A company would lose most of its rows; raised to roll its transaction back."""


@dataclass
class _Run:
    """One run in progress: what it was given, and what became of each company."""

    settings: Settings
    engine: Engine
    tables: StoreTables
    lease: Lease | None  # None in a dry run
    run: int | None
    now: int
    allow_mass_delete: bool
    observer: Observer
    source: Connection
    seen: Survey
    states: Mapping[int, CompanyState]
    positions: Mapping[int, Position]
    scope: Scope
    version: int
    total: int = 0
    users: Mapping[int, Sequence[int]] = field(default_factory=dict)  # in the store, of buckets
    results: dict[int, CompanyResult] = field(default_factory=dict)
    untouched: list[int] = field(default_factory=list)
    suspects: dict[int, array[int]] = field(default_factory=dict)  # user, course, user, course …
    again: list[int] = field(default_factory=list)

    def name(self, company: int) -> str:
        """Return a company's shortname, from Moodle or, when it is gone, from the store."""
        known = self.seen.catalogue.companies.get(company) or self.states.get(company)
        return known.shortname if known else str(company)

    def done(self, result: CompanyResult) -> None:
        """Take the outcome of one company."""
        self.results[result.id] = result
        self.observer(len(self.results), self.total)


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
    observer: Observer = lambda done, total: None,
) -> RunReport:
    """Run one sync into a prepared store and return what it did.

    Given ``companies`` (names), only theirs; ``full`` derives everything again, changed or not;
    ``dry_run`` writes nothing. ``now`` is the moment in unix seconds at which rows must be live.
    Raises AlreadyRunningError, SourceError or StoreError; nothing is half-written then.
    """
    now = int(time.time()) if now is None else now
    started = time.monotonic()
    options = (companies, full, allow_mass_delete, now, started, observer)
    if switch.is_disabled(engine, tables):
        return RunReport(None, "incremental", "disabled", now, now, 0.0, dry_run=dry_run)
    if dry_run:
        return _attempt(settings, engine, tables, None, None, *options)
    with sync_lease(engine, tables, int(time.time())) as lease:
        with writing(engine) as connection:
            run = history.begin_run(connection, tables, "full" if full else "incremental", now)
        try:
            return _attempt(settings, engine, tables, lease, run, *options)
        except BaseException as error:
            text = error.message if isinstance(error, AlxError) else type(error).__name__
            _record_failure(engine, tables, run, now, started, full, text)
            raise


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


def _record_failure(
    engine: Engine, tables: StoreTables, run: int, now: int, started: float, full: bool, text: str
) -> None:
    seconds = time.monotonic() - started
    report = RunReport(
        run, "full" if full else "incremental", "failed", now, int(now + seconds), seconds
    )
    try:
        with writing(engine) as connection:
            history.end_run(connection, tables, report, text)
    except StoreError:
        # The store itself may be what failed; the first error is the one to tell.
        return


def _attempt(
    settings: Settings,
    engine: Engine,
    tables: StoreTables,
    lease: Lease | None,
    number: int | None,
    companies: Sequence[str],
    full: bool,
    allow_mass_delete: bool,
    now: int,
    started: float,
    observer: Observer,
) -> RunReport:
    source_engine = open_source(settings.moodle)
    with snapshot(source_engine, settings.moodle) as source:
        with reading(engine) as stored:
            seen = surveys.take(source, stored, tables, settings, now)
            states = store.company_states(stored, tables)
            positions = surveys.load_positions(stored, tables, states)
            surveys.refuse_emptied(
                seen,
                positions[max(positions)] if positions else None,
                prefix=settings.moodle.prefix,
                allow=allow_mass_delete,
            )
            moved = _moved(seen, states, positions, companies, full)
            scope = surveys.scope_of(source, stored, tables, seen, moved)
            users = (
                store.users_with_rows(stored, tables, scope.buckets, fingerprints.BUCKET_BITS)
                if scope.picked
                else {}
            )
        first = not any(state.position for state in states.values())
        run = _Run(
            settings, engine, tables, lease, number, now, allow_mass_delete, observer, source,
            seen, states, positions, scope, version=0, total=len(moved), users=users,
        )  # fmt: skip
        run.version = _version(run, moved)
        _sync_companies(run, moved)
    _finish_untouched(run)
    seconds = time.monotonic() - started
    failed = sum(result.status == "failed" for result in run.results.values())
    report = RunReport(
        run=number,
        mode="full" if full or first else "incremental",
        status="success" if not failed else "failed" if failed == len(run.results) else "partial",
        started_at=now,
        finished_at=int(now + seconds),
        duration_seconds=round(seconds, 3),
        companies=tuple(run.results[company] for company in sorted(run.results)),
        dry_run=lease is None,
    )
    if lease is not None:
        _close(run, report)
    return report


def _moved(
    seen: Survey,
    states: Mapping[int, CompanyState],
    positions: Mapping[int, Position],
    names: Sequence[str],
    full: bool,
) -> dict[int, Movement | None]:
    """Return what moved for each company of this run; None means everything."""
    moved = surveys.movements(seen, states, positions)
    here = seen.catalogue.companies
    left = {c: s for c, s in states.items() if c not in here and (s.rows or not s.gone)}
    chosen: Collection[int] = here.keys() | left.keys()
    if names:
        known = [*here.values(), *left.values()]
        chosen = {find_company(known, name).id for name in names}
    return {company: None if full else moved[company] for company in sorted(chosen)}


def _version(run: _Run, moved: Mapping[int, Movement | None]) -> int:
    """Return the version of this run's position, saved unless an equal one is there."""
    versions = {state.position for state in run.states.values() if state.position is not None}
    if run.lease is None:
        return 0
    latest = max(versions, default=0)
    if latest in run.positions and run.positions[latest] == run.seen.position:
        return latest
    with writing(run.engine) as connection:
        run.lease.renew(connection, int(time.time()))
        return store.save_position(
            connection, run.tables, fingerprints.encode(run.seen.position)
        )


def _sync_companies(run: _Run, moved: Mapping[int, Movement | None]) -> None:
    todo = [company for company in moved if company in run.scope.companies]
    run.untouched = [company for company in moved if company not in run.scope.companies]
    _pass(run, todo, guarded=not run.allow_mass_delete)
    approved = [company for company in sorted(run.suspects) if _is_harmless(run, company)]
    _pass(run, approved, guarded=False)
    for attempt in range(1, ATTEMPTS):
        todo, run.again = run.again, []
        if todo:
            # Jitter, so that two writers that met once do not meet again.
            time.sleep(random.uniform(0.05, 0.2) * 2**attempt)  # noqa: S311
            _pass(run, todo, guarded=False, last=attempt == ATTEMPTS - 1)


def _pass(run: _Run, companies: Sequence[int], *, guarded: bool, last: bool = False) -> None:
    """Read the learners of some companies in one statement; write company after company."""
    if not companies:
        return
    here = run.seen.catalogue.companies
    read = [c for c in companies if c in here and not here[c].suspended and here[c].courses]
    picked = run.scope.picked.intersection(companies)
    statement = evidence.learners_statement(
        run.seen.source,
        run.now,
        roles=run.seen.catalogue.relevant_roles,
        companies=read,
        buckets=run.scope.buckets if picked else None,
        whole_companies=run.scope.whole.intersection(read),
        bucket_bits=fingerprints.BUCKET_BITS,
    )
    nobody: Iterator[Learner] = iter(())
    with closing(evidence.learners(run.source, statement)) as learners:
        groups = groupby(learners if read else nobody, key=attrgetter("companyid"))
        head = next(groups, None)
        for company in companies:
            members = nobody
            if head is not None and head[0] == company:
                members = head[1]
            elif company in picked and company not in run.users:
                run.untouched.append(company)
                continue
            _sync_company(run, company, members, guarded=guarded, last=last)
            if head is not None and head[0] == company:
                head = next(groups, None)


def _sync_company(
    run: _Run, company: int, members: Iterator[Learner], *, guarded: bool, last: bool
) -> None:
    try:
        if run.lease is None:
            with reading(run.engine) as connection:
                result = _merge(run, connection, company, members, guarded=guarded)
        else:
            with writing(run.engine) as connection:
                run.lease.renew(connection, int(time.time()))
                result = _merge(run, connection, company, members, guarded=guarded)
    except (SourceError, AlreadyRunningError):
        raise
    except _MassDeletionError:
        return
    except StoreError as error:
        if error.fatal:
            raise
        if error.transient and not last:
            run.again.append(company)
            return
        _fail(run, company, error.message)
    except Exception as error:  # noqa: BLE001  # one company's fault must not stop the others
        _fail(run, company, f"unexpected {type(error).__name__}: {error}")
    else:
        run.done(result)


def _merge(
    run: _Run,
    connection: Connection,
    company: int,
    members: Iterator[Learner],
    *,
    guarded: bool,
) -> CompanyResult:
    """Write what differs between a company's expected and stored rows, and its new state."""
    here = run.seen.catalogue.companies.get(company)
    state = run.states.get(company) or _new_state(company)
    whole = company not in run.scope.picked
    counts: Counter[str] = Counter()
    expected_rows = 0
    going = array("q")

    def expected() -> Iterator[tuple[int, dict]]:  # type: ignore[type-arg]
        nonlocal expected_rows
        if here is None:
            return
        for learner in members:
            rows = learner_rows(run.seen.catalogue, here, learner)
            expected_rows += len(rows)
            yield learner.userid, rows

    def counted() -> Iterator[merge.Change]:
        users = None if whole else run.users.get(company, ())
        stored = store.stored_learners(connection, run.tables, company=company, users=users)
        for change in merge.changes(expected(), stored):
            counts[change.kind] += 1
            if change.kind == merge.DELETE:
                going.extend((change.content.userid, change.content.courseid))
            yield change

    revision = state.revision + 1
    if run.lease is None:
        for _change in counted():
            pass
    else:
        store.write_changes(
            connection, run.tables, counted(), company=company, revision=revision, now=run.now
        )
    if guarded and guard.is_suspicious(counts[merge.DELETE], state.rows):
        run.suspects[company] = going
        raise _MassDeletionError
    result = CompanyResult(
        id=company,
        company=run.name(company),
        status="success",
        rows=expected_rows
        if whole
        else state.rows + counts[merge.CREATE] - counts[merge.DELETE],
        created=counts[merge.CREATE],
        updated=counts[merge.UPDATE],
        deleted=counts[merge.DELETE],
    )
    if run.lease is not None:
        new = _described(run, company, state, result.rows, revision if result.changed else None)
        store.save_company(connection, run.tables, new)
        history.record_results(connection, run.tables, run.run or 0, [result])
    return result


def _new_state(company: int) -> CompanyState:
    return CompanyState(company, "", "", False, False, None, 0, 0, None, "", "")


def _described(
    run: _Run, company: int, state: CompanyState, rows: int, revision: int | None
) -> CompanyState:
    """Return a company's state after success: its names as Moodle has them now."""
    here = run.seen.catalogue.companies.get(company)
    return replace(
        state,
        shortname=here.shortname if here else state.shortname,
        name=here.name if here else state.name,
        suspended=here.suspended if here else state.suspended,
        gone=here is None,
        position=run.version,
        revision=state.revision if revision is None else revision,
        rows=rows,
        synced_at=run.now,
        last_status="success",
        last_error="",
    )


def _fail(run: _Run, company: int, message: str) -> None:
    """Record that a company failed; its rows and its position stay as they were."""
    state = run.states.get(company) or _new_state(company)
    here = run.seen.catalogue.companies.get(company)
    result = CompanyResult(company, run.name(company), "failed", state.rows, error=message)
    if run.lease is not None:
        with writing(run.engine) as connection:
            run.lease.renew(connection, int(time.time()))
            failed = replace(
                state,
                shortname=here.shortname if here else state.shortname,
                name=here.name if here else state.name,
                last_status="failed",
                last_error=message,
            )
            store.save_company(connection, run.tables, failed)
            history.record_results(connection, run.tables, run.run or 0, [result])
    run.done(result)


def _is_harmless(run: _Run, company: int) -> bool:
    """Decide on a company that would lose most of its rows; fail it if Moodle's rows are missing."""
    flat = run.suspects[company]
    keys = list(zip(flat[0::2], flat[1::2], strict=True))
    live = run.states[company].rows
    present = evidence.presence(
        run.source, run.seen.source, run.now, company=company, users=sorted(set(flat[0::2]))
    )
    version = run.states[company].position
    before = run.positions.get(version) if version is not None else None
    missing = guard.rows_missing(
        keys,
        company=company,
        catalogue=run.seen.catalogue,
        presence=present,
        sharing_before=before.sharing if before else {},
    )
    if not guard.is_suspicious(missing, live):
        return True
    _fail(
        run,
        company,
        f"{missing} of its {live} rows would go because rows are missing in Moodle;"
        " if that is meant, run: alxreport sync --allow-mass-delete",
    )
    return False


def _finish_untouched(run: _Run) -> None:
    """Record the companies in which nothing moved, all in one transaction."""
    results = [
        CompanyResult(company, run.name(company), "success", run.states[company].rows)
        for company in run.untouched
    ]
    if results and run.lease is not None:
        with writing(run.engine) as connection:
            run.lease.renew(connection, int(time.time()))
            store.touch_companies(
                connection, run.tables, run.untouched, run.version, run.now
            )
            for company in run.untouched:
                state = run.states[company]
                new = _described(run, company, state, state.rows, None)
                if (new.shortname, new.name, new.suspended, new.gone) != (
                    state.shortname, state.name, state.suspended, state.gone,
                ):  # fmt: skip
                    store.save_company(connection, run.tables, new)
            history.record_results(connection, run.tables, run.run or 0, results)
    for result in results:
        run.done(result)


def _close(run: _Run, report: RunReport) -> None:
    """Record the run's end and clear away what is past its time."""
    keep = run.settings.sync
    with writing(run.engine) as connection:
        history.end_run(connection, run.tables, report)
        store.drop_unused_positions(connection, run.tables)
        if switch.is_due(connection, run.tables, "pruned_at", run.now, DAY_SECONDS):
            store.purge_tombstones(
                connection, run.tables, run.now - keep.tombstone_days * DAY_SECONDS
            )
            history.prune_history(
                connection, run.tables, run.now - keep.history_days * DAY_SECONDS
            )
