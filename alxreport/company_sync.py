"""One run's work on the companies: read their learners, write what differs, one after another."""

from __future__ import annotations

import time
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import groupby
from operator import attrgetter

from sqlalchemy import Connection

from alxreport import (
    again,
    cache,
    company_settings,
    evidence,
    fingerprints,
    guard,
    history,
    merge,
    store,
    tokens,
)
from alxreport.database import reading, writing
from alxreport.errors import AlreadyRunningError, SourceError, StoreError
from alxreport.fingerprints import Movement
from alxreport.progress import learner_rows
from alxreport.records import CompanyResult, Content, Learner
from alxreport.run import Run, described, new_state
from alxreport.sessions import ServerSession

# A company's transaction that lost against another one is tried again as a whole, this often.
ATTEMPTS = 6
RETURNED = "returned"  # created in the place of a tombstone


class _MassDeletionError(Exception):
    """A company would lose most of its rows; raised to roll its transaction back."""


def sync_companies(run: Run, moved: Mapping[int, Movement | None]) -> None:
    """Bring every company of the run up to date that has anything to derive again."""
    todo = [company for company in moved if company in run.scope.companies]
    run.untouched = [company for company in moved if company not in run.scope.companies]
    while todo:
        _pass(run, todo)
        approved = [company for company in sorted(run.suspects) if _is_harmless(run, company)]
        run.approved.update(approved)
        run.suspects.clear()
        todo, run.again = sorted({*run.again, *approved}), []
        if run.tries and todo:
            again.wait(5 * again.pause(max(run.tries.values())))


def _pass(run: Run, companies: Sequence[int]) -> None:
    """Read the learners of some companies in one statement; write company after company."""
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
            _sync_company(run, company, members)
            if head is not None and head[0] == company:
                head = next(groups, None)


def _sync_company(run: Run, company: int, members: Iterator[Learner]) -> None:
    run.began = time.monotonic()
    try:
        if run.lease is None:
            with reading(run.engine) as stored:
                result = _merge(run, stored, None, company, members)
        else:
            with reading(run.engine) as stored, writing(run.engine) as connection:
                run.renew(connection)
                result = _merge(run, stored, connection, company, members)
    except (SourceError, AlreadyRunningError):
        raise
    except _MassDeletionError:
        return
    except StoreError as error:
        if error.fatal:
            raise
        run.tries[company] += 1
        if error.transient and run.tries[company] < ATTEMPTS:
            run.again.append(company)
            return
        if error.passing:
            raise  # the whole run is begun again when the store is back
        _fail(run, company, error.message)
    except Exception as error:  # one company's fault must not stop the others
        _fail(run, company, f"unexpected {type(error).__name__}: {error}")
    else:
        run.done(result)


def _merge(
    run: Run,
    stored: Connection,
    connection: Connection | None,
    company: int,
    members: Iterator[Learner],
) -> CompanyResult:
    """Write what differs between a company's expected and stored rows, and its new state.

    Rows are read through ``stored`` and written through ``connection``, None in a dry run.
    """
    here = run.seen.catalogue.companies.get(company)
    state = run.states.get(company) or new_state(company)
    if connection is not None and run.tries[company]:
        found = _committed(run, connection, company)
        if found is not None:
            return found
    whole = company not in run.scope.picked
    counts: Counter[str] = Counter()
    expected_rows = 0
    going = array("q")

    def expected() -> Iterator[tuple[int, dict[int, Content]]]:
        nonlocal expected_rows
        if here is None:
            return
        for learner in members:
            rows = learner_rows(run.seen.catalogue, here, learner)
            expected_rows += len(rows)
            yield learner.userid, rows

    def counted() -> Iterator[merge.Change]:
        users = None if whole else run.users.get(company, ())
        there = store.stored_learners(stored, run.tables, company=company, users=users)
        for change in merge.changes(expected(), there):
            counts[change.kind] += 1
            counts[RETURNED] += change.kind == merge.CREATE and change.before is not None
            if change.kind == merge.DELETE:
                going.extend((change.content.userid, change.content.courseid))
            yield change

    revision = state.revision + 1
    if connection is None:
        for _change in counted():
            pass
    else:
        store.write_changes(
            connection, run.tables, counted(), company=company, revision=revision, now=run.now
        )
    guarded = not run.allow_mass_delete and company not in run.approved
    if guarded and guard.is_suspicious(counts[merge.DELETE], state.rows):
        run.suspects[company] = going
        raise _MassDeletionError
    result = CompanyResult(
        id=company,
        company=run.name(company),
        status="success",
        rows=expected_rows if whole else state.rows + counts[merge.CREATE] - counts[merge.DELETE],
        created=counts[merge.CREATE],
        updated=counts[merge.UPDATE] + counts[merge.SCRUB],
        deleted=counts[merge.DELETE],
        duration_ms=round((time.monotonic() - run.began) * 1000),
    )
    changed, result = result.changed, run.whole(result)
    if connection is not None:
        new = replace(
            described(run, company, state, result.rows, revision if changed else None),
            tombstones=max(0, state.tombstones + counts[merge.DELETE] - counts[RETURNED]),
            duration_ms=result.duration_ms,
        )
        store.save_company(connection, run.tables, new)
        history.record_results(
            connection, run.tables, run.number, [result], again=company in run.earlier
        )
        if changed:
            store.save_revision(connection, run.tables, revision, company=company, now=run.now)
        _tell_requests(run, connection, company, changed=changed, gone=here is None)
    return result


