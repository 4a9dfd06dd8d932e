"""The budget of requests: one per company and day, counted where it is spent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo

from alxreport.errors import ConfigError
from alxreport.sessions import Session, first, insert_new
from alxreport.token_form import token_hash

# From this share of the limit on, the caller and the administrator are warned.
WARNING_SHARE = 0.8
SERIES_SECONDS = 3_600


@dataclass(frozen=True)
class Budget:
    """A company's budget of one day."""

    limit: int  # 0 = unlimited
    used: int
    refused: int
    resets_at: int  # unix seconds

    @property
    def left(self) -> int | None:
        """Requests left, None when unlimited."""
        return max(0, self.limit - self.used) if self.limit else None

    @property
    def state(self) -> str:
        """Return ok, warning (80 % used), exceeded or unlimited."""
        if not self.limit:
            return "unlimited"
        if self.used >= self.limit:
            return "exceeded"
        return "warning" if self.used >= WARNING_SHARE * self.limit else "ok"


def zone(name: str) -> tzinfo:
    """Return a time zone by its name in ``requests.timezone``; ConfigError for none."""
    if name.upper() == "UTC":
        return UTC
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(
            f"requests.timezone = {name!r} is no time zone that this machine knows.",
            "Write a name such as Europe/Madrid, or UTC.",
        ) from error


def day_of(now: int, where: tzinfo) -> str:
    """Return the date of a moment, as the day whose budget it spends."""
    return datetime.fromtimestamp(now, where).date().isoformat()


def next_day(now: int, where: tzinfo) -> int:
    """Return the first second of the day after ``now``."""
    tomorrow: date = datetime.fromtimestamp(now, where).date() + timedelta(days=1)
    begin = datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=where)
    return int(begin.timestamp())


def spend(session: Session, *, company: int, day: str, limit: int, now: int) -> bool:
    """Take one request of a day's budget; false when there is none left.

    One conditional UPDATE decides, so that however many ask at once no request too many passes.
    """
    table = session.names.usage
    bound = " AND calls < :limit" if limit else ""
    sql = (
        f"UPDATE {table} SET calls = calls + 1, last_at = :now"  # noqa: S608
        f" WHERE companyid = :company AND day = :day{bound}"
    )
    values = {"company": company, "day": day, "now": now} | ({"limit": limit} if limit else {})
    if session.change(sql, **values):
        return True
    # The day's first request makes its row; another one may be doing so at this moment.
    session.change(insert_new(session, table, ("companyid", "day")), companyid=company, day=day)
    return bool(session.change(sql, **values))


def refuse(session: Session, *, company: int, day: str, now: int) -> None:
    """Count a refused request."""
    session.change(
        f"UPDATE {session.names.usage} SET refused = refused + 1, last_at = :now"  # noqa: S608
        " WHERE companyid = :company AND day = :day",
        company=company, day=day, now=now,
    )  # fmt: skip


def reset(session: Session, *, company: int, day: str) -> int:
    """Give a company its whole budget of a day again; return how much of it was used."""
    used, _refused = usage(session, company=company, day=day)
    session.change(
        f"UPDATE {session.names.usage} SET calls = 0, refused = 0"  # noqa: S608
        " WHERE companyid = :company AND day = :day",
        company=company, day=day,
    )  # fmt: skip
    return used


def usage(session: Session, *, company: int, day: str) -> tuple[int, int]:
    """Return how many requests of a day were granted and refused."""
    sql = (
        f"SELECT calls, refused FROM {session.names.usage}"  # noqa: S608
        " WHERE companyid = :company AND day = :day"
    )
    found = first(session, sql, company=company, day=day)
    return (0, 0) if found is None else (int(found[0]), int(found[1]))


def usage_of_day(session: Session, *, day: str) -> dict[int, tuple[int, int]]:
    """Return what every company was granted and refused on a day."""
    sql = f"SELECT companyid, calls, refused FROM {session.names.usage} WHERE day = :day"  # noqa: S608
    return {int(row[0]): (int(row[1]), int(row[2])) for row in session.rows(sql, day=day)}


def promise_mark(cursor: str) -> str:
    """Return the short name under which the page behind a cursor is promised."""
    return token_hash(cursor)[:32]


def promise(session: Session, mark: str, *, company: int, token: int, started_at: int) -> None:
    """Promise that the page behind ``mark`` may be asked once more without cost."""
    table = session.names.series
    where = "companyid = :company AND tokenid = :token AND mark = :mark AND started_at = :start"
    sql = f"UPDATE {table} SET credits = credits + 1 WHERE {where}"  # noqa: S608
    given = {"company": company, "token": token, "mark": mark, "start": started_at}
    if session.change(sql, **given):
        return
    session.change(
        insert_new(session, table, ("companyid", "tokenid", "mark", "started_at")),
        companyid=company, tokenid=token, mark=mark, started_at=started_at,
    )  # fmt: skip
    session.change(sql, **given)


def redeem(session: Session, mark: str, *, company: int, token: int, now: int) -> int | None:
    """Use a promise; return when its series began, None when there is none to use."""
    table = session.names.series
    found = session.rows(
        f"SELECT started_at FROM {table} WHERE companyid = :company AND tokenid = :token"  # noqa: S608
        " AND mark = :mark AND started_at > :oldest AND started_at < :newest AND credits > 0"
        " ORDER BY started_at DESC",
        company=company, token=token, mark=mark, oldest=now - SERIES_SECONDS,
        newest=now + SERIES_SECONDS,  # a clock that was set back makes no promise last for days
    )  # fmt: skip
    for (started_at,) in found:
        taken = session.change(
            f"UPDATE {table} SET credits = credits - 1 WHERE companyid = :company"  # noqa: S608
            " AND tokenid = :token AND mark = :mark AND started_at = :start AND credits > 0",
            company=company, token=token, mark=mark, start=started_at,
        )  # fmt: skip
        if taken:
            return int(started_at)
    return None


def keep_receipt(session: Session, mark: str, *, company: int, token: int, started_at: int) -> None:
    """Note that a request was paid, and when its series began; it is kept as long as a promise."""
    session.change(
        insert_new(session, session.names.series, ("companyid", "tokenid", "mark", "started_at")),
        companyid=company, tokenid=token, mark=mark, started_at=started_at,
    )  # fmt: skip


def receipt(session: Session, mark: str, *, company: int, token: int) -> int | None:
    """Return when the series of a request that was paid began; None where it was not paid."""
    found = first(
        session,
        f"SELECT started_at FROM {session.names.series}"  # noqa: S608
        " WHERE companyid = :company AND tokenid = :token AND mark = :mark",
        company=company, token=token, mark=mark,
    )  # fmt: skip
    return None if found is None else int(found[0])


def prune(session: Session, *, now: int, before_day: str) -> None:
    """Delete the promises that ended, and the counts of days before ``before_day``."""
    session.change(
        f"DELETE FROM {session.names.series} WHERE started_at <= :oldest",  # noqa: S608
        oldest=now - SERIES_SECONDS,
    )
    session.change(f"DELETE FROM {session.names.usage} WHERE day < :day", day=before_day)  # noqa: S608
