"""A small IOMAD site in a database, and edits that leave behind what Moodle and IOMAD leave.

Every operation is one transaction, or part of the one that ``with site.transaction():`` holds.
Rows are numbered here, not by the database, so a site has the same ids on every backend.
"""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from alxreport.moodle_tables import moodle_tables

from .templates import copy_moodle

NOW = 1_795_400_000
DAY = 86_400
SYSTEM, CATEGORY, COURSE, MODULE = 10, 40, 50, 70  # context levels
MANAGER, EDITING_TEACHER, TEACHER, STUDENT, GUEST, USER, COMPANY_MANAGER = 1, 3, 4, 5, 6, 7, 12
ROLES = (MANAGER, EDITING_TEACHER, TEACHER, STUDENT, GUEST, USER, COMPANY_MANAGER)
ALLOW, PREVENT, PROHIBIT = 1, -1, -1000
CAPABILITY = "moodle/course:isincompletionreports"
MODULES = {1: "assign", 2: "chat", 3: "forum", 4: "quiz", 5: "scorm"}
CHAT = 2  # the type that is switched off in the base site
METHODS = ("manual", "self", "cohort", "license")
CONFIG = {
    "siteidentifier": "KkXm0n5vT2site",
    "siteguest": "1",
    "siteadmins": "2",
    "defaultuserroleid": str(USER),
    "enablecompletion": "1",
    "timezone": "Europe/London",
    "version": "2022112822",
    "release": "4.1.22 (Build: 20260101)",
}
COMPANY_TABLES = ("company_users", "company_course", "company_shared_courses")
LEVEL_TABLES = {CATEGORY: "course_categories", COURSE: "course", MODULE: "course_modules"}
# Neighbours differ by what a collation, a trim or a cast may overlook.
NAMES = (
    "Ana", "ana", "Aná", "Ana ", "", "O'Brien \"x\"", "=CMD|'/C calc'!A0", "株式会社", "شركة",
    "Zoë 🎓", "a\\b%_c", "1e3", "1000", "NULL", "tab\there\nline", "ß", "ss", "e\u0301", "é",
    "N" * 100,
)  # fmt: skip


