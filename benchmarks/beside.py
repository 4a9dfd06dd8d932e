"""alxreport beside what people use instead: one site, one hour of changes, one machine."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import sqlalchemy as sa

from alxreport.schema import store_tables
from benchmarks.beside_ways import COLUMNS, TABLES
from benchmarks.big_site import build_big_site, change_learners
from benchmarks.run import OrdinaryMariaDB
from tests import oracle
from tests.harness import said

# A process of its own, because one counts as its own what the process held that it came from.
WATCHER = """
import resource, subprocess, sys, time
began = time.perf_counter()
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
ROOT = Path(__file__).resolve().parents[1]
SHARE = 0.01
Key = tuple[int, int, int]
Row = dict[str, Any]


class Indexed(oracle.Moodle):
    """The oracle, with the rows of one learner at hand, so that a large site ends in time."""

    def __init__(self, connection: sa.Connection, prefix: str, now: int) -> None:
        super().__init__(connection, prefix, now)
        self._of: dict[str, dict[int, list[Row]]] = {}
        for name in ("role_assignments", "course_modules_completion", "course_completions"):
            found: dict[int, list[Row]] = {}
            for row in self.rows[name]:
                found.setdefault(row["userid"], []).append(row)
            self._of[name] = found
        self._activities: dict[int, set[int]] = {}

    def is_tracked(self, user: int, course: int) -> bool:
        for name, found in self._of.items():
            self.rows[name] = found.get(user, [])
        return super().is_tracked(user, course)

    def tracked_activities(self, course: int) -> set[int]:
        if course not in self._activities:
            self._activities[course] = super().tracked_activities(course)
        return self._activities[course]


def truth(engine: sa.Engine) -> dict[Key, Row]:
    """Return what Moodle's rules say of every learner now."""
    oracle.Moodle = Indexed  # type: ignore[misc]
    with engine.connect() as connection:
        return oracle.expected_rows(connection, "mdl_", int(time.time()))


@dataclass(frozen=True)
class Step:
    """What one step took: ``statements`` are those that Moodle's server was asked."""

    seconds: float
    statements: int
    megabytes: float


@dataclass(frozen=True)
class Way:
    """One way to get the report: how to run it, and how to read what it made."""

    name: str
    first: list[str]
    later: list[str]
    rows: Callable[[], dict[Key, Row]]


def timed(server: OrdinaryMariaDB, command: list[str]) -> Step:
    """Run one step in processes of its own."""
    before = asked(server)
    done = subprocess.run([sys.executable, "-c", WATCHER, *command], cwd=ROOT, text=True,
                          stdout=subprocess.PIPE, check=True)  # fmt: skip
    seconds, kilobytes = done.stdout.split()[-2:]
    return Step(float(seconds), asked(server) - before - 1, int(kilobytes) / 1024)


def asked(server: OrdinaryMariaDB) -> int:
    return int(server.execute("SHOW GLOBAL STATUS LIKE 'Questions'")[0][1])


def an_hour(engine: sa.Engine, now: int) -> None:
    """Do to the site what people do in an hour: learners learn, administrators administrate."""
    rng = Random(5)
    change_learners(engine, SHARE, seed=5, now=now)
    with engine.begin() as connection:
        run = connection.exec_driver_sql

        def some(table: str, count: int) -> str:
            ids = connection.exec_driver_sql(f"SELECT id FROM mdl_{table}").scalars().all()
            return ", ".join(map(str, rng.sample(list(ids)[5:], count)))

        for flag in ("suspended", "deleted"):
            people = some("user", 20)
            run(f"UPDATE mdl_user SET {flag} = 1, timemodified = {now} WHERE id IN ({people})")
        run(f"DELETE FROM mdl_company_users WHERE id IN ({some('company_users', 30)})")
        run(
            f"UPDATE mdl_user_enrolments SET status = 1, timemodified = {now}"
            f" WHERE id IN ({some('user_enrolments', 50)})"
        )
        run(f"UPDATE mdl_course SET fullname = 'A new name', timemodified = {now} WHERE id = 103")
        run(f"UPDATE mdl_course SET visible = 0, timemodified = {now} WHERE id = 105")
        # An activity and what learners did there, as Moodle deletes it: nothing is left to see.
        [gone] = run("SELECT min(id) FROM mdl_course_modules WHERE course = 107").one()
        run(f"DELETE FROM mdl_course_modules_completion WHERE coursemoduleid = {gone}")
        run(f"DELETE FROM mdl_course_modules WHERE id = {gone}")


def compared(found: dict[Key, Row], expected: dict[Key, Row]) -> tuple[int, int, int]:
    """Return how many rows are wrong, missing, and there though they should not be."""
    wrong = sum(found[key] != expected[key] for key in found.keys() & expected.keys())
    return wrong, len(expected.keys() - found.keys()), len(found.keys() - expected.keys())


