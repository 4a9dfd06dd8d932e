"""The guard against mass deletion: are rows going because Moodle's rows are missing?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from alxreport.catalogue import Catalogue, Company

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


@dataclass(frozen=True)
class Before:
    """What held at the company's last sync and may explain a deletion without a missing row."""

    sharing: Mapping[int, int]  # course -> iomad_courses.shared, where not 0
    untracked_too: bool  # whether its rows included people whom Moodle does not track


def rows_missing(
    keys: Iterable[tuple[int, int]],
    *,
    company: int,
    catalogue: Catalogue,
    presence: Presence,
    before: Before,
) -> int:
    """Count the (user, course) keys that go because rows of Moodle are missing.

    A flag, a date or a setting that alone explains a deletion keeps it out of the count.
    """
    here = catalogue.companies.get(company)
    if here is None:
        return sum(1 for _key in keys)
    if here.suspended:
        return 0
    return sum(_is_missing(key, here, catalogue, presence, before) for key in keys)


def _is_missing(
    key: tuple[int, int],
    company: Company,
    catalogue: Catalogue,
    presence: Presence,
    before: Before,
) -> bool:
    user, courseid = key
    course = catalogue.courses.get(courseid)
    if _by_decision(key, company, catalogue, presence, before):
        return False
    absent = (
        course is None
        or courseid not in company.assigned
        or user not in presence.users
        or user not in presence.members
        or key not in presence.enrolled
    )
    if absent or course is None:
        return True
    if not presence.enrolled[key]:
        return False  # a status or a date
    # Everything is there, so he is no longer tracked. With a role on the path, a permission says
    # so; without one, the setting that counted him in was taken back, or his role is missing.
    holds = any(context in course.roles.contexts for context, _ in presence.assigned.get(user, ()))
    return not holds and (company.untracked_too or not before.untracked_too)


def _by_decision(
    key: tuple[int, int],
    company: Company,
    catalogue: Catalogue,
    presence: Presence,
    before: Before,
) -> bool:
    """Tell whether a flag or a setting takes the row away, whatever else is missing."""
    user, courseid = key
    course = catalogue.courses.get(courseid)
    if presence.users.get(user) or presence.members.get(user):
        return True  # deleted or suspended
    if course is not None and not course.visible:
        return True
    if courseid in company.assigned:
        return course is not None and courseid not in company.courses  # switched off
    shared, was = catalogue.sharing.get(courseid, 0), before.sharing.get(courseid, 0)
    return courseid in presence.known_courses and shared != was  # no longer shared
