"""Pages that were answered before: bound to a revision, few, short-lived, never trusted blindly."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass

from alxreport.errors import StoreError
from alxreport.listing import Slice
from alxreport.sessions import Session, Store, first, insert_new
from alxreport.sqlite_session import Row

MOST_ENTRIES = 5_000
# One page may take this share of the whole cache, and no more than any server takes at once.
LARGEST_SHARE, LARGEST_BYTES = 8, 4_000_000
READ = ("revision", "row_count", "total", "last_user", "last_course", "more", "digest", "body")
REMEMBERED_BYTES = 64_000_000
WRITTEN = ("companyid", "cache_key", "created_at", "expires_at", "size", *READ)


@dataclass(frozen=True)
class Entry:
    """A page's records and how many rows the whole listing had."""

    page: Slice
    total: int


# Key, company, revision and digest: what an entry was checked against.
Name = tuple[str, int, int, str]


class Memory:
    """Entries that this process has read and checked, the latest used ones.

    The store alone says that there is an entry for a question, and which; this saves reading and
    checking it again. Safe to share between threads.
    """

    def __init__(self, most_bytes: int = REMEMBERED_BYTES) -> None:
        self._most, self._size = most_bytes, 0
        self._entries: OrderedDict[Name, Entry] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: Name) -> Entry | None:
        """Return an entry, None for one that is not remembered."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is not None:
                self._entries.move_to_end(name)
            return entry

    def put(self, name: Name, entry: Entry) -> None:
        """Remember an entry, and forget those that were not used for longest."""
        with self._lock:
            if name in self._entries:
                return
            self._entries[name] = entry
            self._size += len(entry.page.body)
            while self._size > self._most:
                _name, oldest = self._entries.popitem(last=False)
                self._size -= len(oldest.page.body)


def _digest(entry: Entry, key: str, company: int, revision: int) -> str:
    page = entry.page
    state = hashlib.blake2b(page.body, digest_size=16)
    facts = (key, company, revision, page.count, entry.total, page.last, page.more)
    state.update(repr(facts).encode())
    return state.hexdigest()


def get(
    store: Store, key: str, *, company: int, revision: int, now: int, minutes: int,
    memory: Memory | None = None,
) -> Entry | None:  # fmt: skip
    """Return the entry of a question at a company's revision, kept ``minutes`` ago at the most.

    None for one that is not there, too old, or damaged: a broken cache is a miss.
    """
    sql = (
        "SELECT {columns} FROM {table} WHERE companyid = :company AND cache_key = :key"
        " AND revision = :revision AND expires_at > :now"
        " AND created_at <= :now AND created_at > :oldest"
    )

    def look(session: Session) -> Entry | Row | None:
        def ask(columns: str) -> Row | None:
            return first(
                session, sql.format(columns=columns, table=session.names.cache), company=company,
                key=key, revision=revision, now=now, oldest=now - minutes * 60,
            )  # fmt: skip

        if memory is not None:
            digest = ask("digest")
            known = None if digest is None else memory.get((key, company, revision, str(digest[0])))
            if digest is None or known is not None:
                return known
        return ask(", ".join(READ))

    try:
        found = store.read(look)
    except StoreError:
        return None
    if found is None or isinstance(found, Entry):
        return found
    _revision, count, total, user, course, more, digest, body = found
    numbers = (count, total, user, course)
    if not isinstance(body, bytes) or not all(isinstance(number, int) for number in numbers):
        return None
    entry = Entry(Slice(body, count, bool(more), (user, course)), total)
    if _digest(entry, key, company, revision) != digest:
        return None
    if memory is not None:
        memory.put((key, company, revision, str(digest)), entry)
    return entry


def put(
    session: Session, key: str, entry: Entry, *, company: int, revision: int, now: int,
    minutes: int, most_bytes: int,
) -> None:  # fmt: skip
    """Keep an entry, and drop the oldest where it gets too much."""
    page, table = entry.page, session.names.cache
    if len(page.body) > min(most_bytes // LARGEST_SHARE, LARGEST_BYTES):
        return
    session.change(
        f"DELETE FROM {table} WHERE companyid = :company AND cache_key = :key",  # noqa: S608
        company=company, key=key,
    )  # fmt: skip
    # Another request may keep the same page at this moment; either will do.
    session.change(
        insert_new(session, table, WRITTEN),
        companyid=company, cache_key=key, created_at=now, expires_at=now + minutes * 60,
        size=len(page.body), revision=revision, row_count=page.count, total=entry.total,
        last_user=page.last[0], last_course=page.last[1], more=int(page.more),
        digest=_digest(entry, key, company, revision), body=page.body,
    )  # fmt: skip
    _bound(session, most_bytes, now)


def _bound(session: Session, most_bytes: int, now: int) -> None:
    entries, size = figures(session)
    if entries <= MOST_ENTRIES and size <= most_bytes:
        return
    prune(session, now=now)
    entries, size = figures(session)
    while entries > MOST_ENTRIES or size > most_bytes:
        # The quarter that ends first goes at once, so that not every page has to clear away.
        sql = f"SELECT expires_at FROM {session.names.cache} ORDER BY expires_at LIMIT 1"  # noqa: S608
        found = first(session, f"{sql} OFFSET :place", place=entries // 4)
        if found is None:
            return
        session.change(
            f"DELETE FROM {session.names.cache} WHERE expires_at <= :until",  # noqa: S608
            until=found[0],
        )
        entries, size = figures(session)


def figures(session: Session, *, company: int | None = None) -> tuple[int, int]:
    """Return how many entries there are and how many bytes they hold."""
    one = "" if company is None else " WHERE companyid = :company"
    values = {} if company is None else {"company": company}
    sql = f"SELECT count(*), coalesce(sum(size), 0) FROM {session.names.cache}{one}"  # noqa: S608
    entries, size = session.rows(sql, **values)[0]
    return int(entries), int(size)


def clear(session: Session, *, company: int | None = None) -> int:
    """Drop the entries, of one company if it is given; return how many."""
    one = "" if company is None else " WHERE companyid = :company"
    values = {} if company is None else {"company": company}
    return session.change(f"DELETE FROM {session.names.cache}{one}", **values)  # noqa: S608


def prune(session: Session, *, now: int) -> int:
    """Drop what is past its time, or from a time that has not come; return how many."""
    sql = f"DELETE FROM {session.names.cache} WHERE expires_at <= :now OR created_at > :now"  # noqa: S608
    return session.change(sql, now=now)
