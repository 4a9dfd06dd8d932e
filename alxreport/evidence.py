"""The big tables as SELECTs: fingerprints of their rows, and what shapes each learner's rows."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    case,
    func,
    literal,
    or_,
    select,
)

from alxreport.dialects import bucket_of
from alxreport.guard import Presence
from alxreport.moodle import Source
from alxreport.records import Learner

STATE_FAILED = 3  # COMPLETION_COMPLETE_FAIL, lib/completionlib.php
STREAM_ROWS = 500  # learners fetched ahead of their use
LISTED_IDS = 5_000


def _by_clock(source: Source, now: int) -> ColumnElement[bool]:
    """Whether an enrolment's window holds ``now`` (lib/enrollib.php, get_enrolled_join)."""
    ue = source.tables.user_enrolments.c
    return and_(ue.timestart <= now, or_(ue.timeend == 0, ue.timeend > now))


def fingerprint_statements(source: Source, now: int, bucket_bits: int) -> dict[str, Select[Any]]:
    """Return, for each big table, the statement that hashes its rows by bucket of learners.

    Row ids are hashed too where no unique key forbids two equal rows.
    """
    t = source.tables
    u, cu, ue = t.user.c, t.company_users.c, t.user_enrolments.c
    cc, cmc, ra = t.course_completions.c, t.course_modules_completion.c, t.role_assignments.c
    # With their lengths, so that nothing can wander from one name into the next unseen.
    names = [source.sql.text(_blank(c)) for c in (u.firstname, u.lastname, u.email, u.username)]
    open_now = case((_by_clock(source, now), 1), else_=0)
    hashed: dict[str, tuple[ColumnElement[Any], list[ColumnElement[Any]]]] = {
        "user": (
            u.id,
            [u.id, u.deleted, u.suspended, *names, *(func.length(name) for name in names)],
        ),
        "company_users": (cu.userid, [cu.id, cu.companyid, cu.userid, cu.suspended]),
        "user_enrolments": (
            ue.userid,
            [ue.id, ue.userid, ue.enrolid, ue.status, _zero(ue.timestart), _zero(ue.timecreated),
             open_now],
        ),
        "course_completions": (
            cc.userid,
            [cc.id, cc.userid, cc.course, _zero(cc.timestarted), _zero(cc.timecompleted)],
        ),
        "course_modules_completion": (
            cmc.userid, [cmc.userid, cmc.coursemoduleid, cmc.completionstate],
        ),
        "role_assignments": (ra.userid, [ra.id, ra.userid, ra.contextid, ra.roleid]),
    }  # fmt: skip
    statements = {}
    for name, (userid, columns) in hashed.items():
        bucket = bucket_of(userid, bucket_bits)
        statements[name] = select(bucket, source.sql.set_hash(*columns)).group_by(bucket)
    return statements


def fingerprints(
    connection: Connection, source: Source, now: int, bucket_bits: int
) -> dict[str, dict[int, str]]:
    """Let the server hash the big tables: one pass over each, a few bytes per bucket fetched."""
    return {
        name: {int(bucket): str(found) for bucket, found in connection.execute(statement)}
        for name, statement in fingerprint_statements(source, now, bucket_bits).items()
    }


