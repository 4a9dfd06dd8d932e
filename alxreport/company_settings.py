"""What an administrator set for single companies, kept in the store."""

from __future__ import annotations

from collections.abc import Mapping

from alxreport.company_options import COURSE
from alxreport.sessions import Session, insert_new

INCLUDE_UNTRACKED = "include_untracked"


def own_settings(session: Session, *, company: int) -> dict[str, str]:
    """Return the settings that a company has of its own, by name."""
    sql = f"SELECT name, value FROM {session.names.settings} WHERE companyid = :company"  # noqa: S608
    return dict(session.rows(sql, company=company))  # type: ignore[arg-type]


def values_of(session: Session, name: str) -> dict[int, str]:
    """Return what the companies that have a value of their own have set for one name."""
    sql = f"SELECT companyid, value FROM {session.names.settings} WHERE name = :name"  # noqa: S608
    return {int(row[0]): str(row[1]) for row in session.rows(sql, name=name)}


def set_settings(session: Session, values: Mapping[str, str], *, company: int, now: int) -> None:
    """Store settings of a company."""
    for name, value in values.items():
        given = {"company": company, "name": name, "value": value, "now": now}
        update = (
            f"UPDATE {session.names.settings} SET value = :value, changed_at = :now"  # noqa: S608
            " WHERE companyid = :company AND name = :name"
        )
        if not session.change(update, **given):
            new = insert_new(session, session.names.settings, ("companyid", "name"))
            session.change(new, companyid=company, name=name)
            session.change(update, **given)


def unset(session: Session, name: str, *, company: int) -> bool:
    """Let a company have the default again; return whether it had something of its own."""
    sql = f"DELETE FROM {session.names.settings} WHERE companyid = :company AND name = :name"  # noqa: S608
    return session.change(sql, company=company, name=name) > 0


def unset_all(session: Session, *, company: int) -> None:
    """Forget everything that was set for a company."""
    sql = f"DELETE FROM {session.names.settings} WHERE companyid = :company"  # noqa: S608
    session.change(sql, company=company)


def switched_off(session: Session) -> frozenset[tuple[int, int]]:
    """Return the (company, course) pairs that are switched off."""
    sql = f"SELECT companyid, name FROM {session.names.settings} WHERE value = '0'"  # noqa: S608
    return frozenset(
        (company, int(name.removeprefix(COURSE)))
        for company, name in session.rows(sql)
        if name.startswith(COURSE) and name.removeprefix(COURSE).isdecimal()
    )


def untracked_too(session: Session, default: bool) -> dict[int, bool] | bool:
    """Return which companies' rows include people that Moodle does not track.

    ``default`` holds for every company without a setting of its own; it is the answer when there
    is none, else the dictionary has the companies that differ from it.
    """
    rows = values_of(session, INCLUDE_UNTRACKED).items()
    own = {company: value == "1" for company, value in rows if (value == "1") != default}
    return own or default
