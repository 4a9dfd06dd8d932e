"""What an administrator does with tokens: make, list, revoke, rotate, take over from Moodle."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alxreport import reporting_table, tokens
from alxreport.companies import find_company
from alxreport.errors import NeverSyncedError, NotFoundError, UsageError
from alxreport.networks import parse_networks
from alxreport.records import iso_time
from alxreport.reporting_table import Standing
from alxreport.sessions import Session, Store
from alxreport.settings import Settings
from alxreport.token_form import is_possible, new_token, token_hash, without_secrets
from alxreport.tokens import Token

if TYPE_CHECKING:
    from alxreport.service_tokens import ServiceToken

UNITS = {"m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}
LONGEST_SECONDS = 100 * UNITS["y"]
LONGEST_NAME, LONGEST_NETWORKS = 255, 2_000  # characters that the table holds


@dataclass(frozen=True)
class TokenView:
    """A token as it is shown: never with its secret."""

    id: int
    company: str
    company_id: int
    name: str
    state: str
    origin: str
    networks: tuple[str, ...]
    created_at: str | None
    expires_at: str | None
    last_used_at: str | None
    last_ip: str
    replaced_by: int | None


@dataclass(frozen=True)
class Imported:
    """What became of one token of Moodle's."""

    moodle_id: int
    user: str
    company: str
    status: str  # imported, present or refused
    reason: str
    token: int | None


def parse_lifetime(text: str, what: str) -> int:
    """Return a length of time such as ``90d`` or ``24h`` in seconds; UsageError for none."""
    found = re.fullmatch(r"\s*(\d{1,9})\s*([mhdwy])\s*", text, re.ASCII)
    seconds = int(found[1]) * UNITS[found[2]] if found else 0
    if not 0 < seconds <= LONGEST_SECONDS:
        raise UsageError(f"{what} cannot be {text!r}.", "Write a time such as 90d, 24h or 1y.")
    return seconds


def the_company(session: Session, name: str) -> Standing:
    """Return the company that an administrator names."""
    known = reporting_table.standings(session)
    if not known:
        raise NeverSyncedError("No company was ever synced.", "Run 'alxreport sync' first.")
    return find_company(known, name)


def create_token(
    store: Store,
    *,
    company: str,
    name: str,
    now: int,
    expires: str | None = None,
    networks: Sequence[str] = (),
) -> tuple[TokenView, str]:
    """Make a token of a company; return it and, this once, its secret."""
    ends_at = 0 if expires is None else now + parse_lifetime(expires, "--expires")
    allowed = parse_networks(networks)
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise UsageError("--name is too long or not printable.", "Give it a short name.")
    if len(" ".join(allowed)) > LONGEST_NETWORKS:
        raise UsageError("--ip was given too often.", "Name larger networks.")
    secret = new_token()

    def work(session: Session) -> TokenView:
        owner = the_company(session, company)
        made = tokens.add(
            session, token_hash(secret), company=owner.id, name=without_secrets(name), now=now,
            networks=allowed, expires_at=ends_at,
        )  # fmt: skip
        return _view(made, {owner.id: owner.shortname}, now)

    return store.write(work), secret


def list_tokens(store: Store, *, company: str | None, now: int) -> list[TokenView]:
    """Return the tokens, of one company if it is named."""

    def work(session: Session) -> list[TokenView]:
        owner = the_company(session, company).id if company is not None else None
        names = _names(session)
        return [_view(token, names, now) for token in tokens.all_tokens(session, company=owner)]

    return store.read(work)


def show_token(store: Store, number: int, now: int) -> TokenView:
    """Return one token; NotFoundError for none."""
    return store.read(lambda session: _view(_known(session, number), _names(session), now))


def revoke_token(store: Store, number: int, now: int) -> tuple[TokenView, bool]:
    """Revoke a token; return it, and whether it was not revoked before."""

    def work(session: Session) -> tuple[TokenView, bool]:
        _known(session, number)
        done = tokens.revoke(session, number, now)
        return _view(_known(session, number), _names(session), now), done

    return store.write(work)


