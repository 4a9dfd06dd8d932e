"""What an administrator sets for a company: limits, modes, fields, courses; and the cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alxreport import cache, company_settings, reporting_table
from alxreport.company_options import (
    COURSE,
    FIELD,
    OPTIONS,
    company_options,
    default_options,
    parse_option,
)
from alxreport.errors import NotFoundError, UsageError
from alxreport.limit_admin import limits_of
from alxreport.listing import FIELDS
from alxreport.powerbi import CompanyName, power_query_files
from alxreport.records import iso_time
from alxreport.reporting_table import Standing
from alxreport.sessions import Session, Store
from alxreport.settings import Settings
from alxreport.token_admin import the_company


@dataclass(frozen=True)
class CompanyCourse:
    """A course of a company, and whether it is reported."""

    id: int
    name: str
    visible: bool
    enabled: bool


def list_companies(store: Store) -> list[dict[str, Any]]:
    """Return every company that the last sync saw, by name."""
    return [
        {
            "id": company.id,
            "shortname": company.shortname,
            "name": company.name,
            "suspended": company.suspended,
            "rows": company.rows,
            "synced_at": iso_time(company.synced_at),
        }
        for company in store.read(reporting_table.by_name)
    ]


def power_bi(
    store: Store, settings: Settings, name: str, url: str | None, now: int
) -> dict[str, str]:
    """Return the queries and the guide with which Power BI loads a company, by file name."""
    company = store.read(lambda session: the_company(session, name))
    shown = company_fields(store, settings, name, now)
    options = store.read(
        lambda session: company_options(
            settings, company_settings.own_settings(session, company=company.id)
        )
    )
    return power_query_files(
        CompanyName(company.id, company.shortname, company.name), url,
        [field for field, visible in shown.items() if visible], options.max_limit,
    )  # fmt: skip


def show_company(store: Store, settings: Settings, name: str, now: int) -> dict[str, Any]:
    """Return what is set for a company, with where each value comes from."""

    def work(session: Session) -> dict[str, Any]:
        company = the_company(session, name)
        own = company_settings.own_settings(session, company=company.id)
        options = company_options(settings, own)
        limit = limits_of(session, settings, [company], now)[0]
        values = {option: getattr(options, option) for option in OPTIONS}
        shown = {
            option: {
                "value": int(value) if isinstance(value, bool) else value,
                "default": option not in own,
                "meaning": OPTIONS[option].meaning,
            }
            for option, value in values.items()
        }
        return {
            "id": company.id,
            "shortname": company.shortname,
            "name": company.name,
            "rows": company.rows,
            "revision": company.revision,
            "synced_at": iso_time(company.synced_at),
            "settings": shown,
            "limit": limit.as_dict(now),
            "fields": list(options.fields),
            "courses_off": sorted(
                int(key.removeprefix(COURSE))
                for key, value in own.items()
                if key.startswith(COURSE) and value == "0"
            ),
        }

    return store.read(work)


def set_options(store: Store, name: str, pairs: Mapping[str, str], now: int) -> dict[str, str]:
    """Store settings of a company, all or none; return them as stored."""
    values = {option: parse_option(option, text) for option, text in pairs.items()}
    _change(store, name, values, now)
    return values


def unset_option(store: Store, name: str, option: str) -> bool:
    """Let a company have the default again; return whether it had a value of its own."""
    if option not in OPTIONS:
        parse_option(option, "")  # tells what is wrong with the name

    def work(session: Session) -> bool:
        company = the_company(session, name)
        cache.clear(session, company=company.id)
        return company_settings.unset(session, option, company=company.id)

    return store.write(work)


def _change(store: Store, name: str, values: Mapping[str, str], now: int) -> Standing:
    def work(session: Session) -> Standing:
        company = the_company(session, name)
        company_settings.set_settings(session, values, company=company.id, now=now)
        # No page that was shaped otherwise is answered again.
        cache.clear(session, company=company.id)
        return company

    return store.write(work)


def company_fields(
    store: Store,
    settings: Settings,
    name: str,
    now: int,
    *,
    show: Sequence[str] = (),
    hide: Sequence[str] = (),
    default: bool = False,
) -> dict[str, bool]:
    """Show or hide fields of a company's answers; return each field and whether it is shown.

    With ``default`` what was shown or hidden before is forgotten first.
    """
    for field in (*show, *hide):
        if field not in FIELDS:
            raise UsageError(f"There is no field {field!r}.", f"They are {', '.join(FIELDS)}.")
    if both := sorted(set(show) & set(hide)):
        raise UsageError(f"{both[0]} cannot be shown and hidden.", "Name it once.")
    values = {FIELD + field: "1" for field in show} | {FIELD + field: "0" for field in hide}
    if default:
        store.write(lambda session: _unset_fields(session, the_company(session, name).id))
    if values:
        _change(store, name, values, now)

    def work(session: Session) -> dict[str, bool]:
        company = the_company(session, name)
        own = company_settings.own_settings(session, company=company.id)
        shown = company_options(settings, own).fields
        return {field: field in shown for field in FIELDS}

    return store.read(work)


def company_courses(
    store: Store,
    settings: Settings,
    name: str,
    now: int,
    *,
    enable: Sequence[int] = (),
    disable: Sequence[int] = (),
) -> list[CompanyCourse]:
    """Switch courses of a company on or off, from the next sync on; return its courses.

    They are read from Moodle. Raises NotFoundError for a course that is not the company's.
    """
    if both := sorted(set(enable) & set(disable)):
        raise UsageError(f"Course {both[0]} cannot be on and off.", "Name it once.")
    company = store.read(lambda session: the_company(session, name))
    found = _courses_in_moodle(settings, company.id)
    for course in (*enable, *disable):
        if course not in found:
            raise NotFoundError(
                f"The company {company.shortname!r} has no course {course}.",
                "See 'alxreport company courses' for their ids.",
            )

    def work(session: Session) -> frozenset[tuple[int, int]]:
        for course in enable:
            company_settings.unset(session, f"{COURSE}{course}", company=company.id)
        values = {f"{COURSE}{course}": "0" for course in disable}
        company_settings.set_settings(session, values, company=company.id, now=now)
        return company_settings.switched_off(session)

    off = store.write(work)
    return [
        CompanyCourse(number, title, visible, (company.id, number) not in off)
        for number, (title, visible) in sorted(found.items())
    ]


def _courses_in_moodle(settings: Settings, company: int) -> dict[int, tuple[str, bool]]:
    from alxreport import moodle
    from alxreport.catalogue import build_catalogue
    from alxreport.database import open_source, snapshot

    with snapshot(open_source(settings.moodle), settings.moodle) as connection:
        source = moodle.inspect(connection, settings.moodle.prefix)
        catalogue = build_catalogue(
            moodle.load_site(connection, source), switched_off=frozenset(), untracked_too=False
        )
    here = catalogue.companies.get(company)
    if here is None:
        raise NotFoundError("Moodle no longer has this company.", "Run 'alxreport sync'.")
    courses = catalogue.courses
    return {
        number: (courses[number].fullname, courses[number].visible)
        for number in here.assigned
        if number in courses
    }


def import_settings(store: Store, settings: Settings, now: int) -> list[dict[str, Any]]:
    """Copy the settings of an installed PHP plugin; return what was set for each company."""
    from alxreport.database import open_source, snapshot
    from alxreport.plugin_settings import plugin_settings

    with snapshot(open_source(settings.moodle), settings.moodle) as source:
        found = plugin_settings(source, settings.moodle.prefix, default_options(settings))

    def work(session: Session) -> list[dict[str, Any]]:
        known = {company.id: company for company in reporting_table.standings(session)}
        results: list[dict[str, Any]] = []
        for item in found:
            company = known.get(item.companyid)
            notes = list(item.notes)
            if company is None:
                notes = ["Not imported: the company was not synced, or is gone from Moodle."]
            else:
                _forget_imported(session, settings, company.id)
                company_settings.set_settings(session, item.values, company=company.id, now=now)
                cache.clear(session, company=company.id)
            results.append(
                {
                    "id": item.companyid,
                    "company": company.shortname if company else None,
                    "settings": dict(item.values) if company else {},
                    "notes": notes,
                }
            )
        return results

    return store.write(work)


def _forget_imported(session: Session, settings: Settings, company: int) -> None:
    """Forget what the plugin has a say in, so that a second import is a copy as the first was."""
    for name in company_settings.own_settings(session, company=company):
        told = name in default_options(settings) and name != "include_untracked"
        if told or name.startswith(COURSE):
            company_settings.unset(session, name, company=company)


def _unset_fields(session: Session, company: int) -> None:
    for name in company_settings.own_settings(session, company=company):
        if name.startswith(FIELD):
            company_settings.unset(session, name, company=company)
    cache.clear(session, company=company)
