"""The table of tokens: their hashes, what each may do, and when it was last used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from alxreport.sessions import Session, first

COLUMNS = (
    "id, companyid, name, origin, networks, created_at, expires_at, revoked_at, replaced_by,"
    " last_used_at, last_ip"
)
# The moment of use is written at most this often, to spare a write a request.
TOUCH_SECONDS = 60


@dataclass(frozen=True)
class Token:
    """One token, without its secret. Times are unix seconds, 0 for never."""

    id: int
    companyid: int
    name: str
    origin: str  # alxreport or moodle
    networks: tuple[str, ...]  # from which it may be used; none = from everywhere
    created_at: int
    expires_at: int
    revoked_at: int
    replaced_by: int  # the token it was rotated to
    last_used_at: int
    last_ip: str

    def state(self, now: int) -> str:
        """Return active, expired or revoked."""
        if self.revoked_at:
            return "revoked"
        return "expired" if self.expires_at and self.expires_at <= now else "active"


def _token(row: Sequence[object]) -> Token:
    number, company, name, origin, networks, *rest = row
    listed = tuple(str(networks).split()) if networks else ()
    return Token(number, company, name, origin, listed, *rest)  # type: ignore[arg-type]


def by_hash(session: Session, token_hash: str) -> Token | None:
    """Return the token with this SHA-256, whatever its state."""
    sql = f"SELECT {COLUMNS} FROM {session.names.tokens} WHERE hash = :hash"  # noqa: S608
    found = first(session, sql, hash=token_hash)
    return None if found is None else _token(found)


def by_id(session: Session, number: int) -> Token | None:
    """Return a token by its number."""
    sql = f"SELECT {COLUMNS} FROM {session.names.tokens} WHERE id = :number"  # noqa: S608
    found = first(session, sql, number=number)
    return None if found is None else _token(found)


def all_tokens(session: Session, *, company: int | None = None) -> list[Token]:
    """Return the tokens, of one company if it is given, the oldest first."""
    one = "" if company is None else " WHERE companyid = :company"
    values = {} if company is None else {"company": company}
    sql = f"SELECT {COLUMNS} FROM {session.names.tokens}{one} ORDER BY id"  # noqa: S608
    return [_token(row) for row in session.rows(sql, **values)]


def add(
    session: Session,
    token_hash: str,
    *,
    company: int,
    name: str,
    now: int,
    origin: str = "alxreport",
    networks: Sequence[str] = (),
    expires_at: int = 0,
) -> Token:
    """Store a new token by its hash and return it."""
    session.change(
        f"INSERT INTO {session.names.tokens}"  # noqa: S608
        " (companyid, name, origin, hash, networks, created_at, expires_at)"
        " VALUES (:company, :name, :origin, :hash, :networks, :now, :expires_at)",
        company=company, name=name, origin=origin, hash=token_hash, networks=" ".join(networks),
        now=now, expires_at=expires_at,
    )  # fmt: skip
    added = by_hash(session, token_hash)
    assert added is not None, "the row was written in this transaction"  # noqa: S101
    return added


def revoke(session: Session, number: int, now: int) -> bool:
    """Revoke a token; false when it was already."""
    sql = (
        f"UPDATE {session.names.tokens} SET revoked_at = :now"  # noqa: S608
        " WHERE id = :number AND revoked_at = 0"
    )
    return session.change(sql, number=number, now=now) == 1


def revoke_all(session: Session, *, company: int, now: int) -> int:
    """Revoke every token of a company; return how many were not already."""
    sql = (
        f"UPDATE {session.names.tokens} SET revoked_at = :now"  # noqa: S608
        " WHERE companyid = :company AND revoked_at = 0"
    )
    return session.change(sql, company=company, now=now)


def replace(session: Session, old: Token, new: Token, ends_at: int) -> bool:
    """Let a token end, because another one took its place; false if it was replaced before."""
    if old.expires_at:
        ends_at = min(ends_at, old.expires_at)
    sql = (
        f"UPDATE {session.names.tokens} SET expires_at = :ends_at, replaced_by = :new"  # noqa: S608
        " WHERE id = :old AND revoked_at = 0 AND replaced_by = 0"
    )
    return session.change(sql, old=old.id, new=new.id, ends_at=ends_at) == 1


def touch(session: Session, token: Token, ip: str, now: int) -> None:
    """Note that a token was used."""
    if token.last_ip == ip and 0 <= now - token.last_used_at < TOUCH_SECONDS:
        return
    sql = (
        f"UPDATE {session.names.tokens} SET last_used_at = :now, last_ip = :ip"  # noqa: S608
        " WHERE id = :number"
    )
    session.change(sql, number=token.id, ip=ip[:64], now=now)
