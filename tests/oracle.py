"""What the live reporting rows must say, computed from whole tables in plain loops.

Deliberately naive and apart from the program: it shares no code with it, only the words of the
contract ("Which rows exist, and what they say") and of Moodle's rule (moodle.md, section 2.5).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import sqlalchemy as sa

Row = dict[str, Any]
Key = tuple[int, int, int]  # company, user, course

TABLES = (
    "config",
    "modules",
    "course_categories",
    "context",
    "course",
    "course_modules",
    "course_modules_completion",
    "course_completions",
    "user",
    "enrol",
    "user_enrolments",
    "role_assignments",
    "role_capabilities",
    "company",
    "company_users",
    "company_course",
    "iomad_courses",
    "company_shared_courses",
)
OPTIONAL = "company_shared_courses"
SYSTEM, CATEGORY, COURSE = 10, 40, 50
ALLOW, PROHIBIT = 1, -1000
CAPABILITY = "moodle/course:isincompletionreports"
CENT = Decimal("0.01")


class Moodle:
    """All rows of the site, and the questions that the rules ask of them."""

    def __init__(self, connection: sa.Connection, prefix: str, now: int) -> None:
        self.now = now
        self.rows: dict[str, list[Row]] = {}
        for name in TABLES:
            if name == OPTIONAL and not sa.inspect(connection).has_table(prefix + name):
                self.rows[name] = []
                continue
            query = sa.select(sa.text("*")).select_from(sa.table(prefix + name))
            self.rows[name] = [dict(row) for row in connection.execute(query).mappings()]
        self.config = {row["name"]: row["value"] for row in self.rows["config"]}
        self.courses = {row["id"]: row for row in self.rows["course"]}
        self.categories = {row["id"]: row for row in self.rows["course_categories"]}
        self.contexts = {(r["contextlevel"], r["instanceid"]): r for r in self.rows["context"]}
        self.course_paths = {course: self._course_path(course) for course in self.courses}
        self.methods = {row["id"]: row for row in self.rows["enrol"]}
        self.enrolments = self._enrolments()

    def _enrolments(self) -> dict[tuple[int, int], list[Row]]:
        """Return the active enrolments by user and course."""
        found: dict[tuple[int, int], list[Row]] = {}
        for enrolment in self.rows["user_enrolments"]:
            method = self.methods.get(enrolment["enrolid"])
            if method is not None and self._is_active(enrolment, method):
                found.setdefault((enrolment["userid"], method["courseid"]), []).append(enrolment)
        return found

    def _is_active(self, enrolment: Row, method: Row) -> bool:
        if enrolment["status"] != 0 or method["status"] != 0:
            return False
        if enrolment["timestart"] > self.now:
            return False
        return enrolment["timeend"] == 0 or enrolment["timeend"] > self.now

    # Company, course and member

    def companies(self) -> list[int]:
        return [row["id"] for row in self.rows["company"] if row["suspended"] == 0]

    def members(self, company: int) -> list[Row]:
        """Return the users who count in the company, each once."""
        inside = {
            row["userid"]
            for row in self.rows["company_users"]
            if row["companyid"] == company and row["suspended"] == 0
        }
        return [
            user
            for user in self.rows["user"]
            if user["id"] in inside and user["deleted"] == 0 and user["suspended"] == 0
        ]

    def company_courses(self, company: int) -> list[Row]:
        """Return the visible courses that belong to the company, each once."""
        belonging = set()
        for row in self.rows["company_course"]:
            if row["companyid"] == company:
                belonging.add(row["courseid"])
        for row in self.rows["iomad_courses"]:
            listed = any(
                (share["companyid"], share["courseid"]) == (company, row["courseid"])
                for share in self.rows["company_shared_courses"]
            )
            if row["shared"] == 1 or (row["shared"] == 2 and listed):
                belonging.add(row["courseid"])
        return [
            course
            for course in self.courses.values()
            if course["id"] in belonging and course["visible"] == 1 and course["category"] != 0
        ]

    # Tracked or not (section 2.5, 2)

    def is_tracked(self, user: int, course: int) -> bool:
        """Tell whether the user, who has an active enrolment there, is in completion reports."""
        if str(user) == str(self.config.get("siteguest")):
            return False
        if str(user) in (self.config.get("siteadmins") or "").split(","):
            return True
        path = self.course_paths[course]
        roles = {
            row["roleid"]
            for row in self.rows["role_assignments"]
            if row["userid"] == user and row["contextid"] in path
        }
        roles.add(int(self.config.get("defaultuserroleid") or 0))
        allowed = False
        for role in roles:
            permissions = self._permissions(role, path)
            if PROHIBIT in permissions:
                return False
            if permissions and permissions[-1] == ALLOW:
                allowed = True
        return allowed

    def _permissions(self, role: int, path: list[int]) -> list[int]:
        """Return the role's permissions on the path, the deepest last."""
        found = [
            (path.index(row["contextid"]), row["permission"])
            for row in self.rows["role_capabilities"]
            if row["roleid"] == role
            and row["capability"] == CAPABILITY
            and row["contextid"] in path
        ]
        return [permission for _, permission in sorted(found)]

    def _course_path(self, course: int) -> list[int]:
        if (COURSE, course) in self.contexts:
            return self._own_path(COURSE, course)
        return self._category_path(self.courses[course]["category"])

    def _category_path(self, category: int) -> list[int]:
        """Return the path that a context made on demand would inherit."""
        if category not in self.categories:
            return [self.contexts[SYSTEM, 0]["id"]]
        if (CATEGORY, category) in self.contexts:
            return self._own_path(CATEGORY, category)
        return self._category_path(self.categories[category]["parent"])

    def _own_path(self, level: int, instance: int) -> list[int]:
        """Return a context's path; none in the row, and Moodle lets only administrators through."""
        context = self.contexts[level, instance]
        return [int(part) for part in (context.get("path") or "").split("/") if part]

    # Figures (section 2.5, 3 to 5, and the contract's table)

    def tracked_activities(self, course: int) -> set[int]:
        switched_on = {row["id"] for row in self.rows["modules"] if row["visible"] == 1}
        return {
            row["id"]
            for row in self.rows["course_modules"]
            if row["course"] == course
            and row["completion"] != 0
            and row.get("deletioninprogress", 0) == 0
            and row["module"] in switched_on
        }

    def states(self, user: int, activities: Collection[int]) -> list[int]:
        return [
            row["completionstate"]
            for row in self.rows["course_modules_completion"]
            if row["userid"] == user and row["coursemoduleid"] in activities
        ]

    def completion(self, user: int, course: int) -> Row:
        for row in self.rows["course_completions"]:
            if row["userid"] == user and row["course"] == course:
                return row
        return {"timestarted": 0, "timecompleted": None}

    def completion_enabled(self, course: int) -> bool:
        site = int(self.config.get("enablecompletion") or 0)
        return site != 0 and self.courses[course]["enablecompletion"] != 0

    def figures(self, user: int, course: int) -> Row:
        """Return timecompleted, timestarted, percentage and status of an enrolled user."""
        completion = self.completion(user, course)
        timecompleted = completion["timecompleted"] or 0
        activities = self.tracked_activities(course)
        states = self.states(user, activities)
        percentage = Decimal("0.00")
        if timecompleted:
            percentage = Decimal("100.00")
        elif self.completion_enabled(course) and activities:
            done = Decimal(sum(state not in (0, 3) for state in states))
            share = 100 * done / len(activities)
            percentage = share.quantize(CENT, rounding=ROUND_HALF_UP)
        status = "not_started"
        if timecompleted > 0:
            status = "completed"
        elif percentage > 0 or completion["timestarted"] > 0 or any(states):
            status = "in_progress"
        return {
            "timecompleted": timecompleted,
            "timestarted": self._timestarted(completion, self.enrolments[user, course]),
            "percentage": percentage,
            "status": status,
        }

    @staticmethod
    def _timestarted(completion: Row, active: list[Row]) -> int:
        if completion["timestarted"] > 0:
            return int(completion["timestarted"])
        starts = [row["timestart"] for row in active if row["timestart"] > 0]
        return int(min(starts) if starts else min(row["timecreated"] for row in active))


