"""Generated sites for the benchmarks: a big one, one big company, and changes to them."""

from __future__ import annotations

import argparse
import itertools
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from random import Random
from typing import Any

from sqlalchemy import Connection, Engine, Table, bindparam, create_engine, select

from alxreport.moodle_tables import MoodleTables, moodle_tables

COMPANIES = 50
COURSES = 200
COURSES_PER_COMPANY = 20
ENROLMENTS_PER_USER = 10
ACTIVITIES = 10
FIRST_COURSE, FIRST_ACTIVITY, FIRST_ENROL, FIRST_USER = 101, 10_001, 1_001, 1_001
DAY_SECONDS = 86_400
LEARNER_ROLE = 5
CHUNK_ROWS = 50_000

Rows = Iterable[tuple[Any, ...]]
# What the real tables have beyond moodle_tables, because it sets the cost of reading them.
_REAL_COLUMNS = {
    "course_modules_completion": (
        "MODIFY completionstate tinyint(1) NOT NULL",
        "ADD overrideby bigint(10) DEFAULT NULL AFTER completionstate",
    ),
    "user_enrolments": ("ADD modifierid bigint(10) NOT NULL DEFAULT 0 AFTER timeend",),
    "role_assignments": (
        "ADD modifierid bigint(10) NOT NULL DEFAULT 0 AFTER timemodified",
        "ADD sortorder bigint(10) NOT NULL DEFAULT 0",
    ),
}
_REAL_INDEXES = (
    ("user", "use_del_ix", "deleted"),
    ("user", "use_fir_ix", "firstname"),
    ("user", "use_las_ix", "lastname"),
    ("user", "use_ema_ix", "email"),
    ("course", "cour_cat_ix", "category"),
    ("course", "cour_sho_ix", "shortname"),
    ("course_modules", "courmodu_vis_ix", "visible"),
    ("course_modules", "courmodu_mod_ix", "module"),
    ("course_modules", "courmodu_ins_ix", "instance"),
    ("course_completions", "courcomp_use_ix", "userid"),
    ("course_completions", "courcomp_tim_ix", "timecompleted"),
    ("enrol", "enro_enr_ix", "enrol"),
    ("user_enrolments", "userenro_enr_ix", "enrolid"),
    ("role_assignments", "roleassi_rolcon_ix", "roleid, contextid"),
    ("role_assignments", "roleassi_comiteuse_ix", "component, itemid, userid"),
    ("role_assignments", "roleassi_rol_ix", "roleid"),
    ("role_assignments", "roleassi_use_ix", "userid"),
    ("role_capabilities", "rolecapa_con_ix", "contextid"),
    ("company", "comp_sho_ix", "shortname"),
    ("company", "comp_nam_ix", "name"),
    ("company_users", "compuser_comman_ix", "companyid, managertype"),
    ("company_users", "compuser_depman_ix", "departmentid, managertype"),
    ("company_course", "compcour_depcou_ix", "departmentid, courseid"),
    ("context", "cont_ins_ix", "instanceid"),
    ("context", "cont_pat_ix", "path"),
)
_MARIADB_INDEXES = (
    ("user_enrolments", "userenro_mod_ix", "modifierid"),
    ("role_assignments", "roleassi_sor_ix", "sortorder"),
)


def build_big_site(
    engine: Engine, scale: float = 1.0, prefix: str = "mdl_", seed: int = 1, now: int = 0
) -> None:
    """Fill an empty database with 50 companies, 200 courses and ``scale`` x 20,000 users.

    At 1.0: 200,000 enrolments, about 1,000,000 activity and 120,000 course completions. ``now``
    (0 = the clock) is the moment that all times precede.
    """
    users = max(COMPANIES, round(20_000 * scale))
    site = _Generated(seed, now, companies=COMPANIES, courses=COURSES, activities=ACTIVITIES)
    membership = [(n, n % COMPANIES + 1) for n in range(1, users + 1)]
    second = [(n, c % COMPANIES + 1) for n, c in membership if site.rng.random() < 0.01]
    site.members = [*membership, *second]
    site.plan = {
        n: sorted(site.rng.sample(site.offered(c), ENROLMENTS_PER_USER)) for n, c in membership
    }
    _write(engine, prefix, site)


