"""Random content for a site and random edits of every kind that a Moodle site sees.

``pick`` chooses one element of a sequence: ``random.Random(seed).choice``, or a draw of Hypothesis.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa

from .moodle_site import (
    ALLOW,
    CATEGORY,
    COMPANY_MANAGER,
    COURSE,
    DAY,
    EDITING_TEACHER,
    MANAGER,
    METHODS,
    MODULE,
    MODULES,
    NAMES,
    PREVENT,
    PROHIBIT,
    ROLES,
    STUDENT,
    SYSTEM,
    USER,
    Site,
)

T = TypeVar("T")
Pick = Callable[[Sequence[Any]], Any]
Edit = Callable[[Site, Pick, int], str]
SITE_COURSE = 1
STATES = (1, 1, 1, 2, 0, 3, 4)
TIMES_PAST = (400 * DAY, 20 * DAY, 3600, 1, 0)


class NothingThere(Exception):
    """The site has no row for this edit."""


def fill(site: Site, rng: random.Random, companies: int, users: int, courses: int) -> None:
    """Write companies, users and courses with enrolments and completions; inserts only."""

    def chance(share: float) -> bool:
        return rng.random() < share

    now = site.now
    categories = [instance for level, instance in site.contexts if level == CATEGORY]
    company_ids = [
        site.add_company(rng.choice(NAMES), suspended=int(chance(0.1))) for _ in range(companies)
    ]
    user_ids = []
    for _ in range(users):
        state = {"deleted": int(chance(0.05)), "suspended": int(chance(0.07))}
        user = site.add_user(rng.choice(NAMES), rng.choice(NAMES), **state)
        user_ids.append(user)
        for company in rng.sample(company_ids, k=1 + int(companies > 1 and chance(0.3))):
            for department in (company, 100) if chance(0.2) else (company,):
                site.insert(
                    "company_users",
                    companyid=company,
                    userid=user,
                    departmentid=department,
                    managertype=int(chance(0.1)),
                    suspended=int(chance(0.07)),
                )
    for _ in range(courses):
        course = site.add_course(
            rng.choice(categories),
            rng.choice(NAMES),
            enablecompletion=int(chance(0.9)),
            visible=int(chance(0.9)),
            methods=(),
        )
        methods = [site.add_method(course, METHODS[n], int(chance(0.15))) for n in range(2)]
        shared = rng.choice((0, 0, 0, 1, 2, None))
        if chance(0.9):
            site.insert("iomad_courses", courseid=course, shared=shared)
        for company in company_ids:
            for _ in range(rng.choice((0, 1, 1, 1, 2))):
                site.insert(
                    "company_course", companyid=company, courseid=course, departmentid=company
                )
            if shared == 2 and chance(0.5):
                site.list_share(company, course)
        activities = [
            site.add_activity(course, rng.choice((0, 1, 1, 2)), rng.choice(list(MODULES)))
            for _ in range(rng.randrange(5))
        ]
        for user in user_ids:
            if chance(0.8):
                _fill_learner(site, rng, user, course, methods, activities, now)


def _fill_learner(
    site: Site,
    rng: random.Random,
    user: int,
    course: int,
    methods: list[int],
    activities: list[int],
    now: int,
) -> None:
    for method in rng.sample(methods, k=rng.choice((1, 1, 1, 2))):
        site.insert(
            "user_enrolments",
            enrolid=method,
            userid=user,
            status=int(rng.random() < 0.1),
            timestart=rng.choice((0, 0, 0, now - DAY, now - 9 * DAY, now + DAY)),
            timeend=rng.choice((0, 0, 0, 0, now + DAY, now + 9 * DAY, now - DAY)),
            timecreated=now - rng.randrange(90) * DAY,
            timemodified=now - DAY,
        )
    role = rng.choice((STUDENT,) * 7 + (EDITING_TEACHER, COMPANY_MANAGER, None))
    if role is not None:
        context = site.contexts[COURSE, course]
        site.insert("role_assignments", roleid=role, contextid=context, userid=user)
    for activity in activities:
        if rng.random() < 0.6:
            site.insert(
                "course_modules_completion",
                coursemoduleid=activity,
                userid=user,
                completionstate=rng.choice(STATES),
                timemodified=now - rng.randrange(60) * DAY,
            )
    if rng.random() < 0.6:
        site.insert(
            "course_completions",
            userid=user,
            course=course,
            timestarted=rng.choice((0, 0, now - 5 * DAY)),
            timecompleted=rng.choice((None, None, 0, now - DAY)),
            timeenrolled=0,
        )


def _one(site: Site, pick: Pick, name: str, **where: Any) -> sa.Row[Any]:
    rows = site.select(name, **where)
    if not rows:
        raise NothingThere(name)
    row: sa.Row[Any] = pick(rows)
    return row


def _user(site: Site, pick: Pick) -> int:
    return int(_one(site, pick, "user").id)


def _course(site: Site, pick: Pick) -> int:
    """Pick any course but the site's own."""
    return int(_from(pick, [c for c in site.ids("course") if c != SITE_COURSE]))


