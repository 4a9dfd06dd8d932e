"""One page of a company's progress: through the way in, from the cache or the table, to the log."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import orjson

from alxreport import cache, rate_limit, reporting_table
from alxreport.admission import Ask, Caller, Visit, admitted
from alxreport.cache import Entry
from alxreport.listing import Slice
from alxreport.marks import write_delta
from alxreport.rate_limit import Budget
from alxreport.records import iso_time
from alxreport.sessions import Session, Store
from alxreport.settings import Settings

MEGABYTE = 1_000_000
DAY_SECONDS = 86_400
# What a caller's own condition and order may take, of counting and reading together.
CONDITION_SECONDS = 10.0


@dataclass(frozen=True)
class Page:
    """One page: ``head`` has the keys of the page object up to ``data``, ``body`` the records."""

    head: dict[str, Any]
    body: bytes  # a JSON array
    names: tuple[str, ...]  # keys of each record
    budget: Budget | None
    mark: str = ""  # the same for two answers to one question with the same rows and cursor
    warnings: tuple[str, ...] = ()

    def json(self) -> bytes:
        """Return the page object as JSON text."""
        return b"".join(self.parts())

    def parts(self) -> list[bytes]:
        """Return the same in parts, without a copy of the records."""
        return [orjson.dumps(self.head)[:-1] + b',"data":', self.body, b"}"]

    def records(self) -> list[dict[str, Any]]:
        """Return the records."""
        found: list[dict[str, Any]] = orjson.loads(self.body)
        return found


def query_page(
    store: Store, settings: Settings, caller: Caller, ask: Ask, now: int, *,
    memory: cache.Memory | None = None, prepare: Callable[[], object] | None = None,
) -> Page:  # fmt: skip
    """Return one page of a company's rows, ordered by user and course.

    ``memory`` saves a process that answers many the reading of cached pages. See
    ``admission.admitted`` for ``prepare`` and for what is raised, besides UsageError for a
    condition that takes too long; nothing is returned of a request that is not logged.
    """
    with admitted(store, settings, caller, ask, now, prepare=prepare) as visit:
        entry = _entry(store, settings, visit, now, memory)
        visit.rows = entry.page.count
        following = _following(visit, entry)
    plan, page = visit.plan, entry.page
    delta = write_delta(visit.key, plan.begun) if plan.whole and not page.more else None
    head = {
        "company": {
            "id": visit.company.id,
            "shortname": visit.company.shortname,
            "name": visit.company.name,
        },
        "mode": plan.mode,
        "limit": plan.limit,
        "offset": plan.before,
        "count": page.count,
        "total": entry.total if plan.total is None else plan.total,
        "next": following,
        "delta": delta,
        "revision": plan.begun.revision,
        "synced_at": iso_time(visit.company.synced_at),
        "cached": visit.cache == "hit",
    }
    # Who keeps a page is told of a new delta at least every day: it must not become too old.
    day = plan.begun.at // DAY_SECONDS if delta else 0
    same = (
        head["company"], plan.question_key, visit.company.revision, following, head["total"], day
    )  # fmt: skip
    mark = hashlib.sha256(repr(same).encode()).hexdigest()[:32]
    names, warnings = plan.listing.names, tuple(visit.warnings)
    return Page(head, page.body, names, visit.budget, mark, warnings)


def _entry(
    store: Store, settings: Settings, visit: Visit, now: int, memory: cache.Memory | None
) -> Entry:
    """Return the page from the cache, else from the table, to be kept."""
    plan, minutes = visit.plan, visit.options.cache_minutes
    company, revision = visit.company.id, visit.company.revision
    key = plan.question_key
    if minutes and plan.cacheable:
        found = cache.get(
            store, key, company=company, revision=revision, now=now, minutes=minutes, memory=memory
        )
        if found is not None:
            visit.cache = "hit"
            return found
        visit.cache = "miss"
    entry, read_revision = store.read(lambda session: _read_in_time(session, visit))
    if minutes and plan.cacheable and read_revision == revision:
        most = settings.requests.cache_megabytes * MEGABYTE
        visit.keeping.append(
            lambda session: cache.put(
                session, key, entry, company=company, revision=revision, now=now,
                minutes=minutes, most_bytes=most,
            )
        )  # fmt: skip
    return entry


def _read_in_time(session: Session, visit: Visit) -> tuple[Entry, int]:
    listing = visit.plan.listing
    own = listing.condition is not None or listing.by
    with session.bounded(CONDITION_SECONDS) if own else nullcontext():
        return _read(session, visit)


def _read(session: Session, visit: Visit) -> tuple[Entry, int]:
    """Return a page of the table, and the revision at which it was read."""
    plan = visit.plan
    now = reporting_table.still_told(session, plan.listing) or visit.company
    plain = plan.listing.since is None and not (
        plan.listing.wanted.courses or plan.listing.wanted.status or plan.listing.condition
    )
    if not plan.counted:
        total = 0
    elif plan.total is not None:
        total = plan.total
    else:
        total = now.rows if plain else reporting_table.count_rows(session, plan.listing)
    page: Slice = reporting_table.read_slice(
        session, plan.listing, limit=plan.limit, after=plan.after, offset=plan.offset,
        walk=reporting_table.walks(plan.listing, total, now.rows),
    )  # fmt: skip
    return Entry(page, total), now.revision


def _following(visit: Visit, entry: Entry) -> str | None:
    """Return the cursor of the next page, promised to whoever paid for the first one."""
    plan, page = visit.plan, entry.page
    if not page.more or plan.closes:
        return None
    total = entry.total if plan.total is None else plan.total
    following = plan.following(visit.key, page, total)
    mark, token = rate_limit.promise_mark(following), visit.token
    if token is not None:
        visit.closing.append(
            lambda session: rate_limit.promise(
                session, mark, company=visit.company.id, token=token.id,
                started_at=visit.series_began,
            )
        )  # fmt: skip
    return following