def expected_rows(
    connection: sa.Connection,
    prefix: str,
    now: int,
    include_untracked: Iterable[int] | bool = frozenset(),
    disabled_courses: Collection[tuple[int, int]] = frozenset(),
) -> dict[Key, Row]:
    """Return every live reporting row at ``now`` by (company, user, course).

    ``include_untracked`` holds company ids, or is True for all; ``disabled_courses`` holds pairs of
    company and course that are switched off.
    """
    site = Moodle(connection, prefix, now)
    everywhere = include_untracked is True
    untracked = set() if isinstance(include_untracked, bool) else set(include_untracked)
    rows: dict[Key, Row] = {}
    for company in site.companies():
        for course in site.company_courses(company):
            if (company, course["id"]) in disabled_courses:
                continue
            for user in site.members(company):
                if (user["id"], course["id"]) not in site.enrolments:
                    continue
                with_all = everywhere or company in untracked
                if with_all or site.is_tracked(user["id"], course["id"]):
                    rows[company, user["id"], course["id"]] = {
                        "firstname": user["firstname"] or "",
                        "lastname": user["lastname"] or "",
                        "email": user["email"] or "",
                        "username": user["username"] or "",
                        "coursename": course["fullname"] or "",
                        **site.figures(user["id"], course["id"]),
                    }
    return rows
