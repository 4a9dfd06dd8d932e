"""Moodle's own answers for the sample site, as the rows that the contract makes of them."""

from __future__ import annotations

import csv
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from .oracle import Key, Row


def live_truth(path: Path, connection: sa.Connection) -> dict[Key, dict[str, str]]:
    """Return the lines of Moodle's answers that the contract makes live rows of."""

    def rows(sql: str) -> list[sa.Row[Any]]:
        return list(connection.execute(sa.text(sql)))

    with path.open(newline="", encoding="utf-8") as lines:
        truth = list(csv.DictReader(lines))
    # Membership flags and shares are not in the file.
    members = {
        (row.companyid, row.userid)
        for row in rows("SELECT companyid, userid FROM mdl_company_users WHERE suspended = 0")
    }
    shared = {
        row.courseid for row in rows("SELECT courseid FROM mdl_iomad_courses WHERE shared = 1")
    }
    listed = {
        (row.companyid, row.courseid)
        for row in rows(
            "SELECT s.companyid, s.courseid FROM mdl_company_shared_courses s"
            " JOIN mdl_iomad_courses i ON i.courseid = s.courseid WHERE i.shared = 2"
        )
    }
    live = {}
    for line in truth:
        company, user, course = (int(line[k]) for k in ("companyid", "userid", "courseid"))
        belongs = line["course_in_company"] == "1" or course in shared
        flags = ("company_suspended", "user_deleted", "user_suspended")
        needs = ("course_visible", "enrol_active", "is_tracked_user")
        if (
            all(line[flag] == "0" for flag in flags)
            and all(line[flag] == "1" for flag in needs)
            and (belongs or (company, course) in listed)
            and (company, user) in members
        ):
            live[company, user, course] = line
    return live


def _number(text: str) -> int:
    return int(text or 0)


def row_of(line: dict[str, str]) -> Row:
    percentage = Decimal(line["percentage"] or 0)
    if line["is_course_complete"] == "1":
        percentage = Decimal(100)
    started = _number(line["timestarted"])
    status = "not_started"
    # States 1 and 2 are also counted where the activity is no longer tracked.
    touched = ("completed_activities", "cmc_state3")
    if _number(line["timecompleted"]) > 0:
        status = "completed"
    elif percentage > 0 or started > 0 or any(_number(line[column]) for column in touched):
        status = "in_progress"
    starts = [line["ue_min_timestart_nonzero"], line["ue_min_timecreated"]]
    return {
        "firstname": line["firstname"],
        "lastname": line["lastname"],
        "email": line["email"],
        "username": line["username"],
        "coursename": line["fullname"],
        "timecompleted": _number(line["timecompleted"]),
        "timestarted": started or _number(starts[0]) or _number(starts[1]),
        "percentage": percentage.quantize(Decimal("0.01"), rounding=ROUND_HALF_UP),
        "status": status,
    }
