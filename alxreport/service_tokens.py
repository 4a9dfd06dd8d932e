"""The tokens of the PHP plugin's web service in Moodle, and which of them can be taken over."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    TableClause,
    column,
    null,
    select,
    table,
)

from alxreport.database import columns_of
from alxreport.errors import SourceError
from alxreport.networks import from_moodle, intersect
from alxreport.records import iso_time

SERVICES = ("alx_report_api_custom", "alx_report_api")
PERMANENT = 0  # EXTERNAL_TOKEN_PERMANENT of lib/externallib.php
NO_LOGIN = "nologin"  # the auth plugin of accounts that may not sign in

NEEDED = {
    "external_services": ("id", "shortname", "enabled"),
    "external_tokens": ("id", "token", "tokentype", "userid", "externalserviceid"),
    "user": ("id", "username"),
    "company": ("id",),
    "company_users": ("companyid", "userid", "suspended"),
}
# Where a site lacks one of these, the rule that goes by it is left out.
OPTIONAL = {
    "external_services": ("restrictedusers",),
    "external_tokens": ("validuntil", "iprestriction", "sid"),
    "user": ("deleted", "suspended", "confirmed", "auth"),
}
AUTHORISED = "external_services_users"
AUTHORISED_COLUMNS = ("id", "externalserviceid", "userid", "iprestriction", "validuntil")


@dataclass(frozen=True)
class ServiceToken:
    """One token of the web service; what ``refusal`` says keeps it from being taken over."""

    id: int
    secret: str = field(repr=False)
    userid: int
    username: str
    companies: tuple[int, ...]  # of every membership, suspended ones too
    expires_at: int  # unix seconds, 0 for never
    networks: tuple[str, ...]  # from which it may be used; none = from everywhere
    refusal: str  # a clause for people; "" when it can be taken over


@dataclass(frozen=True)
class _Membership:
    company: int
    exists: bool  # the company does
    active: bool


@dataclass(frozen=True)
class _Permission:
    """A user's row among the authorised users of a restricted service."""

    restriction: str
    valid_until: int


@dataclass(frozen=True)
class _Limits:
    """From where and until when a token may be used, or why nobody can tell."""

    networks: tuple[str, ...] = ()
    expires_at: int = 0
    fault: str = ""


class _Site:
    """The tables and columns that are there, as parts of statements."""

    def __init__(self, connection: Connection, prefix: str) -> None:
        names = {name: prefix + name for name in (*NEEDED, AUTHORISED)}
        there = columns_of(connection, names.values())
        self.there = {name: there.get(full.lower(), set()) for name, full in names.items()}
        self.prefix = prefix

    def table(self, name: str) -> TableClause:
        return table(self.prefix + name, *map(column, sorted(self.there[name])))

    def optional(self, owner: TableClause, name: str) -> ColumnElement[Any]:
        """Return a column, or NULL where this site has no such column."""
        return owner.c[name] if name in owner.c else null()


def service_tokens(connection: Connection, prefix: str, now: int) -> list[ServiceToken]:
    """Return the tokens of the plugin's web service in the order of their ids.

    Given are a connection to Moodle's database, Moodle's table prefix and the time. A token that
    Moodle would refuse (webservice/lib.php, ``authenticate_user`` and ``authenticate_by_token``,
    for restricted services ``load_function_info``) or whose company is in doubt says so in
    ``refusal``; a list of authorised users that is absent or cannot be read refuses nobody.
    Raises SourceError when there are no web service tables, or no IOMAD.
    """
    site = _Site(connection, prefix)
    _check(site)
    rows = connection.execute(_tokens_statement(site)).all()
    memberships = _memberships(connection, site)
    permissions = _permissions(connection, site)
    copies = Counter(row.token for row in rows)
    found: list[ServiceToken] = []
    for row in rows:
        companies = memberships.get(row.userid, [])
        limits = _limits(row, permissions, now)
        faults = (
            _token_fault(row, copies[row.token], now),
            _user_fault(row),
            limits.fault,
            _company_fault(companies),
        )
        found.append(
            ServiceToken(
                id=row.id,
                secret=row.token or "",
                userid=row.userid,
                username=row.username or "",
                companies=tuple(sorted({membership.company for membership in companies})),
                expires_at=limits.expires_at or row.validuntil or 0,
                networks=limits.networks,
                refusal=next(filter(None, faults), ""),
            )
        )
    return found


def _check(site: _Site) -> None:
    absent = [site.prefix + name for name in NEEDED if not site.there[name]]
    if any(site.prefix + name in absent for name in ("external_services", "external_tokens")):
        raise SourceError(
            f"This Moodle has no web services tables: {', '.join(absent)} cannot be seen.",
            "Let this user read them, and check moodle.prefix.",
        )
    lost = absent + [
        f"{site.prefix}{name}.{column_name}"
        for name, columns in NEEDED.items()
        for column_name in columns
        if site.there[name] and column_name not in site.there[name]
    ]
    if lost:
        raise SourceError(
            f"Moodle's database lacks {', '.join(lost)}.",
            "Name an IOMAD site in moodle.url whose tables this user may read.",
        )


def _our_services(site: _Site) -> Select[Any]:
    services = site.table("external_services")
    return select(services.c.id).where(services.c.shortname.in_(SERVICES))


