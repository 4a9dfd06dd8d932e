"""Read the database settings out of Moodle's config.php as text, without running PHP."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from alxreport.errors import ConfigError
from alxreport.php_statements import ATTRIBUTES, PROPERTIES, Parser
from alxreport.php_tokens import Computed, as_text

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

__all__ = [
    "ATTRIBUTES",
    "DEFAULT_SOCKET",
    "MYSQL_TYPES",
    "MoodleConfig",
    "parse_moodle_config",
    "read_moodle_config",
    "source_url",
]

# Moodle's lib/dml: these dbtypes speak the MySQL protocol.
MYSQL_TYPES = frozenset({"mariadb", "mysqli", "auroramysql"})
# `MoodleConfig.socket` where dbsocket asks for a socket and leaves its place to the driver.
DEFAULT_SOCKET = ""


@dataclass(frozen=True)
class MoodleConfig:
    """The database settings of one config.php; None stands for absent, empty or computed."""

    dbtype: str  # as in the file: mariadb, mysqli, auroramysql, pgsql, sqlsrv, oci; "" if unknown
    host: str | None = None
    port: int | None = None
    socket: str | None = None  # a path, or DEFAULT_SOCKET
    database: str | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    prefix: str | None = None
    computed: frozenset[str] = frozenset()  # keys of ATTRIBUTES that only PHP can tell
    ssl: str | None = None  # disable, prefer, require or verify-full


def read_moodle_config(path: Path) -> MoodleConfig:
    """Read the config.php at `path` and return its database settings.

    Raise ConfigError if there is no such file, it cannot be read or is not Moodle's.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        hint = "Name Moodle's config.php; it may be readable only to root and the web server."
        raise ConfigError(f"{path} cannot be read: {error.strerror}", hint) from None
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    try:
        return parse_moodle_config(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}", error.hint) from None


def parse_moodle_config(text: str) -> MoodleConfig:
    """Return the database settings that the config.php `text` leaves behind once it has run.

    Raise ConfigError if it sets none, is broken PHP or names an impossible port.
    """
    try:
        found = Parser(text).settings()
    except RecursionError:
        raise ConfigError("its PHP is nested too deeply to be read") from None
    if found.keys().isdisjoint(PROPERTIES):
        hint = "If it requires another file that holds the settings, name that file."
        raise ConfigError("not a Moodle config.php: it sets no $CFG->dbtype", hint)
    computed = frozenset(n for n, value in found.items() if isinstance(value, dict | Computed))
    texts = {name: as_text(value) for name, value in found.items()}
    ssl = texts.get("dboptions.ssl")
    config = MoodleConfig(
        dbtype=texts.get("dbtype") or "",
        host=texts.get("dbhost"),
        port=_port(texts.get("dboptions.dbport")),
        socket=_socket(texts.get("dboptions.dbsocket")),
        database=texts.get("dbname") or None,
        user=texts.get("dbuser") or None,
        password=texts.get("dbpass"),
        prefix=texts.get("prefix"),
        computed=computed,
        ssl={"1": "require", "": None}.get(ssl or "", ssl),
    )
    return _with_mysql_host(config) if config.dbtype in MYSQL_TYPES else config


def source_url(config: MoodleConfig) -> URL:
    """Return the SQLAlchemy URL of the database that `config` describes, without TLS settings.

    Like Moodle it uses the socket only for a local host. Raise ConfigError for a dbtype other than
    MySQL's and PostgreSQL's, or if a needed value is still unknown.
    """
    from sqlalchemy.engine import URL

    mysql = config.dbtype in MYSQL_TYPES
    if not mysql and config.dbtype != "pgsql":
        supported = ", ".join(sorted(MYSQL_TYPES))
        hint = f"Supported are {supported} (MySQL, MariaDB) and pgsql (PostgreSQL)."
        raise ConfigError(f"Moodle's dbtype {config.dbtype!r} is not supported", hint)
    config = _with_mysql_host(config) if mysql else config
    host, socket = config.host, config.socket
    query = {"charset": "utf8mb4"} if mysql else {}
    if mysql and socket and host in (None, "localhost"):
        host, query["unix_socket"] = "localhost", socket
    elif not mysql and host and host.startswith("/"):
        host, query["host"] = "", host
    elif not mysql and socket is not None and host in (None, "", "localhost", "127.0.0.1"):
        host = ""  # without any host libpq looks into its own default directory
        query.update({"host": socket} if socket else {})
    needed = {"dbhost": host, "dbname": config.database or None, "dbuser": config.user or None}
    if "dbpass" in config.computed:
        needed["dbpass"] = config.password
    if missing := [name for name, value in needed.items() if value is None]:
        message = f"Moodle's database settings lack {', '.join(missing)}"
        raise ConfigError(message, "Enter what config.php computes or leaves out.")
    return URL.create(
        "mysql+pymysql" if mysql else "postgresql+psycopg",
        username=config.user,
        password=config.password,
        host=host or None,
        port=config.port,
        database=config.database,
        query=query,
    )


_MYSQL_HOST = re.compile(r"(?:\[([^\]]+)\]|([^:\[\]]+))(?::([0-9]{1,9}))?")


def _with_mysql_host(config: MoodleConfig) -> MoodleConfig:
    # As mysqli reads it: `p:` asks for a persistent connection, an empty host is localhost, and a
    # port behind the host means TCP even there.
    if config.host is None:
        return config
    host = config.host.removeprefix("p:") or "localhost"
    match = _MYSQL_HOST.fullmatch(host)
    host = (match[1] or match[2]) if match else host
    if match is None or match[3] is None:
        return replace(config, host=host)
    return replace(config, host=host, port=_port(match[3]), socket=None)


def _port(text: str | None) -> int | None:
    digits = re.match(r"\s*([0-9]{1,9})", text or "")
    port = int(digits[1]) if digits else 0
    if port > 65535:
        raise ConfigError(f"dbport {port} is not a port number")
    return port or None


def _socket(text: str | None) -> str | None:
    if text in (None, "", "0"):
        return None
    return text if "/" in text or "\\" in text else DEFAULT_SOCKET
