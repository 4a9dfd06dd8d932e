"""What an administrator sees and sets of the limits, and of the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from alxreport import cache, company_settings, rate_limit, reporting_table, request_log
from alxreport.company_options import RATE_LIMIT, company_options, parse_rate_limit
from alxreport.rate_limit import Budget
from alxreport.records import iso_time
from alxreport.reporting_table import Standing
from alxreport.sessions import Session, Store
from alxreport.settings import Settings
from alxreport.token_admin import the_company

DAY_SECONDS = 86_400
DEFAULT = "default"


@dataclass(frozen=True)
class CompanyLimit:
    """A company's budget of today."""

    company: Standing
    budget: Budget
    own: bool  # whether the limit is the company's own

    def as_dict(self, now: int) -> dict[str, Any]:
        """Return the budget for JSON; seconds until the next day begins."""
        budget = self.budget
        return {
            "id": self.company.id,
            "company": self.company.shortname,
            "limit": budget.limit,
            "default": not self.own,
            "used": budget.used,
            "left": budget.left,
            "refused": budget.refused,
            "state": budget.state,
            "resets_at": iso_time(budget.resets_at),
            "resets_in_seconds": budget.resets_at - now,
        }


def limits(store: Store, settings: Settings, name: str | None, now: int) -> list[CompanyLimit]:
    """Return the budgets of today, of one company if it is named."""

    def work(session: Session) -> list[CompanyLimit]:
        if name is not None:
            return limits_of(session, settings, [the_company(session, name)], now)
        return limits_of(session, settings, reporting_table.by_name(session), now)

    return store.read(work)


def limits_of(
    session: Session, settings: Settings, companies: Sequence[Standing], now: int
) -> list[CompanyLimit]:
    """Return the budgets of today of some companies."""
    where = rate_limit.zone(settings.requests.timezone)
    day, resets_at = rate_limit.day_of(now, where), rate_limit.next_day(now, where)
    own = company_settings.values_of(session, RATE_LIMIT)
    used = rate_limit.usage_of_day(session, day=day)
    found = []
    for company in companies:
        mine = {RATE_LIMIT: own[company.id]} if company.id in own else {}
        limit = company_options(settings, mine).rate_limit
        budget = Budget(limit, *used.get(company.id, (0, 0)), resets_at)
        found.append(CompanyLimit(company, budget, bool(mine)))
    return found


def set_limit(store: Store, settings: Settings, name: str, text: str, now: int) -> int:
    """Set a company's limit of requests a day, 0 for none, ``default`` for what all have.

    Returns the limit that the company has now.
    """
    value = None if text.strip().lower() == DEFAULT else parse_rate_limit(text)

    def work(session: Session) -> int:
        company = the_company(session, name).id
        if value is None:
            company_settings.unset(session, RATE_LIMIT, company=company)
            return settings.requests.rate_limit
        company_settings.set_settings(session, {RATE_LIMIT: value}, company=company, now=now)
        return int(value)

    return store.write(work)


def reset_limit(store: Store, settings: Settings, name: str, now: int) -> int:
    """Give a company its whole budget of today again; return how much of it was used."""
    day = rate_limit.day_of(now, rate_limit.zone(settings.requests.timezone))

    def work(session: Session) -> int:
        return rate_limit.reset(session, company=the_company(session, name).id, day=day)

    return store.write(work)


def show_cache(store: Store, settings: Settings, name: str | None, now: int) -> dict[str, Any]:
    """Return what the cache holds, and how often it served in the last 24 hours."""

    def work(session: Session) -> dict[str, Any]:
        company = the_company(session, name).id if name is not None else None
        entries, size = cache.figures(session, company=company)
        hits, misses = request_log.hits_and_misses(
            session, since=now - DAY_SECONDS, company=company
        )
        return {
            "entries": entries,
            "bytes": size,
            "most_bytes": settings.requests.cache_megabytes * 1_000_000,
            "hits_24h": hits,
            "misses_24h": misses,
            "hit_rate_24h": round(hits / (hits + misses), 4) if hits + misses else None,
        }

    return store.read(work)


def clear_cache(store: Store, name: str | None) -> int:
    """Drop cached pages, of one company if it is named; return how many."""

    def work(session: Session) -> int:
        company = the_company(session, name).id if name is not None else None
        return cache.clear(session, company=company)

    return store.write(work)
