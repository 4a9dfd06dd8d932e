"""Where a synced table stands, and what moved since: fingerprints of the source's content.

Learners are taken together in buckets of neighbouring ids. The fingerprint of a bucket covers every
row of the big tables that shapes its learners' rows, the clock's effect on enrolments included;
those of courses and companies cover the small tables. Equal fingerprints mean equal rows, whatever
the timestamps say; a bucket that differs is derived again.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from alxreport.catalogue import Catalogue, Company, Course
from alxreport.errors import StoreError

# Raised whenever the rules in progress.py or catalogue.py change: everything is derived again.
RULES_VERSION = 1
# Learners to a bucket, as a power of two. Small buckets derive fewer unchanged learners again,
# large ones make a shorter list to fetch and keep; 8 learners measured best on 20,000.
BUCKET_BITS = 3
DIGEST_BYTES = 8


@dataclass(frozen=True)
class Position:
    """The fingerprints of one moment of the source, and a few facts to judge the next by."""

    users: Mapping[int, int] = field(default_factory=dict)  # bucket -> digest
    courses: Mapping[int, int] = field(default_factory=dict)
    companies: Mapping[int, int] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)  # rows in each big table
    sharing: Mapping[int, int] = field(default_factory=dict)  # course -> shared, where not 0
    untracked_too: frozenset[int] = frozenset()  # companies with untracked people in their rows
    rules: int = RULES_VERSION
    bucket_bits: int = BUCKET_BITS


@dataclass(frozen=True)
class Movement:
    """What differs between two positions."""

    buckets: frozenset[int]
    courses: frozenset[int]
    companies: frozenset[int]

    def __bool__(self) -> bool:
        return bool(self.buckets or self.courses or self.companies)


def digest(*parts: Any) -> int:
    """Return a 64-bit digest of values with an exact text form."""
    text = repr(parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=DIGEST_BYTES).digest())


def position(catalogue: Catalogue, tables: Mapping[str, Mapping[int, str]]) -> Position:
    """Put the position of one snapshot together.

    ``tables`` gives, for each big table, the text ``rows:hash`` of every bucket with rows in it.
    """
    buckets: dict[int, list[str]] = {}
    for name, found in tables.items():
        for bucket, text in found.items():
            buckets.setdefault(bucket, []).append(f"{name}={text}")
    site = digest(
        sorted(catalogue.admins),
        catalogue.guest,
        catalogue.default_role,
        sorted(catalogue.relevant_roles),
    )
    return Position(
        users={bucket: digest(texts) for bucket, texts in buckets.items()},
        courses={c.id: _course_digest(c, site) for c in catalogue.courses.values()},
        companies={c.id: _company_digest(c) for c in catalogue.companies.values()},
        rows={
            name: sum(int(text.split(":", 1)[0]) for text in found.values())
            for name, found in tables.items()
        },
        sharing=dict(catalogue.sharing),
        untracked_too=frozenset(c.id for c in catalogue.companies.values() if c.untracked_too),
        bucket_bits=BUCKET_BITS,
    )


def _course_digest(course: Course, site: int) -> int:
    roles = course.roles
    return digest(
        site,
        course.fullname,
        course.visible,
        course.completion,
        sorted(course.activities),
        course.methods,
        roles.contexts,
        sorted(roles.allow),
        sorted(roles.prohibit),
    )


def _company_digest(company: Company) -> int:
    return digest(company.suspended, sorted(company.courses), company.untracked_too)


def movement(before: Position | None, now: Position) -> Movement | None:
    """Return what moved between two positions, or None when everything must be derived again."""
    if before is None or (before.rules, before.bucket_bits) != (now.rules, now.bucket_bits):
        return None
    return Movement(
        _moved(before.users, now.users),
        _moved(before.courses, now.courses),
        _moved(before.companies, now.companies),
    )


def _moved(before: Mapping[int, int], now: Mapping[int, int]) -> frozenset[int]:
    # One pass over each side; keys that came or went count as moved.
    return frozenset(key for key, _value in before.items() ^ now.items())


def encode(position: Position) -> bytes:
    """Return a position as compact bytes for the store."""
    document = {
        "rules": position.rules,
        "bucket_bits": position.bucket_bits,
        "users": position.users,
        "courses": position.courses,
        "companies": position.companies,
        "rows": position.rows,
        "sharing": position.sharing,
        "untracked_too": sorted(position.untracked_too),
    }
    return zlib.compress(orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS), 1)


def decode(data: bytes) -> Position:
    """Return the position that ``encode`` made bytes of; StoreError if it is damaged."""
    try:
        document = orjson.loads(zlib.decompress(data))
        keyed = {
            name: {int(key): value for key, value in document[name].items()}
            for name in ("users", "courses", "companies", "sharing")
        }
        return Position(
            rules=document["rules"],
            bucket_bits=document["bucket_bits"],
            rows=document["rows"],
            untracked_too=frozenset(document["untracked_too"]),
            **keyed,
        )
    except (zlib.error, orjson.JSONDecodeError, KeyError, ValueError) as error:
        raise StoreError(
            "The store's record of the last sync is damaged.", "Run: alxreport sync --full"
        ) from error
