"""How much room the store takes."""

from __future__ import annotations

from alxreport.sessions import Session


def store_bytes(session: Session) -> int:
    """Return how many bytes the store's tables and their indexes take on the server's disk."""
    if session.kind == "sqlite":
        sql = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
        return int(session.rows(sql)[0][0])
    like = session.names.pattern
    if session.kind == "mysql":
        sql = (
            "SELECT sum(data_length + index_length) FROM information_schema.tables"
            " WHERE table_schema = database() AND table_name LIKE :like ESCAPE '!'"
        )
    else:
        sql = (
            "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c"
            " WHERE c.relkind = 'r' AND pg_table_is_visible(c.oid)"
            " AND c.relname LIKE :like ESCAPE '!'"
        )
    return int(session.rows(sql, like=like)[0][0] or 0)
