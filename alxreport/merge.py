"""The difference between the rows that should be and the rows that are, learner by learner."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from alxreport.records import Content

CREATE, UPDATE, DELETE = "create", "update", "delete"


class Stored(NamedTuple):
    """A row of the reporting table, as far as the sync compares it."""

    content: Content
    is_deleted: bool


class Change(NamedTuple):
    """One row to write. ``before`` is what is stored under its key, if anything."""

    kind: str  # create, update or delete
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
    nothing: dict[int, Stored] = {}
    end = (float("inf"), {})
    wanted, there = next(left, end), next(right, end)
    while wanted is not end or there is not end:
        if wanted[0] < there[0]:
            yield from learner_changes(wanted[1], nothing)  # type: ignore[arg-type]
            wanted = next(left, end)
        elif there[0] < wanted[0]:
            yield from learner_changes({}, there[1])  # type: ignore[arg-type]
            there = next(right, end)
        else:
            yield from learner_changes(wanted[1], there[1])  # type: ignore[arg-type]
            wanted, there = next(left, end), next(right, end)


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
