"""A made-up week before the demonstration: hourly syncs, and reports that ask for their rows."""

from __future__ import annotations

import random
from collections.abc import Sequence

from sqlalchemy import Engine

from alxreport import history, rate_limit, request_log
from alxreport.database import writing
from alxreport.records import CompanyResult, RunReport
from alxreport.request_log import AUTHORISATION, RATE_LIMIT, Entry
from alxreport.schema import StoreTables
from alxreport.sessions import Session, Store

HOUR, DAY = 3_600, 86_400
DAYS = 7
STRANGER = "203.0.113.77"
REASON = "Moodle's database did not answer."
# What each company asked for so far today, of its 100; the last one went beyond.
USED_TODAY = (37, 84, 100)
REFUSED = 6


def write_runs(
    engine: Engine, tables: StoreTables, companies: Sequence[CompanyResult], now: int
) -> None:
    """Record a week of hourly runs up to two hours before ``now``; two of them failed."""
    chance = random.Random(7)  # noqa: S311  # the same demonstration for everybody
    with writing(engine) as connection:
        for hour in range(DAYS * 24 - 1, 1, -1):
            at = now - hour * HOUR
            number = history.begin_run(connection, tables, "incremental", at)
            seconds = chance.uniform(0.4, 1.6)
            if hour in {50, 51}:
                report = RunReport(number, "incremental", "failed", at, at + 10, 10.0)
                history.end_run(connection, tables, report, REASON)
                continue
            results = tuple(
                CompanyResult(
                    company.id, company.company, "success", company.rows,
                    updated=chance.choice((0, 0, 1, 3)) if company.rows else 0, duration_ms=8,
                )
                for company in companies
            )  # fmt: skip
            history.record_results(connection, tables, number, results)
            report = RunReport(
                number, "incremental", "success", at, at + 1, seconds, companies=results
            )
            history.end_run(connection, tables, report)


def write_requests(store: Store, companies: Sequence[CompanyResult], now: int) -> None:
    """Record a week of requests of the companies, some of them refused."""
    chance = random.Random(11)  # noqa: S311

    def work(session: Session) -> None:
        for company, used in zip(companies, USED_TODAY, strict=False):
            for day in range(DAYS):
                _day(session, chance, company, now - day * DAY, used if day == 0 else used // 2)
            today = rate_limit.day_of(now, rate_limit.zone("UTC"))
            for _ in range(used):
                rate_limit.spend(session, company=company.id, day=today, limit=0, now=now - 60)
        _refuse(session, companies[len(USED_TODAY) - 1], now)

    store.write(work)


def _day(
    session: Session, chance: random.Random, company: CompanyResult, end: int, calls: int
) -> None:
    """Record the requests of the day that ends at a moment, most of them in working hours."""
    for at in sorted(end - 120 - int(chance.triangular(0, DAY - HOUR, 9 * HOUR)) for _ in
                     range(calls)):  # fmt: skip
        hit = chance.random() < 0.8
        slow = chance.random() < 0.05
        request_log.write(
            session,
            Entry(
                at=at,
                ip="192.0.2.10",
                agent="Power BI",
                endpoint="query",
                company=company.id,
                token=1,
                mode="full",
                limit=100,
                offset=0,
                rows=min(100, company.rows),
                duration_us=int(chance.uniform(900, 2_600) if hit
                                else chance.uniform(4_000, 40_000) * (8 if slow else 1)),
                cache="hit" if hit else "miss",
                question=f"page {chance.randrange(10**9)}",
                revision=1,
                cache_minutes=60,
            ),
        )  # fmt: skip


def _refuse(session: Session, company: CompanyResult, now: int) -> None:
    today = rate_limit.day_of(now, rate_limit.zone("UTC"))
    refused = [(RATE_LIMIT, str(company.id), company.id, "192.0.2.10", "rate_limit")] * REFUSED + [
        (AUTHORISATION, STRANGER, 0, STRANGER, "not_authorised:unknown")
    ] * 3
    for place, (kind, subject, number, ip, error) in enumerate(refused):
        at = now - 50 * 60 + place * 40
        request_log.count_refusal(session, kind, subject, company=number, now=at)
        request_log.write(
            session,
            Entry(at=at, ip=ip, agent="Power BI", endpoint="query", company=number, error=error),
        )
        if kind == RATE_LIMIT:
            rate_limit.refuse(session, company=number, day=today, now=at)
