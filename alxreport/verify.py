"""Compares the reporting table with Moodle, row for row, and says which differences are faults."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import Engine

from alxreport import evidence, fingerprints, merge, store, switch
from alxreport import survey as surveys
from alxreport.companies import Named, find_company
from alxreport.database import reading, writing
from alxreport.errors import StoreError
from alxreport.progress import learner_rows
from alxreport.records import Content, Difference, Learner
from alxreport.run import Observer, unobserved
from alxreport.schema import StoreTables
from alxreport.settings import Settings
from alxreport.sync import run_sync
from alxreport.watched_source import watched

PENDING, WRONG = "pending", "wrong"
# Differences named one by one; all are counted.
LISTED = 10_000
PROBLEMS = {
    merge.SCRUB: "different",
    merge.CREATE: "missing",
    merge.UPDATE: "different",
    merge.DELETE: "surplus",
}


@dataclass(frozen=True)
class CompanyVerdict:
    """How one company's rows compare."""

    id: int
    company: str
    rows: int  # rows that should be live
    pending: int
    wrong: int


@dataclass(frozen=True)
class VerifyReport:
    """What a comparison found."""

    companies: tuple[CompanyVerdict, ...]
    differences: tuple[Difference, ...]
    repaired: bool
    duration_seconds: float

    @property
    def rows(self) -> int:
        """Rows that should be live."""
        return sum(company.rows for company in self.companies)

    @property
    def pending(self) -> int:
        """Rows that differ because Moodle changed since the last sync."""
        return sum(company.pending for company in self.companies)

    @property
    def wrong(self) -> int:
        """Rows that differ and that the next sync would not touch."""
        return sum(company.wrong for company in self.companies)

    def as_dict(self) -> dict[str, Any]:
        """Return the report for ``verify --json``."""
        return {
            "status": WRONG if self.wrong else PENDING if self.pending else "ok",
            "rows": self.rows,
            "pending": self.pending,
            "wrong": self.wrong,
            "repaired": self.repaired,
            "duration_seconds": self.duration_seconds,
            "companies": [asdict(company) for company in self.companies],
            "differences": [asdict(difference) for difference in self.differences],
            "differences_left_out": self.pending + self.wrong - len(self.differences),
        }


def run_verify(
    settings: Settings,
    engine: Engine,
    tables: StoreTables,
    *,
    companies: Sequence[str] = (),
    repair: bool = False,
    now: int | None = None,
    observer: Observer = unobserved,
) -> VerifyReport:
    """Compare stored rows with what Moodle's data give, for some companies or all.

    ``repair`` derives the companies with wrong rows again, completely, under the sync's lease.
    Nothing is written otherwise but when it was. Raises SourceError or StoreError.
    """
    now = int(time.time()) if now is None else now
    started = time.monotonic()
    verdicts: list[CompanyVerdict] = []
    listed: list[Difference] = []
    with (
        watched(settings.moodle, engine, tables) as moodle,
        reading(engine) as stored,
    ):
        source = moodle.connection
        seen = surveys.take(source, stored, tables, settings, now)
        states = store.company_states(stored, tables)
        unlisted = store.unlisted_companies(stored, tables)
        states |= unlisted
        positions = surveys.load_positions(stored, tables, states)
        moved = surveys.movements(seen, states, positions)
        here = seen.catalogue.companies
        left = {c: s for c, s in states.items() if c not in here and (s.rows or not s.gone)}
        chosen = here.keys() | left.keys()
        if companies:
            known: list[Named] = [*here.values(), *left.values()]
            chosen = {find_company(known, name).id for name in companies}
        moved = {company: moved[company] for company in chosen}
        scope = surveys.scope_of(source, stored, tables, seen, moved)
        statement = evidence.learners_statement(
            seen.source,
            now,
            roles=seen.catalogue.relevant_roles,
            companies=chosen & here.keys(),
            bucket_bits=fingerprints.BUCKET_BITS,
        )
        groups = groupby(evidence.learners(source, statement), key=attrgetter("companyid"))
        head = next(groups, None)
        for number, company in enumerate(sorted(chosen), 1):
            members: Iterator[Learner] = iter(())
            if head is not None and head[0] == company:
                members = head[1]
            name = (here.get(company) or states[company]).shortname
            counts: Counter[str] = Counter()
            for change in merge.changes(
                _expected(seen, company, members, counts),
                store.stored_learners(stored, tables, company=company),
            ):
                in_scope = company in scope.whole or (
                    company in scope.picked
                    and change.content.userid >> fingerprints.BUCKET_BITS in scope.buckets
                )
                kind = PENDING if in_scope and company not in unlisted else WRONG
                counts[kind] += 1
                if len(listed) < LISTED:
                    listed.append(_difference(company, name, kind, change))
            verdicts.append(
                CompanyVerdict(company, name, counts["rows"], counts[PENDING], counts[WRONG])
            )
            if head is not None and head[0] == company:
                head = next(groups, None)
            observer(number, len(chosen))
    wrong = [f"id:{verdict.id}" for verdict in verdicts if verdict.wrong]
    repaired = False
    if repair and wrong:
        report = run_sync(settings, engine, tables, companies=wrong, full=True, now=now)
        again = run_verify(settings, engine, tables, companies=companies, now=now)
        repaired = report.status == "success" and not again.wrong
    seconds = round(time.monotonic() - started, 3)
    found = VerifyReport(tuple(verdicts), tuple(listed), repaired, seconds)
    if not companies:
        _note(engine, tables, found, now)
    return found


def _note(engine: Engine, tables: StoreTables, report: VerifyReport, now: int) -> None:
    """Leave word of a comparison of all companies for the monitor, where that can be written."""
    left = 0 if report.repaired else report.wrong
    word = f"{left} wrong" if left else "ok"
    with suppress(StoreError), writing(engine) as connection:
        switch.write(connection, tables, "verified", f"{now} {word}")


def _expected(
    seen: surveys.Survey, company: int, members: Iterator[Learner], counts: Counter[str]
) -> Iterator[tuple[int, dict[int, Content]]]:
    here = seen.catalogue.companies.get(company)
    if here is None:
        return
    for learner in members:
        rows = learner_rows(seen.catalogue, here, learner)
        counts["rows"] += len(rows)
        yield learner.userid, rows


def _difference(company: int, name: str, kind: str, change: merge.Change) -> Difference:
    fields: dict[str, tuple[Any, Any]] = {}
    if change.kind == merge.UPDATE and change.before is not None:
        pairs = zip(Content._fields, change.before.content, change.content, strict=True)
        fields = {field: (was, is_) for field, was, is_ in pairs if was != is_}
    return Difference(
        companyid=company,
        company=name,
        userid=change.content.userid,
        courseid=change.content.courseid,
        kind=kind,
        problem=PROBLEMS[change.kind],
        fields=fields,
    )
