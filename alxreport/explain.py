"""Why a reporting row says what it says, or why there is none: each condition with its facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Engine

from alxreport import company_settings, evidence, moodle, store
from alxreport import explain_source as facts
from alxreport.catalogue import (
    Catalogue,
    build_catalogue,
)
from alxreport.companies import find_company
from alxreport.database import open_source, reading, snapshot
from alxreport.explain_conditions import Case, CompanyLine, Condition, conditions
from alxreport.explain_source import (
    ActivityLine,
    CompletionLine,
    CourseLine,
    EnrolmentLine,
    Membership,
    UserLine,
    iso,
)
from alxreport.progress import learner_rows, percentage
from alxreport.records import CompanyState, Content
from alxreport.schema import StoreTables
from alxreport.sessions import ServerSession
from alxreport.settings import Settings


@dataclass(frozen=True)
class Explanation:
    """Everything that decides one (company, user, course); times in unix seconds, 0 for none."""

    company: CompanyLine
    user: UserLine
    course: CourseLine
    live: bool
    reasons: tuple[str, ...]  # why there is no live row; empty if there is one
    conditions: tuple[Condition, ...]
    memberships: tuple[Membership, ...]
    enrolments: tuple[EnrolmentLine, ...]
    activities: tuple[ActivityLine, ...]
    done: int
    tracked: int
    percentage: float  # what a row says, or would say
    percentage_reason: str
    completion: CompletionLine | None
    expected: dict[str, Any] | None  # the row that the next sync would leave
    stored: dict[str, Any] | None  # the row in the store, a tombstone too
    in_step: bool  # the stored live row says what is expected, or there is neither
    last_change: int | None  # newest time among states, completion and enrolments

    def as_dict(self) -> dict[str, Any]:
        """Return the explanation as dictionaries and lists of plain values."""
        found = _plain(asdict(self))
        assert isinstance(found, dict)  # noqa: S101
        return found


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


@dataclass(frozen=True)
class _StoreSide:
    """What the store says before the source is looked at."""

    states: Mapping[int, CompanyState]
    switched_off: frozenset[tuple[int, int]]
    untracked: Mapping[int, bool] | bool
    untracked_default: bool

    def untracked_too(self, company: int) -> bool:
        """Whether a company's rows include people that Moodle does not track."""
        if isinstance(self.untracked, bool):
            return self.untracked
        return self.untracked.get(company, self.untracked_default)


def explain(
    settings: Settings,
    engine: Engine,
    tables: StoreTables,
    *,
    company: str,
    user: str,
    course: str,
    now: int,
) -> Explanation:
    """Explain the reporting row of one user in one course of one company at the moment ``now``.

    Each is named by id (``id:7`` or ``7``) or by shortname; username or email; shortname or
    fullname. What Moodle no longer has is found by id as long as the store has the row.
    Raises NotFoundError for a name that fits nothing, UsageError for one that fits two,
    SourceError or StoreError. The store must have been prepared.
    """
    with reading(engine) as stored:
        default = settings.sync.include_untracked
        known = _StoreSide(
            store.company_states(stored, tables),
            company_settings.switched_off(ServerSession(stored, tables.prefix)),
            company_settings.untracked_too(ServerSession(stored, tables.prefix), default),
            default,
        )
    # Not nested: the store is held by nobody while the source is read.
    with snapshot(open_source(settings.moodle), settings.moodle) as connection:
        case = _read_case(settings, connection, known, (company, user, course), now)
    with reading(engine) as stored:
        row = facts.stored_row(
            stored, tables, company=case.company.id, user=case.user.id, course=case.course.id
        )
    if row is None and case.user.gone:
        raise facts.not_found(user, "user", "id, username or email")
    if row is None and case.course.gone:
        raise facts.not_found(course, "course", "id, shortname or fullname")
    return _explanation(case, row)


def _read_case(
    settings: Settings,
    connection: Connection,
    known: _StoreSide,
    names: tuple[str, str, str],
    now: int,
) -> Case:
    """Read all of one case, named by company, user and course, in one snapshot of the source."""
    company_name, user_name, course_name = names
    source = moodle.inspect(connection, settings.moodle.prefix)
    site = moodle.load_site(connection, source)
    catalogue = build_catalogue(
        site,
        switched_off=known.switched_off,
        untracked_too={row[0] for row in site.companies if known.untracked_too(row[0])},
    )
    company = find_company(_companies(catalogue, known.states), company_name)
    user = _find_user(connection, source, user_name)
    course = _find_course(connection, source, catalogue, course_name)
    here = catalogue.courses.get(course.id)
    contexts = here.roles.contexts if here else ()
    key = {"user": user.id, "course": course.id}
    return Case(
        now=now,
        site=site,
        catalogue=catalogue,
        untracked_too=known.untracked_too(company.id),
        switched_off=(company.id, course.id) in known.switched_off,
        company=company,
        user=user,
        course=course,
        memberships=facts.memberships(connection, source, company=company.id, user=user.id),
        enrolments=facts.enrolments(connection, source, now, **key),
        activities=facts.activities(connection, source, **key),
        completion=facts.completion(connection, source, **key),
        assignments=facts.role_assignments(connection, source, user=user.id, contexts=contexts),
        expected=_expected(connection, source, catalogue, now, company=company.id, **key),
    )


