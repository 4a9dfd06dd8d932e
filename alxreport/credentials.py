"""What a token has to be for its bearer to be let in."""

from __future__ import annotations

from alxreport import tokens
from alxreport.errors import NotAuthorisedError
from alxreport.networks import allows
from alxreport.records import iso_time
from alxreport.sessions import Session
from alxreport.token_form import is_possible, token_hash
from alxreport.tokens import Token

ASK_ADMINISTRATOR = "Ask the administrator for a new one: alxreport token create"


def check_form(secret: str) -> None:
    """Refuse what no token looks like, without asking the store; NotAuthorisedError."""
    if not secret:
        raise NotAuthorisedError(
            "No token was given, or an empty one.",
            "Look into the file, variable or header that should hold it.",
            reason="missing",
        )
    if not is_possible(secret):
        raise NotAuthorisedError(
            "This is not a token of alxreport: a character is missing or wrong.",
            "Copy it again, whole.",
            reason="malformed",
        )


def find(session: Session, secret: str) -> Token:
    """Return the token of a secret, be it good or not; NotAuthorisedError for none."""
    token = tokens.by_hash(session, token_hash(secret))
    if token is None:
        raise NotAuthorisedError(
            "This token is not known here.", ASK_ADMINISTRATOR, reason="unknown"
        )
    return token


def check(token: Token, ip: str, now: int) -> None:
    """Refuse a token that is not, or no more, good from an address; NotAuthorisedError."""
    if token.revoked_at:
        raise NotAuthorisedError("This token was revoked.", ASK_ADMINISTRATOR, reason="revoked")
    if token.expires_at and token.expires_at <= now:
        raise NotAuthorisedError(
            f"This token expired at {iso_time(token.expires_at)}.", ASK_ADMINISTRATOR,
            reason="expired",
        )  # fmt: skip
    if not allows(token.networks, ip):
        raise NotAuthorisedError(
            f"This token may not be used from {ip or 'here'}.",
            "Use it from the network it was made for, or ask for another.",
            reason="network",
        )