def _tokens_statement(site: _Site) -> Select[Any]:
    services, tokens = site.table("external_services"), site.table("external_tokens")
    user = site.table("user")
    owners = {"external_services": services, "external_tokens": tokens, "user": user}
    return (
        select(
            tokens.c.id.label("id"),
            tokens.c.token.label("token"),
            tokens.c.tokentype.label("tokentype"),
            tokens.c.userid.label("userid"),
            services.c.id.label("service"),
            services.c.enabled.label("enabled"),
            user.c.id.label("known_user"),
            user.c.username.label("username"),
            *(
                site.optional(owner, column_name).label(column_name)
                for name, owner in owners.items()
                for column_name in OPTIONAL[name]
            ),
        )
        .join_from(tokens, services, services.c.id == tokens.c.externalserviceid)
        .outerjoin(user, user.c.id == tokens.c.userid)
        .where(services.c.shortname.in_(SERVICES))
        .order_by(tokens.c.id)
    )


def _memberships(connection: Connection, site: _Site) -> dict[int, list[_Membership]]:
    """Return each token user's companies; several departments of one make several entries."""
    tokens, members = site.table("external_tokens"), site.table("company_users")
    company = site.table("company")
    users = select(tokens.c.userid).where(tokens.c.externalserviceid.in_(_our_services(site)))
    statement = (
        select(members.c.userid, members.c.companyid, company.c.id, members.c.suspended)
        .outerjoin_from(members, company, company.c.id == members.c.companyid)
        .where(members.c.userid.in_(users))
    )
    found: dict[int, list[_Membership]] = defaultdict(list)
    for user, number, known, suspended in connection.execute(statement):
        found[user].append(_Membership(number, known is not None, not suspended))
    return found


def _permissions(
    connection: Connection, site: _Site
) -> dict[tuple[int, int], set[_Permission]] | None:
    """Return the authorised users by service and user, None where the list cannot be seen."""
    if not set(AUTHORISED_COLUMNS) <= site.there[AUTHORISED]:
        return None
    listed = site.table(AUTHORISED)
    statement = select(
        listed.c.externalserviceid, listed.c.userid, listed.c.iprestriction, listed.c.validuntil
    ).where(listed.c.externalserviceid.in_(_our_services(site)))
    found: dict[tuple[int, int], set[_Permission]] = defaultdict(set)
    for service, user, restriction, until in connection.execute(statement):
        found[service, user].add(_Permission(restriction or "", until or 0))
    return found


def _token_fault(row: Any, copies: int, now: int) -> str:
    until = row.validuntil or 0
    faults = (
        (not row.token, "its text is empty"),
        (copies > 1, "another token has the same text"),
        (row.tokentype != PERMANENT, f"it is not a permanent token (type {row.tokentype})"),
        (not row.enabled, "its web service is disabled in Moodle"),
        (row.sid, "it belongs to a login session"),
        (_is_over(until, now), f"it expired at {iso_time(until) or until}"),
    )
    return next((clause for holds, clause in faults if holds), "")


def _user_fault(row: Any) -> str:
    faults = (
        (row.known_user is None, f"its user {row.userid} does not exist"),
        (row.deleted, "its user is deleted"),
        (row.suspended, "its user is suspended"),
        (row.confirmed is not None and not row.confirmed, "its user is not confirmed"),
        (row.auth == NO_LOGIN, f"its user may not sign in (authentication {NO_LOGIN})"),
    )
    return next((clause for holds, clause in faults if holds), "")


def _limits(
    row: Any, permissions: Mapping[tuple[int, int], set[_Permission]] | None, now: int
) -> _Limits:
    permission = _Permission("", 0)
    if row.restrictedusers and permissions is not None:
        listed = permissions.get((row.service, row.userid), set())
        # The query of load_function_info() has its validuntil the wrong way round: "until" counts.
        valid = [one for one in listed if not _is_over(one.valid_until, now)]
        if not valid:
            word = "no longer" if listed else "not"
            return _Limits(fault=f"its user is {word} among the service's authorised users")
        if len(valid) > 1:
            return _Limits(fault="its user is authorised twice, with different restrictions")
        permission = valid[0]
    try:
        own = from_moodle(row.iprestriction or "")
        networks = intersect(own, from_moodle(permission.restriction))
    except ValueError as error:
        return _Limits(fault=f"its IP restriction cannot be carried over: {error}")
    if networks is None:
        return _Limits(fault="its IP restrictions have no address in common")
    ends = [end for end in (row.validuntil or 0, permission.valid_until) if end]
    return _Limits(networks, min(ends, default=0))


def _company_fault(memberships: list[_Membership]) -> str:
    companies = sorted({membership.company for membership in memberships})
    if not companies:
        return "its user belongs to no company"
    if len(companies) > 1:
        *most, last = map(str, companies)
        # The plugin took whichever the database named first.
        return f"ambiguous: belongs to companies {', '.join(most)} and {last}"
    if not any(membership.exists for membership in memberships):
        return f"company {companies[0]} does not exist any more"
    if not any(membership.active for membership in memberships):
        return f"its user is suspended in company {companies[0]}"
    return ""


def _is_over(until: int, now: int) -> bool:
    # Moodle takes a token in its last second too; here it ends with that second.
    return until != 0 and until <= now
