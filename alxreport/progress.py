"""The rules: from what Moodle holds about one learner to his reporting rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, cast

import orjson

from alxreport.catalogue import Catalogue, Company, Course
from alxreport.errors import SourceError
from alxreport.records import Content, Learner

COMPLETED, IN_PROGRESS, NOT_STARTED = "completed", "in_progress", "not_started"


class Enrolment(NamedTuple):
    """The active enrolments of one learner in one course, taken together; times in unix seconds."""

    timestart: int  # the lowest positive start, 0 if none
    timecreated: int  # the lowest


def unpack(packed: str, what: str) -> list[Any]:
    """Return the items of a packed list ``count,[a,b],[a,b]``.

    Raises SourceError when the count does not fit: the server cut the list short, and a row made
    of it would be wrong.
    """
    try:
        count, *items = cast(list[Any], orjson.loads(f"[{packed}]"))
    except ValueError:
        raise _cut_short(what) from None
    if count != len(items):
        raise _cut_short(what)
    return items


def unpack_numbers(packed: str, what: str) -> list[int]:
    """Return the items of a packed list ``count,sum,a,b``; an empty one is ``0``.

    Raises SourceError when they do not add up, as the last number may have lost digits.
    """
    try:
        count, *rest = cast(list[Any], orjson.loads(f"[{packed}]"))
    except ValueError:
        raise _cut_short(what) from None
    if not rest and count == 0:
        return []
    total, *items = rest or [None]
    if count != len(items) or total != sum(items):
        raise _cut_short(what)
    return items


def _cut_short(what: str) -> SourceError:
    return SourceError(
        f"The database server cut a learner's list of {what} short.",
        "Raise the server's max_allowed_packet, then sync again.",
    )


def percentage(done: int, tracked: int) -> float:
    """Return ``done`` of ``tracked`` in percent, two decimals, halves rounded up; 0 of 0 is 0."""
    if not tracked:
        return 0.0
    return (done * 20_000 + tracked) // (2 * tracked) / 100


def is_tracked(
    catalogue: Catalogue, course: Course, userid: int, assignments: Mapping[int, Iterable[int]]
) -> bool:
    """Tell whether Moodle tracks a user's completion in a course.

    ``assignments`` are his roles by context. The enrolment is not looked at here.
    Source: ``completion_info::is_tracked_user`` (lib/completionlib.php), that is ``is_enrolled``
    with the capability, as ``has_capability_in_accessdata`` (lib/accesslib.php) decides it.
    """
    if userid == catalogue.guest:
        return False
    if userid in catalogue.admins:
        return True
    rule = course.roles
    if catalogue.default_role in rule.prohibit:
        return False
    allowed = catalogue.default_role in rule.allow
    for context in rule.contexts:
        for role in assignments.get(context, ()):
            if role in rule.prohibit:
                return False
            allowed = allowed or role in rule.allow
    return allowed


def course_status(timecompleted: int, timestarted: int, percent: float, touched: bool) -> str:
    """Return a row's status; ``touched``: a tracked activity has a state other than 0."""
    if timecompleted > 0:
        return COMPLETED
    if percent > 0 or timestarted > 0 or touched:
        return IN_PROGRESS
    return NOT_STARTED


def active_enrolments(learner: Learner) -> dict[int, Enrolment]:
    """Return a learner's active enrolments by course, several methods taken together."""
    found: dict[int, Enrolment] = {}
    for courseid, timestart, timecreated in unpack(learner.enrolments, "enrolments"):
        start = max(timestart, 0)
        known = found.get(courseid)
        if known is not None:
            start = (
                min(start, known.timestart)
                if start and known.timestart
                else (start or known.timestart)
            )
            timecreated = min(timecreated, known.timecreated)  # noqa: PLW2901
        found[courseid] = Enrolment(start, timecreated)
    return found


def learner_rows(catalogue: Catalogue, company: Company, learner: Learner) -> dict[int, Content]:
    """Return the live rows of one member of a company, by course in ascending order.

    The learner's membership, and that he is neither deleted nor suspended, was settled when he was
    read; what is settled here is which courses count, and what each row says.
    Source: ``core_completion\\progress::get_course_progress_percentage``.
    """
    if company.suspended:
        return {}
    enrolments = active_enrolments(learner)
    courseids = sorted(company.courses.intersection(enrolments))
    if not courseids:
        return {}
    assignments: dict[int, list[int]] = {}
    for context, role in unpack(learner.roles, "role assignments"):
        assignments.setdefault(context, []).append(role)
    if not company.untracked_too:
        courseids = [
            courseid
            for courseid in courseids
            if is_tracked(catalogue, catalogue.courses[courseid], learner.userid, assignments)
        ]
    records = {row[0]: row for row in unpack(learner.completions, "completions")}
    states: set[int] = set(unpack_numbers(learner.activities, "activities"))
    course_of = catalogue.activity_course.get
    done = Counter(map(course_of, states))  # failed ones are negative: there is no such module
    failed = {course_of(-module) for module in states if module < 0}
    # PostgreSQL stores no NUL; a name reads the same in every store.
    first, last, email, username = (name.replace("\0", "") for name in learner[2:6])
    rows: dict[int, Content] = {}
    for courseid in courseids:
        course = catalogue.courses[courseid]
        _course, started, completed = records.get(courseid, (courseid, 0, 0))
        enrolment = enrolments[courseid]
        if completed:
            percent = 100.0
        elif course.completion:
            percent = percentage(done[courseid], len(course.activities))
        else:
            percent = 0.0
        rows[courseid] = Content(
            learner.userid,
            courseid,
            first,
            last,
            email,
            username,
            course.fullname,
            completed,
            started if started > 0 else enrolment.timestart or enrolment.timecreated,
            percent,
            course_status(completed, started, percent, bool(done[courseid]) or courseid in failed),
        )
    return rows