def _zero(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.coalesce(column, literal(0, literal_execute=True))


def _blank(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.coalesce(column, literal("", literal_execute=True))


def _one_of(column: ColumnElement[Any], ids: Iterable[int]) -> ColumnElement[bool]:
    # Written into the statement as numbers: thousands of bound values are slow on every driver.
    values = sorted(ids) or [-1]
    return column.in_(bindparam(None, values, expanding=True, literal_execute=True))


def learners_statement(
    source: Source,
    now: int,
    *,
    roles: Collection[int],
    companies: Collection[int],
    buckets: Collection[int] | None = None,
    whole_companies: Collection[int] = (),
    bucket_bits: int,
) -> Select[Any]:
    """Return the statement that reads learners with everything that shapes their rows.

    One row per member of one of ``companies``, ordered by company and user; with ``buckets`` only
    their learners, and all of ``whole_companies``. Each list is a correlated sub-select on an index
    over the user's id, which leaves no optimizer a choice: joining grouped tables instead runs
    anything from seconds to an hour, by the server's mood.
    """
    t, pack = source.tables, source.sql.pack
    u, cu, ue = t.user.c, t.company_users.c, t.user_enrolments.c
    cc, cmc, ra = t.course_completions.c, t.course_modules_completion.c, t.role_assignments.c
    chosen = _one_of(cu.companyid, companies)
    if buckets is not None:
        in_bucket = _one_of(bucket_of(cu.userid, bucket_bits), buckets)
        if whole_companies:
            in_bucket = or_(in_bucket, _one_of(cu.companyid, whole_companies))
        chosen = and_(chosen, in_bucket)
    member = (
        select(cu.companyid, cu.userid).where(cu.suspended == 0, chosen).distinct().subquery("m")
    )
    enrolments = (
        select(pack(t.enrol.c.courseid, _zero(ue.timestart), _zero(ue.timecreated)))
        .join_from(t.user_enrolments, t.enrol, t.enrol.c.id == ue.enrolid)
        .where(ue.userid == u.id, ue.status == 0, t.enrol.c.status == 0, _by_clock(source, now))
    )
    completions = select(pack(cc.course, _zero(cc.timestarted), _zero(cc.timecompleted))).where(
        cc.userid == u.id
    )
    activities = select(
        pack(
            case(
                (cmc.completionstate == STATE_FAILED, -cmc.coursemoduleid),
                else_=cmc.coursemoduleid,
            )
        )
    ).where(cmc.userid == u.id, cmc.completionstate != 0)
    assignments = select(pack(ra.contextid, ra.roleid)).where(
        ra.userid == u.id, _one_of(ra.roleid, roles)
    )
    return (
        select(
            member.c.companyid,
            u.id,
            *(_blank(column) for column in (u.firstname, u.lastname, u.email, u.username)),
            *(
                part.correlate(t.user).scalar_subquery()
                for part in (enrolments, completions, activities, assignments)
            ),
        )
        .join_from(member, t.user, u.id == member.c.userid)
        .where(u.deleted == 0, u.suspended == 0)
        .order_by(member.c.companyid, member.c.userid)
        .execution_options(stream_results=True, max_row_buffer=STREAM_ROWS)
    )


def learners(connection: Connection, statement: Select[Any]) -> Generator[Learner, None, None]:
    """Yield the learners of ``learners_statement`` as the server sends them."""
    with connection.execute(statement) as result:
        yield from map(Learner._make, result)


def buckets_of_courses(
    connection: Connection, source: Source, courses: Collection[int], bucket_bits: int
) -> set[int]:
    """Return the buckets of everybody who has any enrolment in one of ``courses``."""
    ue, enrol = source.tables.user_enrolments, source.tables.enrol
    bucket = bucket_of(ue.c.userid, bucket_bits)
    statement = (
        select(bucket)
        .join_from(ue, enrol, enrol.c.id == ue.c.enrolid)
        .where(_one_of(enrol.c.courseid, courses))
        .distinct()
    )
    return {int(found) for found in connection.scalars(statement)}


def presence(
    connection: Connection, source: Source, now: int, *, company: int, users: Sequence[int]
) -> Presence:
    """Read what Moodle still has of some learners of a company, whatever its flags say."""
    t = source.tables
    u, cu, ue, ra = t.user.c, t.company_users.c, t.user_enrolments.c, t.role_assignments.c
    accounts: dict[int, bool] = {}
    members: dict[int, bool] = {}
    enrolled: dict[tuple[int, int], bool] = {}
    assigned: dict[int, list[tuple[int, int]]] = {}
    active = and_(ue.status == 0, t.enrol.c.status == 0, _by_clock(source, now))
    for start in range(0, len(users), LISTED_IDS):
        some = users[start : start + LISTED_IDS]
        for user, deleted, suspended in connection.execute(
            select(u.id, u.deleted, u.suspended).where(_one_of(u.id, some))
        ):
            accounts[user] = bool(deleted or suspended)
        for user, suspended in connection.execute(
            select(cu.userid, func.min(cu.suspended))
            .where(cu.companyid == company, _one_of(cu.userid, some))
            .group_by(cu.userid)
        ):
            members[user] = bool(suspended)
        for user, course, is_active in connection.execute(
            select(ue.userid, t.enrol.c.courseid, func.max(case((active, 1), else_=0)))
            .join_from(t.user_enrolments, t.enrol, t.enrol.c.id == ue.enrolid)
            .where(_one_of(ue.userid, some))
            .group_by(ue.userid, t.enrol.c.courseid)
        ):
            enrolled[user, course] = bool(is_active)
        for user, context, role in connection.execute(
            select(ra.userid, ra.contextid, ra.roleid).where(_one_of(ra.userid, some))
        ):
            assigned.setdefault(user, []).append((context, role))
    shared = select(t.iomad_courses.c.courseid)
    return Presence(accounts, members, enrolled, assigned, frozenset(connection.scalars(shared)))
