"""What one page costs within a process: read, cached, the last one, and beside a bare SELECT."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import orjson

from alxreport import limit_admin, token_admin
from alxreport.admission import Caller
from alxreport.listing import DEFAULT_FIELDS, Listing, raw_columns, record_maker
from alxreport.query import query_page
from alxreport.question import Question
from alxreport.sessions import Store, open_requests
from alxreport.settings import Settings, StoreSettings

ROWS = 1_000
REPEATS = 30


def pages(target: str, company: str) -> dict[str, Any]:
    """Return seconds, each the median of some requests with a token, limit, cache and log."""
    settings = Settings(store=StoreSettings(url=target))
    store = open_requests(settings.store)
    now = int(time.time())
    limit_admin.set_limit(store, settings, company, "1000000", now)
    _token, secret = token_admin.create_token(store, company=company, name="bench", now=now)
    who = Caller("query", "127.0.0.1", "bench", secret)

    def ask(**more: Any) -> Any:
        return query_page(store, settings, who, lambda: Question(limit=ROWS, **more), now)

    def cold(**more: Any) -> Callable[[], Any]:
        def once() -> Any:
            return ask(**more)

        return once

    last, following = None, ask().head["next"]
    while following:
        last, following = following, ask(cursor=following).head["next"]
    limit_admin.clear_cache(store, None)
    found = {"floor": _median(lambda: _bare(store, company))}
    found["cold"] = _median(cold(), lambda: limit_admin.clear_cache(store, None))
    found["cached"] = _median(cold())
    found["last"] = _median(cold(cursor=last), lambda: limit_admin.clear_cache(store, None))
    store.close()
    return found


def _bare(store: Store, company: str) -> bytes:
    """Return the same records by nothing but a SELECT and a JSON library."""
    listing = Listing(int(company.removeprefix("id:")), DEFAULT_FIELDS)
    record = record_maker(listing)
    with store.reading() as session:
        rows = session.rows(
            f"SELECT {', '.join(raw_columns(listing))} FROM {session.names.reporting}"
            " WHERE companyid = :company AND is_deleted = 0 ORDER BY userid, courseid"
            f" LIMIT {ROWS}",
            company=listing.company,
        )
    return orjson.dumps([record(row) for row in rows])


def _median(work: Callable[[], Any], before: Callable[[], Any] = lambda: None) -> float:
    taken = []
    for _ in range(REPEATS):
        before()
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)
