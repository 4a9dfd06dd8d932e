"""A made-up IOMAD site for the demo and the tests, and an hour of ordinary changes to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
    Table,
    and_,
    exists,
    func,
    or_,
    select,
)

from alxreport.demo_names import (
    COURSE_LEVEL,
    DAY_SECONDS,
    HOUR_SECONDS,
    CourseRows,
    SiteRows,
    add_catalogue,
    add_completion,
    add_learning,
    add_people,
    add_state,
    add_user,
    enrol,
    join,
    people,
    study,
)
from alxreport.moodle_tables import MoodleTables, moodle_tables


@dataclass(frozen=True)
class DemoChange:
    """One change to the made-up site, as a plain sentence."""

    what: str


def build_demo_site(engine: Engine, now: int, prefix: str = "mdl_", seed: int = 7) -> None:
    """Create Moodle's tables in an empty database and fill them as at the moment ``now``."""
    tables = moodle_tables(prefix)
    site = SiteRows(Random(seed), now)  # noqa: S311 - made-up data, nothing secret
    add_catalogue(site)
    learners = list(add_people(site))
    for number, (user, offered) in enumerate(learners):
        add_learning(site, user, offered, number)
    _add_special_cases(site)
    tables.metadata.create_all(engine)
    with engine.begin() as connection:
        _write(site, connection, tables)


def _write(site: SiteRows, connection: Connection, tables: MoodleTables) -> None:
    for name, rows in site.rows.items():
        connection.execute(tables.all()[name].insert(), rows)
    site.rows = {}


def _add_special_cases(site: SiteRows) -> None:
    """Add what every real site has once or twice, each to learners not in that course yet."""
    now, users = site.now, {row["id"]: row for row in site.rows["user"]}
    members = {row["userid"]: row for row in site.rows["company_users"]}
    crowd, nurses = (
        [u for u, row in members.items() if row["companyid"] == number and not row["managertype"]]
        for number in (1, 2)
    )
    taken = {(row["userid"], row["enrolid"]) for row in site.rows["user_enrolments"]}

    def admit(among: list[int], course: str, start: int, **extra: Any) -> int:
        methods = site.courses[course].methods.values()
        user = next(u for u in among if not any((u, m) in taken for m in methods))
        taken.update((user, method) for method in methods)
        enrol(site, user, course, start, **extra)
        return user

    admit(crowd, "FORK", now + 2400, timecreated=now - 7200)
    admit(crowd, "FIRE", now + 5 * DAY_SECONDS, timecreated=now - 7200)
    begun = now - 30 * DAY_SECONDS
    study(site, admit(crowd, "SERVICE", begun, timeend=now + 1800), "SERVICE", begun, 0.7)
    study(site, admit(crowd, "LIFT", begun, method="self"), "LIFT", begun, 0.7)
    study(site, admit(crowd, "FORK", begun, role=0), "FORK", begun, 0.5)
    study(site, admit(crowd, "IPC", begun), "IPC", begun, 0.5)  # another company's course
    for years in (1, 2, 3):  # certificates of the years before Moodle, entered ten minutes ago
        past = now - years * 365 * DAY_SECONDS
        user = admit(nurses, "IPC", past, timecreated=now - 600)
        for cm, graded in site.courses["IPC"].tracked:
            add_state(site, user, cm, 1 + graded, past + DAY_SECONDS)
        add_completion(site, user, "IPC", past, started=past, completed=past + DAY_SECONDS)
    # Nothing is tracked in the handbook, so somebody ticked the whole course by hand.
    user = admit(nurses, "HELLO", begun)
    add_completion(site, user, "HELLO", begun, started=begun, completed=now - DAY_SECONDS)
    join(site, crowd[0], 3, 5)  # one learner in two companies, another in two departments
    admit(crowd[:1], "HELLO", begun)
    join(site, nurses[0], 2, 7 - members[nurses[0]]["departmentid"])
    users[crowd[-1]]["suspended"] = 1
    # IOMAD's own suspension of one person sets both flags.
    members[nurses[-1]]["suspended"] = users[nurses[-1]]["suspended"] = 1
    # Moodle keeps a deleted user's completions and overwrites login and address.
    gone = add_user(site, "Tom", "Baker", f"tom.baker.{begun}", "deleted.example", deleted=1)
    study(site, gone, "FIRE", now - 300 * DAY_SECONDS, 1.0)