def plain_rows(file: Path) -> dict[Key, Row]:
    """Read the report that ``beside_ways`` makes."""
    engine = sa.create_engine(f"sqlite:///{file}")
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(f"SELECT {', '.join(COLUMNS)} FROM report").mappings()
        found = {(r["companyid"], r["userid"], r["courseid"]): said(dict(r)) for r in rows}
    engine.dispose()
    return found


def own_rows(file: Path) -> dict[Key, Row]:
    engine, table = sa.create_engine(f"sqlite:///{file}"), store_tables().reporting
    with engine.connect() as connection:
        rows = connection.execute(sa.select(table).where(table.c.is_deleted == 0)).mappings()
        found = {(r["companyid"], r["userid"], r["courseid"]): said(dict(r)) for r in rows}
    engine.dispose()
    return found


def ways(server: OrdinaryMariaDB, folder: Path, dlt_python: str) -> list[Way]:
    source = server.url("moodle")
    config = folder / "config.toml"
    config.touch(mode=0o600)
    config.write_text(
        f'[moodle]\nurl = "{source.replace("mysql+pymysql", "mysql")}"\n'
        f'[store]\nurl = "sqlite:///{folder}/ours.db"\n'
    )
    ours = [sys.executable, "-m", "alxreport", "--config", str(config), "sync", "--quiet"]
    found = [Way("alxreport sync", ours, ours, lambda: own_rows(folder / "ours.db"))]

    def plain(name: str, what: str, program: str = sys.executable) -> None:
        file = folder / f"{what}.db"
        command = [program, "-m", "benchmarks.beside_ways", what, source, str(file)]
        found.append(Way(name, [*command, "first"], [*command, "later"], lambda: plain_rows(file)))

    plain("set-based SQL, all of it every hour", "sql")
    plain("a loop over rows, changed ones by their times", "loop")
    if shutil.which("sqlite3"):
        plain("mariadb-dump | sqlite3, then SQL there", "dump")
    if dlt_python:
        plain("dlt, sql_database with merge, then SQL there", "dlt_merge", dlt_python)
        plain("dlt, sql_database with replace, then SQL there", "dlt_replace", dlt_python)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.beside", description=__doc__)
    parser.add_argument("--scale", type=float, default=0.25, help="1.0 = 200,000 enrolments")
    parser.add_argument("--dlt-python", default="", metavar="PYTHON",
                        help="a Python with dlt[duckdb,sql_database] and pymysql")  # fmt: skip
    given = parser.parse_args()
    server = OrdinaryMariaDB()
    folder = Path(tempfile.mkdtemp(prefix="alxreport-beside-"))
    try:
        server.create_database("moodle")
        engine = sa.create_engine(server.url("moodle"))
        build_big_site(engine, given.scale, now=int(time.time()) - 3_600)
        before = truth(engine)
        print(f"{len(before):,} rows; tables read: {len(TABLES)}", flush=True)
        all_ways = ways(server, folder, given.dlt_python)
        first = {}
        for way in all_ways:
            first[way.name] = timed(server, way.first), compared(way.rows(), before)
            print("first:", way.name, *first[way.name], flush=True)
        an_hour(engine, int(time.time()))
        after = truth(engine)
        changed = sum(before.get(k) != after.get(k) for k in before.keys() | after.keys())
        print(f"an hour changed {changed:,} rows", flush=True)
        later = {}
        for way in all_ways:
            later[way.name] = timed(server, way.later), compared(way.rows(), after)
            print("later:", way.name, *later[way.name], flush=True)
        show(all_ways, first, later)
    finally:
        server.stop()
        shutil.rmtree(folder)


Found = dict[str, tuple[Step, tuple[int, int, int]]]


def show(all_ways: list[Way], first: Found, later: Found) -> None:
    """Print one line for each way and step; times are shares of alxreport's."""
    for title, found in (("the first load", first), ("after an hour of changes", later)):
        base = found[all_ways[0].name][0].seconds
        print(f"\n{title:<48}{'time':>8}{'statements':>12}{'MB':>6}{'wrong':>8}{'missing':>8}"
              f"{'left over':>10}")  # fmt: skip
        for way in all_ways:
            step, (wrong, missing, over) = found[way.name]
            print(f"{way.name:<48}{step.seconds / base:8.2f}{step.statements:12,}"
                  f"{step.megabytes:6.0f}{wrong:8,}{missing:8,}{over:10,}")  # fmt: skip
        print(f"(1.00 is {base:.2f} s here)")


if __name__ == "__main__":
    main()
