"""What the store forgets in time: deletions that everybody was told of, marks of old revisions."""

from __future__ import annotations

from sqlalchemy import Connection, and_, bindparam, delete, func, select, update

from alxreport.schema import StoreTables


def prune_revisions(connection: Connection, tables: StoreTables, before: int) -> None:
    """Delete the marks of revisions that had a successor before a moment already."""
    t = tables.revisions
    newest = connection.execute(
        select(t.c.companyid, func.max(t.c.revision)).where(t.c.made_at < before)
        .group_by(t.c.companyid)
    ).all()  # fmt: skip
    if newest:
        old = delete(t).where(t.c.companyid == bindparam("of"), t.c.revision < bindparam("last"))
        connection.execute(old, [{"of": company, "last": last} for company, last in newest])


def purge_tombstones(connection: Connection, tables: StoreTables, before: int) -> int:
    """Delete the tombstones that were set before a moment; return how many went.

    Each company keeps up to which revision its deletions are no longer all there.
    """
    t, states = tables.reporting, tables.sync_status
    old = and_(t.c.is_deleted == 1, t.c.last_updated < before)
    purged = connection.execute(
        select(t.c.companyid, func.max(t.c.revision)).where(old).group_by(t.c.companyid)
    ).all()
    if not purged:
        return 0
    connection.execute(
        update(states)
        .where(states.c.companyid == bindparam("of"))
        .where(states.c.purged_revision < bindparam("last"))
        .values(purged_revision=bindparam("last")),
        [{"of": company, "last": last} for company, last in purged],
    )
    went = connection.execute(delete(t).where(old)).rowcount
    left = select(func.count()).where(t.c.companyid == states.c.companyid, t.c.is_deleted == 1)
    connection.execute(
        update(states)
        .where(states.c.companyid.in_([company for company, _last in purged]))
        .values(deleted_rows=left.scalar_subquery())
    )
    return went
