"""What people use instead, each as somebody who knows it would write it in an afternoon.

A program of its own that imports nothing of alxreport: it also runs where dlt is installed.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

COLUMNS = (
    "companyid", "userid", "courseid", "firstname", "lastname", "email", "username", "coursename",
    "timecompleted", "timestarted", "percentage", "status",
)  # fmt: skip
TABLES = (
    "company", "company_users", "company_course", "user", "course", "course_modules", "modules",
    "enrol", "user_enrolments", "course_completions", "course_modules_completion",
)  # fmt: skip
CREATE = (
    f"CREATE TABLE IF NOT EXISTS report ({', '.join(COLUMNS)},"
    " PRIMARY KEY (companyid, userid, courseid))"
)
# One statement for everything. What it says is right; how it is kept up to date is each way's own.
# {who} and {which} narrow it to one learner in one course.
REPORT = """
SELECT companyid, userid, courseid, firstname, lastname, email, username, coursename, timecompleted,
  timestarted,
  CASE WHEN timecompleted > 0 THEN 100.0 ELSE round(100.0 * done / tracked + 0.0, 2) END,
  CASE WHEN timecompleted > 0 THEN 'completed'
       WHEN done > 0 OR touched > 0 OR began > 0 THEN 'in_progress' ELSE 'not_started' END
