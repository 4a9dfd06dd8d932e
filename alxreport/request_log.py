"""The trace of requests: one row each, and bounded counts of those that were refused."""

from __future__ import annotations

from dataclasses import dataclass

from alxreport.sessions import Session, insert_new, numbers
from alxreport.token_form import without_secrets

# Of what is refused, so many rows are logged for one caller within a minute; the rest is counted.
LOGGED_REFUSALS = 5
# So many callers are told apart within a minute; the others share one count.
COUNTED_CALLERS = 100
OTHERS = "*"
PRUNED_ROWS = 10_000
LARGEST = 2**63 - 1
RATE_LIMIT, AUTHORISATION = "rate_limit", "authorisation"


@dataclass(frozen=True)
class Entry:
    """One request as it is logged; ``error`` is the short code of what went wrong."""

    at: int
    ip: str
    agent: str
    endpoint: str
    company: int = 0
    token: int = 0
    mode: str = ""
    limit: int | None = None
    offset: int | None = None
    rows: int = 0
    duration_us: int = 0
    cache: str = ""  # hit, miss, or nothing where the cache was not asked
    error: str = ""
    question: str = ""  # the same for requests that ask for the same


def write(session: Session, entry: Entry) -> None:
    """Add a request to the log."""
    session.change(
        f"INSERT INTO {session.names.logs} (at, companyid, tokenid, ip, agent, endpoint, mode,"  # noqa: S608
        " page_limit, page_offset, row_count, duration_us, cache, error, question)"
        " VALUES (:at, :company, :token, :ip, :agent, :endpoint, :mode, :limit, :offset, :rows,"
        " :duration_us, :cache, :error, :question)",
        **vars(entry)
        | {
            "ip": clean(entry.ip, 64),
            "agent": clean(entry.agent, 255),
            "limit": _stored(entry.limit),
            "offset": _stored(entry.offset),
        },
    )


def _stored(number: int | None) -> int | None:
    """Return a number as given, or the nearest that a column holds."""
    return None if number is None else max(-LARGEST, min(number, LARGEST))


def clean(text: str, length: int) -> str:
    """Return a caller's text as it may be stored: printable, short, without a secret."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return without_secrets(plain)[:length].encode("utf-8", "replace").decode()


def count_refusal(session: Session, kind: str, subject: str, *, company: int, now: int) -> bool:
    """Count a refusal of a caller or company; return whether it is still to be logged by itself."""
    table, minute = session.names.refusals, now - now % 60
    subject = clean(subject, 64)
    sql = (
        f"UPDATE {table} SET refused = refused + 1"  # noqa: S608
        " WHERE minute = :minute AND kind = :kind AND subject = :subject"
    )
    if not session.change(sql, minute=minute, kind=kind, subject=subject):
        others = f"SELECT count(*) FROM {table} WHERE minute = :minute AND kind = :kind"  # noqa: S608
        if int(session.rows(others, minute=minute, kind=kind)[0][0]) >= COUNTED_CALLERS:
            subject = OTHERS
        columns = ("minute", "kind", "subject", "companyid")
        session.change(
            insert_new(session, table, columns),
            minute=minute, kind=kind, subject=subject, companyid=company,
        )  # fmt: skip
        session.change(sql, minute=minute, kind=kind, subject=subject)
    found = session.rows(
        f"SELECT refused FROM {table}"  # noqa: S608
        " WHERE minute = :minute AND kind = :kind AND subject = :subject",
        minute=minute, kind=kind, subject=subject,
    )  # fmt: skip
    return int(found[0][0]) <= LOGGED_REFUSALS


def hits_and_misses(session: Session, *, since: int, company: int | None = None) -> tuple[int, int]:
    """Return how many requests since a moment were answered from the cache, and how many not."""
    one = "" if company is None else " AND companyid = :company"
    values = {"since": since} if company is None else {"since": since, "company": company}
    sql = f"SELECT cache, count(*) FROM {session.names.logs} WHERE at >= :since{one} GROUP BY cache"  # noqa: S608
    found = {str(row[0]): int(row[1]) for row in session.rows(sql, **values)}
    return found.get("hit", 0), found.get("miss", 0)


def prune(session: Session, *, before: int) -> int:
    """Delete a part of the entries older than a moment; return how many, 0 when none is left."""
    table = session.names.logs
    old = session.rows(
        f"SELECT id FROM {table} WHERE at < :before ORDER BY at LIMIT {PRUNED_ROWS}",  # noqa: S608
        before=before,
    )
    session.change(f"DELETE FROM {session.names.refusals} WHERE minute < :before", before=before)  # noqa: S608
    if not old:
        return 0
    return session.change(
        f"DELETE FROM {table} WHERE id IN ({numbers([row[0] for row in old])})"  # noqa: S608
    )
