"""Somebody who writes to Moodle's largest table, one commit after another."""

from __future__ import annotations

import random
import sys
import threading
import time
from typing import Any

import sqlalchemy as sa

REST_SECONDS = 0.005  # a hundred learners who click at their own pace


def writer(source: str) -> dict[str, Any]:
    """Write until stdin ends; return how long the writes took.

    A column is written that no report reads, so that the site stays as it is for a run.
    """
    engine = sa.create_engine(source)
    over = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=wait, daemon=True).start()
    took: list[float] = []
    failed, rng = 0, random.Random(1)
    column = "overrideby" if engine.dialect.name == "mysql" else "timemodified"
    value = ":value" if column == "overrideby" else f"{column} + 0 * :value"
    change = sa.text(f"UPDATE mdl_course_modules_completion SET {column} = {value} WHERE id = :id")
    with engine.connect() as connection:
        last = connection.exec_driver_sql("SELECT max(id) FROM mdl_course_modules_completion")
        most = int(last.scalar_one())
        connection.rollback()
        while not over.is_set():
            given = {"id": rng.randint(1, most), "value": rng.randint(1, 10**6)}
            began = time.perf_counter()
            try:
                connection.execute(change, given)
                connection.commit()
            except sa.exc.DBAPIError:
                failed += 1
                connection.rollback()
            took.append((time.perf_counter() - began) * 1000)
            time.sleep(REST_SECONDS)
    engine.dispose()
    ordered = sorted(took)
    return {
        "writes": len(took), "failed": failed, "p50": ordered[len(took) // 2],
        "p99": ordered[len(took) * 99 // 100], "longest": ordered[-1],
    }  # fmt: skip