def play_an_hour(engine: Engine, now: int, prefix: str = "mdl_", seed: int = 7) -> list[DemoChange]:
    """Let the hour before ``now`` happen on the demo site and tell what changed in it.

    Call it again with a later ``now`` for the next hour; what there is no room for is left out.
    """
    tables = moodle_tables(prefix)
    site = SiteRows(Random(f"{seed}/{now}"), now)  # noqa: S311 - made-up data, nothing secret
    with engine.begin() as connection:
        for name, table in tables.all().items():
            site.last[name] = connection.scalar(select(func.max(table.c.id))) or 0
        hour = _Hour(connection, tables, site)
        hour.read_courses()
        changes: list[DemoChange] = []
        for step in _STEPS:
            changes += [DemoChange(what) for what in step(hour)]
            _write(site, connection, tables)
    return changes


@dataclass
class _Hour:
    """The hour under way; nobody is changed twice in it, so every sentence stays true."""

    connection: Connection
    tables: MoodleTables
    site: SiteRows
    seen: set[int] = field(default_factory=set)

    def when(self) -> int:
        return self.site.now - self.site.rng.randint(60, HOUR_SECONDS - 60)

    def read_courses(self) -> None:
        t, read = self.tables, self.connection.execute
        c, enrol, cm = t.course.c, t.enrol.c, t.course_modules.c
        here = and_(t.context.c.instanceid == c.id, t.context.c.contextlevel == COURSE_LEVEL)
        off = select(t.modules.c.id).where(t.modules.c.visible == 0)
        counted = (cm.completion > 0, cm.deletioninprogress == 0, cm.module.not_in(off))
        visible = select(c.shortname, c.id, t.context.c.id).where(here, c.visible == 1)
        for name, number, context in read(visible.order_by(c.id)).all():
            methods = read(select(enrol.enrol, enrol.id).where(enrol.courseid == number))
            graded = read(select(cm.id, cm.completion == 2).where(cm.course == number, *counted))
            known = self.site.courses[name] = CourseRows(number, context)
            known.methods = {str(method): int(i) for method, i in methods}
            known.tracked = [(int(i), bool(g)) for i, g in graded]

    def pick(self, *conditions: ColumnElement[bool]) -> Row[Any] | None:
        """Return somebody who is learning, by one enrolment, and takes part in no other change."""
        rows = self.connection.execute(_learning(self.tables, self.site.now).where(*conditions))
        found = [row for row in rows if row.id not in self.seen]
        row = self.site.rng.choice(found) if found else None
        self.seen.update([row.id] if row else [])
        return row

    def set(self, table: Table, number: int, **values: Any) -> None:
        self.connection.execute(table.update().where(table.c.id == number).values(**values))

    def states(self, row: Row[Any]) -> dict[int, tuple[int, int]]:
        """Return the learner's row and state by tracked activity of the course."""
        c = self.tables.course_modules_completion.c
        ids = [cm for cm, _ in self.site.courses[row.shortname].tracked]
        mine = select(c.coursemoduleid, c.id, c.completionstate)
        mine = mine.where(c.userid == row.id, c.coursemoduleid.in_(ids))
        return {cm: (number, state) for cm, number, state in self.connection.execute(mine)}

    def do(self, row: Row[Any], limit: int, when: int) -> int:
        """Complete up to ``limit`` open activities of the learner and return how many."""
        states, done = self.states(row), 0
        for cm, graded in self.site.courses[row.shortname].tracked:
            number, state = states.get(cm, (0, 0))
            if state in {1, 2} or done == limit:
                continue
            done += 1
            values = {"completionstate": 1 + graded, "timemodified": when}
            if number:
                self.set(self.tables.course_modules_completion, number, **values)
            else:
                add_state(self.site, row.id, cm, 1 + graded, when)
        return done

    def finish(self, row: Row[Any], when: int) -> None:
        """Note the course as completed."""
        table = self.tables.course_completions
        mine = (table.c.userid == row.id, table.c.course == row.course)
        number = self.connection.scalar(select(table.c.id).where(*mine))
        if number:
            self.set(table, number, timecompleted=when)
        else:
            begun = min(row.timestart, when)
            add_completion(self.site, row.id, row.shortname, begun, started=begun, completed=when)


