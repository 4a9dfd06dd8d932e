"""The first schema: reporting rows, sync state and history, settings, leases."""

import uuid
from typing import Any

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects.mysql import LONGBLOB

revision = "0001"
down_revision = None

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
BLOB = sa.LargeBinary().with_variant(LONGBLOB, "mysql", "mariadb")
PERCENT = sa.Numeric(5, 2).with_variant(sa.REAL(), "sqlite")
MYSQL = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


def number(name: str, default: str | None = "0") -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default=default)


def words(name: str, length: int) -> sa.Column[Any]:
    return sa.Column(name, sa.String(length), nullable=False, server_default="")


def key(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger, primary_key=True, autoincrement=False)


def flag(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Boolean, nullable=False, server_default=sa.false())


def upgrade() -> None:
    p = context.config.attributes["tables"].prefix + "local_alx_api_"

    def create(name: str, *columns: Any) -> None:
        op.create_table(p + name, *columns, if_not_exists=True, **MYSQL)

    def index(table: str, name: str, columns: list[str]) -> None:
        # MySQL knows no CREATE INDEX IF NOT EXISTS.
        there = {found["name"] for found in sa.inspect(op.get_bind()).get_indexes(p + table)}
        if f"{p}{table}_{name}" not in there:
            op.create_index(f"{p}{table}_{name}", p + table, columns)

    create(
        "reporting",
        sa.Column("id", ID, primary_key=True),
        number("userid", None),
        number("companyid", None),
        number("courseid", None),
        words("firstname", 255),
        words("lastname", 255),
        words("email", 255),
        words("username", 255),
        words("coursename", 1333),
        number("timecompleted"),
        number("timestarted"),
        sa.Column("percentage", PERCENT, nullable=False, server_default="0"),
        sa.Column("status", sa.String(20), nullable=False, server_default="not_started"),
        number("last_updated"),
        sa.Column("is_deleted", sa.SmallInteger, nullable=False, server_default="0"),
        number("created_at"),
        number("updated_at"),
        number("revision"),
        sa.UniqueConstraint("companyid", "userid", "courseid", name=f"{p}reporting_key"),
    )
    index("reporting", "rev", ["companyid", "revision"])
    create(
        "sync_status",
        key("companyid"),
        words("shortname", 255),
        words("name", 255),
        flag("suspended"),
        flag("gone"),
        sa.Column("position", sa.BigInteger),
        number("revision"),
        number("live_rows"),
        sa.Column("synced_at", sa.BigInteger),
        words("last_status", 20),
        sa.Column("last_error", sa.Text),
    )
    create(
        "positions",
        key("version"),
        sa.Column("part", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("data", BLOB, nullable=False),
    )
    create(
        "sync_runs",
        sa.Column("id", ID, primary_key=True),
        number("started_at", None),
        sa.Column("finished_at", sa.BigInteger),
        words("mode", 20),
        words("status", 20),
        words("host", 255),
        *(number(n) for n in ("pid", "duration_ms", "created", "updated", "deleted", "errors")),
        sa.Column("error", sa.Text),
    )
    index("sync_runs", "at", ["started_at"])
    create(
        "sync_results",
        key("runid"),
        key("companyid"),
        words("status", 20),
        *(number(n) for n in ("live_rows", "created", "updated", "deleted", "duration_ms")),
        sa.Column("error", sa.Text),
    )
    create(
        "settings",
        key("companyid"),
        sa.Column("name", sa.String(100), primary_key=True),
        words("value", 255),
        number("changed_at"),
    )
    create(
        "leases",
        sa.Column("name", sa.String(50), primary_key=True),
        words("owner", 255),
        number("expires_at"),
    )
    create("meta", sa.Column("name", sa.String(50), primary_key=True), words("value", 255))
    meta = sa.table(f"{p}meta", sa.column("name"), sa.column("value"))
    connection = op.get_bind()
    if connection.scalar(sa.select(meta.c.value).where(meta.c.name == "store_id")) is None:
        connection.execute(meta.insert().values(name="store_id", value=uuid.uuid4().hex))
    leases = sa.table(f"{p}leases", sa.column("name"))
    if connection.scalar(sa.select(leases.c.name).where(leases.c.name == "sync")) is None:
        # The row is there from the start, so that claiming it is one conditional UPDATE.
        connection.execute(leases.insert().values(name="sync"))
