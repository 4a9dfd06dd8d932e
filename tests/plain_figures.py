"""Random histories of a store, and the monitor's figures of them worked out the long way.

Nothing here asks the store: the figures are computed from what was made, request by request.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any
from unittest.mock import ANY
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from alxreport import request_log
from alxreport.database import writing
from alxreport.request_log import Entry
from alxreport.sessions import Session

from .asking import Desk
from .moodle_site import DAY

MINUTE, HOUR = 60, 3_600
# Zones, with the days on which something happens to their clocks.
ZONES = (
    ("UTC", date(2026, 7, 1)),
    ("Europe/Madrid", date(2026, 3, 29)),
    ("Europe/Madrid", date(2026, 10, 25)),
    ("America/New_York", date(2026, 3, 8)),
    ("America/New_York", date(2026, 11, 1)),
    ("Asia/Kolkata", date(2026, 5, 5)),
    ("Pacific/Apia", date(2011, 12, 30)),  # a day that never was
    ("Africa/Cairo", date(2026, 4, 24)),  # no midnight
    ("Africa/Cairo", date(2026, 10, 30)),
    ("America/Santiago", date(2026, 9, 6)),  # no midnight
    ("Atlantic/Azores", date(2026, 10, 25)),  # midnight twice
)
AGES = (
    0, 1, 59, 60, 61, 539, 540, 599, 600, 601, 3_599, 3_600, 3_601, 7_199, 7_200, 86_339, 86_340,
    86_341, 86_399, 86_400, 86_401, 90_000, 7 * DAY - 1, 7 * DAY, 7 * DAY + 1,
)  # fmt: skip
NEAR = (-1, 0, 1)
DURATIONS = (0, 1, 999, 1_000, 1_001, 1_999, 250_000, 999_999, 5_000_000, 90_000_000, 600_000_000)
# Kinds of error, and whether the caller is to blame.
KINDS = {
    "authorisation": True, "rate_limit": True, "disabled": True, "gone": True, "usage": True,
    "resync_required": True, "not_found": True, "aborted": True, "failure": False, "store": False,
    "source": False, "never_synced": False, "configuration": False, "unexpected": False,
}  # fmt: skip
CALLERS = ("192.0.2.1", "192.0.2.2", "2001:db8::1", "")
KILLED = "The process ended in the middle of the run."


@dataclass(frozen=True)
class Failure:
    """A request that was refused or failed: what is counted, and what is logged of it."""

    kind: str
    subject: str
    entry: Entry


@dataclass
class Past:
    """Everything that happened until ``now``, and after it."""

    zone: str
    now: int
    requests: list[Entry | Failure] = field(default_factory=list)  # in the order of their making
    companies: list[dict[str, Any]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[dict[str, Any]] = field(default_factory=list)
    usage: list[dict[str, Any]] = field(default_factory=list)
    limits: list[dict[str, Any]] = field(default_factory=list)
    pages: list[dict[str, Any]] = field(default_factory=list)
    meta: dict[str, str] = field(default_factory=dict)

    @property
    def where(self) -> ZoneInfo:
        return ZoneInfo(self.zone)

    def date(self, moment: int) -> date:
        return datetime.fromtimestamp(moment, self.where).date()

    def midnight(self, day: date) -> int:
        return int(datetime(day.year, day.month, day.day, tzinfo=self.where).timestamp())


# Making


def random_past(rng: random.Random, size: int) -> Past:
    zone, day = rng.choice(ZONES)
    past = Past(zone, 0)
    begin = past.midnight(day + timedelta(days=rng.choice((-1, 0, 0, 0, 1, 2, 6, 7))))
    past.now = rng.choice(
        (
            begin + rng.choice((*NEAR, 59, 60, 3_599, 3_600, DAY - 1)),
            begin + rng.randrange(25) * HOUR + rng.choice(NEAR),
            begin + rng.randrange(25 * 60) * MINUTE + rng.choice(NEAR),
            begin + rng.randrange(25 * HOUR),
        )
    )
    known = rng.choice((0, 1, 3, 3, 14))
    past.companies = [_company(rng, past, number) for number in range(1, known + 1)]
    _make_runs(rng, past, rng.choice((0, 1, size)))
    for _ in range(size):
        _make_requests(rng, past)
    if rng.random() < 0.75:
        past.requests.sort(key=_moment_of)
    _make_surroundings(rng, past)
    return past


def _moment_of(request: Entry | Failure) -> int:
    return request.entry.at if isinstance(request, Failure) else request.at


def _moment(rng: random.Random, past: Past) -> int:
    now = past.now
    unit, most = rng.choice(((MINUTE, 1_442), (HOUR, 26), (HOUR, 8 * 24)))
    return rng.choice(
        (
            now - rng.choice(AGES),
            now - now % unit - rng.randrange(most) * unit + rng.choice(NEAR),
            past.midnight(past.date(now) - timedelta(days=rng.randrange(9))) + rng.choice(NEAR),
            now - rng.randrange(26 * HOUR),
            now - rng.randrange(2 * HOUR),
        )
    )


def _company(rng: random.Random, past: Past, number: int) -> dict[str, Any]:
    synced = rng.choice((None, past.now - 5, past.now - 3 * DAY))
    status = rng.choice(("success", "success", "failed", ""))
    return {
        "companyid": number, "shortname": rng.choice((f"c{number}", "twin", "")),
        "name": f"Company {number}", "gone": rng.random() < 0.2, "synced_at": synced,
        "live_rows": rng.randrange(1_000), "deleted_rows": rng.randrange(100),
        "last_status": status, "last_error": "no luck" if status == "failed" else None,
        "duration_ms": rng.randrange(10_000), "revision": 1,
    }  # fmt: skip


def _make_runs(rng: random.Random, past: Past, times: int) -> None:
    moments = sorted(min(past.now, _moment(rng, past)) for _ in range(times))
    for number, started_at in enumerate(moments, 1):
        status = rng.choice(("success", "success", "success", "partial", "failed"))
        finished: int | None = started_at + rng.randrange(90)
        if number == len(moments) and rng.random() < 0.2:
            status, finished = "running", None
        error = rng.choice((None, "no source")) if status == "failed" else None
        past.runs.append({"id": number, "started_at": started_at, "finished_at": finished,
                          "status": status, "error": error})  # fmt: skip
        for company in rng.sample(range(1, 6), rng.randrange(4)):
            past.results.append(
                {"runid": number, "companyid": company,
                 "status": rng.choice(("success", "success", "failed")),
                 **{name: rng.randrange(50) for name in ("created", "updated", "deleted")}}
            )  # fmt: skip


def _make_requests(rng: random.Random, past: Past) -> None:
    at = _moment(rng, past) if rng.random() < 0.9 else past.now + rng.choice((1, 30, 61, HOUR))
    ip = rng.choice(CALLERS)
    company = rng.choice((1, 2, 3)) if rng.random() < 0.7 else rng.randrange(1, 16)
    entry = Entry(
        at=at, ip=ip, agent=f"agent of {ip}", endpoint="query", company=company,
        duration_us=rng.choice((*DURATIONS, rng.randrange(10**6))), rows=rng.randrange(2_000),
        question=rng.choice("ab"), revision=rng.choice((1, 1, 2)),
        cache_minutes=rng.choice((0, 1, 60, 60, 1_440)),
    )  # fmt: skip
    kind = rng.random()
    if kind < 0.15:
        past.requests.append(replace(entry, endpoint="export"))
    elif kind < 0.6:
        past.requests.append(replace(entry, cache=rng.choice(("hit", "miss", "miss", ""))))
        if rng.random() < 0.5:
            later = at + rng.choice((0, 1, 59, 60, 61, 3_599, 3_600, 3_601, 86_399, 86_400))
            other = rng.choice(({}, {}, {"revision": 3}, {"question": "c"}, {"company": 4}))
            past.requests.append(replace(entry, at=later, cache="miss", **other))
    elif kind < 0.75:
        for _ in range(rng.choice((1, 4, 5, 6))):
            past.requests.append(_failure("authorisation", entry, at))
            at += rng.choice((0, 1, 60, 119, 120, 121, 150, 600))
    else:
        times = rng.choice((1, 1, 2, 6, 9))
        past.requests += [_failure(rng.choice(list(KINDS)), entry, at)] * times


def _failure(kind: str, entry: Entry, at: int) -> Failure:
    subject = entry.ip or entry.agent if kind == "authorisation" else str(entry.company)
    word = "not_authorised:unknown" if kind == "authorisation" else kind
    return Failure(kind, subject, replace(entry, at=at, error=word))


def _make_surroundings(rng: random.Random, past: Past) -> None:
    now = past.now
    for number in range(rng.randrange(6)):
        past.tokens.append(
            {"companyid": 1, "hash": str(number), "revoked_at": rng.choice((0, 0, now - 1, now)),
             "expires_at": rng.choice((0, now - 1, now, now + 1))}
        )  # fmt: skip
    for company in rng.sample(range(1, 6), rng.randrange(5)):
        for day in (past.date(now), past.date(now) - timedelta(days=1)):
            past.usage.append(
                {"companyid": company, "day": day.isoformat(), "calls": rng.randrange(200),
                 "refused": rng.randrange(3)}
            )  # fmt: skip
        if rng.random() < 0.5:
            past.limits.append({"companyid": company, "name": "rate_limit",
                                "value": rng.choice(("0", "7", "1000", "nonsense"))})  # fmt: skip
    for number in range(rng.randrange(3)):
        past.pages.append({"companyid": 1, "cache_key": str(number), "size": number * 7 + 1,
                           "body": b"x"})  # fmt: skip
    if rng.random() < 0.2:
        past.meta["sync"] = rng.choice(("disabled", "enabled"))
    if rng.random() < 0.5:
        past.meta["verified"] = f"{now - 7} {rng.choice(('ok', '3 wrong'))}"
    if rng.random() < 0.3:
        lag = {"lag_seconds": rng.choice((None, 0.0, 12.5)), "stopped": rng.random() < 0.5}
        past.meta["source_lag"] = rng.choice(("", json.dumps(lag)))


def write_past(desk: Desk, past: Past) -> None:
    """Let it have happened in an emptied store."""
    tables = desk.harness.tables
    desk.harness.empty_store()
    with writing(desk.harness.engine) as connection:
        said = tables.meta.c.name.in_(("sync", "verified", "source_lag"))
        connection.execute(sa.delete(tables.meta).where(said))
        for table, rows in (
            (tables.sync_status, past.companies), (tables.runs, past.runs),
            (tables.results, past.results), (tables.tokens, past.tokens),
            (tables.usage, past.usage), (tables.settings, past.limits), (tables.cache, past.pages),
            (tables.meta, [{"name": name, "value": value} for name, value in past.meta.items()]),
        ):  # fmt: skip
            if rows:
                connection.execute(sa.insert(table), rows)
    desk.store.write(lambda session: write_requests(session, past.requests))


def write_requests(session: Session, requests: Iterable[Entry | Failure]) -> None:
    for request in requests:
        if isinstance(request, Entry):
            request_log.write(session, request)
            continue
        entry = request.entry
        if request_log.count_refusal(
            session, request.kind, request.subject, company=entry.company, now=entry.at
        ):
            request_log.write(session, entry)


# The long way


def rate(part: int, whole: int) -> Any:
    return pytest.approx(part / whole, abs=5.1e-7) if whole else None


def average(entries: Sequence[Entry]) -> Any:
    times = [entry.duration_us for entry in entries if entry.endpoint != "export"]
    return pytest.approx(sum(times) / len(times) / 1000, abs=5.1e-4) if times else None


def p95(entries: Sequence[Entry]) -> float | None:
    """Return the least time that is not exceeded by 95 of 100 pages."""
    times = [-(-entry.duration_us // 1000) for entry in entries if entry.endpoint != "export"]
    enough = [t for t in times if 100 * sum(other <= t for other in times) >= 95 * len(times)]
    return min(enough, default=None)


class Plain:
    """The figures of a past."""

    def __init__(self, past: Past) -> None:
        self.past = past
        made = past.requests
        self.entries = [request for request in made if isinstance(request, Entry)]
        self.failures = [request for request in made if isinstance(request, Failure)]
        self.answered = [entry for entry in self.entries if self.lately(entry.at)]
        # Refusals are counted by the minute: the present one counts to its end.
        self.refused = [f for f in self.failures if 0 <= self.minutes_ago(f.entry.at) < 1_440]
        self.names = {c["companyid"]: c["shortname"] or f"id:{c['companyid']}"
                      for c in past.companies}  # fmt: skip
        self.here = [c for c in past.companies if not c["gone"]]
        self.logged = self._logged()
        self.measured = bool(self.entries or self.logged)

    def minutes_ago(self, at: int) -> int:
        return self.past.now // MINUTE - at // MINUTE

    def lately(self, at: int) -> bool:
        return at <= self.past.now and self.minutes_ago(at) < 1_440

    def _logged(self) -> list[Entry]:
        """Return the failures that have a row of their own: five a minute, kind and subject."""
        seen: Counter[Any] = Counter()
        found = []
        for failure in self.failures:
            key = failure.entry.at // MINUTE, failure.kind, failure.subject
            seen[key] += 1
            if seen[key] <= 5:
                found.append(failure.entry)
        return found

    def repeats(self) -> tuple[int, int]:
        """Return how many of the day's requests repeated another, and how many of them hit."""
        before: list[Entry] = []
        every = hits = 0
        for entry in self.entries:
            if not entry.cache:
                continue
            again = entry.cache == "hit" or any(
                (old.company, old.question, old.revision)
                == (entry.company, entry.question, entry.revision)
                and 0 <= entry.at - old.at < entry.cache_minutes * MINUTE
                for old in before
            )
            before.append(entry)
            if again and self.lately(entry.at):
                every += 1
                hits += entry.cache == "hit"
        return every, hits

    def auto_sync(self) -> dict[str, Any]:
        past = self.past
        newest = max(past.runs, key=lambda run: (run["started_at"], run["id"]), default=None)
        status, error = (newest["status"], newest["error"] or "") if newest else (None, "")
        if status == "running":
            status, error = "failed", KILLED
        since = past.now // MINUTE * MINUTE - DAY + MINUTE
        recent = {run["id"] for run in past.runs if run["started_at"] >= since}
        lately = [result for result in past.results if result["runid"] in recent]
        # A killed run's row says "running" until the next one begins.
        whole = sum(
            (run["status"] == "failed" and bool(run["error"]))
            or (run is newest and run["status"] == "running")
            for run in past.runs if run["id"] in recent
        )  # fmt: skip
        good = [run for run in past.runs if run["status"] in {"success", "partial"}]
        days = self.days()
        finished = sum(day["runs"] for day in days)

        def total(name: str) -> int | None:
            return sum(result[name] for result in lately) if newest else None

        changes = [total(name) for name in ("created", "updated", "deleted")]
        return {
            "status": self.status(newest, status),
            "error": error if status == "failed" else "",
            "companies_synced": sum(c["synced_at"] is not None for c in self.here),
            "companies_failed": sum(c["last_status"] == "failed" for c in self.here),
            "companies_all": len(self.here),
            "last_sync_at": (newest["finished_at"] or newest["started_at"]) if newest else None,
            "last_sync_status": status,
            "last_success_at": max(good, key=lambda run: (run["started_at"], run["id"]))[
                "finished_at"
            ] if good else None,
            "next_sync_at": past.now + 77,
            "records": sum(n or 0 for n in changes) if newest else None,
            "created": changes[0], "updated": changes[1], "deleted": changes[2],
            "errors": whole + sum(r["status"] == "failed" for r in lately) if newest else None,
            "failed_runs": whole if newest else None,
            "company_syncs": len(lately),
            "success_rate_7d": rate(sum(day["succeeded"] for day in days), finished),
            "runs_7d": finished,
            "success_by_day": days,
            "companies": tuple(self.company(c, lately) for c in self.here),
            "replica": json.loads(past.meta.get("source_lag") or "null"),
        }  # fmt: skip

    def status(self, newest: dict[str, Any] | None, status: str | None) -> str:
        if self.past.meta.get("sync") == "disabled":
            return "Disabled"
        if newest is None:
            return "Never run"
        if status != "success":
            return "Failed"
        return "Overdue" if self.past.now > newest["started_at"] + 2 * HOUR else "Active"

    def days(self) -> tuple[dict[str, Any], ...]:
        """Return the runs by the date that a calendar on the wall showed when they began."""
        past = self.past
        today = past.date(past.now)
        found = []
        for back in range(6, -1, -1):
            day = today - timedelta(days=back)
            # One that was killed failed, though nobody could write that down.
            runs = [run["status"] for run in past.runs if past.date(run["started_at"]) == day]
            good = runs.count("success")
            found.append({"day": day.isoformat(), "runs": len(runs), "succeeded": good,
                          "rate": rate(good, len(runs))})  # fmt: skip
        return tuple(found)

    def company(self, known: dict[str, Any], lately: list[dict[str, Any]]) -> dict[str, Any]:
        own = [result for result in lately if result["companyid"] == known["companyid"]]
        return {
            "id": known["companyid"], "company": known["shortname"], "name": known["name"],
            "status": known["last_status"] or "never", "synced_at": known["synced_at"],
            "rows": known["live_rows"],
            **{n: sum(r[n] for r in own) for n in ("created", "updated", "deleted")},
            "errors": sum(result["status"] == "failed" for result in own),
            "duration_seconds": (
                None if known["synced_at"] is None or known["last_status"] == "failed"
                else pytest.approx(known["duration_ms"] / 1000)
            ),
            "error": known["last_error"] or "",
        }  # fmt: skip

    def performance(self) -> dict[str, Any]:
        past, answered = self.past, self.answered
        failed = sum(not KINDS[failure.kind] for failure in self.refused)
        cached = Counter(entry.cache for entry in answered)
        verified = past.meta.get("verified", "").split(" ", 1)
        log = [entry.at for entry in (*self.entries, *self.logged)]
        return {
            "calls": len(answered) + failed if self.measured else None,
            "failures": failed,
            "average_ms": average(answered),
            "p95_ms": p95(answered),
            "success_rate": rate(len(answered), len(answered) + failed),
            "cache_hit_rate": rate(cached["hit"], cached["hit"] + cached["miss"]),
            "cache_hits": cached["hit"], "cache_misses": cached["miss"],
            "records": sum(entry.rows for entry in answered) if self.measured else None,
            "by_hour": tuple(self.hour(past.now // HOUR - back) for back in range(23, -1, -1)),
            "consumers": self.consumers(),
            "database": {
                "bytes": ANY,
                "live_rows": sum(company["live_rows"] for company in self.here),
                "deleted_rows": sum(company["deleted_rows"] for company in past.companies),
                "verified_at": int(verified[0]) if verified[0] else None,
                "verify_result": verified[1] if verified[0] else None,
                "cache_entries": len(past.pages),
                "cache_bytes": sum(page["size"] for page in past.pages),
                "oldest_log_at": min(log, default=None),
            },
        }  # fmt: skip

    def hour(self, number: int) -> dict[str, Any]:
        own = [entry for entry in self.answered if entry.at // HOUR == number]
        return {"start_at": number * HOUR, "calls": len(own), "average_ms": average(own),
                "p95_ms": p95(own)}  # fmt: skip

    def consumers(self) -> tuple[dict[str, Any], ...]:
        found = []
        for company in {entry.company for entry in self.answered}:
            own = [entry for entry in self.answered if entry.company == company]
            found.append(
                {"id": company, "company": self.names.get(company, f"id:{company}"),
                 "calls": len(own), "rows": sum(entry.rows for entry in own),
                 "average_ms": average(own),
                 "share": pytest.approx(len(own) / len(self.answered))}
            )  # fmt: skip
        return tuple(sorted(found, key=lambda one: (-one["calls"], one["id"]))[:10])

    def security(self, *, times: int, minutes: int) -> dict[str, Any]:
        past = self.past
        kinds = Counter(failure.kind for failure in self.refused)
        errors = [(entry.at, place, entry) for place, entry in enumerate(self.logged)
                  if 0 <= self.minutes_ago(entry.at) < 1_440]  # fmt: skip
        return {
            "active_tokens": sum(
                not token["revoked_at"]
                and (not token["expires_at"] or token["expires_at"] > past.now)
                for token in past.tokens
            ),
            "rate_limit_violations": kinds["rate_limit"] if self.measured else None,
            "failed_authentications": kinds["authorisation"] if self.measured else None,
            "suspicious_callers": self.suspicious(times, minutes) if self.measured else None,
            "violations": self.violations(),
            "recent_errors": tuple(
                {"at": at, "company": self.names.get(entry.company, ""),
                 "caller": entry.ip or entry.agent, "endpoint": entry.endpoint,
                 "error": entry.error}
                for at, _place, entry in sorted(errors, key=lambda e: e[:2], reverse=True)[:10]
            ),
            "errors_by_type": tuple(
                {"error": kind, "count": kinds[kind]}
                for kind in sorted(kinds, key=lambda k: (-kinds[k], k))
            ),
        }  # fmt: skip

    def suspicious(self, times: int, minutes: int) -> int:
        """Return how many callers failed so often within so many clock minutes, any of the day."""
        failed: dict[str, list[int]] = {}
        for failure in self.refused:
            if failure.kind == "authorisation":
                failed.setdefault(failure.subject, []).append(failure.entry.at // MINUTE)
        return sum(
            any(sum(0 <= other - first <= minutes for other in own) >= times for first in own)
            for own in failed.values()
        )

    def violations(self) -> tuple[dict[str, Any], ...]:
        past = self.past
        today = past.date(past.now).isoformat()
        own = {row["companyid"]: int(row["value"]) for row in past.limits
               if row["value"].isdigit()}  # fmt: skip
        found = []
        beyond = [failure for failure in self.refused if failure.kind == "rate_limit"]
        for company in {failure.entry.company for failure in beyond}:
            at = [failure.entry.at for failure in beyond if failure.entry.company == company]
            found.append(
                {"id": company, "company": self.names.get(company, f"id:{company}"),
                 "used": sum(row["calls"] for row in past.usage
                             if (row["companyid"], row["day"]) == (company, today)),
                 "limit": own.get(company, 100), "refused": len(at),
                 "last_at": max(at) // MINUTE * MINUTE}
            )  # fmt: skip
        found.sort(key=lambda one: (-one["last_at"], str(one["id"])))
        return tuple(found[:20])
