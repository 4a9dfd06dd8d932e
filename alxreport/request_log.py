"""The trace of requests: one row each, and bounded counts of those that were refused."""

from __future__ import annotations

from dataclasses import dataclass

from alxreport.sessions import Session, add_to, first, insert_new, numbers
from alxreport.token_form import without_secrets

# Of what is refused, so many rows are logged for one caller within a minute; the rest is counted.
LOGGED_REFUSALS = 5
# So many callers are told apart within a minute; the others share one count.
COUNTED_CALLERS = 100
OTHERS = "*"
PRUNED_ROWS = 10_000
LARGEST = 2**63 - 1
RATE_LIMIT, AUTHORISATION = "rate_limit", "authorisation"
HIT, MISS = "hit", "miss"
EXPORT = "export"
HOUR = 3_600


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
    revision: int = 0  # of the company, as it was admitted
    cache_minutes: int = 0

    @property
    def is_timed(self) -> bool:
        """Whether it tells how fast pages are; an export takes as long as it is large."""
        return self.endpoint != EXPORT


def write(session: Session, entry: Entry) -> None:
    """Add a request to the log, and one that was answered to the sums of its hour."""
    repeated = _is_repeated(session, entry)
    values = {name: value for name, value in vars(entry).items() if name != "cache_minutes"}
    session.change(
        f"INSERT INTO {session.names.logs} (at, companyid, tokenid, ip, agent, endpoint, mode,"  # noqa: S608
        " page_limit, page_offset, row_count, duration_us, cache, error, question, revision,"
        " repeated)"
        " VALUES (:at, :company, :token, :ip, :agent, :endpoint, :mode, :limit, :offset, :rows,"
        " :duration_us, :cache, :error, :question, :revision, :repeated)",
        **values
        | {
            "repeated": repeated,
            "ip": clean(entry.ip, 64),
            "agent": clean(entry.agent, 255),
            "limit": _stored(entry.limit),
            "offset": _stored(entry.offset),
        },
    )
    if not entry.error:
        _sum_up(session, entry, repeated)


def is_written(session: Session, entry: Entry) -> bool:
    """Tell whether a request is in the log already.

    Its moment, its caller and the microseconds that it took are as good as a number of its own.
    """
    found = first(
        session,
        f"SELECT 1 FROM {session.names.logs} WHERE at = :at AND companyid = :company"  # noqa: S608
        " AND tokenid = :token AND endpoint = :endpoint AND duration_us = :duration"
        " AND question = :question AND error = :error AND ip = :ip LIMIT 1",
        at=entry.at, company=entry.company, token=entry.token, endpoint=entry.endpoint,
        duration=entry.duration_us, question=entry.question, error=entry.error,
        ip=clean(entry.ip, 64),
    )  # fmt: skip
    return found is not None


def _is_repeated(session: Session, entry: Entry) -> int:
    """Return 1 for a question that was answered at this revision while its page may be kept.

    Only such a one can be expected to hit; a page that is read once is nobody's fault.
    """
    if not entry.cache or entry.error:
        return 0
    if entry.cache == HIT:
        return 1
    found = first(
        session,
        f"SELECT 1 FROM {session.names.logs} WHERE companyid = :company AND at > :oldest"  # noqa: S608
        " AND at <= :now AND question = :question AND revision = :revision AND cache <> ''"
        " AND error = '' LIMIT 1",
        company=entry.company, oldest=entry.at - entry.cache_minutes * 60, now=entry.at,
        question=entry.question, revision=entry.revision,
    )  # fmt: skip
    return int(found is not None)


def _sum_up(session: Session, entry: Entry, repeated: int) -> None:
    hour = entry.at - entry.at % HOUR
    timed = int(entry.is_timed)
    add_to(
        session, session.names.activity, {"hour": hour, "companyid": entry.company},
        {
            "calls": 1, "row_count": entry.rows, "timed": timed,
            "total_us": entry.duration_us * timed, "hits": int(entry.cache == HIT),
            "misses": int(entry.cache == MISS), "repeats": repeated,
            "repeat_hits": repeated * (entry.cache == HIT),
        },
    )  # fmt: skip
    if timed:
        # Rounded up: no percentile of these is below that of the times themselves.
        key = {"hour": hour, "ms": -(-entry.duration_us // 1000)}
        add_to(session, session.names.latency, key, {"calls": 1})


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
        # Companies are as many as there are; callers as many as somebody likes.
        if (
            kind != RATE_LIMIT
            and int(session.rows(others, minute=minute, kind=kind)[0][0]) >= COUNTED_CALLERS
        ):
            subject, company = OTHERS, 0
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
    before -= before % HOUR  # the sums go by the hour, and with their rows
    old = session.rows(
        f"SELECT id FROM {table} WHERE at < :before ORDER BY at LIMIT {PRUNED_ROWS}",  # noqa: S608
        before=before,
    )
    for name, column in (("refusals", "minute"), ("activity", "hour"), ("latency", "hour")):
        sums = getattr(session.names, name)
        session.change(f"DELETE FROM {sums} WHERE {column} < :before", before=before)  # noqa: S608
    if not old:
        return 0
    return session.change(
        f"DELETE FROM {table} WHERE id IN ({numbers([row[0] for row in old])})"  # noqa: S608
    )
