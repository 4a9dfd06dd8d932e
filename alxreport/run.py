"""One run of the sync in progress: what it was given, and what became of each company."""

from __future__ import annotations

import time
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection, Engine

from alxreport.fingerprints import Position
from alxreport.lease import Lease
from alxreport.records import CompanyResult, CompanyState
from alxreport.schema import StoreTables
from alxreport.survey import Scope, Survey

Observer = Callable[[int, int], None]  # companies done, companies in all


def unobserved(_done: int, _total: int) -> None:
    """Stand in where nobody watches."""


@dataclass
class Run:
    """One run in progress: what it was given, and what became of each company."""

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
    version: int = 0
    began: float = 0.0  # of the company at hand
    total: int = 0
    users: Mapping[int, Sequence[int]] = field(default_factory=dict)  # in the store, of buckets
    results: dict[int, CompanyResult] = field(default_factory=dict)
    untouched: list[int] = field(default_factory=list)
    suspects: dict[int, array[int]] = field(default_factory=dict)  # user, course, user, course …
    approved: set[int] = field(default_factory=set)  # suspects with harmless reasons
    again: list[int] = field(default_factory=list)
    tries: Counter[int] = field(default_factory=Counter)  # transactions that gave way
    earlier: Mapping[int, CompanyResult] = field(default_factory=dict)  # of earlier attempts

    @property
    def number(self) -> int:
        """The run's number, 0 in a dry run."""
        return self.run or 0

    def whole(self, result: CompanyResult) -> CompanyResult:
        """Return what the run did to a company, with what its earlier attempts did."""
        return result.after(self.earlier.get(result.id))

    def name(self, company: int) -> str:
        """Return a company's shortname, from Moodle or, when it is gone, from the store."""
        known = self.seen.catalogue.companies.get(company) or self.states.get(company)
        return known.shortname if known else str(company)

    def done(self, result: CompanyResult) -> None:
        """Take the outcome of one company."""
        self.results[result.id] = result
        self.observer(len(self.results), self.total)

    def renew(self, connection: Connection) -> None:
        """Extend the run's claim on the sync inside a transaction."""
        if self.lease is not None:
            self.lease.renew(connection, int(time.time()))


def new_state(company: int) -> CompanyState:
    """Return the state of a company that the store does not know."""
    return CompanyState(company, "", "", False, False, None, 0, 0, None, "", "")


def described(
    run: Run, company: int, state: CompanyState, rows: int, revision: int | None
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
        duration_ms=0,
    )