def _from(pick: Pick, choices: Sequence[T]) -> T:
    if not choices:
        raise NothingThere("a choice")
    chosen: T = pick(choices)
    return chosen


def _past(pick: Pick, now: int) -> int:
    return now - int(pick(TIMES_PAST))


def _learner(site: Site, pick: Pick, **where: Any) -> tuple[int, int]:
    """Pick a user and a course in which he has an enrolment row."""
    enrolment = _one(site, pick, "user_enrolments", **where)
    return enrolment.userid, _one(site, pick, "enrol", id=enrolment.enrolid).courseid


# Companies and members


def add_company(site: Site, pick: Pick, now: int) -> str:
    user, course = _user(site, pick), _course(site, pick)
    company = site.add_company(pick(NAMES))
    site.assign_user(company, user, department=company)
    site.give_course(company, course)
    return f"company {company}"


def rename_company(site: Site, pick: Pick, now: int) -> str:
    company = _one(site, pick, "company").id
    site.rename_company(company, pick(NAMES))
    return f"company {company}"


def suspend_company(site: Site, pick: Pick, now: int) -> str:
    company, suspended = _one(site, pick, "company").id, pick((1, 0, 0, 0))
    site.suspend_company(company, suspended)
    return f"company {company} suspended={suspended}"


def delete_company(site: Site, pick: Pick, now: int) -> str:
    company, raw = _one(site, pick, "company").id, pick((False, True))
    site.delete_company(company, raw)
    return f"company {company} raw={raw}"


def assign_user(site: Site, pick: Pick, now: int) -> str:
    company, user = _one(site, pick, "company").id, _user(site, pick)
    department, manager = pick((company, 100, 101)), pick((0, 0, 1))
    site.assign_user(company, user, department, manager=manager)
    return f"user {user} into company {company}, department {department}"


def change_department(site: Site, pick: Pick, now: int) -> str:
    membership = _one(site, pick, "company_users").id
    return f"membership {membership}: {site.change_department(membership, pick((100, 101, 102)))}"


def remove_department_row(site: Site, pick: Pick, now: int) -> str:
    membership = _one(site, pick, "company_users").id
    site.remove_department_row(membership)
    return f"membership {membership}"


def suspend_membership(site: Site, pick: Pick, now: int) -> str:
    membership, suspended, both = (
        _one(site, pick, "company_users").id,
        pick((1, 0, 0)),
        pick((0, 1)),
    )
    site.suspend_membership(membership, suspended, user_too=bool(both))
    return f"membership {membership} suspended={suspended}, user too={both}"


def remove_from_company(site: Site, pick: Pick, now: int) -> str:
    member = _one(site, pick, "company_users")
    site.remove_from_company(member.companyid, member.userid)
    return f"user {member.userid} from company {member.companyid}"


def move_to_company(site: Site, pick: Pick, now: int) -> str:
    member, target = _one(site, pick, "company_users"), _one(site, pick, "company").id
    site.remove_from_company(member.companyid, member.userid)
    site.assign_user(target, member.userid, department=target)
    return f"user {member.userid} from company {member.companyid} to {target}"


# Users


def add_user(site: Site, pick: Pick, now: int) -> str:
    given = _one(site, pick, "company_course")
    company, method = given.companyid, _one(site, pick, "enrol", courseid=given.courseid).id
    user = site.add_user(pick(NAMES), pick(NAMES))
    site.assign_user(company, user, department=company)
    site.enrol(method, user, timecreated=now)
    return f"user {user} in company {company} by method {method}"


