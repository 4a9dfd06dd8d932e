"""The difference between the rows that should be and the rows that are, learner by learner."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from alxreport.records import Content

CREATE, UPDATE, DELETE = "create", "update", "delete"
SCRUB = "scrub"  # a tombstone that still says something


class Stored(NamedTuple):
    """A row of the reporting table, as far as the sync compares it."""

    content: Content
    is_deleted: bool


class Change(NamedTuple):
    """One row to write. ``before`` is what is stored under its key, if anything."""

    kind: str  # create, update, delete or scrub
    content: Content  # of a deletion: the keys, every text blank
    before: Stored | None


def tombstone(content: Content) -> Content:
    """Return what stays of a row that stopped qualifying: its keys."""
    return Content(content.userid, content.courseid, "", "", "", "", "", 0, 0, 0.0, "")


def changes(
    expected: Iterable[tuple[int, Mapping[int, Content]]],
    stored: Iterable[tuple[int, Mapping[int, Stored]]],
) -> Iterator[Change]:
    """Yield what turns the stored rows into the expected ones.

    Both sides come by learner in ascending order of his id, with his rows by course; neither is
    held in memory.
    """
    left, right = iter(expected), iter(stored)
    last = sys.maxsize  # sorts after every learner
    wanted, there = next(left, (last, {})), next(right, (last, {}))
    while wanted[0] != last or there[0] != last:
        if wanted[0] < there[0]:
            yield from learner_changes(wanted[1], {})
            wanted = next(left, (last, {}))
        elif there[0] < wanted[0]:
            yield from learner_changes({}, there[1])
            there = next(right, (last, {}))
        else:
            yield from learner_changes(wanted[1], there[1])
            wanted, there = next(left, (last, {})), next(right, (last, {}))


def learner_changes(
    expected: Mapping[int, Content], stored: Mapping[int, Stored]
) -> Iterator[Change]:
    """Yield the changes of one learner's rows; a row that says the same stays untouched."""
    for courseid, content in expected.items():
        before = stored.get(courseid)
        if before is None or before.is_deleted:
            yield Change(CREATE, content, before)
        elif before.content != content:
            yield Change(UPDATE, content, before)
    for courseid, before in stored.items():
        if not before.is_deleted and courseid not in expected:
            yield Change(DELETE, tombstone(before.content), before)
        blank = tombstone(before.content)
        if before.is_deleted and courseid not in expected and before.content != blank:
            yield Change(SCRUB, blank, before)