def _learning(t: MoodleTables, now: int) -> Select[Any]:
    """Select who is learning what, by which enrolment: the rows of a report not yet completed."""
    u, ue, c, cu, e = (t.user.c, t.user_enrolments.c, t.course.c, t.company_users.c, t.enrol.c)
    cc, given, done, firm = (
        t.company_course.c,
        t.iomad_courses.c,
        t.course_completions.c,
        t.company.c,
    )
    who = (u.firstname + " " + u.lastname).label("who")
    return (
        select(u.id, who, u.lastname, c.id.label("course"), c.shortname, c.fullname)
        .add_columns(ue.timestart, cu.id.label("membership"), cu.departmentid)
        .add_columns(firm.id.label("company"), firm.name.label("firm"), firm.shortname.label("at"))
        .join_from(t.user, t.company_users, cu.userid == u.id)
        .join(t.company, firm.id == cu.companyid)
        .join(t.user_enrolments, ue.userid == u.id)
        .join(t.enrol, e.id == ue.enrolid)
        .join(t.course, c.id == e.courseid)
        .where(
            u.deleted + u.suspended + cu.suspended + cu.managertype + firm.suspended == 0,
            ue.status + e.status == 0,
            c.visible == 1,
            ue.timestart <= now,
            or_(ue.timeend == 0, ue.timeend > now),
            or_(
                exists().where(cc.companyid == firm.id, cc.courseid == c.id),
                exists().where(given.courseid == c.id, given.shared == 1),
            ),
            ~exists().where(done.userid == u.id, done.course == c.id, done.timecompleted > 0),
        )
        .order_by(ue.id, cu.id)
    )


def _learn(hour: _Hour) -> Iterator[str]:
    tracked = [name for name, course in hour.site.courses.items() if course.tracked]
    studying = hour.tables.course.c.shortname.in_(tracked)
    for _ in range(6):
        row = hour.pick(studying)
        if row and hour.do(row, 1, hour.when()):
            yield f"{row.who} finished an activity of {row.fullname}"
    if row := hour.pick(studying):
        hour.do(row, 99, hour.site.now - 120)
        hour.finish(row, hour.site.now - 60)
        yield f"{row.who} finished {row.fullname}"
    if row := hour.pick():
        hour.finish(row, hour.site.now - 20 * DAY_SECONDS)
        yield f"{row.who} was given the certificate of {row.fullname}, back-dated by 20 days"


def _undo(hour: _Hour) -> Iterator[str]:
    t = hour.tables
    cmc, cm = t.course_modules_completion, t.course_modules.c
    counted = [number for course in hour.site.courses.values() for number, _ in course.tracked]
    done = exists().where(cmc.c.userid == t.user.c.id, cmc.c.completionstate.in_((1, 2)))
    here = (cm.id == cmc.c.coursemoduleid, cm.course == t.course.c.id, cm.id.in_(counted))
    if row := hour.pick(done.where(*here)):
        number = next(n for n, state in hour.states(row).values() if state in {1, 2})
        hour.set(cmc, number, completionstate=0, timemodified=hour.when())
        yield f"{row.who} unticked an activity of {row.fullname}"


