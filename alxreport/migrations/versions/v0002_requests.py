"""What requests need: revisions' marks, tokens, limits, series, refusals, cache, log."""

import secrets
from typing import Any

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects.mysql import LONGBLOB

revision = "0002"
down_revision = "0001"

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
BLOB = sa.LargeBinary().with_variant(LONGBLOB, "mysql", "mariadb")
MYSQL = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


def number(name: str, default: str | None = "0") -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default=default)


def words(name: str, length: int) -> sa.Column[Any]:
    return sa.Column(name, sa.String(length), nullable=False, server_default="")


def key(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger, primary_key=True, autoincrement=False)


def key_words(name: str, length: int) -> sa.Column[Any]:
    return sa.Column(name, sa.String(length), primary_key=True)


def upgrade() -> None:
    p = context.config.attributes["tables"].prefix + "local_alx_api_"

    def create(name: str, *columns: Any) -> None:
        op.create_table(p + name, *columns, if_not_exists=True, **MYSQL)

    def index(table: str, name: str, columns: list[str]) -> None:
        there = {found["name"] for found in sa.inspect(op.get_bind()).get_indexes(p + table)}
        if f"{p}{table}_{name}" not in there:
            op.create_index(f"{p}{table}_{name}", p + table, columns)

    known = {found["name"] for found in sa.inspect(op.get_bind()).get_columns(p + "sync_status")}
    if "purged_revision" not in known:
        op.add_column(p + "sync_status", number("purged_revision"))
    create("revisions", key("companyid"), key("revision"), words("mark", 16), number("made_at"))
    create(
        "tokens",
        sa.Column("id", ID, primary_key=True),
        number("companyid", None),
        words("name", 255),
        words("origin", 20),
        words("hash", 64),
        words("networks", 2000),
        *(number(n) for n in ("created_at", "expires_at", "revoked_at", "replaced_by")),
        number("last_used_at"),
        words("last_ip", 64),
        sa.UniqueConstraint("hash", name=f"{p}tokens_hash"),
    )
    index("tokens", "company", ["companyid"])
    create("usage", key("companyid"), key_words("day", 10),
           *(number(n) for n in ("calls", "refused", "last_at")))  # fmt: skip
    create("series", key("companyid"), key("tokenid"), key_words("mark", 32), key("started_at"),
           number("credits"))  # fmt: skip
    index("series", "at", ["started_at"])
    create("refusals", key("minute"), key_words("kind", 20), key_words("subject", 64),
           number("companyid"), number("refused"))  # fmt: skip
    create(
        "cache",
        key("companyid"),
        key_words("cache_key", 64),
        *(number(n) for n in ("revision", "created_at", "expires_at", "size", "row_count")),
        *(number(n) for n in ("total", "last_user", "last_course")),
        sa.Column("more", sa.SmallInteger, nullable=False, server_default="0"),
        words("digest", 32),
        sa.Column("body", BLOB, nullable=False),
    )
    index("cache", "expiry", ["expires_at", "size"])
    create(
        "logs",
        sa.Column("id", ID, primary_key=True),
        number("at", None),
        number("companyid"),
        number("tokenid"),
        words("ip", 64),
        words("agent", 255),
        words("endpoint", 50),
        words("mode", 20),
        sa.Column("page_limit", sa.BigInteger),
        sa.Column("page_offset", sa.BigInteger),
        number("row_count"),
        number("duration_us"),
        words("cache", 10),
        words("error", 50),
        words("question", 32),
    )
    index("logs", "at", ["at"])
    index("logs", "company", ["companyid", "at"])
    _marks(p)


def _marks(p: str) -> None:
    """Give every company's present revision a mark, and the store the key of its marks."""
    connection = op.get_bind()
    status = sa.table(f"{p}sync_status", sa.column("companyid"), sa.column("revision"),
                      sa.column("synced_at"))  # fmt: skip
    marks = sa.table(f"{p}revisions", sa.column("companyid"), sa.column("revision"),
                     sa.column("mark"), sa.column("made_at"))  # fmt: skip
    there = connection.execute(sa.select(marks.c.companyid, marks.c.revision))
    marked = {tuple(row) for row in there}
    synced_at = sa.func.coalesce(status.c.synced_at, 0)
    new = [
        {"companyid": company, "revision": number, "mark": secrets.token_hex(8), "made_at": at}
        for company, number, at in connection.execute(
            sa.select(status.c.companyid, status.c.revision, synced_at)
        )
        if number and (company, number) not in marked
    ]
    if new:
        connection.execute(marks.insert(), new)
    meta = sa.table(f"{p}meta", sa.column("name"), sa.column("value"))
    if connection.scalar(sa.select(meta.c.value).where(meta.c.name == "mark_key")) is None:
        connection.execute(meta.insert().values(name="mark_key", value=secrets.token_hex(32)))