def rename_user(site: Site, pick: Pick, now: int) -> str:
    user, column, text = _user(site, pick), pick(("firstname", "lastname")), pick(NAMES)
    site.change_user(user, now, **{column: text})
    return f"user {user} {column}={text!r}"


def change_login(site: Site, pick: Pick, now: int) -> str:
    user, column = _user(site, pick), pick(("email", "username"))
    text = f"{pick(NAMES)}{user}@example.com"
    site.change_user(user, pick((now, now - DAY)), **{column: text})
    return f"user {user} {column}={text!r}"


def suspend_user(site: Site, pick: Pick, now: int) -> str:
    user, suspended = _user(site, pick), pick((1, 0, 0))
    site.change_user(user, now, suspended=suspended)
    return f"user {user} suspended={suspended}"


def delete_user(site: Site, pick: Pick, now: int) -> str:
    user = _one(site, pick, "user", deleted=0).id
    site.delete_user(user, now)
    return f"user {user}"


def hard_delete_user(site: Site, pick: Pick, now: int) -> str:
    user = _user(site, pick)
    site.hard_delete_user(user)
    return f"user {user}"


# Courses and categories


def add_course(site: Site, pick: Pick, now: int) -> str:
    category, company = _one(site, pick, "course_categories").id, _one(site, pick, "company").id
    user = _user(site, pick)  # all picks before the first write: no roll-back halfway
    course = site.add_course(category, pick(NAMES), enablecompletion=pick((1, 1, 0)))
    site.give_course(company, course)
    activity = site.add_activity(course)
    site.enrol(site.ids("enrol", courseid=course)[0], user, timecreated=now)
    site.set_state(activity, user, 1, now)
    return f"course {course} for company {company} with user {user}"


def change_course(site: Site, pick: Pick, now: int) -> str:
    course = _course(site, pick)
    values: dict[str, str | int] = pick(
        (
            {"fullname": pick(NAMES)},
            {"visible": 0},
            {"visible": 1},
            {"visible": 1},
            {"enablecompletion": 0},
            {"enablecompletion": 1},
        )
    )
    site.change_course(course, now, **values)
    return f"course {course} {values}"


def move_course(site: Site, pick: Pick, now: int) -> str:
    course, category = _course(site, pick), _one(site, pick, "course_categories").id
    site.move_course(course, category, now)
    return f"course {course} to category {category}"


def move_category(site: Site, pick: Pick, now: int) -> str:
    categories = site.ids("course_categories")
    category, parent = _from(pick, categories), pick([0, *categories])
    return f"category {category} to {parent}: {site.move_category(category, parent)}"


def delete_course(site: Site, pick: Pick, now: int) -> str:
    course = _course(site, pick)
    site.delete_course(course)
    return f"course {course}"


def reset_course(site: Site, pick: Pick, now: int) -> str:
    course = _course(site, pick)
    site.reset_course(course)
    return f"course {course}"


def lose_context(site: Site, pick: Pick, now: int) -> str:
    levels = (CATEGORY, COURSE, COURSE)
    row, clear = _one(site, pick, "context", contextlevel=pick(levels)), pick((0, 1))
    (site.clear_path if clear else site.drop_context)(row.contextlevel, row.instanceid)
    return f"context {row.id} of {row.contextlevel}/{row.instanceid}, path only={clear}"


def rebuild_paths(site: Site, pick: Pick, now: int) -> str:
    site.rebuild_paths()
    return "all contexts"


def give_course(site: Site, pick: Pick, now: int) -> str:
    company, course = _one(site, pick, "company").id, _one(site, pick, "course").id
    site.give_course(company, course)
    return f"course {course} to company {company}"


def take_course(site: Site, pick: Pick, now: int) -> str:
    row, one_row = _one(site, pick, "company_course"), pick((0, 1))
    if one_row:
        site.delete("company_course", id=row.id)
    else:
        site.take_course(row.companyid, row.courseid)
    return f"course {row.courseid} from company {row.companyid}, one row={one_row}"


def share_course(site: Site, pick: Pick, now: int) -> str:
    course, shared = _one(site, pick, "course").id, pick((0, None, 1, 2, 2))
    site.share_course(course, shared)
    return f"course {course} shared={shared}"


