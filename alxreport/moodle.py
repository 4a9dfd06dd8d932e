"""Is this an IOMAD database, and what is in its small tables: companies, courses, roles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    and_,
    func,
    select,
)

from alxreport.catalogue import (
    CONTEXT_CATEGORY,
    CONTEXT_COURSE,
    CONTEXT_SYSTEM,
    TRACKED_CAPABILITY,
)
from alxreport.database import columns_of
from alxreport.dialects import Flavour, flavour
from alxreport.errors import SourceError
from alxreport.moodle_tables import (
    OPTIONAL_COLUMNS,
    OPTIONAL_TABLES,
    MoodleTables,
    moodle_tables,
)
from alxreport.records import SiteData

CONFIG_NAMES = (
    "enablecompletion", "siteadmins", "siteguest", "defaultuserroleid", "timezone", "release",
    "siteidentifier",
)  # fmt: skip


@dataclass(frozen=True)
class Source:
    """Moodle's tables under one prefix, in the SQL of one server."""

    tables: MoodleTables
    sql: Flavour
    absent: frozenset[str]  # optional tables and table.column that this site lacks

    def has(self, name: str) -> bool:
        """Tell whether this site has an optional table, or column written table.column."""
        return name not in self.absent


def inspect(connection: Connection, prefix: str) -> Source:
    """Check that the database is an IOMAD site's, and return how to read it.

    Raises SourceError naming what is missing: Moodle altogether, IOMAD, a table or columns.
    """
    tables = moodle_tables(prefix)
    sql = flavour(connection.dialect)
    there = columns_of(connection, [table.name for table in tables.all().values()])
    missing: list[str] = []
    absent: set[str] = set()
    for name, table in tables.all().items():
        columns = there.get(table.name.lower())
        if columns is None:
            (absent.add if name in OPTIONAL_TABLES else missing.append)(name)
            continue
        for column in _read_columns(name, table):
            if column not in columns:
                optional = (name, column) in OPTIONAL_COLUMNS
                (absent.add if optional else missing.append)(f"{name}.{column}")
    if missing:
        raise _missing_error(prefix, missing)
    return Source(tables, sql, frozenset(absent))


# Columns that the demo and the tests fill but no statement here reads.
_UNREAD = frozenset(
    {"timemodified", "timeenrolled", "reaggregate", "depth", "itemid", "component", "managertype",
     "departmentid", "instance"}
)  # fmt: skip


def _read_columns(name: str, table: FromClause) -> list[str]:
    skipped = _UNREAD | ({"name", "path"} if name == "course_categories" else set())
    skipped |= {"shortname"} if name == "course" else set()
    skipped |= {"enrol"} if name == "enrol" else set()
    skipped |= {"visible"} if name == "course_modules" else set()
    return [column.name for column in table.columns if column.name not in skipped]


def _missing_error(prefix: str, missing: list[str]) -> SourceError:
    lost = set(missing)
    if {"user", "course", "course_modules_completion"} <= lost:
        return SourceError(
            f"This is not a Moodle database, or its tables do not begin with {prefix!r}.",
            "Check moodle.url and moodle.prefix ($CFG->prefix in Moodle's config.php).",
        )
    if {"company", "company_users"} <= lost:
        return SourceError(
            "This Moodle has no IOMAD: its company tables are missing.",
            "alxreport reports by company; name an IOMAD site in moodle.url.",
        )
    shown = ", ".join(prefix + name for name in sorted(lost)[:6])
    return SourceError(
        f"Moodle's database lacks {shown}{' and more' if len(lost) > 6 else ''}.",
        "Let this user read all of Moodle's tables, or restore what was lost.",
    )


def load_site(connection: Connection, source: Source) -> SiteData:
    """Read the small tables: one statement each, whatever the size of the site."""
    t = source.tables

    def rows(statement: Select[Any]) -> list[Any]:
        return [tuple(row) for row in connection.execute(statement)]

    wanted = select(t.config.c.name, t.config.c.value).where(t.config.c.name.in_(CONFIG_NAMES))
    shared_with: list[tuple[int, int]] = []
    if source.has("company_shared_courses"):
        pivot = t.company_shared_courses.c
        shared_with = rows(select(pivot.companyid, pivot.courseid))
    modules = t.course_modules.c
    course, company, context = t.course.c, t.company.c, t.context.c
    methods = t.enrol.c
    levels = (CONTEXT_SYSTEM, CONTEXT_CATEGORY, CONTEXT_COURSE)
    return SiteData(
        config=dict(rows(wanted)),
        companies=rows(
            select(company.id, company.shortname, company.name, company.suspended).order_by(
                company.id
            )
        ),
        company_courses=rows(
            select(t.company_course.c.companyid, t.company_course.c.courseid).distinct()
        ),
        sharing=rows(
            select(t.iomad_courses.c.courseid, t.iomad_courses.c.shared).where(
                t.iomad_courses.c.shared != 0
            )
        ),
        shared_with=shared_with,
        courses=rows(
            select(
                course.id, course.category, course.fullname, course.visible, course.enablecompletion
            )
        ),
        activities=rows(
            select(modules.course, modules.id)
            .join_from(t.course_modules, t.modules, t.modules.c.id == modules.module)
            .where(tracked_activity(source))
        ),
        methods=rows(select(methods.courseid, methods.id, methods.status)),
        contexts=rows(
            select(context.id, context.contextlevel, context.instanceid, context.path).where(
                context.contextlevel.in_(levels)
            )
        ),
        categories=rows(select(t.course_categories.c.id, t.course_categories.c.parent)),
        capabilities=rows(
            select(
                t.role_capabilities.c.contextid,
                t.role_capabilities.c.roleid,
                t.role_capabilities.c.permission,
            ).where(t.role_capabilities.c.capability == TRACKED_CAPABILITY)
        ),
    )


COUNTED = ("modules", "role_capabilities", "course_modules", "company_course", "iomad_courses",
           "company_shared_courses")  # fmt: skip


def row_counts(connection: Connection, source: Source) -> dict[str, int]:
    """Count all rows of the small tables that shape rows; an absent table counts as empty."""
    tables = source.tables.all()
    there = [name for name in COUNTED if source.has(name)]
    counts = (select(func.count()).select_from(tables[name]).scalar_subquery() for name in there)
    row = connection.execute(select(*counts)).one()
    return dict.fromkeys(COUNTED, 0) | dict(zip(there, row, strict=True))


def tracked_activity(source: Source) -> ColumnElement[bool]:
    """``completion_info::get_activities``; course_modinfo only holds types that are switched on."""
    modules = source.tables.course_modules.c
    conditions = [modules.completion != 0, source.tables.modules.c.visible == 1]
    if source.has("course_modules.deletioninprogress"):
        conditions.append(modules.deletioninprogress == 0)
    return and_(*conditions)