def build_one_company(
    engine: Engine,
    rows: int,
    prefix: str = "mdl_",
    seed: int = 1,
    now: int = 0,
    courses: int = 100,
    activities: int = 4,
) -> None:
    """Fill an empty database with one company that has exactly ``rows`` live reporting rows."""
    site = _Generated(seed, now, companies=1, courses=courses, activities=activities)
    site.inactive_share = 0.0
    full, rest = divmod(rows, courses)
    site.plan = {n: list(range(courses)) for n in range(1, full + 1)}
    if rest:
        site.plan[full + 1] = list(range(rest))
    site.members = [(n, 1) for n in site.plan]
    _write(engine, prefix, site)


class _Generated:
    """The rows of a generated site, table by table and in the order of their ids."""

    def __init__(self, seed: int, now: int, *, companies: int, courses: int, activities: int):
        self.rng = Random(seed)
        self.now = now or int(time.time())
        self.companies, self.courses, self.activities = companies, courses, activities
        self.inactive_share = 0.03
        self.members: list[tuple[int, int]] = []  # user number, company
        self.plan: dict[int, list[int]] = {}  # course numbers by user number
        self.starts: list[int] = []  # of each enrolment, in the order of the plan
        self.done: list[int] = []  # activities with a row, likewise

    def offered(self, company: int) -> list[int]:
        """Return the numbers of the company's courses; neighbours share most of theirs."""
        if self.companies == 1:
            return list(range(self.courses))
        return [(company * 4 + k) % self.courses for k in range(COURSES_PER_COMPANY)]

    def enrolments(self) -> Iterator[tuple[int, int]]:
        return ((FIRST_USER - 1 + n, c) for n, plan in self.plan.items() for c in plan)

    def draw(self) -> None:
        """Draw when each enrolment began and how far its learner came."""
        rng, now, top = self.rng, self.now, self.activities
        for _ in self.enrolments():
            self.starts.append(now - rng.randint(10, 700) * DAY_SECONDS)
            self.done.append(rng.randint(0, top))

    def base(self) -> Iterator[tuple[str, str, Rows]]:
        old = self.now - 900 * DAY_SECONDS
        config = {
            "version": "2022112822",
            "release": "4.1.22 (Build: 20251208)",
            "siteidentifier": "generated.big.site.example",
            "enablecompletion": "1",
            "siteguest": "1",
            "siteadmins": "2",
            "defaultuserroleid": "7",
            "timezone": "Europe/London",
        }
        numbers = range(self.courses)
        yield "config", "id name value", ((i, *kv) for i, kv in enumerate(config.items(), 1))
        yield "modules", "id name visible", [(18, "page", 1), (19, "quiz", 1), (5, "chat", 0)]
        yield "course_categories", "id name parent path", [(1, "Training", 0, "/1")]
        contexts = [(1, 10, 0, "/1", 1), (2, 50, 1, "/1/2", 2), (3, 40, 1, "/1/3", 2)]
        yield (
            "context",
            "id contextlevel instanceid path depth",
            contexts
            + [(_context(n), 50, FIRST_COURSE + n, f"/1/3/{_context(n)}", 3) for n in numbers],
        )
        capability = "moodle/course:isincompletionreports"
        yield (
            "role_capabilities",
            "id contextid roleid capability permission",
            [(1, 1, LEARNER_ROLE, capability, 1)],
        )
        yield (
            "course",
            "id category fullname shortname visible enablecompletion timemodified",
            [(1, 0, "Generated site", "site", 1, 0, old)]
            + [
                (FIRST_COURSE + n, 1, f"Course number {n + 1} — kurs", f"bc{n + 1}", 1, 1, old)
                for n in numbers
            ],
        )
        yield (
            "course_modules",
            "id course module instance visible completion",
            (
                (self.activity(n, k), FIRST_COURSE + n, 18, k + 1, 1, 1 + (k >= 6))
                for n in numbers
                for k in range(self.activities)
            ),
        )
        yield (
            "enrol",
            "id enrol status courseid timemodified",
            ((FIRST_ENROL + n, "manual", 0, FIRST_COURSE + n, old) for n in numbers),
        )
        companies = range(1, self.companies + 1)
        yield (
            "company",
            "id name shortname suspended",
            ((c, f"Company {c} Ltd", f"co{c}", 0) for c in companies),
        )
        given = ((c, FIRST_COURSE + n, c) for c in companies for n in self.offered(c))
        yield (
            "company_course",
            "id companyid courseid departmentid",
            ((i, *row) for i, row in enumerate(given, 1)),
        )

    def activity(self, course: int, place: int) -> int:
        return FIRST_ACTIVITY + course * self.activities + place

    def people(self) -> Iterator[tuple[str, str, Rows]]:
        first = ("Anna", "José", "João", "Zoë", "Li", "Omar", "Søren", "Łucja")
        last = ("Smith", "García", "Nguyễn", "Müller", "王", "Haddad", "Jensen", "Kowalska")
        home = dict(reversed(self.members))
        yield (
            "user",
            "id deleted suspended username firstname lastname email timemodified",
            itertools.chain(
                [
                    (1, 0, 0, "guest", "Guest user", " ", "root@localhost", self.now),
                    (2, 0, 0, "admin", "Admin", "User", "admin@big.example", self.now),
                ],
                (
                    (
                        FIRST_USER - 1 + n,
                        0,
                        0,
                        f"b{n}",
                        f"{first[n % 8]}{n}",
                        f"{last[n % 8]}{n}",
                        f"b{n}@co{home[n]}.example",
                        self.now - self.rng.randint(1, 600) * DAY_SECONDS,
                    )
                    for n in self.plan
                ),
            ),
        )
        yield (
            "company_users",
            "id companyid userid managertype departmentid suspended",
            ((i, c, FIRST_USER - 1 + n, 0, c, 0) for i, (n, c) in enumerate(self.members, 1)),
        )

    def learning(self) -> Iterator[tuple[str, str, Rows]]:
        chance, share = self.rng.random, self.inactive_share
        yield (
            "user_enrolments",
            "id status enrolid userid timestart timeend timecreated timemodified",
            (
                (i, int(chance() < share), FIRST_ENROL + c, user, start, 0, start, start)
                for i, ((user, c), start) in enumerate(
                    zip(self.enrolments(), self.starts, strict=True), 1
                )
            ),
        )
        yield (
            "role_assignments",
            "id roleid contextid userid component itemid timemodified",
            (
                (i, LEARNER_ROLE, _context(c), user, "", 0, start)
                for i, ((user, c), start) in enumerate(
                    zip(self.enrolments(), self.starts, strict=True), 1
                )
            ),
        )
        yield (
            "course_modules_completion",
            "id coursemoduleid userid completionstate timemodified",
            ((i, *row) for i, row in enumerate(self.states(), 1)),
        )
        yield (
            "course_completions",
            "id userid course timeenrolled timestarted timecompleted reaggregate",
            ((i, *row) for i, row in enumerate(self.completions(), 1)),
        )

    def states(self) -> Iterator[tuple[int, int, int, int]]:
        # 90 % done, 5 % passed, 2 % failed, 3 % unticked, as counted on the original.
        states = [1] * 90 + [2] * 5 + [3] * 2 + [0] * 3
        chance = self.rng.random
        for (user, course), start, done in zip(
            self.enrolments(), self.starts, self.done, strict=True
        ):
            cm, span = self.activity(course, 0), self.now - start
            for place in range(done):
                yield cm + place, user, states[int(chance() * 100)], start + int(chance() * span)

    def completions(self) -> Iterator[tuple[int, int, int, int, int | None, int]]:
        rng, top = self.rng, self.activities
        for (user, course), start, done in zip(
            self.enrolments(), self.starts, self.done, strict=True
        ):
            # 60 % have a record and 14 % are completed, most of them with every activity done.
            if rng.random() >= 0.6:
                continue
            finished = rng.random() < (0.9 if done == top else 0.17)
            began = start + 3600 if done else 0
            ended = rng.randint(start + DAY_SECONDS, self.now) if finished else None
            yield user, FIRST_COURSE + course, start, began, ended, 0