def list_share(site: Site, pick: Pick, now: int) -> str:
    company, course = _one(site, pick, "company").id, _course(site, pick)
    add = pick((1, 1, 0))
    (site.list_share if add else site.unlist_share)(company, course)
    return f"course {course} company {company} add={add}"


# Activities


def add_activity(site: Site, pick: Pick, now: int) -> str:
    course, completion, module = _course(site, pick), pick((1, 2, 0)), pick(list(MODULES))
    activity = site.add_activity(course, completion, module)
    return f"activity {activity} in course {course} completion={completion} module={module}"


def delete_activity(site: Site, pick: Pick, now: int) -> str:
    activity = _one(site, pick, "course_modules").id
    slowly = pick((1, 0))
    (site.begin_deletion if slowly else site.delete_activity)(activity)
    return f"activity {activity} slowly={slowly}"


def finish_deletion(site: Site, pick: Pick, now: int) -> str:
    activity = _one(site, pick, "course_modules", deletioninprogress=1).id
    site.delete_activity(activity)
    return f"activity {activity}"


def set_tracking(site: Site, pick: Pick, now: int) -> str:
    activity, completion = _one(site, pick, "course_modules").id, pick((0, 1, 2))
    site.set_tracking(activity, completion)
    return f"activity {activity} completion={completion}"


def unlock_activity(site: Site, pick: Pick, now: int) -> str:
    activity = _one(site, pick, "course_modules").id
    site.unlock_activity(activity)
    return f"activity {activity}"


def show_activity(site: Site, pick: Pick, now: int) -> str:
    activity, visible = _one(site, pick, "course_modules").id, pick((0, 1))
    site.show_activity(activity, visible)
    return f"activity {activity} visible={visible}"


def move_activity(site: Site, pick: Pick, now: int) -> str:
    activity, course = _one(site, pick, "course_modules").id, _course(site, pick)
    site.move_activity(activity, course)
    return f"activity {activity} to course {course}"


def switch_module(site: Site, pick: Pick, now: int) -> str:
    module, visible = pick(list(MODULES)), pick((0, 1, 1))
    site.switch_module(module, visible)
    return f"module {module} visible={visible}"


# Enrolments and roles


def add_method(site: Site, pick: Pick, now: int) -> str:
    course = _one(site, pick, "course").id
    return f"method {site.add_method(course, pick(METHODS))} in course {course}"


def set_method(site: Site, pick: Pick, now: int) -> str:
    method, status = _one(site, pick, "enrol").id, pick((1, 0, 0))
    site.set_method(method, status)
    return f"method {method} status={status}"


def delete_method(site: Site, pick: Pick, now: int) -> str:
    method, how = _one(site, pick, "enrol").id, pick(("delete", "rows", "enrolments"))
    by = {"delete": site.delete_method, "rows": site.delete_method_rows}
    by.get(how, site.bulk_unenrol)(method)
    return f"method {method} {how}"


def enrol(site: Site, pick: Pick, now: int) -> str:
    if pick((1, 1, 1, 0)):  # a member in a course of his company
        member = _one(site, pick, "company_users")
        course = _one(site, pick, "company_course", companyid=member.companyid).courseid
        method, user = _one(site, pick, "enrol", courseid=course).id, member.userid
    else:
        method, user = _one(site, pick, "enrol").id, _user(site, pick)
    start, end = pick((0, 0, now - DAY, now, now + 1, now + DAY)), pick((0, 0, 0, now, now + 1))
    role = pick((STUDENT, STUDENT, STUDENT, EDITING_TEACHER, COMPANY_MANAGER, None))
    site.enrol(method, user, role, start, end, timecreated=_past(pick, now))
    return f"user {user} by method {method} role={role} {start}..{end}"


def unenrol(site: Site, pick: Pick, now: int) -> str:
    enrolment = _one(site, pick, "user_enrolments").id
    site.unenrol(enrolment)
    return f"enrolment {enrolment}"


def suspend_enrolment(site: Site, pick: Pick, now: int) -> str:
    enrolment, status = _one(site, pick, "user_enrolments").id, pick((1, 0, 0))
    site.change_enrolment(enrolment, now, status=status)
    return f"enrolment {enrolment} status={status}"


