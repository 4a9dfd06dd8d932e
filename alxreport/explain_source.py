"""What Moodle and the store hold about one learner in one course of one company, as SELECTs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, literal, or_, select

from alxreport.errors import NotFoundError, UsageError
from alxreport.moodle import Source, tracked_activity
from alxreport.records import Content
from alxreport.schema import StoreTables

# lib/completionlib.php, COMPLETION_INCOMPLETE and its neighbours.
STATE_WORDS = {0: "incomplete", 1: "complete", 2: "passed", 3: "failed"}
NOT_DONE = frozenset({0, 3})
LARGEST_ID = 2**63 - 1
STORED = (
    "companyid", *Content._fields, "is_deleted", "last_updated", "created_at", "updated_at",
    "revision",
)  # fmt: skip


@dataclass(frozen=True)
class UserLine:
    """The account that was asked about; ``gone`` if Moodle has no such row any more."""

    id: int
    username: str
    firstname: str
    lastname: str
    email: str
    deleted: bool
    suspended: bool
    gone: bool = False


@dataclass(frozen=True)
class CourseLine:
    """The course that was asked about; ``gone`` if Moodle has no such row any more."""

    id: int
    fullname: str
    shortname: str
    visible: bool
    completion_enabled: bool  # for the course and for the site
    gone: bool = False


@dataclass(frozen=True)
class Membership:
    """One row of ``company_users`` of the company."""

    department: int
    suspended: bool


@dataclass(frozen=True)
class EnrolmentLine:
    """One row of ``user_enrolments`` in the course, with its method; times in unix seconds."""

    id: int
    method: str
    method_status: int  # 0: the method is switched on
    status: int  # 0: the enrolment is not suspended
    timestart: int
    timeend: int
    timecreated: int
    timemodified: int
    active: bool
    why_not: str  # why it is not active now, else ""


@dataclass(frozen=True)
class ActivityLine:
    """One tracked activity of the course, and how far the learner is with it."""

    id: int  # of the course module
    type: str
    hidden: bool
    state: int
    word: str
    timemodified: int  # last change of the state in unix seconds, 0 without any
    done: bool


@dataclass(frozen=True)
class CompletionLine:
    """The row of ``course_completions``; times in unix seconds, 0 for none."""

    timeenrolled: int
    timestarted: int
    timecompleted: int


@dataclass(frozen=True)
class Candidate:
    """A user or course that a name may mean: ``label`` for people, ``names`` to be found by."""

    id: int
    label: str
    names: tuple[str, ...]


def iso(moment: int) -> str:
    """Return a unix time as ISO 8601 in UTC; a number that is no date stays a number."""
    try:
        return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return str(moment)


def named_id(name: str) -> int | None:
    """Return the id that ``id:7`` or ``7`` spells, if it spells one."""
    digits = name.strip().removeprefix("id:").strip()
    if not digits.isdecimal() or len(digits) > len(str(LARGEST_ID)):
        return None
    number = int(digits)
    return number if 0 < number <= LARGEST_ID else None


def pick(candidates: Iterable[Candidate], name: str, what: str) -> int | None:
    """Return the id of the one candidate that ``name`` means, or None.

    ``id:7`` is always the id; anything else is a name (as written, else without regard to case) or
    an id. Raises UsageError when it fits two; ``what`` is "user" or "course".
    """
    known, wanted, number = list(candidates), name.strip(), named_id(name)
    numbered = [c for c in known if c.id == number]
    found: list[Candidate] = []
    if wanted and not wanted.startswith("id:"):
        found = [c for c in known if name in c.names or wanted in c.names]
        found = found or [
            c for c in known if wanted.casefold() in (n.strip().casefold() for n in c.names)
        ]
    found += [c for c in numbered if c not in found]
    if len(found) > 1:
        both = " and ".join(f"{c.label!r} (id:{c.id})" for c in found[:2])
        raise UsageError(f"{name!r} fits two {what}s: {both}.", "Name it as id:NUMBER.")
    return found[0].id if found else None


def not_found(name: str, what: str, names: str) -> NotFoundError:
    """Return the error for a name that fits nothing; ``names`` says what it may be."""
    return NotFoundError(f"There is no {what} {name!r} in Moodle.", f"Name it by {names}.")


def _blank(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.coalesce(column, literal("", literal_execute=True))


def find_user(connection: Connection, source: Source, name: str) -> int | None:
    """Return the id of the user that an id, username or email means; deleted ones too."""
    u, wanted = source.tables.user.c, name.strip()
    statement = select(u.id, _blank(u.username), _blank(u.email)).order_by(u.id)
    if wanted.isascii():
        # Beyond ASCII the servers disagree on what is one letter in two cases.
        folded = wanted.lower()
        fits = or_(func.lower(u.username) == folded, func.lower(u.email) == folded)
        number = named_id(name)
        statement = statement.where(fits if number is None else or_(fits, u.id == number))
    rows = connection.execute(statement)
    return pick((Candidate(id_, user, (user, email)) for id_, user, email in rows), name, "user")


def read_user(connection: Connection, source: Source, user: int) -> UserLine | None:
    """Return one account, whatever its flags, or None."""
    u = source.tables.user.c
    texts = map(_blank, (u.username, u.firstname, u.lastname, u.email))
    row = connection.execute(
        select(u.id, *texts, u.deleted, u.suspended).where(u.id == user)
    ).first()
    return UserLine(*row[:5], bool(row[5]), bool(row[6])) if row else None


def course_names(connection: Connection, source: Source) -> dict[int, Candidate]:
    """Return every course by id, with its short and full name."""
    c = source.tables.course.c
    rows = connection.execute(select(c.id, _blank(c.shortname), _blank(c.fullname)).order_by(c.id))
    return {id_: Candidate(id_, short, (short, full)) for id_, short, full in rows}


def memberships(
    connection: Connection, source: Source, *, company: int, user: int
) -> tuple[Membership, ...]:
    """Return a user's rows in one company, by department."""
    cu = source.tables.company_users.c
    rows = connection.execute(
        select(cu.departmentid, cu.suspended)
        .where(cu.companyid == company, cu.userid == user)
        .order_by(cu.departmentid, cu.id)
    )
    return tuple(Membership(department or 0, bool(suspended)) for department, suspended in rows)