def _context(course: int) -> int:
    return 500_101 + course


def _write(engine: Engine, prefix: str, site: _Generated) -> None:
    tables = moodle_tables(prefix)
    tables.metadata.create_all(engine)
    if engine.dialect.name in {"mysql", "mariadb"}:
        _make_real_mariadb_tables(engine, tables)
    site.draw()
    loader = _LOADERS[engine.dialect.name]
    for name, columns, rows in itertools.chain(site.base(), site.people(), site.learning()):
        loader(engine, tables.all()[name], columns.split(), rows)
    _finish(engine, tables, prefix)


def _make_real_mariadb_tables(engine: Engine, tables: MoodleTables) -> None:
    collation = "CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci"
    with engine.begin() as connection:
        for name, table in tables.all().items():
            changes = ("ROW_FORMAT=COMPRESSED", collation, *_REAL_COLUMNS.get(name, ()))
            connection.exec_driver_sql(f"ALTER TABLE `{table.name}` {', '.join(changes)}")


def _chunks(rows: Rows) -> Iterator[list[tuple[Any, ...]]]:
    source = iter(rows)
    while chunk := list(itertools.islice(source, CHUNK_ROWS)):
        yield chunk


def _load_mariadb(engine: Engine, table: Table, columns: list[str], rows: Rows) -> None:
    marks = ", ".join(["%s"] * len(columns))
    statement = f"INSERT INTO `{table.name}` ({', '.join(columns)}) VALUES ({marks})"
    _execute_many(
        engine, ("SET unique_checks=0", "SET foreign_key_checks=0"), statement, rows, forget=True
    )