FROM (
SELECT cu.companyid AS companyid, u.id AS userid, c.id AS courseid, u.firstname AS firstname,
  u.lastname AS lastname, u.email AS email, u.username AS username, c.fullname AS coursename,
  COALESCE(cc.timecompleted, 0) AS timecompleted, COALESCE(cc.timestarted, 0) AS began,
  COALESCE(NULLIF(cc.timestarted, 0), en.timestart, en.timecreated) AS timestarted,
  COALESCE(d.done, 0) AS done, COALESCE(d.touched, 0) AS touched, t.tracked AS tracked
FROM (SELECT DISTINCT companyid, userid FROM {p}company_users
      WHERE {company} {who} suspended = 0) cu
JOIN {p}company k ON k.id = cu.companyid AND k.suspended = 0
JOIN {p}user u ON u.id = cu.userid AND u.deleted = 0 AND u.suspended = 0
JOIN (SELECT ue.userid, e.courseid,
        MIN(CASE WHEN ue.timestart > 0 THEN ue.timestart END) AS timestart,
        MIN(ue.timecreated) AS timecreated
      FROM {p}user_enrolments ue JOIN {p}enrol e ON e.id = ue.enrolid
      WHERE {who} {courseid} ue.status = 0 AND e.status = 0 AND ue.timestart <= {now}
        AND (ue.timeend = 0 OR ue.timeend > {now})
      GROUP BY ue.userid, e.courseid) en ON en.userid = u.id
JOIN {p}course c ON c.id = en.courseid AND c.visible = 1
JOIN (SELECT DISTINCT companyid, courseid FROM {p}company_course
      WHERE {company} {courseid} 1 = 1) kc
  ON kc.companyid = cu.companyid AND kc.courseid = c.id
JOIN (SELECT cm.course, COUNT(*) AS tracked
      FROM {p}course_modules cm JOIN {p}modules m ON m.id = cm.module
      WHERE {which} m.visible = 1 AND cm.completion <> 0 AND cm.deletioninprogress = 0
      GROUP BY cm.course) t ON t.course = c.id
LEFT JOIN {p}course_completions cc ON cc.userid = u.id AND cc.course = c.id
LEFT JOIN (SELECT cmc.userid, cm.course,
             SUM(CASE WHEN cmc.completionstate NOT IN (0, 3) THEN 1 ELSE 0 END) AS done,
             SUM(CASE WHEN cmc.completionstate <> 0 THEN 1 ELSE 0 END) AS touched
           FROM {p}course_modules_completion cmc
           JOIN {p}course_modules cm ON cm.id = cmc.coursemoduleid
           JOIN {p}modules m ON m.id = cm.module
           WHERE {who} {which} m.visible = 1 AND cm.completion <> 0 AND cm.deletioninprogress = 0
           GROUP BY cmc.userid, cm.course) d ON d.userid = u.id AND d.course = c.id
) x
"""
Rows = Iterable[tuple[Any, ...]]


def report(prefix: str, now: int, company: int = 0, user: int = 0, course: int = 0) -> str:
    one = bool(company)
    return REPORT.format(
        p=prefix, now=now, company=f"companyid = {company} AND" if one else "",
        who=f"userid = {user} AND" if one else "",
        which=f"cm.course = {course} AND" if one else "",
        courseid=f"courseid = {course} AND" if one else "",
    )  # fmt: skip


def write(file: Path, rows: Rows, *, whole: bool) -> None:
    """Put rows into the report; ``whole`` empties it before, in the same transaction."""
    marks = ", ".join("?" * len(COLUMNS))
    target = sqlite3.connect(file)
    with target:
        target.execute(CREATE)
        if whole:
            target.execute("DELETE FROM report")
        target.executemany(f"INSERT OR REPLACE INTO report VALUES ({marks})", map(plain, rows))
    target.close()


def plain(row: tuple[Any, ...]) -> tuple[Any, ...]:
    *rest, percentage, status = row
    return (*rest, float(percentage), status)


def set_based(source: str, file: Path, _step: str) -> None:
    """One statement each hour, and everything written anew."""
    engine = sa.create_engine(source)
    with engine.connect() as connection:
        # Without this MariaDB 10.11 runs the statement for minutes.
        connection.exec_driver_sql("SET SESSION optimizer_switch = 'split_materialized=off'")
        streamed = connection.execution_options(stream_results=True, max_row_buffer=1000)
        found = streamed.exec_driver_sql(report("mdl_", int(time.time())))
        write(file, (tuple(row) for row in found), whole=True)
    engine.dispose()


def row_by_row(source: str, file: Path, step: str) -> None:
    """All pairs at first; then those whose times are of the last hour. Each is read by itself."""
    engine, now = sa.create_engine(source), int(time.time())
    since = 0 if step == "first" else now - 3_700
    pairs = sa.text("""
        SELECT DISTINCT cu.companyid, x.userid, x.course FROM (
        SELECT cc.userid, cc.course FROM mdl_course_completions cc
        WHERE cc.timecompleted > :since
        UNION SELECT cmc.userid, cm.course FROM mdl_course_modules_completion cmc
        JOIN mdl_course_modules cm ON cm.id = cmc.coursemoduleid WHERE cmc.timemodified > :since
        UNION SELECT ue.userid, e.courseid FROM mdl_user_enrolments ue
        JOIN mdl_enrol e ON e.id = ue.enrolid WHERE ue.timemodified > :since
        ) x JOIN mdl_company_users cu ON cu.userid = x.userid
    """)
    target = sqlite3.connect(file, isolation_level=None)
    target.execute(CREATE)
    target.execute("PRAGMA synchronous = NORMAL")
    target.execute("PRAGMA journal_mode = WAL")
    marks = ", ".join("?" * len(COLUMNS))
    key = "companyid = ? AND userid = ? AND courseid = ?"
    with engine.connect() as connection:
        for company, user, course in connection.execute(pairs, {"since": since}).all():
            narrowed = report("mdl_", now, company, user, course)
            found = connection.exec_driver_sql(narrowed).all()
            if not found:
                target.execute(f"DELETE FROM report WHERE {key}", (company, user, course))
            for row in found:
                known = target.execute(f"SELECT 1 FROM report WHERE {key}", row[:3]).fetchone()
                if known:
                    names = ", ".join(f"{name} = ?" for name in COLUMNS)
                    values = (*plain(tuple(row)), *row[:3])
                    target.execute(f"UPDATE report SET {names} WHERE {key}", values)
                else:
                    target.execute(f"INSERT INTO report VALUES ({marks})", plain(tuple(row)))
    target.close()
    engine.dispose()


def dumped(source: str, file: Path, _step: str) -> None:
    """The tables as a dump into SQLite, each hour anew, and the statement there."""
    url, copy = sa.make_url(source), file.with_suffix(".copy")
    copy.unlink(missing_ok=True)
    engine = sa.create_engine(source)
    with engine.connect() as connection:
        columns = {
            name: connection.exec_driver_sql(f"SHOW COLUMNS FROM mdl_{name}").scalars().all()
            for name in TABLES
        }
    engine.dispose()
    made = sqlite3.connect(copy)
    for name, names in columns.items():
        made.execute(f"CREATE TABLE mdl_{name} ({', '.join(names)}, PRIMARY KEY (id))")
    made.close()
    program = shutil.which("mariadb-dump") or "mysqldump"
    dump = [
        program, "--no-defaults", f"--host={url.host}", f"--port={url.port}",
        f"--user={url.username}", "--single-transaction", "--no-create-info", "--skip-add-locks",
        "--skip-disable-keys", "--skip-comments", "--compact", "--skip-quote-names",
        "--skip-set-charset", "--skip-tz-utc", "--default-character-set=utf8mb4", str(url.database),
        *(f"mdl_{name}" for name in TABLES),
    ]  # fmt: skip
    pipe = subprocess.Popen(dump, stdout=subprocess.PIPE)
    begin = "PRAGMA synchronous = OFF; BEGIN;"
    with subprocess.Popen(["sqlite3", str(copy)], stdin=subprocess.PIPE) as shell:
        assert shell.stdin
        assert pipe.stdout
        shell.stdin.write(begin.encode())
        for line in pipe.stdout:
            if not line.startswith(b"/*"):  # MySQL's own settings
                shell.stdin.write(line.replace(b"\\'", b"''"))
        shell.stdin.write(b"COMMIT;")
    if pipe.wait() or shell.returncode:
        sys.exit("the dump could not be loaded")
    made = sqlite3.connect(copy)
    write(file, made.execute(report("mdl_", int(time.time()))), whole=True)
    made.close()


def with_dlt(source: str, file: Path, replace: bool) -> None:
    """The tables into DuckDB by dlt, and the statement there."""
    import dlt
    import duckdb
    from dlt.sources.sql_database import sql_database

    copy = file.with_suffix(".duckdb")
    pipeline = dlt.pipeline(
        f"moodle_{file.stem}", destination=dlt.destinations.duckdb(str(copy)),
        dataset_name="moodle", pipelines_dir=str(file.with_suffix(".dlt")),
    )  # fmt: skip
    tables = sql_database(
        source, table_names=[f"mdl_{name}" for name in TABLES], backend="pyarrow",
        chunk_size=50_000,
    )  # fmt: skip
    for name, table in tables.resources.items():
        table.apply_hints(primary_key="id", write_disposition="replace" if replace else "merge")
        # Where there is a time, only what is newer is read; of the others everything.
        if not replace and name.removeprefix("mdl_") in DATED:
            table.apply_hints(incremental=dlt.sources.incremental("timemodified"))
    pipeline.run(tables).raise_on_failed_jobs()
    with duckdb.connect(str(copy)) as database:
        found = database.execute(report("moodle.mdl_", int(time.time())))
        write(file, batches(found), whole=True)


DATED = {"user", "user_enrolments", "course_modules_completion", "course", "enrol"}


def batches(found: Any) -> Iterator[tuple[Any, ...]]:
    while rows := found.fetchmany(5000):
        yield from rows


WAYS = {
    "sql": set_based,
    "loop": row_by_row,
    "dump": dumped,
    "dlt_merge": lambda source, file, _step: with_dlt(source, file, replace=False),
    "dlt_replace": lambda source, file, _step: with_dlt(source, file, replace=True),
}

if __name__ == "__main__":
    name, url, path, which = sys.argv[1:]
    WAYS[name](url, Path(path), which)
