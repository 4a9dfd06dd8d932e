"""A plain site of learners in courses, as large and as regular as a test needs it."""

from __future__ import annotations

from dataclasses import dataclass

from .moodle_site import CATEGORY, COURSE, DAY, STUDENT, Site


@dataclass(frozen=True)
class Crowd:
    """The ids of one company and of what belongs to it."""

    company: int
    courses: list[int]
    methods: list[int]
    users: list[int]


def add_crowd(site: Site, name: str, learners: int, courses: int = 1) -> Crowd:
    """Add a company with courses of its own and learners that are enrolled in all of them.

    Each course has an activity that everybody did, and a completion record of everybody: every
    learner has one live row per course, and every big table a row for it.
    """
    with site.transaction(), site.bulk():
        company = site.add_company(f"{name} Ltd", name)
        users = [site.add_user(f"First{n}", f"Last{n}") for n in range(learners)]
        for user in users:
            site.insert(
                "company_users", companyid=company, userid=user, departmentid=1, suspended=0
            )
        categories = [instance for level, instance in site.contexts if level == CATEGORY]
        course_ids, methods = [], []
        for number in range(courses):
            course = site.add_course(categories[0], f"{name} {number}", methods=())
            course_ids.append(course)
            methods.append(site.add_method(course))
            site.insert("iomad_courses", courseid=course, shared=0)
            site.insert("company_course", companyid=company, courseid=course, departmentid=1)
            _enrol(site, course, methods[-1], users)
    return Crowd(company, course_ids, methods, users)


def _enrol(site: Site, course: int, method: int, users: list[int]) -> None:
    done, still_open = site.add_activity(course), site.add_activity(course)
    context = site.contexts[COURSE, course]
    for user in users:
        site.insert(
            "user_enrolments", enrolid=method, userid=user, status=0, timestart=0, timeend=0,
            timecreated=site.now - DAY, timemodified=site.now - DAY,
        )  # fmt: skip
        site.insert("role_assignments", roleid=STUDENT, contextid=context, userid=user)
        for activity, state in ((done, 1), (still_open, user % 2)):
            site.insert(
                "course_modules_completion", coursemoduleid=activity, userid=user,
                completionstate=state, timemodified=site.now - DAY,
            )  # fmt: skip
        site.insert(
            "course_completions", userid=user, course=course, timestarted=site.now - DAY,
            timecompleted=None, timeenrolled=0,
        )  # fmt: skip
