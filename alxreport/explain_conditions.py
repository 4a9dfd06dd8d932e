"""Each condition of the contract for one learner in one course of one company, with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from alxreport.catalogue import (
    ALLOW,
    CONTEXT_CATEGORY,
    CONTEXT_COURSE,
    CONTEXT_SYSTEM,
    PROHIBIT,
    SHARED_WITH_ALL,
    SHARED_WITH_LISTED,
    Catalogue,
)
from alxreport.explain_source import (
    ActivityLine,
    CompletionLine,
    CourseLine,
    EnrolmentLine,
    Membership,
    UserLine,
)
from alxreport.progress import is_tracked
from alxreport.records import Content, SiteData


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
class Case:
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


def conditions(case: Case) -> tuple[Condition, ...]:
    """Return all conditions of a live row, in the contract's order, met or not."""
    return (
        _company(case),
        _membership(case),
        *_user(case),
        *_course(case),
        _enrolment(case),
        _tracked(case),
    )


def _company(case: Case) -> Condition:
    if case.company.gone:
        return Condition("company", False, "The company no longer exists in Moodle.")
    if case.company.suspended:
        return Condition("company", False, "The company is suspended.")
    return Condition("company", True, "The company exists and is not suspended.")


def _membership(case: Case) -> Condition:
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


def _user(case: Case) -> tuple[Condition, Condition]:
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


def _course(case: Case) -> tuple[Condition, ...]:
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


def _assignment(case: Case) -> Condition:
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


def _enrolment(case: Case) -> Condition:
    if not case.enrolments:
        return Condition("enrolment", False, "The user has no enrolment in the course.")
    active = [enrolment.method for enrolment in case.enrolments if enrolment.active]
    if active:
        methods = ", ".join(sorted(set(active)))
        return Condition("enrolment", True, f"The user is actively enrolled by: {methods}.")
    whys = "; ".join(f"{line.method}: {line.why_not}" for line in case.enrolments)
    return Condition("enrolment", False, f"No enrolment in the course is active: {whys}.")


def _tracked(case: Case) -> Condition:
    course = case.catalogue.courses.get(case.course.id)
    if course is None:
        return Condition("tracked", False, "Nobody is tracked in a course that does not exist.")
    tracked = is_tracked(case.catalogue, course, case.user.id, case.assignments)
    why = _why_tracked(case, tracked)
    if case.untracked_too:
        why += " People whom Moodle does not track are reported too (include_untracked)."
    return Condition("tracked", tracked or case.untracked_too, why)


def _why_tracked(case: Case, tracked: bool) -> str:
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


def _held_roles(case: Case) -> dict[int, list[str]]:
    """Return the roles that count in the course, each with where the user has it from."""
    held: dict[int, list[str]] = {}
    for context in case.catalogue.courses[case.course.id].roles.contexts:
        for role in case.assignments.get(context, ()):
            held.setdefault(role, []).append(f"assigned in {_place(case, context)}")
    # Without a setting the default role is 0, which no row can name.
    if default := case.catalogue.default_role:
        held.setdefault(default, []).append("the default role of all users")
    return held


def _says(case: Case, role: int) -> str:
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


def _place(case: Case, context: int) -> str:
    for id_, level, instance, _path in case.site.contexts:
        if id_ == context:
            words = {
                CONTEXT_SYSTEM: "the system",
                CONTEXT_CATEGORY: f"category {instance}",
                CONTEXT_COURSE: "the course",
            }
            return words.get(level, f"context {context}")
    return f"context {context}"