def _committed(run: Run, connection: Connection, company: int) -> CompanyResult | None:
    """Return the result of a transaction that is tried again, if it did succeed.

    When a server ends during the commit, its client does not hear how that went.
    """
    found = history.recorded_results(connection, run.tables, run.number, [company]).get(company)
    if found is None or found == run.earlier.get(company):
        return None
    return replace(found, company=run.name(company))


def _tell_requests(
    run: Run, connection: Connection, company: int, *, changed: bool, gone: bool
) -> None:
    """Drop a changed company's cached pages; of one that is gone, the tokens and settings too.

    Moodle may give its id to another company.
    """
    session = ServerSession(connection, run.tables.prefix)
    if changed or gone:
        cache.clear(session, company=company)
    if gone:
        tokens.revoke_all(session, company=company, now=run.now)
        company_settings.unset_all(session, company=company)


def _fail(run: Run, company: int, message: str) -> None:
    """Record that a company failed; its rows and its position stay as they were."""
    state = run.states.get(company) or new_state(company)
    here = run.seen.catalogue.companies.get(company)
    result = run.whole(
        CompanyResult(company, run.name(company), "failed", state.rows, error=message)
    )
    failed = replace(
        state,
        shortname=here.shortname if here else state.shortname,
        name=here.name if here else state.name,
        last_status="failed",
        last_error=message,
    )

    def record(connection: Connection) -> None:
        run.renew(connection)
        store.save_company(connection, run.tables, failed)
        history.record_results(connection, run.tables, run.number, [result], again=True)

    if run.lease is not None:
        again.written(run.engine, record)
    run.done(result)


def _is_harmless(run: Run, company: int) -> bool:
    """Decide on a company that would lose most of its rows.

    It fails if they go because rows are missing in Moodle.
    """
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
        before=guard.Before(
            before.sharing if before else {},
            company in before.untracked_too if before else False,
        ),
    )
    if not guard.is_suspicious(missing, live):
        return True
    _fail(
        run,
        company,
        f"{missing} of its {live} rows would go because rows are missing in Moodle;"
        f" if that is meant, run: alxreport sync --company id:{company} --allow-mass-delete",
    )
    return False


def finish_untouched(run: Run) -> None:
    """Record the companies in which nothing moved, all in one transaction."""
    results = [
        run.whole(CompanyResult(company, run.name(company), "success", run.states[company].rows))
        for company in run.untouched
    ]

    def record(connection: Connection) -> None:
        run.renew(connection)
        store.touch_companies(connection, run.tables, run.untouched, run.version, run.now)
        for company in run.untouched:
            state = run.states[company]
            new = described(run, company, state, state.rows, None)
            if (new.shortname, new.name, new.suspended, new.gone) != (
                state.shortname, state.name, state.suspended, state.gone,
            ):  # fmt: skip
                store.save_company(connection, run.tables, new)
                _tell_requests(run, connection, company, changed=True, gone=new.gone)
        history.record_results(connection, run.tables, run.number, results, again=True)

    if results and run.lease is not None:
        again.written(run.engine, record)
    for result in results:
        run.done(result)
