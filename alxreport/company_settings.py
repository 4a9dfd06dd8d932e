"""What an administrator set for single companies, kept in the store."""

from __future__ import annotations

from sqlalchemy import Connection, select

from alxreport.schema import StoreTables

COURSE = "course_"  # course_7 = 0: course 7 is switched off for the company
INCLUDE_UNTRACKED = "include_untracked"


def switched_off(connection: Connection, tables: StoreTables) -> frozenset[tuple[int, int]]:
    """Return the (company, course) pairs that are switched off."""
    t = tables.settings.c
    rows = connection.execute(
        select(t.companyid, t.name).where(t.name.startswith(COURSE), t.value == "0")
    )
    return frozenset((company, int(name.removeprefix(COURSE))) for company, name in rows)


def untracked_too(
    connection: Connection, tables: StoreTables, default: bool
) -> dict[int, bool] | bool:
    """Return which companies' rows include people that Moodle does not track.

    ``default`` holds for every company without a setting of its own; it is the answer when there
    is none, else the dictionary has the companies that differ from it.
    """
    t = tables.settings.c
    rows = connection.execute(select(t.companyid, t.value).where(t.name == INCLUDE_UNTRACKED)).all()
    own = {company: value == "1" for company, value in rows if (value == "1") != default}
    return own or default