def enrolments(
    connection: Connection, source: Source, now: int, *, user: int, course: int
) -> tuple[EnrolmentLine, ...]:
    """Return a user's enrolments in a course, with what keeps each from being active."""
    enrol, ue = source.tables.enrol.c, source.tables.user_enrolments.c
    rows = connection.execute(
        select(
            ue.id, _blank(enrol.enrol), enrol.status, ue.status, ue.timestart, ue.timeend,
            func.coalesce(ue.timecreated, 0), func.coalesce(ue.timemodified, 0),
        )
        .join_from(source.tables.user_enrolments, source.tables.enrol, enrol.id == ue.enrolid)
        .where(ue.userid == user, enrol.courseid == course)
        .order_by(ue.id)
    )  # fmt: skip
    found = []
    for row in rows:
        why_not = _why_not_active(now, *row[2:6])
        found.append(EnrolmentLine(*row, active=not why_not, why_not=why_not))
    return tuple(found)


def _why_not_active(now: int, method_status: int, status: int, timestart: int, timeend: int) -> str:
    reasons = []
    if method_status != 0:
        reasons.append("its method is switched off")
    if status != 0:
        reasons.append("it is suspended")
    if timestart > now:
        reasons.append(f"it begins at {iso(timestart)}")
    if timeend != 0 and timeend <= now:
        reasons.append(f"it ended at {iso(timeend)}")
    return " and ".join(reasons)


def activities(
    connection: Connection, source: Source, *, user: int, course: int
) -> tuple[ActivityLine, ...]:
    """Return the tracked activities of a course with a user's states."""
    t = source.tables
    cm, state = t.course_modules.c, t.course_modules_completion.c
    own = and_(state.coursemoduleid == cm.id, state.userid == user)
    rows = connection.execute(
        select(
            cm.id, t.modules.c.name, cm.visible,
            func.coalesce(state.completionstate, 0), func.coalesce(state.timemodified, 0),
        )
        .select_from(
            t.course_modules.join(t.modules, t.modules.c.id == cm.module).outerjoin(
                t.course_modules_completion, own
            )
        )
        .where(cm.course == course, tracked_activity(source))
        .order_by(cm.id)
    )  # fmt: skip
    return tuple(
        ActivityLine(
            id=id_,
            type=kind,
            hidden=not visible,
            state=number,
            word=STATE_WORDS.get(number, "other"),
            timemodified=changed,
            done=number not in NOT_DONE,
        )
        for id_, kind, visible, number, changed in rows
    )


def completion(
    connection: Connection, source: Source, *, user: int, course: int
) -> CompletionLine | None:
    """Return a user's completion record of a course, or None."""
    cc = source.tables.course_completions.c
    times = (cc.timeenrolled, cc.timestarted, cc.timecompleted)
    rows = connection.execute(
        select(*(func.coalesce(time, 0) for time in times))
        .where(cc.userid == user, cc.course == course)
        .order_by(cc.id)
    ).all()
    if not rows:
        return None
    last = rows[-1]
    return CompletionLine(last[0], last[1], last[2])


def role_assignments(
    connection: Connection, source: Source, *, user: int, contexts: Sequence[int]
) -> dict[int, list[int]]:
    """Return a user's roles in some contexts, by context."""
    ra = source.tables.role_assignments.c
    rows = connection.execute(
        select(ra.contextid, ra.roleid)
        .where(ra.userid == user, ra.contextid.in_(list(contexts) or [-1]))
        .distinct()
        .order_by(ra.contextid, ra.roleid)
    )
    found: dict[int, list[int]] = {}
    for context, role in rows:
        found.setdefault(context, []).append(role)
    return found


def stored_row(
    connection: Connection, tables: StoreTables, *, company: int, user: int, course: int
) -> dict[str, Any] | None:
    """Return one row of the reporting table by column, a tombstone too, or None."""
    t = tables.reporting.c
    row = connection.execute(
        select(*(t[name] for name in STORED)).where(
            t.companyid == company, t.userid == user, t.courseid == course
        )
    ).first()
    return dict(zip(STORED, row, strict=True)) if row else None
