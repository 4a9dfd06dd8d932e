"""What the drivers' error codes mean, for every database that can hold Moodle or the store."""

from __future__ import annotations

import re
from typing import Any

# Numbers of MySQL, SQLSTATEs of PostgreSQL, names of SQLite.
FULL_CODES = frozenset({"SQLITE_FULL", "SQLITE_IOERR_WRITE", 1021, 1114, "53100"})
SERVER_BUSY_CODES = frozenset({1205, "55P03"})
BUSY_CODES = SERVER_BUSY_CODES | {"SQLITE_BUSY", "SQLITE_BUSY_SNAPSHOT"}
# A deadlock, a certification lost in a cluster, a row that moved on under a snapshot (1020, MariaDB
# from 11.6 on): the whole transaction may be tried again.
AGAIN_CODES = frozenset({1213, 1020, 1180, "40001", "40P01"})
# The connection is lost, or its server is of no use any more: ended, outside of its cluster,
# read-only since another took its place. Whether a COMMIT on its way was done cannot be told.
LOST_CODES = frozenset({
    1047, 1053, 1290, 1792, 1836, 1927, 2006, 2013, 2055, 4031,
    "08003", "08006", "25006", "57P01", "57P02", "57P05",
})  # fmt: skip
TRANSIENT_CODES = AGAIN_CODES | LOST_CODES
# Nobody can be connected to.
UNREACHABLE_CODES = frozenset({
    2002, 2003, 2005, "57P03", "08001",
    1040, 1203, 1226, "53300",  # more connections than the server or the user may have
})  # fmt: skip
GONE_CODES = UNREACHABLE_CODES | {1045, 1049, "28P01", "3D000"}
# Where there is another server with the same data, it may do better.
ELSEWHERE_CODES = UNREACHABLE_CODES | LOST_CODES | SERVER_BUSY_CODES
# A statement that took longer than the session allows: MariaDB, MySQL, PostgreSQL.
SLOW_CODES = frozenset({1969, 3024, "57014"})


def error_code(error: BaseException) -> Any:
    """Return the driver's own code of a database error: a number, an SQLSTATE or a name."""
    origin = getattr(error, "orig", None) or error
    first = origin.args[0] if origin.args else None
    if isinstance(first, int):
        return first  # MySQL's own number says more than the SQLSTATE that may come with it
    code = getattr(origin, "sqlite_errorname", None) or getattr(origin, "sqlstate", None)
    # psycopg gives no SQLSTATE when connecting fails.
    return code or next((state for words, state in _CONNECT_STATES if words in str(first)), None)


_CONNECT_STATES = (
    ("Connection refused", "08001"),
    ("could not translate host name", "08001"),
    ("failed to resolve host", "08001"),
    ("connection timeout expired", "08001"),
    ("server closed the connection", "08006"),
    ("the connection is closed", "08003"),
    ("the connection is lost", "08006"),
    ("session is read-only", "25006"),
    ("server is in hot standby", "25006"),
    ("too many clients", "53300"),
    ("remaining connection slots", "53300"),
    ("too many connections", "53300"),
    ("the database system is", "57P03"),
    ("not currently accepting connections", "57P03"),
    ("password authentication failed", "28P01"),
    ("no password supplied", "28P01"),
    ("no pg_hba.conf entry", "28000"),
    ("role ", "28000"),
    ("does not exist", "3D000"),
)
_SECRETS = re.compile(r"(://[^:/@\s]+:)[^@\s]+@")


def error_text(error: BaseException) -> str:
    """Return what the driver said, on one line, without a password."""
    origin = getattr(error, "orig", None) or error
    primary = getattr(getattr(origin, "diag", None), "message_primary", None)
    if primary:
        return " ".join(str(primary).split())  # without the row that PostgreSQL adds in its detail
    parts = origin.args[1:] if origin.args and isinstance(origin.args[0], int) else origin.args
    text = " ".join(str(part) for part in parts if part) or type(origin).__name__
    return _SECRETS.sub(r"\1***@", " ".join(text.split()))
