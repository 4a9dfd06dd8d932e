"""May the source's user do more than read? What each kind of server answers to that."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, text

from alxreport.dialects import flavour

READING = frozenset({
    "SELECT", "USAGE", "SHOW VIEW", "SHOW DATABASES",
    "SLAVE MONITOR", "BINLOG MONITOR", "REPLICATION CLIENT",  # a replica's lag
})  # fmt: skip

_NAME = r"(?:`(?:[^`]|``)*`|\"(?:[^\"]|\"\")*\"|[^`\".\s]+)"
_GRANT = re.compile(
    rf"GRANT (?P<rights>.+?) ON (?:(?:TABLE|FUNCTION|PROCEDURE|PACKAGE|PACKAGE BODY) )?"
    rf"(?P<database>{_NAME})\.(?P<object>{_NAME}) TO (?P<rest>.*)",
    re.DOTALL,
)
_COLUMNS = re.compile(r"\s*\([^)]*\)")
_POSTGRES = """
    SELECT current_user, current_schema(), r.rolsuper, pg_get_userbyid(c.relowner),
           has_table_privilege(c.oid, 'INSERT'), has_table_privilege(c.oid, 'UPDATE'),
           has_table_privilege(c.oid, 'DELETE')
    FROM pg_roles r
    LEFT JOIN pg_class c ON c.oid = to_regclass(quote_ident(CAST(:name AS text)))::oid
    WHERE r.rolname = current_user
"""


@dataclass(frozen=True)
class Rights:
    """Who the user is, what he may do besides reading, and how to make one who only reads."""

    user: str  # "" where there are no users
    writing: tuple[str, ...]
    advice: str = ""


def writing_rights(grants: Iterable[str], database: str) -> tuple[str, ...]:
    """Return the rights beyond reading that lines of SHOW GRANTS give on ``database``."""
    found: dict[str, None] = {}
    for line in grants:
        match = _GRANT.match(line)
        if match is None or not _covers(match["database"], match["object"], database):
            continue  # a role, a proxy, or another database's
        rights = [right.strip().upper() for right in _COLUMNS.sub("", match["rights"]).split(",")]
        if "WITH GRANT OPTION" in match["rest"].upper():
            rights.append("GRANT OPTION")
        found.update(dict.fromkeys(right for right in rights if right not in READING))
    return tuple(found)


def _covers(scope: str, what: str, database: str) -> bool:
    if scope == "*":
        return True
    name = scope[1:-1].replace(scope[0] * 2, scope[0]) if scope[0] in '`"' else scope
    if what != "*":
        return name == database
    # On a whole database the name is a pattern as for LIKE.
    parts = re.findall(r"\\.|.", name, re.DOTALL)
    pattern = "".join({"%": ".*", "_": "."}.get(p, re.escape(p[-1])) for p in parts)
    return re.fullmatch(pattern, database, re.DOTALL) is not None


def source_rights(connection: Connection, prefix: str) -> Rights:
    """Ask the server what the user of this connection may do to Moodle's tables."""
    name = flavour(connection.dialect).name
    if name == "mysql":
        return _mysql_rights(connection)
    if name == "postgresql":
        return _postgres_rights(connection, prefix)
    return Rights("", ())


def _mysql_rights(connection: Connection) -> Rights:
    user, database = connection.exec_driver_sql("SELECT CURRENT_USER(), DATABASE()").one()
    # Without FOR it shows the rights of the roles in force too.
    lines = connection.exec_driver_sql("SHOW GRANTS").scalars().all()
    host = user.rpartition("@")[2].replace("'", "''")
    pattern = re.sub(r"([\\_%])", r"\\\1", database).replace("`", "``")
    return Rights(
        user,
        writing_rights(lines, database),
        f"CREATE USER 'alxreport'@'{host}' IDENTIFIED BY '…';"
        f" GRANT SELECT ON `{pattern}`.* TO 'alxreport'@'{host}';",
    )


def _postgres_rights(connection: Connection, prefix: str) -> Rights:
    row = connection.execute(text(_POSTGRES), {"name": f"{prefix}user"}).one()
    user, schema, superuser, owner, *may = row
    names = ("INSERT", "UPDATE", "DELETE")
    rights = [name for name, allowed in zip(names, may, strict=True) if allowed]
    quoted = _identifier(schema or "public")
    return Rights(
        user,
        ("SUPERUSER",) if superuser else tuple(rights),
        f"CREATE ROLE alxreport LOGIN PASSWORD '…';"
        f" GRANT USAGE ON SCHEMA {quoted} TO alxreport;"
        f" GRANT SELECT ON ALL TABLES IN SCHEMA {quoted} TO alxreport;"
        f" ALTER DEFAULT PRIVILEGES FOR ROLE {_identifier(owner or user)} IN SCHEMA {quoted}"
        " GRANT SELECT ON TABLES TO alxreport;",
    )


def _identifier(name: str) -> str:
    if re.fullmatch(r"[a-z_][a-z0-9_]*", name):
        return name
    return '"' + name.replace('"', '""') + '"'