def _load_sqlite(engine: Engine, table: Table, columns: list[str], rows: Rows) -> None:
    marks = ", ".join("?" * len(columns))
    statement = f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({marks})"
    _execute_many(engine, (), statement, rows)


def _execute_many(
    engine: Engine, before: Iterable[str], statement: str, rows: Rows, forget: bool = False
) -> None:
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        for command in before:
            cursor.execute(command)
        for chunk in _chunks(rows):
            cursor.executemany(statement, chunk)
            connection.commit()
        cursor.close()
    finally:
        if forget:  # a pooled connection would keep its checks switched off
            connection.invalidate()
        connection.close()


def _load_postgresql(engine: Engine, table: Table, columns: list[str], rows: Rows) -> None:
    connection = engine.raw_connection()
    try:
        cursor: Any = connection.cursor()
        with cursor.copy(f"COPY {table.name} ({', '.join(columns)}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        # COPY brings its own ids; the next insert must not meet them.
        cursor.execute(
            f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), max(id))"
            f" FROM {table.name}"
        )
        connection.commit()
        cursor.close()
    finally:
        connection.close()


_LOADERS = {
    "mysql": _load_mariadb,
    "mariadb": _load_mariadb,
    "postgresql": _load_postgresql,
    "sqlite": _load_sqlite,
}


def _finish(engine: Engine, tables: MoodleTables, prefix: str) -> None:
    """Add the remaining indexes, which is faster than loading through them, and ANALYZE."""
    dialect = engine.dialect.name
    mariadb = dialect in {"mysql", "mariadb"}
    by_table: dict[str, list[tuple[str, str]]] = {}
    for name, index, columns in _REAL_INDEXES + (_MARIADB_INDEXES if mariadb else ()):
        by_table.setdefault(name, []).append((prefix + index, columns))
    # VACUUM, which PostgreSQL needs for index-only scans, cannot run in a transaction.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        run = connection.exec_driver_sql
        for name, indexes in by_table.items():
            table = tables.all()[name].name
            if mariadb:
                added = ", ".join(f"ADD INDEX {index} ({columns})" for index, columns in indexes)
                run(f"ALTER TABLE `{table}` {added}")
            else:
                for index, columns in indexes:
                    run(f"CREATE INDEX {index} ON {table} ({columns})")
        if mariadb:
            names = ", ".join(f"`{table.name}`" for table in tables.all().values())
            run(f"ANALYZE TABLE {names}").close()
        else:
            run("VACUUM ANALYZE" if dialect == "postgresql" else "ANALYZE")


def change_learners(
    engine: Engine, share: float, prefix: str = "mdl_", seed: int = 1, now: int = 0
) -> Counter[str]:
    """Change that share of the learners, spread at random, and count what was done.

    Each learner gets one change: an activity done or undone, a course completed, an enrolment
    deleted (which leaves no timestamp), or a new name.
    """
    changes = _Changes(moodle_tables(prefix), Random(seed), now or int(time.time()))
    enrolled = changes.tables.user_enrolments.c.userid
    with engine.begin() as connection:
        learners = connection.scalars(select(enrolled).distinct().order_by(enrolled)).all()
        chosen = sorted(changes.rng.sample(learners, round(len(learners) * share)))
        for start in range(0, len(chosen), 500):
            changes.plan(connection, chosen[start : start + 500])
        changes.write(connection)
    return changes.counts


# What happens to a learner, in percent.
_KINDS = {"done": 60, "undone": 15, "completed": 12, "unenrolled": 5, "renamed": 8}