def set_window(site: Site, pick: Pick, now: int) -> str:
    enrolment, column = _one(site, pick, "user_enrolments").id, pick(("timestart", "timeend"))
    when = pick((0, 0, now - DAY, now - 1, now, now + 1, now + 3600))
    site.change_enrolment(enrolment, now, **{column: when})
    return f"enrolment {enrolment} {column}={when}"


def assign_role(site: Site, pick: Pick, now: int) -> str:
    level = pick((COURSE, COURSE, CATEGORY, SYSTEM, MODULE))
    context = _one(site, pick, "context", contextlevel=level).id
    role, user = pick((STUDENT, *ROLES)), _user(site, pick)
    site.assign_role(role, context, user)
    return f"role {role} in context {context} to user {user}"


def unassign_role(site: Site, pick: Pick, now: int) -> str:
    assignment = _one(site, pick, "role_assignments").id
    site.unassign_role(assignment)
    return f"assignment {assignment}"


def set_capability(site: Site, pick: Pick, now: int) -> str:
    level = pick((COURSE, COURSE, CATEGORY, CATEGORY, SYSTEM, MODULE))
    context = _one(site, pick, "context", contextlevel=level).id
    role = pick((STUDENT, STUDENT, EDITING_TEACHER, COMPANY_MANAGER, MANAGER, USER))
    permission = pick((ALLOW, PREVENT, PROHIBIT))
    site.set_capability(role, context, permission)
    return f"role {role} in context {context}: {permission}"


def lift_capability(site: Site, pick: Pick, now: int) -> str:
    row = _one(site, pick, "role_capabilities")
    site.set_capability(row.roleid, row.contextid, None, row.capability)
    return f"role {row.roleid} in context {row.contextid}"


def restore_roles(site: Site, pick: Pick, now: int) -> str:
    """Reset every role to its default, so that a prohibit does not empty the site for good."""
    site.delete("role_capabilities")
    site.set_capability(STUDENT, site.context(SYSTEM, 0), ALLOW)
    site.set_config("siteguest", "1")
    return "all roles"


def other_capability(site: Site, pick: Pick, now: int) -> str:
    context, role = _one(site, pick, "context").id, pick(ROLES)
    site.set_capability(role, context, pick((ALLOW, PROHIBIT)), "moodle/course:view")
    return f"role {role} in context {context}"


def change_config(site: Site, pick: Pick, now: int) -> str:
    user, more = _user(site, pick), _user(site, pick)
    name, value = pick(
        (
            ("siteadmins", "2"),
            ("siteadmins", f"2,{user}"),
            ("siteadmins", f"{more},{user}"),
            ("siteadmins", ""),
            ("siteguest", "1"),
            ("siteguest", str(user)),
            ("defaultuserroleid", str(USER)),
            ("defaultuserroleid", str(USER)),
            ("defaultuserroleid", str(STUDENT)),
            ("defaultuserroleid", None),
            ("enablecompletion", "1"),
            ("enablecompletion", "1"),
            ("enablecompletion", "0"),
        )
    )
    site.set_config(name, value)
    return f"{name}={value!r}"


# Completions


def set_state(site: Site, pick: Pick, now: int) -> str:
    user, course = _learner(site, pick)
    activity, state = _one(site, pick, "course_modules", course=course).id, pick(STATES)
    site.set_state(activity, user, state, _past(pick, now))
    return f"activity {activity} user {user} state={state}"


def delete_state(site: Site, pick: Pick, now: int) -> str:
    row = _one(site, pick, "course_modules_completion").id
    site.delete_state(row)
    return f"row {row}"


def complete_course(site: Site, pick: Pick, now: int) -> str:
    user, course = _learner(site, pick)
    completed, started = pick((None, 0, now, now - 20 * DAY)), pick((0, now - 30 * DAY))
    site.set_course_completion(user, course, completed, started)
    return f"user {user} course {course} completed={completed} started={started}"


def delete_completion(site: Site, pick: Pick, now: int) -> str:
    row = _one(site, pick, "course_completions").id
    site.delete_course_completion(row)
    return f"row {row}"


def run_cron(site: Site, pick: Pick, now: int) -> str:
    course = _course(site, pick)
    methods = site.ids("enrol", courseid=course)
    users = sorted({row.userid for row in site.select("user_enrolments", enrolid=methods)})
    for user in users:
        site.set_course_completion(user, course, pick((None, now)), timeenrolled=now)
    return f"course {course}, users {users}"


