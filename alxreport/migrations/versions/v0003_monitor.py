"""What the monitor and its alerts need: the log by the hour, alerts, deliveries, durations."""

from typing import Any

import sqlalchemy as sa
from alembic import context, op

revision = "0003"
down_revision = "0002"

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
MYSQL = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}
# Not as parameters: PostgreSQL would not see that two of them group alike.
HOUR, THOUSAND, ROUNDS_UP = (
    sa.literal_column(text, sa.BigInteger) for text in ("3600", "1000", "999")
)


def number(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default="0")


def words(name: str, length: int) -> sa.Column[Any]:
    return sa.Column(name, sa.String(length), nullable=False, server_default="")


def key(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger, primary_key=True, autoincrement=False)


def upgrade() -> None:
    p = context.config.attributes["tables"].prefix + "local_alx_api_"

    def add(table: str, name: str) -> None:
        there = {found["name"] for found in sa.inspect(op.get_bind()).get_columns(p + table)}
        if name not in there:
            op.add_column(p + table, number(name))

    def create(name: str, *columns: Any) -> None:
        op.create_table(p + name, *columns, if_not_exists=True, **MYSQL)

    def index(table: str, name: str, columns: list[str]) -> None:
        there = {found["name"] for found in sa.inspect(op.get_bind()).get_indexes(p + table)}
        if f"{p}{table}_{name}" not in there:
            op.create_index(f"{p}{table}_{name}", p + table, columns)

    def drop(table: str, name: str) -> None:
        there = {found["name"] for found in sa.inspect(op.get_bind()).get_indexes(p + table)}
        if f"{p}{table}_{name}" in there:
            op.drop_index(f"{p}{table}_{name}", p + table)

    add("sync_status", "deleted_rows")
    add("sync_status", "duration_ms")
    add("logs", "revision")
    add("logs", "repeated")
    # Which question was asked before is looked up with each one that the cache does not know.
    index("logs", "question", ["companyid", "question", "at"])
    drop("logs", "company")
    sums = ("calls", "row_count", "timed", "total_us", "hits", "misses", "repeats", "repeat_hits")
    create("activity", key("hour"), key("companyid"), *(number(n) for n in sums))
    index("activity", "company", ["companyid", "hour"])
    create("latency", key("hour"), key("ms"), number("calls"))
    create(
        "alerts",
        sa.Column("id", ID, primary_key=True),
        words("kind", 50),
        words("subject", 80),
        words("name", 255),
        words("severity", 10),
        number("rises"),
        words("message", 1000),
        *(number(n) for n in ("opened_at", "changed_at", "closed_at", "ended")),
        number("acknowledged_at"),
        words("acknowledged_by", 64),
        sa.UniqueConstraint("kind", "subject", "ended", name=f"{p}alerts_open"),
    )
    index("alerts", "closed", ["closed_at"])
    create(
        "deliveries",
        key("alertid"),
        sa.Column("event", sa.String(30), primary_key=True),
        sa.Column("target", sa.String(32), primary_key=True),
        number("claimed_until"),
        words("claimed_by", 64),
        number("told_at"),
        number("attempts"),
    )
    _fill(p)


def _fill(p: str) -> None:
    """Sum up what the log and the reporting table hold already; the same when done again."""
    bind = op.get_bind()
    logs, rows, status, activity, latency = (
        sa.Table(p + name, sa.MetaData(), autoload_with=bind)
        for name in ("logs", "reporting", "sync_status", "activity", "latency")
    )
    log = logs.c
    hour = (log.at - log.at % HOUR).label("hour")
    up = log.duration_us + ROUNDS_UP
    ms = ((up - up % THOUSAND) // THOUSAND).label("ms")
    page = sa.case((log.endpoint != "export", 1), else_=0)

    def times(word: str) -> Any:
        return sa.func.sum(sa.case((log.cache == word, 1), else_=0))

    answered = log.error == ""
    by_company = (
        sa.select(
            hour, log.companyid, sa.func.count(), sa.func.sum(log.row_count), sa.func.sum(page),
            sa.func.sum(page * log.duration_us), times("hit"), times("miss"),
        ).where(answered).group_by(hour, log.companyid)
    )  # fmt: skip
    by_time = (
        sa.select(hour, ms, sa.func.count())
        .where(answered, log.endpoint != "export")
        .group_by(hour, up - up % THOUSAND)
    )
    names = ("hour", "companyid", "calls", "row_count", "timed", "total_us", "hits", "misses")
    bind.execute(activity.delete())
    bind.execute(latency.delete())
    bind.execute(activity.insert().from_select(names, by_company))
    bind.execute(latency.insert().from_select(("hour", "ms", "calls"), by_time))
    deleted = sa.select(sa.func.count()).where(
        rows.c.companyid == status.c.companyid, rows.c.is_deleted == 1
    )
    bind.execute(status.update().values(deleted_rows=deleted.scalar_subquery()))
