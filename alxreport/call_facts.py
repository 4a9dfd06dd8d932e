"""The recorded facts of requests behind the monitor: sums of whole hours, rows at the edges.

A day of requests is 23 whole hours, which the log's sums hold, and the two parts of hours at its
ends, which are read from the log itself: exact, and at the cost of an hour or two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from alxreport.sessions import Session, numbers

MINUTE, HOUR, DAY = 60, 3_600, 86_400
HIT, MISS, EXPORT = "hit", "miss", "export"
OTHERS = "*"


@dataclass
class Sums:
    """Answered requests; the times are of pages only, an export takes as long as it is large."""

    calls: int = 0
    rows: int = 0
    timed: int = 0
    total_us: int = 0
    hits: int = 0
    misses: int = 0
    repeats: int = 0
    repeat_hits: int = 0

    def add(self, other: Sums) -> None:
        """Add the sums of other requests."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    @property
    def average_ms(self) -> float | None:
        """The mean response time of the pages in milliseconds, None for no pages."""
        return round(self.total_us / self.timed / 1000, 3) if self.timed else None


@dataclass
class Calls:
    """The answered requests of a time, summed up in three ways."""

    by_company: dict[int, Sums] = field(default_factory=dict)
    by_hour: dict[int, Sums] = field(default_factory=dict)
    latency: dict[int, Counter[int]] = field(default_factory=dict)  # by hour: milliseconds

    def add(self, hour: int, company: int, sums: Sums) -> None:
        """Add requests of one company in one hour."""
        self.by_company.setdefault(company, Sums()).add(sums)
        self.by_hour.setdefault(hour, Sums()).add(sums)

    @property
    def total(self) -> Sums:
        """All of them."""
        total = Sums()
        for sums in self.by_hour.values():
            total.add(sums)
        return total

    @property
    def all_latencies(self) -> Counter[int]:
        """How many pages took how many whole milliseconds."""
        return sum(self.latency.values(), Counter())


def window_start(now: int) -> int:
    """Return the first second of the 1,440 clock minutes that end with the present one."""
    return now - now % MINUTE - DAY + MINUTE


def calls_of_a_day(session: Session, *, now: int) -> Calls:
    """Return the answered requests of the last 24 hours, exactly."""
    since, current = window_start(now), now - now % HOUR
    first_whole = since + -since % HOUR
    calls = Calls()
    columns = "calls, row_count, timed, total_us, hits, misses, repeats, repeat_hits"
    sums = ", ".join(f"sum({name.strip()})" for name in columns.split(","))
    where = f"FROM {session.names.activity} WHERE hour >= :since AND hour < :until"
    whole = {"since": first_whole, "until": current}
    for company, *figures in session.rows(
        f"SELECT companyid, {sums} {where} GROUP BY companyid", **whole
    ):
        calls.by_company[int(company)] = Sums(*map(int, figures))
    for hour, *figures in session.rows(f"SELECT hour, {sums} {where} GROUP BY hour", **whole):
        calls.by_hour[int(hour)] = Sums(*map(int, figures))
    found = session.rows(
        f"SELECT hour, ms, calls FROM {session.names.latency}"  # noqa: S608
        " WHERE hour >= :since AND hour < :until",
        **whole,
    )
    for hour, ms, count in found:
        calls.latency.setdefault(int(hour), Counter())[int(ms)] += int(count)
    for begin, end in ((since, first_whole - 1), (current, now)):
        for hour, company, ms, logged in _logged(session, begin, end):
            calls.add(hour, company, logged)
            if logged.timed:
                calls.latency.setdefault(hour, Counter())[ms] += logged.timed
    return calls