def rotate_token(
    store: Store, number: int, *, grace: str, expires: str | None, now: int
) -> tuple[TokenView, TokenView, str]:
    """Replace a token: return the old one, which ends after ``grace``, the new one, its secret.

    The new one has the old one's company, name and networks, and lives as long as it was to live.
    """
    seconds = 0 if re.fullmatch(r"0[mhdwy]?", grace) else parse_lifetime(grace, "--grace")
    lifetime = None if expires is None else parse_lifetime(expires, "--expires")
    secret = new_token()

    def work(session: Session) -> tuple[TokenView, TokenView, str]:
        old = _known(session, number)
        if old.replaced_by:
            raise UsageError(
                f"Token {number} was rotated to token {old.replaced_by} before.",
                f"Rotate that one: alxreport token rotate {old.replaced_by}",
            )
        if old.state(now) != "active":
            raise UsageError(
                f"Token {number} is {old.state(now)}.", "Make another: alxreport token create"
            )
        span = old.expires_at - old.created_at if old.expires_at else 0
        span = lifetime if lifetime is not None else span
        made = tokens.add(
            session, token_hash(secret), company=old.companyid, name=old.name, now=now,
            networks=old.networks, expires_at=now + span if span else 0,
        )  # fmt: skip
        if not tokens.replace(session, old, made, now + seconds):
            raise UsageError(f"Token {number} was rotated or revoked just now.", "Look again.")
        names = _names(session)
        return _view(_known(session, number), names, now), _view(made, names, now), secret

    return store.write(work)


def import_tokens(store: Store, settings: Settings, now: int) -> list[Imported]:
    """Take over the tokens of the plugin's web service; say of each what became of it.

    Moodle is only read. Raises SourceError when it cannot be.
    """
    from alxreport.database import open_source, snapshot
    from alxreport.service_tokens import service_tokens

    with snapshot(open_source(settings.moodle), settings.moodle) as source:
        found = service_tokens(source, settings.moodle.prefix, now)

    def work(session: Session) -> list[Imported]:
        names = _names(session)
        results = []
        for token in found:
            owner = token.companies[0] if len(token.companies) == 1 else 0
            there = tokens.by_hash(session, token_hash(token.secret))
            reason = _why_not(token, names.get(owner, ""), there, names, now)
            made = there
            if not reason and there is None:
                made = tokens.add(
                    session, token_hash(token.secret), company=owner, now=now, origin="moodle",
                    name=f"Moodle token {token.id} of {token.username}"[:LONGEST_NAME],
                    networks=token.networks, expires_at=token.expires_at,
                )  # fmt: skip
            status = "refused" if reason else "present" if there else "imported"
            if there and not reason:
                reason = _how_it_differs(token, there, now)
            number = made.id if made and status != "refused" else None
            results.append(
                Imported(token.id, token.username, names.get(owner, ""), status, reason, number)
            )
        return results

    return store.write(work)


def _why_not(
    token: ServiceToken, company: str, there: Token | None, names: Mapping[int, str], now: int
) -> str:
    """Return why a token of Moodle's is not taken over, "" when it can be or was before."""
    if there and there.companyid != (token.companies[0] if len(token.companies) == 1 else 0):
        opened = names.get(there.companyid, f"id:{there.companyid}")
        return (
            f"it opens {opened} here as token {there.id}, but its user is in"
            f" {company or 'no single company'} now: revoke it here, and create another"
        )
    if token.refusal:
        live = there is not None and there.state(now) == "active"
        return token.refusal + (f"; it is still active here as token {there.id}" if live else "")  # type: ignore[union-attr]
    if not company:
        return "its company was not synced yet: run 'alxreport sync', then this again"
    if not is_possible(token.secret):
        return "it is damaged, or of alxreport's form without being one"
    if len(" ".join(token.networks)) > LONGEST_NETWORKS:
        return "its list of networks is too long"
    return ""


def _how_it_differs(token: ServiceToken, there: Token, now: int) -> str:
    """Return how a token that was taken over before stands here and in Moodle."""
    if there.state(now) != "active":
        return f"it is {there.state(now)} here"
    if (there.networks, there.expires_at) != (token.networks, token.expires_at):
        return "Moodle changed its end or its networks since: revoke it here, and create another"
    return ""


def _known(session: Session, number: int) -> Token:
    token = tokens.by_id(session, number) if 0 < number < 2**63 else None
    if token is None:
        raise NotFoundError(f"There is no token {number}.", "See 'alxreport token list'.")
    return token


def _names(session: Session) -> dict[int, str]:
    return {company.id: company.shortname for company in reporting_table.standings(session)}


def _view(token: Token, names: dict[int, str], now: int) -> TokenView:
    return TokenView(
        id=token.id,
        company=names.get(token.companyid, f"id:{token.companyid}"),
        company_id=token.companyid,
        name=token.name,
        state=token.state(now),
        origin=token.origin,
        networks=token.networks,
        created_at=iso_time(token.created_at),
        expires_at=iso_time(token.expires_at),
        last_used_at=iso_time(token.last_used_at),
        last_ip=token.last_ip,
        replaced_by=token.replaced_by or None,
    )
