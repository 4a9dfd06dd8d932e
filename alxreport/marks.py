"""Opaque, self-checking texts that a client keeps for us: where a page ended, what it has read."""

from __future__ import annotations

import base64
import binascii
import hmac
from dataclasses import astuple, dataclass
from decimal import Decimal
from typing import Any

import orjson

from alxreport.listing import Filter

CHECK_BYTES = 12
LONGEST = 100_000  # characters; a mark with many course ids is long, a longer one is none of ours


@dataclass(frozen=True)
class Delta:
    """What a client has read: everything of one company up to a revision."""

    company: int
    revision: int
    mark: str  # random, of that revision: another history of the same store has another one
    at: int  # unix seconds of the sync that the series stood at
    fields: int  # bits of the fields that were read
    wanted: Filter


@dataclass(frozen=True)
class Cursor:
    """Where a page of a series ended, and what the series' first page fixed."""

    userid: int
    courseid: int
    mode: str
    since: int | None  # revision of the delta the series began with
    total: int
    before: int  # rows that the series handed out so far
    begun: Delta  # what the series' last page will hand out
    whole: bool  # the series began with the first row, so that its end is worth a delta
    asked: tuple[str, ...] | None  # fields that were asked for by name


def write_delta(key: bytes, delta: Delta) -> str:
    """Return a delta as text: ``T`` and the base64 of check and content."""
    return _seal(key, "T", _plain(delta))


def read_delta(key: bytes, text: str) -> Delta | None:
    """Return what ``write_delta`` wrote with the same key; None for anything else."""
    found = _open(key, "T", text)
    return None if found is None else _delta(found)


def write_cursor(key: bytes, cursor: Cursor) -> str:
    """Return a cursor as text: ``C`` and the base64 of check and content."""
    content = [cursor.userid, cursor.courseid, cursor.mode, cursor.since, cursor.total,
               cursor.before, _plain(cursor.begun), cursor.whole, cursor.asked]  # fmt: skip
    return _seal(key, "C", content)


def read_cursor(key: bytes, text: str) -> Cursor | None:
    """Return what ``write_cursor`` wrote with the same key; None for anything else."""
    found = _open(key, "C", text)
    if found is None:
        return None
    userid, courseid, mode, since, total, before, begun, whole, asked = found
    names = None if asked is None else tuple(asked)
    return Cursor(userid, courseid, mode, since, total, before, _delta(begun), whole, names)


@dataclass(frozen=True)
class Place:
    """Where a page of the OData feed ended, and what its first page fixed."""

    after: tuple[Any, ...]  # what the rows are sorted by, user and course
    left: int | None  # rows that $top still allows
    total: int | None  # as the first page counted, where that was asked
    options: str  # a hash of the other options: they cannot be changed on the way
    company: int
    revision: int
    mark: str  # of that revision


def write_place(key: bytes, place: Place) -> str:
    """Return a place as text: ``S`` and the base64 of check and content."""
    after = [str(value) if isinstance(value, Decimal) else value for value in place.after]
    exact = [isinstance(value, Decimal) for value in place.after]
    return _seal(key, "S", [after, exact, *astuple(place)[1:]])


def read_place(key: bytes, text: str) -> Place | None:
    """Return what ``write_place`` wrote with the same key; None for anything else."""
    found = _open(key, "S", text)
    if found is None:
        return None
    after, exact, *rest = found
    values = (Decimal(v) if e else v for v, e in zip(after, exact, strict=True))
    return Place(tuple(values), *rest)


def _plain(delta: Delta) -> list[Any]:
    wanted = delta.wanted
    return [delta.company, delta.revision, delta.mark, delta.at, delta.fields,
            list(wanted.courses), wanted.status]  # fmt: skip


def _delta(found: list[Any]) -> Delta:
    company, revision, mark, at, fields, courses, status = found
    return Delta(company, revision, mark, at, fields, Filter(tuple(courses), status))


def _seal(key: bytes, kind: str, content: Any) -> str:
    body = orjson.dumps(content)
    sealed = base64.urlsafe_b64encode(_check(key, kind, body) + body)
    return kind + sealed.rstrip(b"=").decode()


def _check(key: bytes, kind: str, body: bytes) -> bytes:
    return hmac.digest(key, kind.encode() + body, "sha256")[:CHECK_BYTES]


def _open(key: bytes, kind: str, text: str) -> Any:
    if len(text) > LONGEST or not text.startswith(kind) or not text.isascii():
        return None
    try:
        sealed = base64.b64decode(text[1:] + "=" * (-len(text[1:]) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    check, body = sealed[:CHECK_BYTES], sealed[CHECK_BYTES:]
    if not hmac.compare_digest(check, _check(key, kind, body)):
        return None
    content = orjson.loads(body)
    # The last base64 character has spare bits: of all texts for one content, one is ours.
    return content if _seal(key, kind, content) == text else None
