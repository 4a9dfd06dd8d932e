"""The store's tables behind requests and alerts: tokens, limits, cache, log, what is open."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
)
from sqlalchemy.dialects.mysql import LONGBLOB

Id = BigInteger().with_variant(Integer, "sqlite")
Blob = LargeBinary().with_variant(LONGBLOB, "mysql", "mariadb")
MYSQL: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}


def number(column: str, default: str | None = "0") -> Column[int]:
    """Return a whole number that is never NULL."""
    return Column(column, BigInteger, nullable=False, server_default=default)


def words(column: str, length: int) -> Column[str]:
    """Return a text that is never NULL."""
    return Column(column, String(length), nullable=False, server_default="")


def key(column: str) -> Column[int]:
    """Return a number that is part of the primary key and given by us."""
    return Column(column, BigInteger, primary_key=True, autoincrement=False)


# Of one company's answered requests in one hour; the times are of pages, in microseconds.
ACTIVITY = (
    "calls", "row_count", "timed", "total_us", "hits", "misses", "repeats", "repeat_hits",
)  # fmt: skip


def request_tables(meta: MetaData, name: str) -> dict[str, Table]:
    """Return the tables by their attribute of StoreTables; ``name`` goes before theirs."""
    return {
        # A random mark for each revision, so that a mark of another history is recognised.
        "revisions": Table(
            f"{name}revisions",
            meta,
            key("companyid"),
            key("revision"),
            words("mark", 16),
            number("made_at"),
            **MYSQL,
        ),
        "tokens": Table(
            f"{name}tokens",
            meta,
            Column("id", Id, primary_key=True),
            number("companyid", None),
            words("name", 255),
            words("origin", 20),
            words("hash", 64),
            words("networks", 2000),
            number("created_at"),
            number("expires_at"),
            number("revoked_at"),
            number("replaced_by"),
            number("last_used_at"),
            words("last_ip", 64),
            UniqueConstraint("hash", name=f"{name}tokens_hash"),
            Index(f"{name}tokens_company", "companyid"),
            **MYSQL,
        ),
        "usage": Table(
            f"{name}usage",
            meta,
            key("companyid"),
            Column("day", String(10), primary_key=True),
            number("calls"),
            number("refused"),
            number("last_at"),
            **MYSQL,
        ),
        # Pages that were promised with a series' first one: each may be asked once without cost.
        "series": Table(
            f"{name}series",
            meta,
            key("companyid"),
            key("tokenid"),
            Column("mark", String(32), primary_key=True),
            key("started_at"),
            number("credits"),
            Index(f"{name}series_at", "started_at"),
            **MYSQL,
        ),
        "refusals": Table(
            f"{name}refusals",
            meta,
            key("minute"),
            Column("kind", String(20), primary_key=True),
            Column("subject", String(64), primary_key=True),
            number("companyid"),
            number("refused"),
            **MYSQL,
        ),
        "cache": Table(
            f"{name}cache",
            meta,
            key("companyid"),
            Column("cache_key", String(64), primary_key=True),
            number("revision"),
            number("created_at"),
            number("expires_at"),
            number("size"),
            number("row_count"),
            number("total"),
            number("last_user"),
            number("last_course"),
            Column("more", SmallInteger, nullable=False, server_default="0"),
            words("digest", 32),
            Column("body", Blob, nullable=False),
            Index(f"{name}cache_expiry", "expires_at", "size"),
            **MYSQL,
        ),
        "logs": Table(
            f"{name}logs",
            meta,
            Column("id", Id, primary_key=True),
            number("at", None),
            number("companyid"),
            number("tokenid"),
            words("ip", 64),
            words("agent", 255),
            words("endpoint", 50),
            words("mode", 20),
            Column("page_limit", BigInteger),
            Column("page_offset", BigInteger),
            number("row_count"),
            number("duration_us"),
            words("cache", 10),
            words("error", 50),
            words("question", 32),
            number("revision"),
            number("repeated"),
            Index(f"{name}logs_at", "at"),
            Index(f"{name}logs_question", "companyid", "question", "at"),
            **MYSQL,
        ),
        # The log by the hour, kept with it, so that no view has to read a day of it.
        "activity": Table(
            f"{name}activity",
            meta,
            key("hour"),
            key("companyid"),
            *(number(column) for column in ACTIVITY),
            Index(f"{name}activity_company", "companyid", "hour"),
            **MYSQL,
        ),
        "latency": Table(
            f"{name}latency",
            meta,
            key("hour"),
            key("ms"),
            number("calls"),
            **MYSQL,
        ),
        "alerts": Table(
            f"{name}alerts",
            meta,
            Column("id", Id, primary_key=True),
            words("kind", 50),
            words("subject", 80),
            words("name", 255),
            words("severity", 10),
            number("rises"),  # how often it got graver
            words("message", 1000),
            number("opened_at"),
            number("changed_at"),
            number("closed_at"),
            number("ended"),  # 0 while it is open, then its id
            number("acknowledged_at"),
            words("acknowledged_by", 64),
            # Of one kind and subject there is one open alert, however many look at once.
            UniqueConstraint("kind", "subject", "ended", name=f"{name}alerts_open"),
            Index(f"{name}alerts_closed", "closed_at"),
            **MYSQL,
        ),
        # What was told to whom; a claim keeps two checkers from telling the same at once.
        "deliveries": Table(
            f"{name}deliveries",
            meta,
            key("alertid"),
            Column("event", String(30), primary_key=True),
            Column("target", String(32), primary_key=True),
            number("claimed_until"),
            words("claimed_by", 64),
            number("told_at"),
            number("attempts"),
            **MYSQL,
        ),
    }