def _companies(catalogue: Catalogue, states: Mapping[int, CompanyState]) -> list[CompanyLine]:
    here = catalogue.companies
    found = [CompanyLine(c.id, c.shortname, c.name, c.suspended) for c in here.values()]
    left = (state for state in states.values() if state.id not in here)
    return found + [CompanyLine(s.id, s.shortname, s.name, s.suspended, gone=True) for s in left]


def _find_user(connection: Connection, source: moodle.Source, name: str) -> UserLine:
    found = facts.find_user(connection, source, name)
    user = facts.read_user(connection, source, found) if found is not None else None
    if user is not None:
        return user
    number = facts.named_id(name)
    if number is None:
        raise facts.not_found(name, "user", "id, username or email")
    return UserLine(number, "", "", "", "", deleted=False, suspended=False, gone=True)


def _find_course(
    connection: Connection, source: moodle.Source, catalogue: Catalogue, name: str
) -> CourseLine:
    names = facts.course_names(connection, source)
    found = facts.pick(names.values(), name, "course")
    if found is not None:
        course = catalogue.courses[found]
        shortname, _fullname = names[found].names
        return CourseLine(found, course.fullname, shortname, course.visible, course.completion)
    number = facts.named_id(name)
    if number is None:
        raise facts.not_found(name, "course", "id, shortname or fullname")
    return CourseLine(number, "", "", visible=False, completion_enabled=False, gone=True)


def _expected(
    connection: Connection,
    source: moodle.Source,
    catalogue: Catalogue,
    now: int,
    *,
    company: int,
    user: int,
    course: int,
) -> Content | None:
    """Return the row as the sync derives it, by the same statement and the same rules."""
    here = catalogue.companies.get(company)
    if here is None:
        return None
    statement = evidence.learners_statement(
        source,
        now,
        roles=catalogue.relevant_roles,
        companies=[company],
        buckets=[user],
        bucket_bits=0,  # every learner is a bucket
    )
    for learner in list(evidence.learners(connection, statement)):
        return learner_rows(catalogue, here, learner).get(course)
    return None


def _explanation(case: Case, stored: dict[str, Any] | None) -> Explanation:
    checked = conditions(case)
    live = all(condition.holds for condition in checked)
    assert live == (case.expected is not None), "explain and sync disagree on a row"  # noqa: S101
    done = sum(activity.done for activity in case.activities)
    percent, reason = _percentage(case, done)
    if case.expected is not None:
        assert case.expected.percentage == percent, "explain and sync disagree"  # noqa: S101
    there = None
    if stored is not None and not stored["is_deleted"]:
        there = Content(*(stored[name] for name in Content._fields))
    return Explanation(
        company=case.company,
        user=case.user,
        course=case.course,
        live=live,
        reasons=tuple(condition.detail for condition in checked if not condition.holds),
        conditions=checked,
        memberships=case.memberships,
        enrolments=case.enrolments,
        activities=case.activities,
        done=done,
        tracked=len(case.activities),
        percentage=percent,
        percentage_reason=reason,
        completion=case.completion,
        expected=case.expected._asdict() if case.expected is not None else None,
        stored=stored,
        in_step=there == case.expected,
        last_change=_last_change(case),
    )


def _last_change(case: Case) -> int | None:
    times = [activity.timemodified for activity in case.activities]
    times += [enrolment.timemodified for enrolment in case.enrolments]
    if record := case.completion:
        times += [record.timeenrolled, record.timestarted, record.timecompleted]
    return max((time for time in times if time > 0), default=None)


def _percentage(case: Case, done: int) -> tuple[float, str]:
    """Return the percentage and how it arises, in the order in which Moodle asks."""
    completed = case.completion.timecompleted if case.completion else 0
    tracked = len(case.activities)
    if completed:
        return 100.0, f"100 because the course is complete since {iso(completed)}."
    if case.course.gone:
        return 0.0, "0 because the course no longer exists in Moodle."
    if not case.course.completion_enabled:
        own = any(row[0] == case.course.id and row[4] for row in case.site.courses)
        where = "site" if own else "course"
        return 0.0, f"0 because completion is switched off for the {where}."
    if not tracked:
        return 0.0, "0 because the course has no tracked activity."
    percent = percentage(done, tracked)
    noun = "activity" if tracked == 1 else "activities"
    return percent, f"{done} of {tracked} tracked {noun} done: {percent:.2f}."