def _come_and_go(hour: _Hour) -> Iterator[str]:
    t, site = hour.tables, hour.site
    if row := hour.pick():
        name = site.rng.choice(("Castellanos", "Fairweather", "Bellerose", "Lindqvist"))
        hour.set(t.user, row.id, lastname=name, timemodified=hour.when())
        yield f"{row.who} is now called {name}"
    if row := hour.pick():
        hour.set(t.user, row.id, suspended=1)
        hour.set(t.company_users, row.membership, suspended=1)
        yield f"{row.who} was suspended by {row.firm}, no timestamp moved"
    if row := hour.pick():
        mine = t.company_users.c
        here = (mine.userid == row.id, mine.companyid == row.company)
        hour.connection.execute(t.company_users.delete().where(*here))
        yield f"{row.who} left {row.firm}"
    if row := hour.pick():  # whose company is hiring
        known = set(hour.connection.scalars(select(t.user.c.username)))
        first, last, login = next(p for p in people(site.rng, 250) if p[2] not in known)
        user = add_user(site, first, last, login, f"{row.at}.example")
        site.rows["user"][-1]["timemodified"] = start = hour.when()
        join(site, user, row.company, row.departmentid)
        enrol(site, user, row.shortname, start)
        yield f"{first} {last} joined {row.firm} and was enrolled in {row.fullname}"


def _enrolments(hour: _Hour) -> Iterator[str]:
    t, now = hour.tables, hour.site.now
    ue, u = t.user_enrolments.c, t.user.c

    def of(row: Row[Any]) -> ColumnElement[bool]:
        methods = hour.site.courses[row.shortname].methods.values()
        return and_(ue.userid == row.id, ue.enrolid.in_(methods))

    if row := hour.pick():
        hour.connection.execute(t.user_enrolments.delete().where(of(row)))
        yield f"{row.who}'s enrolments in {row.fullname} were hard-deleted, no timestamp moved"
    if row := hour.pick():
        ends = {"timeend": now - 60, "timemodified": now - 1800}
        hour.connection.execute(t.user_enrolments.update().where(of(row)).values(**ends))
        yield f"{row.who}'s enrolment in {row.fullname} was given an end, which has passed"
    for column, verb in ((ue.timestart, "began"), (ue.timeend, "ended")):
        # Enrolments entered before this hour, so that only the clock has touched them.
        old = (column > now - HOUR_SECONDS, column <= now, ue.timemodified < now - HOUR_SECONDS)
        names = select(u.firstname + " " + u.lastname).join(t.user_enrolments, ue.userid == u.id)
        for who in hour.connection.scalars(names.where(*old).order_by(ue.id)):
            yield f"An enrolment of {who} {verb} by the clock, no row changed"


def _courses(hour: _Hour) -> Iterator[str]:
    t, site, read = hour.tables, hour.site, hour.connection.execute
    c, firm, cc, given, ue = (
        table.c
        for table in (t.course, t.company, t.company_course, t.iomad_courses, t.user_enrolments)
    )
    owned = exists().where(cc.companyid == firm.id, cc.courseid == c.id)
    private = exists().where(given.courseid == c.id, given.shared == 0)
    offers = select(c.shortname, c.fullname, firm.id, firm.name).order_by(c.id, firm.id)
    offers = offers.join_from(t.course, t.company, firm.suspended == 0)
    offers = offers.where(c.visible == 1, private, ~owned)
    if found := read(offers).all():
        course, fullname, company, name = site.rng.choice(found)
        target = site.courses[course]
        site.add("company_course", companyid=company, courseid=target.id, departmentid=0)
        enrolled = select(ue.userid).where(ue.enrolid.in_(target.methods.values()))
        absent = t.user.c.id.not_in(enrolled.correlate(None))
        for row in filter(None, [hour.pick(firm.id == company, absent) for _ in range(3)]):
            enrol(site, row.id, course, hour.when())
        yield f"{name} was given the course {fullname} and enrolled learners in it"
    titles = {int(number): str(title) for number, title in read(select(c.id, c.fullname))}
    ids = [course.id for course in site.courses.values() if course.tracked]
    added, renamed = site.rng.sample(ids, 2)
    site.add("course_modules", course=added, module=18, visible=1, completion=1)
    yield f"{titles[added]} got one more activity, so percentages fall"
    title = titles[renamed].removesuffix(new := ", new edition")
    title += new if title == titles[renamed] else ""
    hour.set(t.course, renamed, fullname=title, timemodified=hour.when())
    yield f"{titles[renamed]} was renamed {title}"


_STEPS = (_learn, _undo, _come_and_go, _enrolments, _courses)
