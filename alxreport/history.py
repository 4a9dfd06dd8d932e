"""The record of sync runs: one row for each run, one for each company in it."""

from __future__ import annotations

import os
import socket
from collections.abc import Collection

from sqlalchemy import Connection, delete, insert, select, update

from alxreport.records import CompanyResult, RunReport
from alxreport.schema import StoreTables
from alxreport.token_form import without_secrets


def begin_run(connection: Connection, tables: StoreTables, mode: str, now: int) -> int:
    """Record that a run began; return its number. Runs that died before are closed as failed.

    Done again, where it cannot be told whether it was done, it is the same run.
    """
    t = tables.runs
    values = {
        "started_at": now,
        "mode": mode,
        "status": "running",
        "host": socket.gethostname(),
        "pid": os.getpid(),
    }
    ours = [t.c[name] == value for name, value in values.items()]
    begun = connection.scalar(select(t.c.id).where(*ours))
    if begun is not None:
        return int(begun)
    connection.execute(
        update(t)
        .where(t.c.status == "running")
        .values(status="failed", error="The process ended in the middle of the run.")
    )
    key = connection.execute(insert(t).values(values)).inserted_primary_key
    return int(key[0]) if key else 0


def recorded_results(
    connection: Connection, tables: StoreTables, run: int, companies: Collection[int] | None = None
) -> dict[int, CompanyResult]:
    """Return what is recorded of a run, of all its companies or of some, by company.

    The names of the companies are left empty.
    """
    t = tables.results.c
    statement = select(
        t.companyid, t.status, t.live_rows, t.created, t.updated, t.deleted, t.error, t.duration_ms
    ).where(t.runid == run)
    if companies is not None:
        statement = statement.where(t.companyid.in_(companies))
    return {row[0]: CompanyResult(row[0], "", *row[1:]) for row in connection.execute(statement)}


def record_results(
    connection: Connection, tables: StoreTables, run: int, results: Collection[CompanyResult], *,
    again: bool = False,
) -> None:  # fmt: skip
    """Record what a run did to some companies; ``again`` where it may have been recorded before."""
    if again:
        t = tables.results
        ids = [result.id for result in results]
        connection.execute(delete(t).where(t.c.runid == run, t.c.companyid.in_(ids)))
    rows = [
        {
            "runid": run,
            "companyid": result.id,
            "status": result.status,
            "live_rows": result.rows,
            "created": result.created,
            "updated": result.updated,
            "deleted": result.deleted,
            "duration_ms": result.duration_ms,
            "error": result.error,
        }
        for result in results
    ]
    if rows:
        connection.execute(insert(tables.results), rows)


def end_run(
    connection: Connection, tables: StoreTables, report: RunReport, error: str | None = None
) -> None:
    """Record how a run ended."""
    t = tables.runs
    connection.execute(
        update(t)
        .where(t.c.id == report.run)
        .values(
            finished_at=report.finished_at,
            mode=report.mode,
            status=report.status,
            duration_ms=round(report.duration_seconds * 1000),
            created=report.created,
            updated=report.updated,
            deleted=report.deleted,
            errors=report.errors,
            error=without_secrets(error) if error else error,
        )
    )


def prune_history(connection: Connection, tables: StoreTables, before: int) -> None:
    """Delete the runs that began before a moment, and their results."""
    runs, results = tables.runs, tables.results
    old = select(runs.c.id).where(runs.c.started_at < before)
    connection.execute(delete(results).where(results.c.runid.in_(old)))
    connection.execute(delete(runs).where(runs.c.started_at < before))