class Rows:
    """The site's tables with plain row operations."""

    def __init__(self, engine: sa.Engine, prefix: str = "mdl_") -> None:
        self.engine = engine
        self.prefix = prefix
        self.tables = moodle_tables(prefix)
        self._by_name = self.tables.all()
        self._connection: sa.Connection | None = None
        self._pending: dict[tuple[str, ...], list[dict[str, Any]]] | None = None
        self._last: dict[str, int] = {}
        self.held: dict[str, list[int]] = {}  # table -> ids of transactions that are still open

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Make everything inside one transaction, however deep it is nested."""
        if self._connection is not None:
            yield self._connection
            return
        with self.engine.begin() as connection:
            self._connection = connection
            try:
                yield connection
            finally:
                self._connection = None

    @contextmanager
    def bulk(self) -> Iterator[None]:
        """Hold back inserts and send them together; nothing inside may look at the database."""
        self._pending = pending = defaultdict(list)
        try:
            yield
        finally:
            self._pending = None
        with self.transaction() as connection:
            for (name, *_), rows in pending.items():
                connection.execute(self._by_name[name].insert(), rows)

    def reserve(self, name: str) -> int:
        """Return the next id, for a row of a transaction that commits later than younger ones."""
        if name not in self._last:
            with self.transaction() as connection:
                newest = sa.select(sa.func.max(self._by_name[name].c.id))
                self._last[name] = connection.execute(newest).scalar() or 0
        self._last[name] += 1
        return self._last[name]

    def insert(self, name: str, /, **values: Any) -> int:
        values.setdefault("id", None)
        if values["id"] is None:
            values["id"] = self.reserve(name)
        if self._pending is not None:
            self._pending[(name, *sorted(values))].append(values)
        else:
            with self.transaction() as connection:
                connection.execute(self._by_name[name].insert().values(values))
        return int(values["id"])

    def select(self, name: str, /, **where: Any) -> list[sa.Row[Any]]:
        table = self._by_name[name]
        query = sa.select(table).where(*self._conditions(name, where)).order_by(table.c.id)
        with self.transaction() as connection:
            return list(connection.execute(query))

    def ids(self, name: str, /, **where: Any) -> list[int]:
        return [row.id for row in self.select(name, **where)]

    def update(self, name: str, where: dict[str, Any], /, **values: Any) -> None:
        change = self._by_name[name].update().where(*self._conditions(name, where))
        with self.transaction() as connection:
            connection.execute(change.values(values))

    def delete(self, name: str, /, **where: Any) -> None:
        removal = self._by_name[name].delete().where(*self._conditions(name, where))
        with self.transaction() as connection:
            connection.execute(removal)

    def upsert(self, name: str, key: dict[str, Any], /, **values: Any) -> int:
        if found := self.ids(name, **key):
            self.update(name, key, **values)
            return found[0]
        return self.insert(name, **key, **values)

    def _conditions(self, name: str, where: dict[str, Any]) -> list[sa.ColumnElement[bool]]:
        columns = self._by_name[name].c
        return [
            columns[key].in_(value) if isinstance(value, list | set) else columns[key] == value
            for key, value in where.items()
        ]


class Site(Rows):
    """An IOMAD site; the methods are named after what a person does there."""

    def __init__(self, engine: sa.Engine, prefix: str = "mdl_", now: int = NOW) -> None:
        super().__init__(engine, prefix)
        self.now = now
        self.contexts: dict[tuple[int, int], int] = {}  # (level, instance) -> context id
        self.paths: dict[int, str | None] = {}  # context id -> path
        if sa.inspect(engine).has_table(prefix + "context"):
            for row in self.select("context"):
                self.contexts[row.contextlevel, row.instanceid] = row.id
                self.paths[row.id] = row.path

    # The base site

    def create(self) -> Site:
        """Make the tables and the site as it is after its installation."""
        copy_moodle(self.engine, self.prefix)
        self.tables.metadata.create_all(self.engine)
        with self.transaction():
            self._base()
        return self

    def reset(self) -> Site:
        """Empty the tables and write the base again: cheaper than a new database."""
        self.contexts, self.paths, self.held = {}, {}, {}
        with self.transaction() as connection:
            for table in self._by_name.values():
                connection.execute(table.delete())
            self._base()
        return self

    def _base(self) -> None:
        self._last = dict.fromkeys(self._by_name, 0)
        with self.bulk():
            for name, value in CONFIG.items():
                self.insert("config", name=name, value=value)
            for number, name in MODULES.items():
                self.insert("modules", id=number, name=name, visible=int(number != CHAT))
            self.add_user("Guest user", " ", "guest", "root@localhost")
            self.add_user("Admin", "User", "admin", "admin@site.example")
            self._add_context(SYSTEM, 0, "")
            self.insert(
                "course", category=0, fullname="The site", shortname="site", timemodified=self.now
            )
            self._add_context(COURSE, 1, "/1")
            self.insert(
                "role_capabilities",
                contextid=1,
                roleid=STUDENT,
                capability=CAPABILITY,
                permission=ALLOW,
            )
        first = self.add_category("Courses")
        self.add_category("Safety", parent=self.add_category("Companies"))
        self.add_category("Archive", parent=first)

    def set_config(self, name: str, value: str | None) -> None:
        """Set a value of ``config``; None removes the row."""
        if value is None:
            self.delete("config", name=name)
        else:
            self.upsert("config", {"name": name}, value=value)

    # Categories and contexts

    def _add_context(self, level: int, instance: int, parent: str | None) -> int:
        number = self.reserve("context")
        path = f"{parent}/{number}" if parent is not None else None
        depth = path.count("/") if path else 0
        self.contexts[level, instance], self.paths[number] = number, path
        return self.insert(
            "context", id=number, contextlevel=level, instanceid=instance, path=path, depth=depth
        )

    def context(self, level: int, instance: int) -> int:
        """Return a context's id; a missing one is made as Moodle makes it, on demand."""
        if (level, instance) not in self.contexts:
            parent = self._parent(level, instance)
            self._add_context(level, instance, self.paths[self.context(*parent)])
        return self.contexts[level, instance]

    def _parent(self, level: int, instance: int) -> tuple[int, int]:
        if level == MODULE:
            return COURSE, self.select("course_modules", id=instance)[0].course
        if level == COURSE:
            category = self.select("course", id=instance)[0].category
        else:
            category = self.select("course_categories", id=instance)[0].parent
        return (CATEGORY, category) if category else (SYSTEM, 0)

    def drop_context(self, level: int, instance: int) -> None:
        """Remove a context row; roles on its id stay, contexts below it lose their paths."""
        with self.transaction():
            if number := self.contexts.pop((level, instance), None):
                self._clear_below(self.paths.pop(number))
            self.delete("context", contextlevel=level, instanceid=instance)

    def clear_path(self, level: int, instance: int) -> None:
        """Leave a context and those below without paths, as Moodle does before it rebuilds them."""
        with self.transaction():
            number = self.context(level, instance)
            self._clear_below(self.paths[number])
            self._set_path(number, None)

    def _clear_below(self, above: str | None) -> None:
        for number, path in list(self.paths.items()):
            if above and path and path.startswith(f"{above}/"):
                self._set_path(number, None)

    def rebuild_paths(self) -> None:
        """Make missing contexts and paths, as Moodle's hourly task does."""
        with self.transaction():
            for level, name in LEVEL_TABLES.items():
                for instance in self.ids(name):
                    number = self.context(level, instance)
                    above = self.paths[self.context(*self._parent(level, instance))]
                    if self.paths[number] is None and above is not None:
                        self._set_path(number, f"{above}/{number}")

    def _set_path(self, number: int, path: str | None) -> None:
        self.paths[number] = path
        self.update("context", {"id": number}, path=path, depth=path.count("/") if path else 0)

    def _move_context(self, number: int, parent: str) -> None:
        old, new = self.paths[number], f"{parent}/{number}"
        self._set_path(number, new)
        for below, path in list(self.paths.items()):
            if old and path and path.startswith(f"{old}/"):
                self._set_path(below, new + path[len(old) :])

    def add_category(self, name: str, parent: int = 0) -> int:
        with self.transaction():
            number = self.reserve("course_categories")
            above = self.select("course_categories", id=parent)[0].path if parent else ""
            self.insert(
                "course_categories", id=number, name=name, parent=parent, path=f"{above}/{number}"
            )
            upper = self.context(CATEGORY, parent) if parent else self.context(SYSTEM, 0)
            self._add_context(CATEGORY, number, self.paths[upper])
        return number

    def move_category(self, category: int, parent: int) -> bool:
        """Move a category with all below it; no course and no role row changes."""
        with self.transaction():
            rows = {row.id: row for row in self.select("course_categories")}
            above = rows[parent].path if parent else ""
            if f"{above}/".startswith(f"{rows[category].path}/"):
                return False
            old, new = rows[category].path, f"{above}/{category}"
            self.update("course_categories", {"id": category}, parent=parent)
            for row in rows.values():
                if f"{row.path}/".startswith(f"{old}/"):
                    path = new + row.path[len(old) :]
                    self.update("course_categories", {"id": row.id}, path=path)
            upper = self.paths[self.context(CATEGORY, parent) if parent else 1]
            self._move_context(self.context(CATEGORY, category), upper or "/1")
        return True

    # Companies and their members

    def add_company(self, name: str, shortname: str = "", suspended: int = 0) -> int:
        number = self.reserve("company")
        shortname = (shortname or f"company{number}")[:25]
        return self.insert(
            "company", id=number, name=name[:50], shortname=shortname, suspended=suspended
        )

    def rename_company(self, company: int, name: str, shortname: str | None = None) -> None:
        more = {} if shortname is None else {"shortname": shortname[:25]}
        self.update("company", {"id": company}, name=name[:50], **more)

    def suspend_company(self, company: int, suspended: int = 1) -> None:
        """Suspend or not, with its users who have one membership row; no time is touched."""
        with self.transaction():
            self.update("company", {"id": company}, suspended=suspended)
            members = {row.userid for row in self.select("company_users", companyid=company)}
            rows = [row.userid for row in self.select("company_users", userid=members)]
            single = {user for user in members if rows.count(user) == 1}
            self.update("user", {"id": single}, suspended=suspended)

    def delete_company(self, company: int, raw: bool = False) -> None:
        """Delete a company; ``raw`` leaves its memberships and courses dangling."""
        with self.transaction():
            self.delete("company", id=company)
            for name in () if raw else COMPANY_TABLES:
                self.delete(name, companyid=company)

    def assign_user(
        self, company: int, user: int, department: int = 1, suspended: int = 0, manager: int = 0
    ) -> int:
        key = {"companyid": company, "userid": user, "departmentid": department}
        return self.upsert("company_users", key, suspended=suspended, managertype=manager)

    def change_department(self, membership: int, department: int) -> bool:
        with self.transaction():
            row = self.select("company_users", id=membership)[0]
            key = {"companyid": row.companyid, "userid": row.userid, "departmentid": department}
            if self.ids("company_users", **key):
                return False
            self.update("company_users", {"id": membership}, departmentid=department)
        return True

    def remove_department_row(self, membership: int) -> None:
        self.delete("company_users", id=membership)

    def suspend_membership(
        self, membership: int, suspended: int = 1, user_too: bool = True
    ) -> None:
        """Suspend as IOMAD does: the membership row, and the user without its timemodified."""
        with self.transaction():
            self.update("company_users", {"id": membership}, suspended=suspended)
            if user_too:
                user = self.select("company_users", id=membership)[0].userid
                self.update("user", {"id": user}, suspended=suspended)

    def remove_from_company(self, company: int, user: int) -> None:
        """Unassign a user; his enrolments and completions in all its courses go too."""
        with self.transaction():
            self.delete("company_users", companyid=company, userid=user)
            courses = {row.courseid for row in self.select("company_course", companyid=company)}
            shared = self.select("company_shared_courses", companyid=company)
            for course in sorted(courses | {row.courseid for row in shared}):
                self._unenrol_all(course, user)
                self._forget(course, user)

    # Users

    def add_user(
        self, firstname: str, lastname: str, username: str = "", email: str = "", **flags: int
    ) -> int:
        number = self.reserve("user")
        return self.insert(
            "user",
            id=number,
            firstname=firstname[:100],
            lastname=lastname[:100],
            username=(username or f"user{number}")[:100],
            email=(email or f"user{number}@example.com")[:100],
            timemodified=self.now,
            deleted=flags.get("deleted", 0),
            suspended=flags.get("suspended", 0),
        )

    def change_user(self, user: int, now: int, **values: str | int) -> None:
        """Change names, email, username or ``suspended`` on the user's own page."""
        short = {k: v[:100] if isinstance(v, str) else v for k, v in values.items()}
        self.update("user", {"id": user}, timemodified=now, **short)

    def delete_user(self, user: int, now: int) -> None:
        """Delete as Moodle does: flag and overwritten names; completions stay."""
        with self.transaction():
            email = self.select("user", id=user)[0].email
            token = hashlib.md5(email.encode()).hexdigest()
            self.change_user(user, now, deleted=1, username=f"{email}.{now}"[-100:], email=token)
            for name in ("user_enrolments", "role_assignments", "company_users"):
                self.delete(name, userid=user)

    def hard_delete_user(self, user: int) -> None:
        """Remove the row alone, as a clean-up script does."""
        self.delete("user", id=user)

    # Courses

    def add_course(
        self,
        category: int,
        fullname: str,
        enablecompletion: int = 1,
        visible: int = 1,
        methods: tuple[str, ...] = ("manual",),
    ) -> int:
        with self.transaction():
            above = self.paths[self.context(CATEGORY, category)]
            course = self.insert(
                "course",
                category=category,
                fullname=fullname,
                shortname=fullname[:255],
                enablecompletion=enablecompletion,
                visible=visible,
                timemodified=self.now,
            )
            self._add_context(COURSE, course, above)
            for method in methods:
                self.add_method(course, method)
        return course

    def change_course(self, course: int, now: int, **values: str | int) -> None:
        """Change fullname, visible or enablecompletion on the course's settings page."""
        self.update("course", {"id": course}, timemodified=now, **values)

    def move_course(self, course: int, category: int, now: int) -> None:
        with self.transaction():
            self.change_course(course, now, category=category)
            above = self.paths[self.context(CATEGORY, category)]
            self._move_context(self.context(COURSE, course), above or "/1")

    def delete_course(self, course: int) -> None:
        """Delete a course and everything that depends on it."""
        with self.transaction():
            for module in self.ids("course_modules", course=course):
                self.delete_activity(module)
            for method in self.ids("enrol", courseid=course):
                self.delete_method_rows(method)
            if context := self.contexts.get((COURSE, course)):
                self.delete("role_assignments", contextid=context)
                self.delete("role_capabilities", contextid=context)
                self.drop_context(COURSE, course)
            self.delete("course_completions", course=course)
            for name in ("company_course", "iomad_courses", "company_shared_courses"):
                self.delete(name, courseid=course)
            self.delete("course", id=course)

    def reset_course(self, course: int) -> None:
        """Delete all completions of a course."""
        with self.transaction():
            self.delete("course_completions", course=course)
            modules = self.ids("course_modules", course=course)
            self.delete("course_modules_completion", coursemoduleid=modules)

    def give_course(self, company: int, course: int) -> int:
        """Give a course to a company; giving it twice makes two rows."""
        with self.transaction():
            if not self.ids("iomad_courses", courseid=course):
                self.insert("iomad_courses", courseid=course, shared=0)
            return self.insert("company_course", companyid=company, courseid=course, departmentid=1)

    def take_course(self, company: int, course: int) -> None:
        """Take it back; IOMAD then drops its settings even if others still have it."""
        with self.transaction():
            self.delete("company_course", companyid=company, courseid=course)
            self.delete("iomad_courses", courseid=course)

    def share_course(self, course: int, shared: int | None) -> None:
        """Share with nobody (0, NULL), every company (1) or the listed ones (2)."""
        self.upsert("iomad_courses", {"courseid": course}, shared=shared)

    def list_share(self, company: int, course: int) -> int:
        return self.insert("company_shared_courses", companyid=company, courseid=course)

    def unlist_share(self, company: int, course: int) -> None:
        self.delete("company_shared_courses", companyid=company, courseid=course)

    # Activities

    def add_activity(self, course: int, completion: int = 1, module: int = 1) -> int:
        with self.transaction():
            above = self.paths[self.context(COURSE, course)]
            number = self.insert(
                "course_modules", course=course, module=module, instance=1, completion=completion
            )
            self._add_context(MODULE, number, above)
        return number

    def delete_activity(self, activity: int) -> None:
        with self.transaction():
            self.delete("course_modules_completion", coursemoduleid=activity)
            self.drop_context(MODULE, activity)
            self.delete("course_modules", id=activity)

    def begin_deletion(self, activity: int) -> None:
        """Put an activity in the recycle bin; cron deletes it later."""
        self.update("course_modules", {"id": activity}, deletioninprogress=1)

    def set_tracking(self, activity: int, completion: int) -> None:
        """Turn tracking off (0), manual (1) or automatic (2); off deletes the states."""
        with self.transaction():
            self.update("course_modules", {"id": activity}, completion=completion)
            if not completion:
                self.delete("course_modules_completion", coursemoduleid=activity)

    def unlock_activity(self, activity: int) -> None:
        """Unlock its completion settings: its states and the course's completions go."""
        with self.transaction():
            self.delete("course_modules_completion", coursemoduleid=activity)
            course = self.select("course_modules", id=activity)[0].course
            self.delete("course_completions", course=course)

    def show_activity(self, activity: int, visible: int) -> None:
        self.update("course_modules", {"id": activity}, visible=visible)

    def move_activity(self, activity: int, course: int) -> None:
        self.update("course_modules", {"id": activity}, course=course)

    def switch_module(self, module: int, visible: int) -> None:
        """Switch an activity type on or off for the whole site."""
        self.update("modules", {"id": module}, visible=visible)

    # Enrolments and roles

    def add_method(self, course: int, kind: str = "manual", status: int = 0) -> int:
        return self.insert(
            "enrol", courseid=course, enrol=kind, status=status, timemodified=self.now
        )

    def set_method(self, method: int, status: int) -> None:
        """Enable (0) or disable (1) an enrolment method; no time is touched."""
        self.update("enrol", {"id": method}, status=status)

    def delete_method(self, method: int) -> None:
        with self.transaction():
            course = self.select("enrol", id=method)[0].courseid
            users = {row.userid for row in self.select("user_enrolments", enrolid=method)}
            self.delete_method_rows(method)
            for user in sorted(users):
                self._drop_roles_if_out(course, user)

    def delete_method_rows(self, method: int) -> None:
        """Delete a method and its enrolments by SQL: the role assignments stay."""
        with self.transaction():
            self.delete("user_enrolments", enrolid=method)
            self.delete("enrol", id=method)

    def enrol(
        self,
        method: int,
        user: int,
        role: int | None = STUDENT,
        timestart: int = 0,
        timeend: int = 0,
        timecreated: int | None = None,
        status: int = 0,
    ) -> int:
        """Enrol a user by a method, again if need be, with a role in the course."""
        with self.transaction():
            if role is not None:
                course = self.select("enrol", id=method)[0].courseid
                self.assign_role(role, self.context(COURSE, course), user)
            when = self.now if timecreated is None else timecreated
            return self.upsert(
                "user_enrolments",
                {"enrolid": method, "userid": user},
                status=status,
                timestart=timestart,
                timeend=timeend,
                timecreated=when,
                timemodified=when,
            )

    def change_enrolment(self, enrolment: int, now: int, **values: int) -> None:
        """Change status (0 active, 1 suspended), timestart or timeend."""
        self.update("user_enrolments", {"id": enrolment}, timemodified=now, **values)

    def unenrol(self, enrolment: int) -> None:
        """Remove one enrolment; the roles go with the last one."""
        with self.transaction():
            row = self.select("user_enrolments", id=enrolment)[0]
            self.delete("user_enrolments", id=enrolment)
            for method in self.select("enrol", id=row.enrolid):
                self._drop_roles_if_out(method.courseid, row.userid)

    def bulk_unenrol(self, method: int) -> None:
        """Delete a method's enrolments by SQL: the role assignments stay."""
        self.delete("user_enrolments", enrolid=method)

    def _unenrol_all(self, course: int, user: int) -> None:
        methods = self.ids("enrol", courseid=course)
        self.delete("user_enrolments", userid=user, enrolid=methods)
        self._drop_roles_if_out(course, user)

    def _drop_roles_if_out(self, course: int, user: int) -> None:
        methods = self.ids("enrol", courseid=course)
        if not self.ids("user_enrolments", userid=user, enrolid=methods):
            context = self.contexts.get((COURSE, course), 0)
            self.delete("role_assignments", userid=user, contextid=context)

    def assign_role(self, role: int, context: int, user: int) -> int:
        key = {"roleid": role, "contextid": context, "userid": user}
        return self.upsert("role_assignments", key, timemodified=self.now)

    def unassign_role(self, assignment: int) -> None:
        self.delete("role_assignments", id=assignment)

    def set_capability(
        self, role: int, context: int, permission: int | None, capability: str = CAPABILITY
    ) -> None:
        """Override a role in a context with ALLOW, PREVENT or PROHIBIT; None lifts it."""
        key = {"roleid": role, "contextid": context, "capability": capability}
        if permission is None:
            self.delete("role_capabilities", **key)
        else:
            self.upsert("role_capabilities", key, permission=permission)

    # Completions

    def set_state(self, activity: int, user: int, state: int, when: int) -> int:
        """Set an activity's state: 0 open, 1 done, 2 passed, 3 failed, 4 failed hidden."""
        key = {"coursemoduleid": activity, "userid": user}
        values = {"completionstate": state, "timemodified": when}
        return self.upsert("course_modules_completion", key, **values)

    def delete_state(self, row: int) -> None:
        self.delete("course_modules_completion", id=row)

    def set_course_completion(
        self,
        user: int,
        course: int,
        timecompleted: int | None = None,
        timestarted: int = 0,
        timeenrolled: int = 0,
    ) -> int:
        """Write the completion record; an open one has NULL or, from old imports, 0."""
        return self.upsert(
            "course_completions",
            {"userid": user, "course": course},
            timecompleted=timecompleted,
            timestarted=timestarted,
            timeenrolled=timeenrolled,
        )

    def delete_course_completion(self, row: int) -> None:
        self.delete("course_completions", id=row)

    def _forget(self, course: int, user: int) -> None:
        self.delete("course_completions", course=course, userid=user)
        modules = self.ids("course_modules", course=course)
        self.delete("course_modules_completion", coursemoduleid=modules, userid=user)

    def sample(self, seed: int, companies: int = 3, users: int = 12, courses: int = 5) -> Site:
        """Fill the base site with a varied small one, the same for the same seed."""
        from .moodle_edits import fill  # it imports this module

        with self.transaction(), self.bulk():
            fill(self, random.Random(seed), companies, users, courses)
        return self