def _logged(session: Session, begin: int, end: int) -> Iterator[tuple[int, int, int, Sums]]:
    """Yield hour, company, milliseconds and sums of the log's rows from begin to end."""
    if end < begin:
        return
    found = session.rows(
        "SELECT at, companyid, endpoint, duration_us, row_count, cache, repeated"  # noqa: S608
        f" FROM {session.names.logs} WHERE at >= :begin AND at <= :end AND error = ''",
        begin=begin,
        end=end,
    )
    for at, company, endpoint, duration, rows, cache, repeated in found:
        timed = int(endpoint != EXPORT)
        hit = int(cache == HIT)
        sums = Sums(
            1, rows, timed, duration * timed, hit, int(cache == MISS), repeated, repeated * hit
        )
        yield at - at % HOUR, company, -(-duration // 1000), sums


def busy_companies(session: Session, *, now: int, least: int) -> dict[int, int]:
    """Return the answered requests of the last 60 minutes of companies with ``least`` of them."""
    found = session.rows(
        f"SELECT companyid, count(*) FROM {session.names.logs}"  # noqa: S608
        " WHERE at > :since AND at <= :now AND error = '' GROUP BY companyid"
        " HAVING count(*) >= :least",
        since=now - HOUR, now=now, least=least,
    )  # fmt: skip
    return {int(company): int(count) for company, count in found}


def hourly_peaks(session: Session, companies: list[int], *, now: int, days: int) -> dict[int, int]:
    """Return the most answered requests in one clock hour of the days before the last 60 minutes.

    Companies without any request in that time are left out.
    """
    found = session.rows(
        f"SELECT companyid, max(calls) FROM {session.names.activity}"  # noqa: S608
        f" WHERE companyid IN ({numbers(companies)}) AND hour >= :since AND hour <= :until"
        " GROUP BY companyid",
        since=now - now % HOUR - days * DAY, until=now - 2 * HOUR,
    )  # fmt: skip
    return {int(company): int(most) for company, most in found}


def refused_by_kind(session: Session, *, since: int, now: int) -> dict[str, int]:
    """Return how many requests were refused or failed since a moment, by the kind of error."""
    found = session.rows(
        f"SELECT kind, sum(refused) FROM {session.names.refusals}"  # noqa: S608
        " WHERE minute >= :since AND minute <= :now GROUP BY kind",
        since=since, now=now,
    )  # fmt: skip
    return {str(kind): int(count) for kind, count in found}


def refused_of_kind(
    session: Session, kind: str, *, since: int, now: int
) -> list[tuple[str, int, int]]:
    """Return subject, minute and count of one kind's refusals, in the order of time."""
    found = session.rows(
        f"SELECT subject, minute, refused FROM {session.names.refusals}"  # noqa: S608
        " WHERE minute >= :since AND minute <= :now AND kind = :kind ORDER BY minute, subject",
        since=since, now=now, kind=kind,
    )  # fmt: skip
    return [(str(subject), int(minute), int(count)) for subject, minute, count in found]


def refused_subjects(
    session: Session, kind: str, *, since: int, now: int, most: int
) -> list[tuple[str, int, int]]:
    """Return subject, count and last minute of one kind's refusals, the latest subjects first."""
    found = session.rows(
        f"SELECT subject, sum(refused), max(minute) FROM {session.names.refusals}"  # noqa: S608
        " WHERE minute >= :since AND minute <= :now AND kind = :kind GROUP BY subject"
        f" ORDER BY max(minute) DESC, subject LIMIT {int(most)}",
        since=since, now=now, kind=kind,
    )  # fmt: skip
    return [(str(subject), int(count), int(last)) for subject, count, last in found]


@dataclass(frozen=True)
class LoggedError:
    """One logged request that was refused or failed."""

    at: int
    company: int
    caller: str
    endpoint: str
    error: str


def recent_errors(session: Session, *, since: int, now: int, most: int) -> list[LoggedError]:
    """Return the last logged errors, the newest first; of the present minute all, as counted.

    Their minutes are looked up among the refusals, so that no walk over a day of answered
    requests is needed to find them.
    """
    minutes = session.rows(
        f"SELECT minute FROM {session.names.refusals}"  # noqa: S608
        " WHERE minute >= :since AND minute <= :now ORDER BY minute DESC LIMIT :most",
        since=since, now=now, most=most,
    )  # fmt: skip
    found: list[LoggedError] = []
    for minute in sorted({int(row[0]) for row in minutes}, reverse=True):
        rows = session.rows(
            "SELECT at, companyid, ip, agent, endpoint, error"  # noqa: S608
            f" FROM {session.names.logs} WHERE at >= :begin AND at < :end"
            f" AND error <> '' ORDER BY at DESC, id DESC LIMIT {int(most)}",
            begin=minute, end=minute + MINUTE,
        )  # fmt: skip
        found += [
            LoggedError(at, company, ip or agent, endpoint, error)
            for at, company, ip, agent, endpoint, error in rows
        ]
        if len(found) >= most:
            break
    return found[:most]
