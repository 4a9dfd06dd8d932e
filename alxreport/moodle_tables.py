"""The part of Moodle's schema that alxreport reads, as SQLAlchemy tables for any prefix.

Types and keys follow ``SHOW CREATE TABLE`` of a Moodle 4.1 / IOMAD site; columns that are never
read are left out. The demo and the tests create these tables, the program only selects from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
)

# SQLite numbers rows by itself only for a column declared INTEGER PRIMARY KEY.
Id = BigInteger().with_variant(Integer, "sqlite")

# Columns that older or newer sites may lack, with the value that then holds for every row.
OPTIONAL_COLUMNS: dict[tuple[str, str], int] = {
    ("course_modules", "deletioninprogress"): 0,  # since Moodle 3.2
}
# Tables that a site may lack; they then count as empty.
OPTIONAL_TABLES = frozenset({"company_shared_courses"})


@dataclass(frozen=True)
class MoodleTables:
    """One attribute per Moodle table, without its prefix."""

    metadata: MetaData
    config: Table
    modules: Table
    course_categories: Table
    context: Table
    course: Table
    course_modules: Table
    course_modules_completion: Table
    course_completions: Table
    user: Table
    enrol: Table
    user_enrolments: Table
    role_assignments: Table
    role_capabilities: Table
    company: Table
    company_users: Table
    company_course: Table
    iomad_courses: Table
    company_shared_courses: Table

    def all(self) -> dict[str, Table]:
        """Return every table by its name without the prefix."""
        return {name: t for name, t in vars(self).items() if isinstance(t, Table)}


def _number(name: str, default: str | None = "0", nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable, server_default=default)


def _flag(name: str, default: str = "0") -> Column[int]:
    return Column(name, SmallInteger, nullable=False, server_default=default)


def _text(name: str, length: int) -> Column[str]:
    return Column(name, String(length), nullable=False, server_default="")


@lru_cache(maxsize=8)
def moodle_tables(prefix: str) -> MoodleTables:
    """Return Moodle's tables under ``prefix`` (Moodle's ``$CFG->prefix``)."""
    meta = MetaData()

    def table(name: str, *columns: Column[int] | Column[str] | UniqueConstraint | Index) -> Table:
        return Table(prefix + name, meta, Column("id", Id, primary_key=True), *columns)

    def index(name: str, *columns: str) -> Index:
        return Index(f"{prefix}{name}_ix", *columns)

    return MoodleTables(
        metadata=meta,
        config=table("config", Column("name", String(255), unique=True), Column("value", Text)),
        modules=table("modules", _text("name", 20), _flag("visible", "1")),
        course_categories=table(
            "course_categories", _text("name", 255), _number("parent"), _text("path", 255)
        ),
        context=table(
            "context",
            _number("contextlevel"),
            _number("instanceid"),
            Column("path", String(255)),
            _number("depth"),
            UniqueConstraint("contextlevel", "instanceid", name=f"{prefix}cont_conins_uix"),
        ),
        course=table(
            "course",
            _number("category"),
            _text("fullname", 1333),
            _text("shortname", 255),
            _flag("visible", "1"),
            _flag("enablecompletion"),
            _number("timemodified"),
        ),
        course_modules=table(
            "course_modules",
            _number("course"),
            _number("module"),
            _number("instance"),
            _flag("visible", "1"),
            _flag("completion"),
            _flag("deletioninprogress"),
            index("courmodu_cou", "course"),
        ),
        course_modules_completion=table(
            "course_modules_completion",
            _number("coursemoduleid", None),
            _number("userid", None),
            Column("completionstate", SmallInteger, nullable=False),
            _number("timemodified", None),
            UniqueConstraint("userid", "coursemoduleid", name=f"{prefix}courmoducomp_usecou_uix"),
            index("courmoducomp_cou", "coursemoduleid"),
        ),
        course_completions=table(
            "course_completions",
            _number("userid"),
            _number("course"),
            _number("timeenrolled"),
            _number("timestarted"),
            _number("timecompleted", None, nullable=True),
            _number("reaggregate"),
            UniqueConstraint("userid", "course", name=f"{prefix}courcomp_usecou_uix"),
            index("courcomp_cou", "course"),
        ),
        user=table(
            "user",
            _flag("deleted"),
            _flag("suspended"),
            _text("username", 100),
            _text("firstname", 100),
            _text("lastname", 100),
            _text("email", 100),
            _number("timemodified"),
        ),
        enrol=table(
            "enrol",
            _text("enrol", 20),
            _number("status"),
            _number("courseid", None),
            _number("timemodified"),
            index("enro_cou", "courseid"),
        ),
        user_enrolments=table(
            "user_enrolments",
            _number("status"),
            _number("enrolid", None),
            _number("userid", None),
            _number("timestart"),
            _number("timeend", "2147483647"),
            _number("timecreated"),
            _number("timemodified"),
            UniqueConstraint("enrolid", "userid", name=f"{prefix}userenro_enruse_uix"),
            index("userenro_use", "userid"),
        ),
        role_assignments=table(
            "role_assignments",
            _number("roleid"),
            _number("contextid"),
            _number("userid"),
            _text("component", 100),
            _number("itemid"),
            _number("timemodified"),
            index("roleassi_useconrol", "userid", "contextid", "roleid"),
            index("roleassi_con", "contextid"),
        ),
        role_capabilities=table(
            "role_capabilities",
            _number("contextid"),
            _number("roleid"),
            _text("capability", 255),
            _number("permission"),
            UniqueConstraint("roleid", "contextid", "capability", name=f"{prefix}rolecapa_uix"),
            index("rolecapa_cap", "capability"),
        ),
        company=table(
            "company",
            _text("name", 50),
            _text("shortname", 25),
            _flag("suspended"),
        ),
        company_users=table(
            "company_users",
            _number("companyid", None),
            _number("userid", None),
            _flag("managertype"),
            _number("departmentid", None),
            _flag("suspended"),
            UniqueConstraint("companyid", "userid", "departmentid", name=f"{prefix}compuser_uix"),
        ),
        company_course=table(
            "company_course",
            _number("companyid", None),
            _number("courseid", None),
            _number("departmentid", "0"),
            index("compcour_comcou", "companyid", "courseid"),
        ),
        iomad_courses=table(
            "iomad_courses",
            _number("courseid", None),
            Column("shared", SmallInteger, server_default="0"),
        ),
        company_shared_courses=table(
            "company_shared_courses",
            _number("companyid", None),
            _number("courseid", None),
        ),
    )