def import_late(site: Site, pick: Pick, now: int) -> str:
    """Commit a row whose id and times are older than rows that came meanwhile."""
    name = pick(("user_enrolments", "course_modules_completion", "course_completions"))
    user, course = _learner(site, pick)
    method = _one(site, pick, "enrol", courseid=course).id
    years_ago = now - 1000 * DAY
    keys: dict[str, dict[str, int]] = {
        "user_enrolments": {"enrolid": method, "userid": _user(site, pick)},
        "course_completions": {"userid": user, "course": course},
    }
    values: dict[str, dict[str, int]] = {
        "user_enrolments": {"timeend": 0, "timecreated": years_ago, "timemodified": years_ago},
        "course_completions": {"timecompleted": years_ago, "timeenrolled": years_ago},
        "course_modules_completion": {"completionstate": 1, "timemodified": years_ago},
    }
    if name == "course_modules_completion":
        activity = _one(site, pick, "course_modules", course=course).id
        keys[name] = {"coursemoduleid": activity, "userid": user}
    held = site.held.setdefault(name, [])
    held += [site.reserve(name) for _ in range(0 if held else 4)]
    number = held[0]
    site.delete(name, **keys[name])
    site.insert(name, id=number, **keys[name], **values[name])
    held.remove(number)
    return f"{name} {number} {keys[name]}"


EDITS: tuple[tuple[str, int, Edit], ...] = (
    ("add company", 1, add_company),
    ("rename company", 1, rename_company),
    ("suspend company", 2, suspend_company),
    ("delete company", 1, delete_company),
    ("assign user", 5, assign_user),
    ("change department", 1, change_department),
    ("remove department row", 1, remove_department_row),
    ("suspend membership", 2, suspend_membership),
    ("remove from company", 1, remove_from_company),
    ("move to company", 1, move_to_company),
    ("add user", 5, add_user),
    ("rename user", 3, rename_user),
    ("change login", 2, change_login),
    ("suspend user", 3, suspend_user),
    ("delete user", 1, delete_user),
    ("hard delete user", 1, hard_delete_user),
    ("add course", 2, add_course),
    ("change course", 5, change_course),
    ("move course", 2, move_course),
    ("move category", 2, move_category),
    ("delete course", 1, delete_course),
    ("reset course", 1, reset_course),
    ("lose context", 1, lose_context),
    ("rebuild paths", 2, rebuild_paths),
    ("give course", 5, give_course),
    ("take course", 2, take_course),
    ("share course", 3, share_course),
    ("list share", 3, list_share),
    ("add activity", 3, add_activity),
    ("delete activity", 2, delete_activity),
    ("finish deletion", 1, finish_deletion),
    ("set tracking", 3, set_tracking),
    ("unlock activity", 1, unlock_activity),
    ("show activity", 1, show_activity),
    ("move activity", 1, move_activity),
    ("switch module", 2, switch_module),
    ("add method", 1, add_method),
    ("set method", 3, set_method),
    ("delete method", 1, delete_method),
    ("enrol", 9, enrol),
    ("unenrol", 2, unenrol),
    ("suspend enrolment", 3, suspend_enrolment),
    ("set window", 4, set_window),
    ("assign role", 4, assign_role),
    ("unassign role", 2, unassign_role),
    ("set capability", 2, set_capability),
    ("lift capability", 1, lift_capability),
    ("restore roles", 6, restore_roles),
    ("other capability", 1, other_capability),
    ("change config", 4, change_config),
    ("set state", 8, set_state),
    ("delete state", 2, delete_state),
    ("complete course", 5, complete_course),
    ("delete completion", 2, delete_completion),
    ("run cron", 1, run_cron),
    ("import late", 3, import_late),
)
_WEIGHTED = tuple((name, edit) for name, weight, edit in EDITS for _ in range(weight))


def random_edit(site: Site, pick: Pick, now: int) -> str:
    """Make one random edit at the time ``now`` and return what it did, for a failing test."""
    site.now = now
    name, edit = pick(_WEIGHTED)
    try:
        with site.transaction():
            return f"{name}: {edit(site, pick, now)}"
    except NothingThere as missing:
        return f"{name}: no {missing}"
