"""One measured step in a process of its own: prints its seconds and its peak memory as JSON."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from alxreport.database import open_store
from alxreport.schema import prepare_store, store_tables
from alxreport.settings import MoodleSettings, Settings, StoreSettings
from benchmarks.big_site import build_big_site, change_learners
from benchmarks.pages import pages
from benchmarks.watching import build, looks
from benchmarks.writer import writer

# What a person would write who joins enrolments to a grouped sub-select of activity completions.
PLAIN = """
SELECT cu.companyid, u.id, c.id, u.firstname, u.lastname, u.email, u.username, c.fullname,
  COALESCE(cc.timecompleted, 0), COALESCE(NULLIF(cc.timestarted, 0), en.timestart, en.timecreated),
  COALESCE(d.done, 0), COALESCE(d.touched, 0), t.tracked
FROM (SELECT DISTINCT companyid, userid FROM mdl_company_users WHERE suspended = 0) cu
JOIN mdl_company k ON k.id = cu.companyid AND k.suspended = 0
JOIN mdl_user u ON u.id = cu.userid AND u.deleted = 0 AND u.suspended = 0
JOIN (SELECT ue.userid, e.courseid,
        MIN(CASE WHEN ue.timestart > 0 THEN ue.timestart END) timestart,
        MIN(ue.timecreated) timecreated
      FROM mdl_user_enrolments ue JOIN mdl_enrol e ON e.id = ue.enrolid
      WHERE ue.status = 0 AND e.status = 0 AND ue.timestart <= {now}
        AND (ue.timeend = 0 OR ue.timeend > {now})
      GROUP BY ue.userid, e.courseid) en ON en.userid = u.id
JOIN mdl_course c ON c.id = en.courseid AND c.visible = 1
JOIN (SELECT DISTINCT companyid, courseid FROM mdl_company_course) kc
  ON kc.companyid = cu.companyid AND kc.courseid = c.id
JOIN (SELECT cm.course, COUNT(*) tracked
      FROM mdl_course_modules cm JOIN mdl_modules m ON m.id = cm.module
      WHERE m.visible = 1 AND cm.completion <> 0 AND cm.deletioninprogress = 0
      GROUP BY cm.course) t ON t.course = c.id
LEFT JOIN mdl_course_completions cc ON cc.userid = u.id AND cc.course = c.id
LEFT JOIN (SELECT cmc.userid, cm.course, SUM(cmc.completionstate NOT IN (0, 3)) done,
             SUM(cmc.completionstate <> 0) touched
           FROM mdl_course_modules_completion cmc
           JOIN mdl_course_modules cm ON cm.id = cmc.coursemoduleid
           JOIN mdl_modules m ON m.id = cm.module
           WHERE m.visible = 1 AND cm.completion <> 0 AND cm.deletioninprogress = 0
           GROUP BY cmc.userid, cm.course) d ON d.userid = u.id AND d.course = c.id
"""


def floor(source: str) -> dict[str, Any]:
    import pymysql
    from pymysql.cursors import SSCursor

    url = sa.make_url(source)
    connection = pymysql.connect(
        host=url.host,
        port=url.port or 3306,
        user=url.username,
        password=url.password or "",
        database=url.database,
        charset="utf8mb4",
    )
    with connection.cursor() as cursor:
        # Without this the statement runs for more than ten minutes.
        cursor.execute("SET SESSION optimizer_switch = 'split_materialized=off'")
    started = time.perf_counter()
    rows = 0
    with connection.cursor(SSCursor) as cursor:
        cursor.execute(PLAIN.format(now=int(time.time())))
        while found := cursor.fetchmany(1000):
            rows += len(found)
    return {"seconds": time.perf_counter() - started, "rows": rows}


def _counted(engine: sa.Engine) -> Callable[[], int]:
    count = 0

    @event.listens_for(sa.Engine, "before_cursor_execute")
    def count_up(connection: sa.Connection, *_rest: Any) -> None:
        nonlocal count
        count += connection.engine.url != engine.url

    return lambda: count


def sync(source: str, target: str, *words: str) -> dict[str, Any]:
    from alxreport.sync import run_sync

    settings = Settings(moodle=MoodleSettings(url=source), store=StoreSettings(url=target))
    engine, tables = open_store(settings.store), store_tables()
    prepare_store(engine, tables)
    statements = _counted(engine)
    started = time.perf_counter()
    report = run_sync(settings, engine, tables, full="full" in words)
    seconds = time.perf_counter() - started
    if report.status != "success":
        raise SystemExit(str(report))
    return {
        "seconds": seconds,
        "rows": sum(company.rows for company in report.companies),
        "changed": report.created + report.updated + report.deleted,
        "statements": statements(),
    }


def verify(source: str, target: str) -> dict[str, Any]:
    from alxreport.verify import run_verify

    settings = Settings(moodle=MoodleSettings(url=source), store=StoreSettings(url=target))
    engine, tables = open_store(settings.store), store_tables()
    started = time.perf_counter()
    report = run_verify(settings, engine, tables)
    seconds = time.perf_counter() - started
    if report.wrong or report.pending:
        raise SystemExit(str(report.companies[:3]))
    return {"seconds": seconds, "rows": report.rows}


def export(target: str, company: str, form: str) -> dict[str, Any]:
    from alxreport.admission import Caller
    from alxreport.export import export as write_export
    from alxreport.question import Question
    from alxreport.sessions import open_requests

    settings = Settings(store=StoreSettings(url=target))
    store = open_requests(settings.store)
    who = Caller("export", company=company)
    with open(os.devnull, "wb") as out:
        started = time.perf_counter()
        done = write_export(
            store, settings, who, lambda: Question(everything=True), out, form=form,
            now=int(time.time()),
        )  # fmt: skip
        return {"seconds": time.perf_counter() - started, "rows": done.rows}


def site(source: str, scale: str) -> dict[str, Any]:
    """Build a site; not in the process that starts the others, which would count its memory."""
    engine = sa.create_engine(source)
    started = time.perf_counter()
    build_big_site(engine, float(scale))
    return {"seconds": time.perf_counter() - started}


def change(source: str, share: str, seed: str) -> dict[str, Any]:
    engine = sa.create_engine(source)
    return {"changes": sum(change_learners(engine, float(share), seed=int(seed)).values())}


def main() -> None:
    step, *words = sys.argv[1:]
    steps: dict[str, Callable[..., dict[str, Any]]] = {
        "floor": floor,
        "sync": sync,
        "verify": verify,
        "export": export,
        "pages": pages,
        "fill": lambda target, requests, now: build(target, int(requests), int(now)),
        "looks": looks,
        "writer": writer,
        "site": site,
        "change": change,
    }
    found = steps[step](*words)
    found["megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found))


if __name__ == "__main__":
    main()
