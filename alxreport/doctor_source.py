"""The doctor's look at Moodle's database: all of it in one read-only snapshot."""

from __future__ import annotations

from sqlalchemy import Connection

from alxreport import probes, replica
from alxreport.address import shown
from alxreport.checks import Check, failed
from alxreport.database import database_url, open_source, snapshot
from alxreport.errors import AlxError, SourceError
from alxreport.grants import source_rights
from alxreport.moodle import Source, inspect
from alxreport.probes import Server, SiteFacts
from alxreport.settings import MoodleSettings
from alxreport.wording import span

CLOCK_SECONDS = 60  # a difference up to this is of no consequence
SHOWN_RIGHTS = 4


def source_checks(settings: MoodleSettings, now: int) -> list[Check]:
    """Look at Moodle's database; what builds on something broken is left out."""
    checks: list[Check] = []
    looking_at = "source"
    try:
        with snapshot(open_source(settings), settings) as connection:
            server = probes.server(connection)
            where = shown(database_url(settings, "moodle.url"))
            checks.append(Check("source", "ok", f"{server.version} at {where}."))
            looking_at = "replica"
            checks += _replica(connection)
            looking_at = "rights"
            checks.append(_rights(connection, settings.prefix))
            looking_at = "tables"
            source, check = _tables(connection, settings.prefix)
            checks.append(check)
            clock = _clock(server, now)
            if source is None:
                return [*checks, clock]
            looking_at = "companies"
            facts = probes.site_facts(connection, source)
            checks += [_companies(facts), clock, _completion(facts)]
    except AlxError as error:
        checks.append(failed(looking_at, error))
    return checks


def _replica(connection: Connection) -> list[Check]:
    standing = replica.standing(connection)
    if not standing.replica:
        return []
    if standing.stopped:
        finding = "Moodle's database is a replica to which nothing comes from its primary any more."
    elif standing.lag is None:
        finding = "Moodle's database is a replica; how far it is behind, this user may not see."
    else:
        finding = f"Moodle's database is a replica, {span(int(standing.lag))} behind its primary."
    if standing.late:
        return [Check("replica", "warning", finding, "Look at its replication: reports are old.")]
    if standing.lag is None:
        advice = replica.right_to_see(connection)
        return [Check("replica", "warning", finding, advice)]
    return [Check("replica", "ok", finding)]


def _rights(connection: Connection, prefix: str) -> Check:
    rights = source_rights(connection, prefix)
    if not rights.user:
        return Check("rights", "ok", "The file is opened read-only.")
    if not rights.writing:
        return Check("rights", "ok", f"{rights.user} may only read.")
    named = ", ".join(rights.writing[:SHOWN_RIGHTS])
    more = " and more" if len(rights.writing) > SHOWN_RIGHTS else ""
    return Check(
        "rights",
        "warning",
        f"{rights.user} may do more than read: {named}{more}.",
        f"A SELECT-only user is enough: {rights.advice}",
    )


def _tables(connection: Connection, prefix: str) -> tuple[Source | None, Check]:
    try:
        source = inspect(connection, prefix)
    except SourceError as error:
        return None, failed("tables", error)
    count = sum(source.has(name) for name in source.tables.all())
    finding = f"{count} tables under {prefix!r} with all of their columns."
    if source.absent:
        absent = ", ".join(prefix + name for name in sorted(source.absent))
        finding += f" This site lacks {absent}, which alxreport can do without."
    return source, Check("tables", "ok", finding)


def _companies(facts: SiteFacts) -> Check:
    finding = f"{facts.companies:,} companies, {facts.users:,} users."
    if not facts.companies:
        advice = "Make a company in IOMAD, or check that moodle.url names the right site."
        return Check("companies", "warning", finding, advice)
    return Check("companies", "ok", finding)


def _clock(server: Server, now: int) -> Check:
    ahead = server.time - now
    if abs(ahead) <= CLOCK_SECONDS:
        return Check("clock", "ok", "The server's clock and this machine's agree.")
    word = "ahead of" if ahead > 0 else "behind"
    return Check(
        "clock",
        "warning",
        f"The server's clock is {abs(ahead):,} seconds {word} this machine's.",
        "Let both keep time by NTP: enrolments begin and end by this machine's clock.",
    )


def _completion(facts: SiteFacts) -> Check:
    if not facts.completion:
        return Check(
            "completion",
            "warning",
            "Completion tracking is off for the whole site: every percentage is 0.",
            "Switch it on in Moodle: Site administration, Advanced features.",
        )
    if not facts.tracked_courses:
        return Check(
            "completion",
            "warning",
            "No visible course has completion tracking on: every percentage is 0.",
            "Switch it on in the courses' settings.",
        )
    finding = f"On for the site and in {facts.tracked_courses:,} visible courses."
    return Check("completion", "ok", finding)
