"""The guard against mass deletion: are rows going because Moodle's rows are missing?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from alxreport.catalogue import Catalogue

LEAST_ROWS = 50


def is_suspicious(deleted: int, live_before: int) -> bool:
    """Tell whether a company loses so many rows that the reasons have to be looked at."""
    return deleted >= LEAST_ROWS and deleted * 2 > live_before


@dataclass(frozen=True)
class Presence:
    """What Moodle still has of the learners whose rows would go."""

    users: Mapping[int, bool]  # user -> deleted or suspended
    members: Mapping[int, bool]  # member of the company -> suspended in all departments
    enrolled: Mapping[tuple[int, int], bool]  # (user, course) of any enrolment -> active
    assigned: Mapping[int, Sequence[tuple[int, int]]]  # user -> (context, role) assignments
    known_courses: frozenset[int]  # courses with a row in iomad_courses


def rows_missing(
    keys: Iterable[tuple[int, int]],
    *,
    company: int,
    catalogue: Catalogue,
    presence: Presence,
    sharing_before: Mapping[int, int],
) -> int:
    """Count the (user, course) keys that go because rows of Moodle are missing.

    A flag, a date or a setting that alone explains a deletion keeps it out of the count.
    """
    found = catalogue.companies.get(company)
    if found is None:
        return sum(1 for _key in keys)
    if found.suspended:
        return 0
    return sum(
        not _by_flag(key, company, catalogue, presence, sharing_before)
        and _by_absence(key, company, catalogue, presence)
        for key in keys
    )


def _by_flag(
    key: tuple[int, int],
    company: int,
    catalogue: Catalogue,
    presence: Presence,
    sharing_before: Mapping[int, int],
) -> bool:
    user, courseid = key
    course = catalogue.courses.get(courseid)
    if presence.users.get(user) or presence.members.get(user):
        return True
    if course is not None and not course.visible:
        return True
    if _belongs(courseid, company, catalogue):
        if course is not None and courseid not in catalogue.companies[company].courses:
            return True  # switched off for the company
    elif courseid in presence.known_courses and sharing_before.get(
        courseid, 0
    ) != catalogue.sharing.get(courseid, 0):
        return True  # no longer shared
    if key not in presence.enrolled or course is None:
        return False
    # Not active: a status or a date says so. Active: then a role that he has is not tracked.
    return not presence.enrolled[key] or _holds_role(user, courseid, catalogue, presence)


def _holds_role(user: int, courseid: int, catalogue: Catalogue, presence: Presence) -> bool:
    path = catalogue.courses[courseid].roles.contexts
    return any(context in path for context, _role in presence.assigned.get(user, ()))


def _belongs(courseid: int, company: int, catalogue: Catalogue) -> bool:
    return courseid in catalogue.listed.get(company, frozenset()) or courseid in catalogue.sharing


def _by_absence(
    key: tuple[int, int], company: int, catalogue: Catalogue, presence: Presence
) -> bool:
    user, courseid = key
    return (
        user not in presence.users
        or user not in presence.members
        or courseid not in catalogue.courses
        or not _belongs(courseid, company, catalogue)
        or key not in presence.enrolled
        or not _holds_role(user, courseid, catalogue, presence)
    )