class _Changes:
    """The changes of the chosen learners, gathered first and then written kind by kind."""

    def __init__(self, tables: MoodleTables, rng: Random, now: int):
        self.tables, self.rng, self.now = tables, rng, now
        self.inserts: dict[str, list[dict[str, Any]]] = {}
        self.updates: dict[str, list[dict[str, Any]]] = {}
        self.deleted: list[int] = []
        self.counts: Counter[str] = Counter()

    def plan(self, connection: Connection, users: list[int]) -> None:
        t, rng, read = self.tables, self.rng, connection.execute
        ue, e, cmc = t.user_enrolments.c, t.enrol.c, t.course_modules_completion.c
        cm, cc = t.course_modules.c, t.course_completions.c
        tracked: dict[int, list[int]] = {}
        for course, number in read(select(cm.course, cm.id).where(cm.completion > 0)):
            tracked.setdefault(course, []).append(number)
        enrolled: dict[int, list[tuple[int, int]]] = {}
        query = select(ue.userid, ue.id, e.courseid).join(t.enrol, e.id == ue.enrolid)
        for user, number, course in read(query.where(ue.userid.in_(users)).order_by(ue.id)):
            enrolled.setdefault(user, []).append((number, course))
        states: dict[int, dict[int, tuple[int, int]]] = {user: {} for user in users}
        found = select(cmc.userid, cmc.coursemoduleid, cmc.id, cmc.completionstate)
        found = found.where(cmc.userid.in_(users)).order_by(cmc.id)
        for user, activity, number, state in read(found):
            states[user][activity] = (number, state)
        query = select(cc.userid, cc.course, cc.id).where(cc.userid.in_(users))
        records = {(user, course): number for user, course, number in read(query)}
        for user in users:
            number, course = rng.choice(enrolled[user])
            (kind,) = rng.choices(list(_KINDS), list(_KINDS.values()))
            when = self.now - rng.randint(1, 3600)
            if kind in {"done", "undone"}:
                self.tick(user, tracked[course], states[user], when, kind)
            elif kind == "completed":
                self.complete(user, course, records.get((user, course)), when)
            elif kind == "unenrolled":
                self.deleted.append(number)
                self.counts[kind] += 1
            else:
                self.update("user", user, kind, lastname=f"Renamed{when}", timemodified=when)

    def tick(
        self,
        user: int,
        activities: list[int],
        states: dict[int, tuple[int, int]],
        when: int,
        kind: str,
    ) -> None:
        """Do an open activity of the course, or undo any that is done; else the other way."""
        done = [row for row, state in states.values() if state in {1, 2}]
        still_open = [cm for cm in activities if states.get(cm, (0, 0))[1] in {0, 3}]
        if done and (kind == "undone" or not still_open):
            times = {"completionstate": 0, "timemodified": when}
            self.update("course_modules_completion", self.rng.choice(done), "undone", **times)
        elif still_open:
            cm = self.rng.choice(still_open)
            values = {"completionstate": 1, "timemodified": when}
            if cm in states:
                self.update("course_modules_completion", states[cm][0], "done", **values)
            else:
                row = {"coursemoduleid": cm, "userid": user, **values}
                self.inserts.setdefault("course_modules_completion", []).append(row)
                self.counts["done"] += 1

    def complete(self, user: int, course: int, record: int | None, when: int) -> None:
        if record:
            self.update("course_completions", record, "completed", timecompleted=when)
            return
        row = {"userid": user, "course": course, "timestarted": when, "timecompleted": when}
        self.inserts.setdefault("course_completions", []).append(row)
        self.counts["completed"] += 1

    def update(self, table: str, number: int, kind: str, **values: Any) -> None:
        self.updates.setdefault(table, []).append({"number": number, **values})
        self.counts[kind] += 1

    def write(self, connection: Connection) -> None:
        tables = self.tables.all()
        for name, rows in self.inserts.items():
            connection.execute(tables[name].insert(), rows)
        for name, rows in self.updates.items():
            columns: dict[str, Any] = {
                column: bindparam(column) for column in rows[0] if column != "number"
            }
            same = tables[name].c.id == bindparam("number")
            connection.execute(tables[name].update().where(same).values(**columns), rows)
        for start in range(0, len(self.deleted), 1000):
            enrolments, gone = self.tables.user_enrolments, self.deleted[start : start + 1000]
            connection.execute(enrolments.delete().where(enrolments.c.id.in_(gone)))


def main() -> None:
    """Fill the database named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="an empty database, as an SQLAlchemy URL")
    parser.add_argument("--scale", type=float, default=1.0, help="1.0 = 20,000 users")
    parser.add_argument("--one-company", type=int, metavar="ROWS", help="one company of ROWS rows")
    parser.add_argument("--prefix", default="mdl_")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    engine, began = create_engine(options.url), time.perf_counter()
    if options.one_company:
        build_one_company(engine, options.one_company, options.prefix, options.seed)
    else:
        build_big_site(engine, options.scale, options.prefix, options.seed)
    print(f"built in {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
