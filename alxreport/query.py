"""Reading one company's progress: a page for ``query``, the list of companies."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Engine, func

from alxreport import store
from alxreport.companies import find_company
from alxreport.database import reading
from alxreport.errors import NeverSyncedError, UsageError
from alxreport.listing import (
    DEFAULT_FIELDS,
    Filter,
    field_columns,
    record_maker,
    rows_statement,
)
from alxreport.records import CompanyState, iso_time
from alxreport.schema import StoreTables

DEFAULT_LIMIT = 100


@dataclass(frozen=True)
class Page:
    """One page of a company's rows, with the keys and the order of the JSON that it becomes."""

    company: dict[str, Any]
    mode: str
    limit: int
    offset: int
    count: int
    total: int
    next: str | None
    delta: str | None
    revision: int
    synced_at: str | None
    cached: bool
    data: list[dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """Return the page for JSON."""
        return asdict(self)


def list_companies(engine: Engine, tables: StoreTables) -> list[dict[str, Any]]:
    """Return every company that the last sync saw, by name."""
    with reading(engine) as connection:
        states = store.company_states(connection, tables).values()
    return [
        {
            "id": state.id,
            "shortname": state.shortname,
            "name": state.name,
            "suspended": state.suspended,
            "rows": state.rows,
            "synced_at": iso_time(state.synced_at),
        }
        for state in sorted(states, key=lambda state: (state.name.casefold(), state.id))
        if not state.gone
    ]


def synced_company(connection: Connection, tables: StoreTables, name: str) -> CompanyState:
    """Return the company that ``name`` means, as far as it may be read.

    Raises NotFoundError for an unknown one, NeverSyncedError before its first successful sync: an
    empty answer would look like a company without learners.
    """
    states = store.company_states(connection, tables)
    if not states:
        raise NeverSyncedError("No company was ever synced.", "Run 'alxreport sync' first.")
    state = find_company([state for state in states.values() if not state.gone], name)
    if state.synced_at is None:
        raise NeverSyncedError(
            f"The company {state.shortname!r} was never synced.",
            "Run 'alxreport sync' and look at its errors.",
        )
    return state


def query_page(
    engine: Engine,
    tables: StoreTables,
    *,
    company: str,
    limit: int = DEFAULT_LIMIT,
    offset: int = 0,
    max_limit: int,
    fields: tuple[str, ...] = DEFAULT_FIELDS,
) -> Page:
    """Return one page of a company's live rows, ordered by user and course.

    Raises UsageError for a limit outside 1..``max_limit`` or a negative offset.
    """
    if not 1 <= limit <= max_limit:
        raise UsageError(f"--limit must be 1 to {max_limit}, not {limit}.", "Page with --offset.")
    if not 0 <= offset < 2**63:
        raise UsageError(f"--offset cannot be {offset}.", "The first page has --offset 0.")
    t = tables.reporting.c
    with reading(engine) as connection:
        state = synced_company(connection, tables, company)
        everything = Filter()
        rows = connection.execute(
            rows_statement(
                tables,
                company=state.id,
                wanted=everything,
                columns=field_columns(tables, fields),
            )
            .limit(limit)
            .offset(offset)
        ).all()
        total = connection.scalar(
            rows_statement(
                tables, company=state.id, wanted=everything, columns=[func.count(t.id)]
            ).order_by(None)
        )
    record = record_maker(fields)
    return Page(
        company={"id": state.id, "shortname": state.shortname, "name": state.name},
        mode="full",
        limit=limit,
        offset=offset,
        count=len(rows),
        total=int(total or 0),
        next=None,
        delta=None,
        revision=state.revision,
        synced_at=iso_time(state.synced_at),
        cached=False,
        data=[record(row) for row in rows],
    )
