"""Why a reporting row says what it says, or why there is none: each condition with its facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Engine

from alxreport import company_settings, evidence, moodle, store
from alxreport import explain_source as facts
from alxreport.catalogue import (
    ALLOW,
    CONTEXT_CATEGORY,
    CONTEXT_COURSE,
    CONTEXT_SYSTEM,
    PROHIBIT,
    SHARED_WITH_ALL,
    SHARED_WITH_LISTED,
    Catalogue,
    build_catalogue,
)
from alxreport.companies import find_company
from alxreport.database import open_source, reading, snapshot
from alxreport.explain_source import (
    ActivityLine,
    CompletionLine,
    CourseLine,
    EnrolmentLine,
    Membership,
    UserLine,
    iso,
)
from alxreport.progress import is_tracked, learner_rows, percentage
from alxreport.records import CompanyState, Content, SiteData
from alxreport.schema import StoreTables
from alxreport.settings import Settings


@dataclass(frozen=True)
class CompanyLine:
    """The company that was asked about; ``gone`` if only the store still knows it."""

    id: int
    shortname: str
    name: str
    suspended: bool
    gone: bool = False


@dataclass(frozen=True)
class Condition:
    """One thing that must hold for a row to be live, and the sentence that says how it stands."""

    name: str
    holds: bool
    detail: str


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


@dataclass(frozen=True)
class _Case:
    """One (company, user, course) with all that Moodle holds about it."""

    now: int
    site: SiteData
    catalogue: Catalogue
    untracked_too: bool
    switched_off: bool
    company: CompanyLine
    user: UserLine
    course: CourseLine
    memberships: tuple[Membership, ...]
    enrolments: tuple[EnrolmentLine, ...]
    activities: tuple[ActivityLine, ...]
    completion: CompletionLine | None
    assignments: Mapping[int, Sequence[int]]  # context -> roles, on the course's path
    expected: Content | None


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
            company_settings.switched_off(stored, tables),
            company_settings.untracked_too(stored, tables, default),
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
) -> _Case:
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
    return _Case(
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


def _explanation(case: _Case, stored: dict[str, Any] | None) -> Explanation:
    conditions = _conditions(case)
    live = all(condition.holds for condition in conditions)
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
        reasons=tuple(condition.detail for condition in conditions if not condition.holds),
        conditions=conditions,
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


def _last_change(case: _Case) -> int | None:
    times = [activity.timemodified for activity in case.activities]
    times += [enrolment.timemodified for enrolment in case.enrolments]
    if record := case.completion:
        times += [record.timeenrolled, record.timestarted, record.timecompleted]
    return max((time for time in times if time > 0), default=None)


def _percentage(case: _Case, done: int) -> tuple[float, str]:
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


def _conditions(case: _Case) -> tuple[Condition, ...]:
    return (
        _company(case),
        _membership(case),
        *_user(case),
        *_course(case),
        _enrolment(case),
        _tracked(case),
    )


def _company(case: _Case) -> Condition:
    if case.company.gone:
        return Condition("company", False, "The company no longer exists in Moodle.")
    if case.company.suspended:
        return Condition("company", False, "The company is suspended.")
    return Condition("company", True, "The company exists and is not suspended.")


def _membership(case: _Case) -> Condition:
    if not case.memberships:
        return Condition("membership", False, "The user is not a member of the company.")
    places = ", ".join(
        f"department {row.department}{' (suspended)' if row.suspended else ''}"
        for row in case.memberships
    )
    if all(row.suspended for row in case.memberships):
        text = f"The user's membership of the company is suspended: {places}."
        return Condition("membership", False, text)
    return Condition("membership", True, f"The user is a member of the company: {places}.")


def _user(case: _Case) -> tuple[Condition, Condition]:
    user = case.user
    if user.gone:
        exists = Condition("user_not_deleted", False, "The user no longer exists in Moodle.")
        return exists, Condition("user_not_suspended", True, "There is no account to suspend.")
    return (
        Condition(
            "user_not_deleted",
            not user.deleted,
            f"The user is {'' if user.deleted else 'not '}deleted.",
        ),
        Condition(
            "user_not_suspended",
            not user.suspended,
            f"The user is {'' if user.suspended else 'not '}suspended on the whole site.",
        ),
    )


def _course(case: _Case) -> tuple[Condition, ...]:
    course = case.course
    # Moodle's front page is the first course outside every category.
    front_page = min((row[0] for row in case.site.courses if row[1] == 0), default=None)
    is_site = course.id == front_page
    if course.gone:
        visible = "The course no longer exists in Moodle."
    else:
        visible = f"The course is {'visible' if course.visible else 'hidden'}."
    return (
        _assignment(case),
        Condition("course_visible", course.visible, visible),
        Condition(
            "not_site_course",
            not is_site,
            f"The course is {'' if is_site else 'not '}the site's front page.",
        ),
        Condition(
            "not_switched_off",
            not case.switched_off,
            f"The course is {'' if case.switched_off else 'not '}switched off for the company.",
        ),
    )


def _assignment(case: _Case) -> Condition:
    company, course = case.company.id, case.course.id
    shared = {how for id_, how in case.site.sharing if id_ == course}
    listed = (company, course) in case.site.shared_with
    ways = []
    if course in case.catalogue.listed.get(company, frozenset()):
        ways.append("assigned to the company")
    if SHARED_WITH_ALL in shared:
        ways.append("shared with all companies")
    if SHARED_WITH_LISTED in shared and listed:
        ways.append("shared with listed companies, this one among them")
    if ways:
        return Condition("course_assigned", True, f"The course is {' and '.join(ways)}.")
    text = "The course is neither assigned to the company nor shared with it"
    if SHARED_WITH_LISTED in shared:
        text += ": it is shared with listed companies, and this one is not listed"
    elif listed:
        text += ": the company is listed for it, but the course is not shared"
    return Condition("course_assigned", False, f"{text}.")


def _enrolment(case: _Case) -> Condition:
    if not case.enrolments:
        return Condition("enrolment", False, "The user has no enrolment in the course.")
    active = [enrolment.method for enrolment in case.enrolments if enrolment.active]
    if active:
        methods = ", ".join(sorted(set(active)))
        return Condition("enrolment", True, f"The user is actively enrolled by: {methods}.")
    whys = "; ".join(f"{line.method}: {line.why_not}" for line in case.enrolments)
    return Condition("enrolment", False, f"No enrolment in the course is active: {whys}.")


def _tracked(case: _Case) -> Condition:
    course = case.catalogue.courses.get(case.course.id)
    if course is None:
        return Condition("tracked", False, "Nobody is tracked in a course that does not exist.")
    tracked = is_tracked(case.catalogue, course, case.user.id, case.assignments)
    why = _why_tracked(case, tracked)
    if case.untracked_too:
        why += " People whom Moodle does not track are reported too (include_untracked)."
    return Condition("tracked", tracked or case.untracked_too, why)


def _why_tracked(case: _Case, tracked: bool) -> str:
    if case.user.id == case.catalogue.guest:
        return "Moodle never tracks the guest account."
    if case.user.id in case.catalogue.admins:
        return "Moodle always tracks a site administrator."
    rule = case.catalogue.courses[case.course.id].roles
    held = _held_roles(case)
    prohibits = [role for role in held if role in rule.prohibit]
    allows = [role for role in held if role in rule.allow]
    telling = prohibits or allows or list(held)
    roles = "; ".join(f"{_role_words(role, held[role])} {_says(case, role)}" for role in telling)
    if not held:
        roles = "the user has no role along the course's context path"
    return f"Moodle {'tracks' if tracked else 'does not track'} the user in the course: {roles}."


def _role_words(role: int, places: Sequence[str]) -> str:
    return f"role {role} ({' and '.join(places)})"


def _held_roles(case: _Case) -> dict[int, list[str]]:
    """Return the roles that count in the course, each with where the user has it from."""
    held: dict[int, list[str]] = {}
    for context in case.catalogue.courses[case.course.id].roles.contexts:
        for role in case.assignments.get(context, ()):
            held.setdefault(role, []).append(f"assigned in {_place(case, context)}")
    # Without a setting the default role is 0, which no row can name.
    if default := case.catalogue.default_role:
        held.setdefault(default, []).append("the default role of all users")
    return held


def _says(case: _Case, role: int) -> str:
    """Return what decides about a role: a prohibit anywhere, else its deepest permission."""
    permissions = {
        context: permission for context, of, permission in case.site.capabilities if of == role
    }
    path = case.catalogue.courses[case.course.id].roles.contexts
    on_path = [(context, permissions[context]) for context in path if context in permissions]
    for context, permission in on_path:
        if permission == PROHIBIT:
            return f"is prohibited from completion reports in {_place(case, context)}"
    if not on_path:
        return "is in no completion reports"
    context, permission = on_path[-1]
    if permission == ALLOW:
        return f"is in completion reports by its permission in {_place(case, context)}"
    return f"is kept out of completion reports in {_place(case, context)}"


def _place(case: _Case, context: int) -> str:
    for id_, level, instance, _path in case.site.contexts:
        if id_ == context:
            words = {
                CONTEXT_SYSTEM: "the system",
                CONTEXT_CATEGORY: f"category {instance}",
                CONTEXT_COURSE: "the course",
            }
            return words.get(level, f"context {context}")
    return f"context {context}"
